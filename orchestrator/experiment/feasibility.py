"""Feasibility of an experiment on a cluster, node by node; Ray waits for ever for what no node can hold."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.experiment.image_settings import SourceModel
from orchestrator.experiment.settings import Experiment
from orchestrator.foundation.quantities import plural
from orchestrator.foundation.quantities import resources as in_words
from trainables.errors import UsageError

Node = tuple[float, float]
"""CPUs and GPUs."""

_LEAST_CPU = 0.1
"""Smallest share of a CPU for a pretraining worker."""

_UNITS = 10_000
"""Ray counts resources in ten-thousandths."""


@dataclass(frozen=True, slots=True)
class Resources:
    """Resources of a cluster.

    Attributes:
        cpus: All CPUs.
        gpus: All GPUs.
        gpus_of_a_node: GPUs of its best node.
        nodes: Resources of each node; one node with all of it by default.
        grows: True if nodes may be added, of which only the GPUs are known.
    """

    cpus: float
    gpus: float
    gpus_of_a_node: float
    nodes: tuple[Node, ...] = ()
    grows: bool = False

    @property
    def all_nodes(self) -> tuple[Node, ...]:
        """Resources of each node."""
        return self.nodes or ((self.cpus, self.gpus),)


def check_resources(experiment: Experiment, resources: Resources) -> None:
    """Refuses trials and workers that the cluster can never run.

    Raises:
        UsageError: If a trial fits no node, or the pretraining's workers do not fit the nodes together.
    """
    _check_trials(experiment, resources)
    if not isinstance(experiment.source, SourceModel):
        _check_pretraining(experiment, resources)


def _check_trials(experiment: Experiment, resources: Resources) -> None:
    search = experiment.search
    cpus, gpus = search.cpus_per_trial, search.gpus_per_trial
    if gpus > resources.gpus_of_a_node:
        raise UsageError(
            f"search.gpus_per_trial is {gpus:g}, but the best node of this cluster has "
            f"{plural(resources.gpus_of_a_node, 'GPU')}; lower it or use another cluster.{_hint(resources)}"
        )
    if resources.grows:
        return
    if not any(_fitting(node, cpus, gpus) for node in resources.all_nodes):
        most = max(node[0] for node in resources.all_nodes)
        if cpus > most:
            holder = "the largest node of this cluster" if len(resources.all_nodes) > 1 else "this cluster"
            raise UsageError(
                f"search.cpus_per_trial is {cpus:g}, but {holder} has {plural(most, 'CPU')}; lower it or use "
                f"another cluster.{_hint(resources)}"
            )
        raise UsageError(
            f"A trial asks for {in_words(cpus, gpus)} on one node, and no node of this cluster has both: "
            f"it has {_words(resources.all_nodes)}. Lower search.cpus_per_trial or "
            f"search.gpus_per_trial.{_hint(resources)}"
        )


def _check_pretraining(experiment: Experiment, resources: Resources) -> None:
    section, workers = experiment.pretraining, least_workers(experiment)
    gpus = workers * section.gpus_per_worker
    if gpus > resources.gpus:
        raise UsageError(
            f"Pretraining asks for {plural(workers, 'worker')} × {plural(section.gpus_per_worker, 'GPU')}, but this "
            f"cluster has {resources.gpus:g}; lower pretraining.workers or pretraining.gpus_per_worker."
            f"{_hint(resources)}"
        )
    if resources.grows:
        return
    if cpus_per_worker(experiment, resources) is None:
        least = in_words(_LEAST_CPU, section.gpus_per_worker)
        besides = ", and reading: ray_data one CPU besides" if section.reading == "ray_data" else ""
        raise UsageError(
            f"Pretraining asks for {plural(workers, 'worker')} with at least {least} each{besides}, but they do not "
            f"fit the nodes of this cluster: {_words(resources.all_nodes)}; lower pretraining.workers."
            f"{_hint(resources)}"
        )


def least_workers(experiment: Experiment) -> int:
    """Workers without which pretraining does not begin."""
    return experiment.pretraining.least_workers or experiment.pretraining.workers


def cpus_per_worker(experiment: Experiment, resources: Resources) -> float | None:
    """The most of a CPU, up to a whole one, that each pretraining worker can have; None if they do not all fit.

    Ray Data needs a CPU of its own: workers that took them all would wait for it for ever.
    """
    section, workers = experiment.pretraining, least_workers(experiment)
    if resources.grows:
        reading = 1 if section.reading == "ray_data" else 0
        share = max(_LEAST_CPU, (resources.cpus - reading) / workers)
        return 1.0 if section.gpus_per_worker > 0 else _rounded(min(1.0, share))
    nodes = sorted(resources.all_nodes, reverse=True)
    if section.reading == "ray_data":
        nodes[0] = (nodes[0][0] - 1, nodes[0][1])
    parts = {_rounded(cpus / count) for cpus, _ in set(nodes) for count in range(1, workers + 1)}
    for share in sorted({1.0, *(part for part in parts if _LEAST_CPU <= part < 1)}, reverse=True):
        if sum(_fitting(node, share, section.gpus_per_worker) for node in nodes) >= workers:
            return share
    return None


def _fitting(node: Node, cpus: float, gpus: float) -> int:
    """Number of such requests that fit a node; a fraction of a GPU lies on one GPU."""
    fits = _times(node[0], cpus)
    if gpus >= 1:
        fits = min(fits, _times(node[1], gpus))
    elif gpus > 0:
        fits = min(fits, int(node[1]) * _times(1.0, gpus))
    return max(fits, 0)


def _times(whole: float, part: float) -> int:
    return round(whole * _UNITS) // max(1, round(part * _UNITS))


def _rounded(share: float) -> float:
    """Rounds down to Ray's unit; Ray rounds to the nearest, and three thirds would not fit one CPU."""
    return math.floor(share * _UNITS) / _UNITS


def _words(nodes: Sequence[Node]) -> str:
    kinds = list(dict.fromkeys(nodes))
    counts = [f"{nodes.count(kind)} with {plural(kind[0], 'CPU')} and {plural(kind[1], 'GPU')}" for kind in kinds[:4]]
    return ", ".join(counts) + (" and others" if len(kinds) > 4 else "")


def _hint(resources: Resources) -> str:
    if resources.grows or not resources.nodes:
        return ""
    return " If the cluster grows by itself, set cluster.gpus to the GPUs that it can grow to, 0 for none."
