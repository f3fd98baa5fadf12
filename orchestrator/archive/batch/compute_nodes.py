"""Choice of the device of a run, and of one precision for all nodes that compute."""

import os
from pathlib import Path

import torch

from orchestrator.archive.batch.options import Options
from orchestrator.archive.batch.scene_pool import on_every_node
from orchestrator.archive.scene.types import SceneSettings
from orchestrator.experiment.feasibility import Resources
from orchestrator.foundation.storage import Storage
from orchestrator.runtime.task_runner import TaskRunner
from trainables.errors import RunError, UsageError
from trainables.inference.precision import Precision, resolve

ON_CPUS = "This cluster has no GPU, so scenes are upscaled on CPUs; if GPU nodes can join it, state how many by --gpus."

_SURVEY_SECONDS = 180.0


def choose_device(options: Options, resources: Resources) -> str:
    """``cuda`` or ``cpu``.

    Args:
        options: Options of the run.
        resources: Resources of Ray, with the GPUs that may join if ``options.gpus`` states them.

    Raises:
        UsageError: If GPUs are asked for where there are none, or the options contradict each other.
    """
    if options.gpus is not None and options.address is None:
        raise UsageError("--gpus states how many GPUs a cluster may grow to; give its --address too.")
    if options.gpus is not None and options.device == "cpu":
        raise UsageError("--gpus asks for GPUs, but --device is cpu; leave one of them out.")
    if options.device == "cuda" and not resources.gpus:
        grow = "" if options.address is None else " If GPU nodes can join it, state how many by --gpus."
        raise UsageError(f"--device is cuda, but no node of this Ray has a GPU; take --device cpu.{grow}")
    return "cuda" if options.device != "cpu" and resources.gpus else "cpu"


def choose_precision(settings: SceneSettings, runner: TaskRunner | None, out: Storage) -> Precision:
    """One precision for all nodes, since outputs depend on it; all nodes must see the folder of the outputs.

    ``auto`` is what all nodes that compute can multiply in; other nodes, such as a head without GPU, have no say.

    Args:
        settings: Settings with the device.
        runner: The cluster's runner; None to compute on this machine.
        out: Place of the outputs.

    Raises:
        UsageError: If a node does not see the folder of the outputs.
        RunError: If a node cannot work, or none that computes answers.
    """
    if runner is None:
        return resolve(settings.precision, torch.device(settings.device))
    place = None if out.remote else out.path
    if place is not None:
        Path(place).mkdir(parents=True, exist_ok=True)
    kind, least = ("GPU", 1.0) if settings.device == "cuda" else ("CPU", float(settings.threads))
    compute = {node for node, resources in runner.nodes().items() if resources.get(kind, 0) >= least}
    found = set()
    survey = on_every_node(runner, _survey, settings.precision, settings.device, place, seconds=_SURVEY_SECONDS)
    for node, answer in survey:
        if isinstance(answer, Exception):
            if node not in runner.nodes():
                continue  # it was lost meanwhile
            raise RunError(f"Node {node[:8]} of the cluster cannot work: {answer}")
        sees, precision = answer
        if not sees:
            raise UsageError(
                f"Node {node[:8]} of the cluster does not see the folder '{place}'; outputs must go to s3:// or to a "
                "folder that all nodes share."
            )
        if node in compute:
            if precision is None:
                raise RunError(
                    f"Node {node[:8]} has a GPU by Ray's count, but PyTorch cannot use it there: its driver is missing "
                    "or too old, or this PyTorch is built for CPUs."
                )
            found.add(precision)
    if settings.precision != "auto":
        return settings.precision
    if not found:
        raise RunError(f"No node of the cluster that computes has answered within {_SURVEY_SECONDS:.0f} s.")
    return found.pop() if len(found) == 1 else "float32"


def _survey(precision: Precision, device: str, place: str | None) -> tuple[bool, Precision | None]:
    """True if this node sees the outputs, and its precision; None if it has no such device."""
    usable = precision != "auto" or device == "cpu" or torch.cuda.is_available()
    return place is None or os.access(place, os.W_OK), resolve(precision, torch.device(device)) if usable else None
