"""Choice of the device of a run and of one precision for all nodes that compute, and a first look at the weights."""

from orchestrator.archive.batch.options import Options
from orchestrator.archive.batch.scene_pool import on_every_node
from orchestrator.archive.scene.types import SceneSettings
from orchestrator.experiment.feasibility import Resources
from orchestrator.foundation.model_store import ModelFiles
from orchestrator.runtime.task_runner import TaskRunner, result_of
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


def choose_precision(settings: SceneSettings, runner: TaskRunner | None) -> Precision:
    """One precision for all nodes, since outputs depend on it.

    ``auto`` is what all nodes that compute can multiply in; other nodes, such as a head without GPU, have no say.

    Args:
        settings: Settings with the device.
        runner: The cluster's runner; None to compute on this machine.

    Raises:
        RunError: If a node that computes cannot work, or none answers.
    """
    if settings.precision != "auto":
        return settings.precision
    if runner is None:
        import torch

        return resolve("auto", torch.device(settings.device))
    kind, least = ("GPU", 1.0) if settings.device == "cuda" else ("CPU", float(settings.threads))
    found = set()
    for node, answer in on_every_node(runner, _precision_of, settings.device, seconds=_SURVEY_SECONDS):
        resources = runner.nodes().get(node, {})
        if resources.get(kind, 0) < least:
            continue  # it does not compute, or was lost meanwhile
        if isinstance(answer, Exception):
            raise RunError(f"Node {node[:8]} of the cluster cannot work: {answer}")
        if answer is None:
            raise RunError(
                f"Node {node[:8]} has a GPU by Ray's count, but PyTorch cannot use it there: its driver is missing or "
                "too old, or this PyTorch is built for CPUs."
            )
        found.add(answer)
    if not found:
        raise RunError(f"No node of the cluster that computes has answered within {_SURVEY_SECONDS:.0f} s.")
    return found.pop() if len(found) == 1 else "float32"


def check_weights(runner: TaskRunner, model: ModelFiles) -> None:
    """Builds the network once, on any node: a damaged model is refused before it fails scene after scene.

    Raises:
        UsageError: If its weights are damaged, or are not those of its card's architecture.
        RunError: If the node was lost again and again.
    """
    result_of(runner, runner.submit(build_network, model, name="check of the model"))


def build_network(model: ModelFiles) -> None:
    """Builds a network and forgets it.

    Raises:
        UsageError: If its weights are damaged.
    """
    model.unpacked()


def _precision_of(device: str) -> Precision | None:
    """Precision of this node; None if it has no such device."""
    import torch

    return resolve("auto", torch.device(device)) if device == "cpu" or torch.cuda.is_available() else None
