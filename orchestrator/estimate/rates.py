"""Rates of an experiment's work on this machine: seconds of a step, a score, an image read, a worker's start.

All is measured as a run would do it: on the experiment's own images, with each domain's own degradation, and in as many
processes at once as would run side by side, because cores that share their caches slow each other down.
"""

import math
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np
import torch

from orchestrator.estimate.timed_work import DomainRates, DomainTask, Task, time_domains, time_pretraining, time_start
from orchestrator.experiment.image_settings import DeepImages
from orchestrator.experiment.settings import Experiment
from orchestrator.foundation.usable_cpus import usable_cpus
from orchestrator.image_sets.deep_images import Chip
from orchestrator.image_sets.sampled_images import read_sample, spread
from orchestrator.image_sets.set_files import Skipped, SourceFile
from orchestrator.image_sets.value_ranges import Sampled, format_of
from trainables.images.image_pair import PreparedPair
from trainables.images.raster import PLAIN, PixelFormat, PreparedImage
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
        elsewhere: Stages whose GPUs this machine does not have, or not as many as one trial takes; what is measured for
            them here is of its CPU.
        machine: Processor, and what ran side by side.
    """

    worker: float
    read: dict[str, float]
    pretraining_step: float
    domains: dict[str, DomainRates]
    machine: str
    elsewhere: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SetToTime:
    """An image set: its listed files, the HR pixels that an image needs on each side, and how it is read.

    Attributes:
        files: The files.
        least_side: HR pixels that an image needs on each side.
        deep: How images of any depth are read; None for 8-bit gray and RGB.
        scale: Scale factor of pairs.
    """

    files: Sequence[SourceFile]
    least_side: int
    deep: DeepImages | None = None
    scale: int = 1


def measure(experiment: Experiment, sets: Mapping[str, SetToTime], slots: int) -> Rates:
    """Measures for a few seconds a domain; reads a few images of each set, none of a test folder.

    Args:
        experiment: Whose work it is.
        sets: Image sets, the source's under the name that is no target's.
        slots: Trials that run side by side.
    """
    samples = {name: _read_sample(images) for name, images in sets.items()}
    read = {name: sample.seconds for name, sample in samples.items()}
    source = next((sample.images for name, sample in samples.items() if name not in experiment.targets), [])
    domains = {
        name: DomainTask(
            experiment.space(name).degradation.for_format(samples[name].pixel_format),
            experiment.frozen_depths(name)[1],
            samples[name].images,
            samples[name].pixel_format,
        )
        for name in experiment.targets
    }
    search, cores = experiment.search, usable_cpus()
    gpus_here = torch.cuda.device_count() if torch.cuda.is_available() else 0
    on_gpu = 0 < search.gpus_per_trial <= gpus_here
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
        search.devices_per_trial,
    )
    side_by_side = max(1, min(slots, cores // threads))
    pretrains_on_gpu = experiment.pretraining.gpus_per_worker > 0 and torch.cuda.is_available()
    places = torch.cuda.device_count() if pretrains_on_gpu else cores
    trainers = min(experiment.pretraining.workers, places) if source else 0
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
    crowd = 1.0 if pretrains_on_gpu else max(1.0, experiment.pretraining.workers / cores)
    used = "a GPU" if task.device_count == 1 else f"{task.device_count} GPUs each"
    machine = f"{processor()}, {cores} cores, {side_by_side} at once{f', on {used}' if on_gpu else ''}"
    elsewhere = stages_elsewhere(experiment, gpus_here)
    return Rates(worker, read, max(stepping, default=0.0) * crowd, rates, machine, elsewhere)


def stages_elsewhere(experiment: Experiment, gpus_here: int) -> tuple[str, ...]:
    """Stages that ask for GPUs, of a machine without one, or with fewer than one trial takes."""
    pretraining = ("pretrain",) if experiment.pretraining.gpus_per_worker > 0 and not gpus_here else ()
    trials = ("search", "confirm", "finish") if math.ceil(experiment.search.gpus_per_trial) > gpus_here else ()
    return (*pretraining, *trials)


class _Sample(NamedTuple):
    """Some images of a set, what their values mean, and the seconds that reading one takes, as shards are built."""

    images: list[PreparedImage | PreparedPair]
    pixel_format: PixelFormat
    seconds: float


def _read_sample(images: SetToTime) -> _Sample:
    """A few images from all over a set, none of a test folder."""
    chosen = spread([file for file in images.files if not file.test], _SAMPLED)
    start = time.perf_counter()
    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(lambda file: read_sample(file, images.least_side, images.deep, images.scale), chosen))
    seconds = (time.perf_counter() - start) / len(chosen)
    usable = [outcome for outcome in outcomes if not isinstance(outcome, Skipped)]
    if not usable:
        # A preflight has found usable images; where none is among these few, the plan is measured on noise.
        side = max(images.least_side, 256)
        noise = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
        return _Sample([PreparedImage(noise)], PLAIN, seconds)
    pixel_format, shape = PLAIN, usable[0].shape
    if images.deep is not None and shape is not None:
        values = [Sampled(image.chip.sample(), image.chip.window) for image in usable]
        pixel_format, _ = format_of(images.deep, shape, values, chosen[0].place.uri)
    return _Sample([_prepared(image.chip, pixel_format) for image in usable], pixel_format, seconds)


def _prepared(chip: Chip, pixel_format: PixelFormat) -> PreparedImage | PreparedPair:
    hr = pixel_format.prepared(chip.raster)
    return hr if chip.lr is None else PreparedPair(hr, pixel_format.prepared(chip.lr))


def _mean(rates: Sequence[DomainRates]) -> DomainRates:
    return DomainRates(
        *(float(np.mean([getattr(process, field.name) for process in rates])) for field in fields(DomainRates))
    )
