"""Joining a Ray cluster: which one, what it is, and in one sentence why it cannot be joined."""

import json
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import ray

from orchestrator.foundation.quantities import plural
from orchestrator.runtime.on_ray.ray_runner import alive_nodes
from trainables.errors import UsageError, without_secrets

_JOB = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""Environment variable in which Ray tells a submitted job its runtime environment."""

_VERSIONS = re.compile(r"Ray: (\S+)\s+Python: (\S+)")
_TOKEN = re.compile(
    r"unauthenticated|AuthenticationError|InvalidAuthToken|token is invalid|no authentication token was found",
    re.IGNORECASE,
)
"""Words of a refusal alone: of tokens Ray also speaks where all is well."""
_TOKENS = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
_LONGEST = 300
_MOST_HELD = 2**20


def job_variables() -> set[str]:
    """Names of the environment variables that a submitted job sets, which Ray lets nobody repeat."""
    try:
        environment = json.loads(os.environ.get(_JOB, "{}")).get("runtime_env") or {}
        return set(environment.get("env_vars") or {})
    except (ValueError, AttributeError):
        return set()


@contextmanager
def outside_of_job() -> Iterator[None]:
    """Hides a submitted job's runtime environment from a Ray of our own, which cannot fetch its packages.

    This process has it already, and the workers of such a Ray are started from here.
    """
    hidden = os.environ.pop(_JOB, None)
    try:
        yield
    finally:
        if hidden is not None:
            os.environ[_JOB] = hidden


def chosen_address(address: str) -> tuple[str, str]:
    """The address that ``auto`` means, and a note on other Rays of this machine that it could have meant.

    Raises:
        UsageError: If no Ray runs here, or none of several was started last by ``ray start``.
    """
    if address != "auto" or os.environ.get("RAY_ADDRESS"):
        chosen = os.environ.get("RAY_ADDRESS") if address == "auto" else None
        return address, f", by RAY_ADDRESS={chosen}" if chosen else ""
    services: Any = ray._private.services
    services.find_gcs_addresses.cache_clear()
    running = sorted(services.find_gcs_addresses())
    started = services.find_bootstrap_address(None)
    if len(running) > 1 and started not in running:
        raise UsageError(
            f"cluster.address is auto, but {len(running)} Rays run on this machine ({', '.join(running)}); set it to "
            "the address of one."
        )
    if not running and not started:
        raise UsageError(
            "cluster.address is auto, but no Ray runs on this machine; start one (`ray start --head`, `ray up`), or "
            "set the address of a cluster's head, such as 10.0.0.1:6379."
        )
    others = sorted(set(running) - {started})
    if len(running) > 1:
        return started, f", started last of {len(running)} Rays on this machine; others: {', '.join(others)}"
    return address, ""


def joined_line(context: Any, note: str = "") -> str:
    """Name, address, nodes and resources of the cluster that was joined."""
    facts = getattr(context, "address_info", None) or {}
    address, session = facts.get("gcs_address") or facts.get("address"), str(facts.get("session_dir") or "")
    nodes = list(alive_nodes().values())
    named = f" ({Path(session).name}, Ray {ray.__version__})" if session else ""
    kinds = [plural(float(sum(node.get(kind, 0) for node in nodes)), kind) for kind in ("CPU", "GPU")]
    return f"Joined the Ray cluster at {address}{named}{note}: {plural(len(nodes), 'node')}, {' and '.join(kinds)}."


def sentence_of_failure(address: str, error: BaseException, printed: str = "") -> str:
    """Reason why a cluster could not be joined, and the way out.

    Args:
        address: The address that was asked.
        error: Ray's error.
        printed: What Ray wrote to standard error meanwhile.
    """
    text = " ".join([str(error), str(error.__cause__ or ""), type(error).__name__])
    if "Version mismatch" in text and len(versions := _VERSIONS.findall(text)) == 2:
        return _of_versions(address, *versions)
    if _TOKEN.search(f"{text} {printed}"):
        return _of_token(address)
    if isinstance(error, ConnectionError):
        return (
            f"No Ray cluster answers at '{address}': check that it runs (`ray status` on its head), and that its port "
            "can be reached from here."
        )
    return f"Ray could not be reached at '{address}': {_short(error)}"


def _of_versions(address: str, cluster: tuple[str, str], process: tuple[str, str]) -> str:
    said = (
        f"The Ray cluster at '{address}' runs Ray {cluster[0]} on Python {cluster[1]}, but this is Ray {process[0]} on "
        f"Python {process[1]}: "
    )
    minor = cluster[1].split(".")[:2] == process[1].split(".")[:2]
    if cluster[0] == process[0] and minor:
        return f"{said}install the same Python on both, or set RAY_DEFAULT_PYTHON_VERSION_MATCH_LEVEL=minor."
    way = f"pip install ray=={cluster[0]}" if minor else f"an environment of Python {cluster[1]} with ray=={cluster[0]}"
    return f"{said}install the same versions on both (here: {way})."


def _of_token(address: str) -> str:
    given = next((name for name in _TOKENS if os.environ.get(name)), None)
    if given is None:
        return (
            f"The Ray cluster at '{address}' asks for a token: set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or "
            "RAY_AUTH_TOKEN_PATH to the token of its head."
        )
    if os.environ.get("RAY_AUTH_MODE") not in (None, "token"):
        return f"The Ray cluster at '{address}' asks for a token: set RAY_AUTH_MODE=token; {given} is set already."
    return f"The Ray cluster at '{address}' refuses the token in {given}: set it to the token of its head."


def _short(error: BaseException) -> str:
    text = " ".join(without_secrets(str(error)).split()) or type(error).__name__
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


@contextmanager
def standard_error_held() -> Iterator[list[str]]:
    """Holds back what is written to standard error in the block, by libraries in C++ too.

    It is written out if the block ends well, and is dropped otherwise.

    Yields:
        A list that holds the text once the block has ended.
    """
    said: list[str] = []
    with suppress(OSError, ValueError):
        sys.stderr.flush()
    with tempfile.TemporaryFile() as held:
        outer, ended_well = os.dup(2), False
        os.dup2(held.fileno(), 2)
        try:
            yield said
            ended_well = True
        finally:
            os.dup2(outer, 2)
            os.close(outer)
            text = os.pread(held.fileno(), _MOST_HELD, 0)
            said.append(text.decode(errors="replace"))
            if ended_well:
                with suppress(OSError):
                    os.write(2, text)
