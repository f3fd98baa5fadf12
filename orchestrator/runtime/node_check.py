"""Check of a cluster's nodes before work: storage, version of the code, Python, Ray, and the GPUs that they claim."""

import hashlib
import os
import platform
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import ray

from orchestrator.foundation.quantities import plural
from orchestrator.foundation.storage import Storage
from orchestrator.runtime.task_runner import Ended, Needs, Task, TaskRunner
from trainables.errors import UsageError, reason_of
from trainables.version import __version__

LOGICAL = "RAYSCALE_LOGICAL_GPUS"
"""Environment variable: 1 where the GPUs of a cluster are numbers only, as on an emulated one; none is looked for."""

_PACKAGES = ("orchestrator", "search_spaces", "trainables")
_SECONDS = 300.0
_MOST_NAMED = 5
_FOLDER = "node-check-"


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """Facts that a node reports.

    Attributes:
        version: Version of this package.
        code: Digest of its source files.
        python: Version of Python, such as ``3.11``.
        ray: Version of Ray.
        gpus: GPUs that PyTorch sees; None where none are claimed.
        problem: Why the storage cannot be used there; empty if it can.
    """

    version: str
    code: str
    python: str
    ray: str
    gpus: int | None
    problem: str


def check_nodes(
    runner: TaskRunner, storage: Storage, needs_gpus: bool = False, reads: Sequence[str] = (), seconds: float = _SECONDS
) -> None:
    """Makes sure that every node of a cluster can work; nodes that join later are not checked.

    Args:
        runner: Task runner on the cluster.
        storage: Place that every node reads and writes.
        needs_gpus: True if the work uses GPUs.
        reads: Further places that every node reads.
        seconds: Time in which a node must answer.

    Raises:
        UsageError: With one sentence for each node that cannot.
        OSError: If the place cannot be written from here.
    """
    nodes, token = runner.nodes(), secrets.token_hex(8)
    place = storage.child(f"{_FOLDER}{token}")
    place.child("driver").write_bytes(token.encode())
    try:
        claimed = {node: node_gpus(found) if needs_gpus else 0 for node, found in nodes.items()}
        answers = _ask(runner, nodes, place, reads, claimed, seconds)
    finally:
        place.delete_folder()
    problems = {
        node: problem
        for node, answer in answers.items()
        if (problem := _problem(answer, claimed[node]) if isinstance(answer, NodeFacts) else answer)
    }
    if problems:
        raise UsageError(_sentence(problems, node_names(), len(nodes)))


def node_gpus(resources: dict[str, float]) -> float:
    """GPUs that a node claims and must have; 0 for GPUs that are numbers only."""
    return 0 if os.environ.get(LOGICAL, "0") not in ("", "0") else resources.get("GPU", 0)


def node_names() -> dict[str, str]:
    """Addresses of nodes by their id."""
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return {node["NodeID"]: node["NodeManagerAddress"] for node in nodes}


@cache
def code_digest() -> str:
    """Digest of the source files of this package."""
    digest, root = hashlib.sha256(), Path(__file__).resolve().parents[2]
    for package in _PACKAGES:
        for file in sorted((root / package).rglob("*.py")):
            digest.update(f"{file.relative_to(root)}\0".encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()


def _ask(
    runner: TaskRunner,
    nodes: dict[str, dict[str, float]],
    place: Storage,
    reads: Sequence[str],
    claimed: dict[str, float],
    seconds: float,
) -> dict[str, NodeFacts | str]:
    """Facts of each node, or why there are none; a node that is lost meanwhile is left out."""
    pending: dict[Task, str] = {}
    for node in nodes:
        arguments = (place.uri, node, tuple(reads), claimed[node] > 0)
        # No CPU is asked for, so that a busy node answers too.
        task = runner.submit(look, *arguments, needs=Needs(cpus=0, node=node), retries=0, name=f"check of {node[:8]}")
        pending[task] = node
    answers: dict[str, NodeFacts | str] = {}
    until = time.monotonic() + seconds
    while pending and (left := until - time.monotonic()) > 0:
        for event in runner.wait(pending, left):
            if isinstance(event, Ended):
                _take(answers, pending.pop(event.task), event)
    for task, node in pending.items():
        runner.cancel(task)
        answers[node] = f"has not answered within {seconds:.0f} s; look at its logs, or take it out of the cluster"
    alive = runner.nodes()
    return {node: answer for node, answer in answers.items() if node in alive}


def _take(answers: dict[str, NodeFacts | str], node: str, event: Ended) -> None:
    if isinstance(event.value, NodeFacts):
        answers[node] = event.value
    else:
        answers[node] = _of_failure(str(event.error or event.death or event.lost or event.unschedulable))


def _of_failure(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    missing = next((line for line in lines if "No module named" in line), "")
    if any(f"'{package}" in missing for package in _PACKAGES):
        return f"has no rayscale: install rayscale {__version__} there, as on this machine"
    if missing:
        return f"lacks a library ({missing}): install rayscale {__version__} there with all that it needs"
    return f"cannot start a process ({lines[-1] if lines else 'no reason was given'})"


def look(place: str, node: str, reads: Sequence[str], with_gpus: bool) -> NodeFacts:
    """On a node: what it is, and whether it can use the storage.

    Args:
        place: Folder of the check, which holds the driver's file.
        node: Name of the file to write.
        reads: Further places to read.
        with_gpus: True to count GPUs.
    """
    checks: list[Callable[[], str]] = [
        lambda: _uses(Storage(place), node),
        *(lambda uri=uri: _reads(uri) for uri in reads),
    ]
    return NodeFacts(
        version=__version__,
        code=code_digest(),
        python=_python(),
        ray=ray.__version__,
        gpus=_gpus_seen() if with_gpus else None,
        problem=next((problem for check in checks if (problem := check())), ""),
    )


def _gpus_seen() -> int:
    import torch  # on the nodes alone: who asks them has no need of it

    return torch.cuda.device_count()


def _python() -> str:
    return ".".join(platform.python_version_tuple()[:2])


def _uses(place: Storage, node: str) -> str:
    folder = place.uri.rpartition("/")[0]
    try:
        if place.remote:
            place.check_readable()
        written = place.child("driver").read_bytes()
    except FileNotFoundError:
        return f"does not see this machine's folder '{folder}': storage must be s3:// or a folder that all nodes share"
    except Exception as error:
        return _refused(place, f"cannot read '{folder}'", error)
    try:
        place.child(node).write_bytes(written)
    except Exception as error:
        return _refused(place, f"cannot write to '{folder}'", error)
    return ""


def _reads(uri: str) -> str:
    place = Storage(uri)
    try:
        if place.kind() != "nothing":
            return ""
    except Exception as error:
        return _refused(place, f"cannot read '{uri}'", error)
    return f"does not see '{uri}': it must lie in s3:// or in a folder that all nodes share"


def _refused(place: Storage, what: str, error: Exception) -> str:
    reason = reason_of(error).rstrip(".")
    way = "; keys of this machine are not given to nodes, which need a role or a profile of their own"
    return f"{what} ({reason}){way if place.remote else ''}"


def _problem(facts: NodeFacts, gpus: float) -> str:
    """Reason why a node cannot work; empty if it can."""
    if facts.version != __version__:
        return f"has rayscale {facts.version}, and this machine {__version__}: install the same on both"
    if facts.code != code_digest():
        return f"has other code of rayscale {__version__} than this machine: install the same on both"
    if facts.python != _python():
        return f"runs Python {facts.python}, and this machine {_python()}: install the same on both"
    if facts.ray != ray.__version__:
        return f"runs Ray {facts.ray}, and this machine {ray.__version__}: install the same on both"
    if facts.gpus is not None and facts.gpus < gpus:
        return (
            f"claims {plural(gpus, 'GPU')}, but PyTorch sees {facts.gpus} there: install the CUDA build of PyTorch "
            f"and the driver, or start its Ray with --num-gpus={facts.gpus}"
        )
    return facts.problem


def _sentence(problems: dict[str, str], names: dict[str, str], nodes: int) -> str:
    lines = [f"node {names.get(node, '?')} ({node[:8]}) {problem}." for node, problem in problems.items()]
    more = f" And {len(lines) - _MOST_NAMED} more." if len(lines) > _MOST_NAMED else ""
    text = " ".join(line[0].upper() + line[1:] for line in lines[:_MOST_NAMED])
    head = f"{len(lines)} of the cluster's {nodes} nodes cannot work: " if len(lines) > 1 else ""
    return f"{head}{text}{more}"
