"""Rates of an experiment's work on this machine: seconds of a step, a score, an image read, a worker's start.

All is measured as a run would do it: on the experiment's own images, with each domain's own degradation, and in as many
processes at once as would run side by side, because cores that share their caches slow each other down.
"""

import multiprocessing
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch

from orchestrator.data.image_sets import Skipped, SourceFile, read_image
from orchestrator.data.sample_check import spread
from orchestrator.estimate.timed_work import DomainRates, DomainTask, Task, time_domains, time_pretraining, time_start
from orchestrator.experiment.settings import Experiment
from orchestrator.foundation.usable_cpus import usable_cpus
from trainables.images.patch_pool import Pixels
from trainables.inference.speed import processor

_SAMPLED = 6
"""Images of each set that are read."""

MEASURED_SECONDS = 1.0
"""Seconds for which steps of one kind are repeated, after two that warm up."""


@dataclass(frozen=True, slots=True)
class Rates:
    """Measured rates.

    Attributes:
        worker: Seconds from starting a process to the end of the imports that a worker needs.
        read: Seconds to read and decode one image, by set.
        pretraining_step: Seconds of one step of all pretraining workers; 0 where there is none.
        domains: By target.
        machine: Processor, and what ran side by side.
    """

    worker: float
    read: dict[str, float]
    pretraining_step: float
    domains: dict[str, DomainRates]
    machine: str


def measure(
    experiment: Experiment, files: Mapping[str, Sequence[SourceFile]], least_sides: Mapping[str, int], slots: int
) -> Rates:
    """Measures for a few seconds a domain; reads a few images of each set, none of a test folder.

    Args:
        experiment: Whose work it is.
        files: The listed images of each set, the source's under the name that is no target's.
        least_sides: HR pixels that an image of a set needs on each side.
        slots: Trials that run side by side.
    """
    images, read = {}, {}
    for name, listed in files.items():
        images[name], read[name] = _read_sample([file for file in listed if not file.test], least_sides[name])
    source = next((images[name] for name in images if name not in experiment.targets), [])
    domains = {
        name: DomainTask(experiment.space(name).degradation, experiment.frozen_depths(name)[1], images[name])
        for name in experiment.targets
    }
    search, cores = experiment.search, usable_cpus()
    on_gpu = search.gpus_per_trial > 0 and torch.cuda.is_available()
    threads = max(1, int(search.cpus_per_trial))
    task = Task(
        experiment.architecture,
        experiment.finetuning,
        experiment.pretraining,
        search.validation_crop,
        threads,
        on_gpu,
        MEASURED_SECONDS,
        source,
        domains,
    )
    side_by_side = max(1, min(slots, cores // threads))
    trainers = min(experiment.pretraining.workers, cores) if source else 0
    with (
        ProcessPoolExecutor(max(side_by_side, trainers), multiprocessing.get_context("spawn")) as pool,
        tempfile.TemporaryDirectory() as folder,
    ):

        def at_once(work: Callable[..., Any], count: int, *arguments: Any) -> list[Any]:
            rendezvous = [(f"{folder}/{work.__name__}", rank, count) for rank in range(count)]
            return list(pool.map(work, rendezvous, *([argument] * count for argument in arguments)))

        start = time.time()
        worker = max(at_once(time_start, min(cores, max(side_by_side, trainers)))) - start
        stepping = at_once(time_pretraining, trainers, task)
        measured = at_once(time_domains, side_by_side, task)
    rates = {name: _mean([process[name] for process in measured]) for name in domains}
    crowd = max(1.0, experiment.pretraining.workers / cores)
    machine = f"{processor()}, {cores} cores, {side_by_side} at once{', on a GPU' if on_gpu else ''}"
    return Rates(worker, read, max(stepping, default=0.0) * crowd, rates, machine)


def _read_sample(files: Sequence[SourceFile], least_side: int) -> tuple[list[Pixels], float]:
    """A few images from all over a set, and the seconds that reading one takes, as shards are built."""
    chosen = spread(files, _SAMPLED)
    start = time.perf_counter()
    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(lambda file: read_image(file.place, file.facts.path, least_side), chosen))
    seconds = (time.perf_counter() - start) / len(chosen)
    usable: list[Pixels] = [outcome[1].pixels for outcome in outcomes if not isinstance(outcome, Skipped)]
    # A preflight has found usable images; where none is among these few, the plan is measured on noise.
    side = max(least_side, 256)
    return usable or [np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)], seconds


def _mean(rates: Sequence[DomainRates]) -> DomainRates:
    return DomainRates(
        *(float(np.mean([getattr(process, field.name) for process in rates])) for field in fields(DomainRates))
    )
