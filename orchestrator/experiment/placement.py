"""Kind of node that an experiment's work runs on: an accelerator type for its GPUs, and labels.

Ray counts a node's accelerator type as a resource of its own, and selects nodes by their labels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

_RESOURCE = "accelerator_type:"
_SHARE = 0.001
"""Share of a node's accelerator type that a task takes, as Ray's own option does."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Kind of node.

    Attributes:
        accelerator_type: Type of the GPUs, such as ``A100``; "" for any. CPU work runs beside any.
        labels: Labels that a node must have; empty for any node.
    """

    accelerator_type: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)

    def task_options(self, gpus: float) -> dict[str, object]:
        """Options of a task of Ray that needs so many GPUs."""
        options: dict[str, object] = {"label_selector": dict(self.labels)} if self.labels else {}
        return options | ({"accelerator_type": self.accelerator_type} if self.accelerator_type and gpus > 0 else {})

    def bundle(self, cpus: float, gpus: float) -> dict[str, float]:
        """Resources of a bundle of a placement group with so many CPUs and GPUs."""
        amounts = {"CPU": cpus, "GPU": gpus} if gpus > 0 else {"CPU": cpus}
        if self.accelerator_type and gpus > 0:
            amounts[f"{_RESOURCE}{self.accelerator_type}"] = _SHARE
        return amounts

    def usable(self, resources: Mapping[str, float], labels: Mapping[str, str]) -> tuple[float, float] | None:
        """CPUs and GPUs of a node that the work can use; None for a node without the labels.

        Args:
            resources: Resources of the node.
            labels: Its labels.
        """
        if any(labels.get(name) != value for name, value in self.labels.items()):
            return None
        of_type = not self.accelerator_type or f"{_RESOURCE}{self.accelerator_type}" in resources
        return resources.get("CPU", 0.0), resources.get("GPU", 0.0) if of_type else 0.0

    def offered(self, nodes: Sequence[tuple[Mapping[str, float], Mapping[str, str]]]) -> str:
        """Accelerator types and labels of nodes where the work asks for some, in words.

        Args:
            nodes: Resources and labels of each.
        """
        named = {name for resources, _ in nodes for name in resources if name.startswith(_RESOURCE)}
        types = _listed({name.removeprefix(_RESOURCE) for name in named})
        labels = _listed({f"{name}={own[name]}" for _, own in nodes for name in self.labels if name in own})
        of_type = [f"accelerator types of its nodes: {types}"] if self.accelerator_type else []
        return "; ".join(of_type + ([f"labels of its nodes: {labels}"] if self.labels else []))

    def __str__(self) -> str:
        """In words, such as ``accelerator type A100 and labels pool=spot``."""
        of_type = [f"accelerator type {self.accelerator_type}"] if self.accelerator_type else []
        labelled = ", ".join(f"{name}={value}" for name, value in self.labels.items())
        return " and ".join(of_type + ([f"labels {labelled}"] if labelled else []))


def _listed(names: set[str]) -> str:
    return ", ".join(sorted(names)) or "none"
