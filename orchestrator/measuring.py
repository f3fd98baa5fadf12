"""What an experiment's work costs on this machine: a step, a score, an image read, a worker's start.

All is measured as a run would do it: on the experiment's own images, with each domain's own degradation, and in as many
processes at once as would run side by side, because cores that share their caches slow each other down.
"""

import multiprocessing
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import distributed, nn

from orchestrator.experiment import Experiment, Finetuning, Pretraining
from orchestrator.image_sets import Skipped, SourceFile, read_image
from trainables.degradation import Degradation
from trainables.evaluation import NamedImage, Pair, make_pairs, mean_psnr, score
from trainables.finetune import Budget, TransferConfiguration, finetune
from trainables.models import weights_of
from trainables.network import Architecture, SuperResolutionNet
from trainables.patches import PatchPool, Pixels
from trainables.pretrain import PretrainSettings, pretrain

_SAMPLED = 6
"""Images of each set that are read."""

_SCORED = 2
"""Images that are scored; what others take is reckoned from their pixels."""

_SECONDS = 1.0
"""How long steps of one kind are repeated, after two that warm up."""


@dataclass(frozen=True, slots=True)
class DomainRates:
    """Seconds that one thing of a target domain takes.

    Attributes:
        step: A training step with every block trained.
        frozen_step: The same with as many blocks frozen as the study may freeze.
        make_validation: One validation image cropped and degraded.
        validate: One validation image upscaled, with its PSNR.
        make_test: One whole image degraded.
        test: One whole image upscaled, with its PSNR and SSIM.
    """

    step: float
    frozen_step: float
    make_validation: float
    validate: float
    make_test: float
    test: float


@dataclass(frozen=True, slots=True)
class Rates:
    """What was measured.

    Attributes:
        worker: Seconds from starting a process to its having imported what a worker needs.
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


@dataclass(frozen=True, slots=True)
class _Domain:
    degradation: Degradation
    deepest: int
    images: list[Pixels]


@dataclass(frozen=True, slots=True)
class _Task:
    architecture: Architecture
    finetuning: Finetuning
    pretraining: Pretraining
    crop: int
    threads: int
    on_gpu: bool
    seconds: float
    source: list[Pixels]
    domains: dict[str, _Domain]


def measure(
    experiment: Experiment, files: Mapping[str, Sequence[SourceFile]], least_sides: Mapping[str, int], slots: int
) -> Rates:
    """Measures for about ten seconds a domain; reads a few images, none of a test folder.

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
        name: _Domain(experiment.space(name).degradation, experiment.frozen_depths(name)[1], images[name])
        for name in experiment.targets
    }
    search, cores = experiment.search, len(os.sched_getaffinity(0))
    on_gpu = search.gpus_per_trial > 0 and torch.cuda.is_available()
    threads = max(1, int(search.cpus_per_trial))
    task = _Task(
        experiment.architecture,
        experiment.finetuning,
        experiment.pretraining,
        search.validation_crop,
        threads,
        on_gpu,
        _SECONDS,
        source,
        domains,
    )
    side_by_side = max(1, min(slots, cores // threads))
    trainers = min(experiment.pretraining.workers, cores) if source else 0
    with (
        ProcessPoolExecutor(max(side_by_side, trainers), multiprocessing.get_context("spawn")) as pool,
        tempfile.TemporaryDirectory() as meetings,
    ):

        def at_once(work: Callable[..., Any], count: int, *arguments: Any) -> list[Any]:
            meet = [(f"{meetings}/{work.__name__}", rank, count) for rank in range(count)]
            return list(pool.map(work, meet, *([argument] * count for argument in arguments)))

        start = time.time()
        worker = max(at_once(_arrive, min(cores, max(side_by_side, trainers)))) - start
        stepping = at_once(_time_pretraining, trainers, task)
        each = at_once(_time_domains, side_by_side, task)
    rates = {name: _mean([one[name] for one in each]) for name in domains}
    crowd = max(1.0, experiment.pretraining.workers / cores)
    machine = f"{_processor()}, {cores} cores, {side_by_side} at once{', on a GPU' if on_gpu else ''}"
    return Rates(worker, read, max(stepping, default=0.0) * crowd, rates, machine)


def _read_sample(files: Sequence[SourceFile], least_side: int) -> tuple[list[Pixels], float]:
    """A few images from all over a set, and the seconds that reading one takes, as shards are built."""
    chosen = [files[i] for i in np.unique(np.linspace(0, len(files) - 1, _SAMPLED).round().astype(int))]
    start = time.perf_counter()
    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(lambda file: read_image(file.place, file.facts.path, least_side), chosen))
    seconds = (time.perf_counter() - start) / len(chosen)
    usable = [outcome[1].pixels for outcome in outcomes if not isinstance(outcome, Skipped)]
    # Where none of a few is usable, building the shards will say why; a plan goes on with noise.
    side = max(least_side, 256)
    return usable or [np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)], seconds


def _arrive(meeting: tuple[str, int, int]) -> float:
    """The time at which this process has all that a worker imports."""
    import orchestrator.confirming  # noqa: F401

    arrived = time.time()
    with _together(meeting):
        return arrived


@contextmanager
def _together(meeting: tuple[str, int, int]) -> Iterator[None]:
    """Waits until all are there, who are then one process group."""
    file, rank, count = meeting
    distributed.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=count)
    try:
        distributed.barrier()
        yield
    finally:
        distributed.destroy_process_group()


def _time_pretraining(meeting: tuple[str, int, int], task: _Task) -> float:
    """Seconds of a distributed step."""
    torch.set_num_threads(1)
    section = task.pretraining
    net = SuperResolutionNet(task.architecture).to(memory_format=torch.channels_last)
    scale = task.architecture.scale
    pool = PatchPool(
        lambda: iter(task.source), scale=scale, lr_patch=section.lr_patch, degradation=Degradation(), seed=0
    )

    def train(steps: int) -> float:
        settings = PretrainSettings(
            steps=steps,
            batch=section.batch,
            learning_rate=1e-6,
            report_every=steps,
            checkpoint_every=steps,
            seed=0,
            optimizer=section.optimizer,
            precision=section.precision,
        )
        start = time.perf_counter()
        pretrain(net, settings, pool, lambda *_: None, parallel=parallel)
        return (time.perf_counter() - start) / steps

    with _together(meeting):
        parallel = nn.parallel.DistributedDataParallel(net) if meeting[2] > 1 else None
        train(2)
        # All must take the same number of steps, or some would wait for ever.
        seconds = torch.tensor([train(2)])
        distributed.all_reduce(seconds, distributed.ReduceOp.MAX)
        return train(_repeats(float(seconds), 2 * task.seconds))


def _time_domains(meeting: tuple[str, int, int], task: _Task) -> dict[str, DomainRates]:
    torch.set_num_threads(task.threads)
    _, rank, count = meeting
    names = list(task.domains)
    first = rank * len(names) // count
    with _together(meeting):
        device = torch.device("cuda", rank % torch.cuda.device_count()) if task.on_gpu else torch.device("cpu")
        return {name: _time_domain(task, task.domains[name], device) for name in names[first:] + names[:first]}


def _time_domain(task: _Task, domain: _Domain, device: torch.device) -> DomainRates:
    section, scale = task.finetuning, task.architecture.scale
    pool = PatchPool(
        lambda: iter(domain.images),
        scale=scale,
        lr_patch=section.lr_patch,
        degradation=domain.degradation,
        seed=0,
        device=device,
    )

    def train(depth: int, steps: int) -> float:
        net = SuperResolutionNet(task.architecture).to(device)
        budget = Budget(steps=steps, batch=section.batch, evaluations=1)
        configuration = TransferConfiguration(learning_rate=1e-6, lambda_=1e-4, frozen_depth=depth)
        start = time.perf_counter()
        finetune(net, configuration, budget, pool, weights_of(net), lambda n: 0.0, lambda s, v: None)
        return (time.perf_counter() - start) / steps

    def step(depth: int) -> float:
        train(depth, 2)
        return train(depth, _repeats(train(depth, 2), task.seconds))

    net = SuperResolutionNet(task.architecture).to(device).eval()
    images = [NamedImage(str(i), str(i), pixels) for i, pixels in enumerate(domain.images[:_SCORED])]

    def scored(crop: int | None, judge: Callable[[Any, Sequence[Pair], int], Any]) -> tuple[float, float]:
        make_pairs(images[:1], domain.degradation, scale, crop)
        start = time.perf_counter()
        pairs = make_pairs(images, domain.degradation, scale, crop)
        made = time.perf_counter()
        judge(lambda lr: net(lr.to(device)), pairs, scale)
        return (made - start) / len(images), (time.perf_counter() - made) / len(images)

    all_trained, frozen = step(0), step(domain.deepest)
    return DomainRates(all_trained, frozen, *scored(task.crop, mean_psnr), *scored(None, score))


def _repeats(seconds: float, wanted: float) -> int:
    return min(max(4, round(wanted / max(seconds, 1e-4))), 200)


def _mean(rates: Sequence[DomainRates]) -> DomainRates:
    return DomainRates(*(float(np.mean([getattr(one, field.name) for one in rates])) for field in fields(DomainRates)))


def _processor() -> str:
    file = Path("/proc/cpuinfo")
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())
