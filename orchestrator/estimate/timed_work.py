"""Timings of a worker's start, a training step and a score, each in a process of its own.

Every function here is called in several processes at once, which wait for each other first, because cores that share
their caches slow each other down.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import distributed, nn

from orchestrator.experiment.settings import Finetuning, Pretraining
from trainables.degradation import Degradation
from trainables.images.image_pair import PreparedPair
from trainables.images.patch_pool import PatchPool
from trainables.images.raster import PLAIN, PixelFormat, PreparedImage
from trainables.loops.finetune import finetune
from trainables.loops.pretrain import PretrainSettings, pretrain
from trainables.loops.settings import Budget, TransferConfiguration
from trainables.metrics.evaluation import Pair, make_pairs, mean_psnr, named, score
from trainables.network.architecture import Architecture
from trainables.network.model_files import weights_of
from trainables.network.network import SuperResolutionNet

_SCORED = 2
"""Images that are scored."""

Rendezvous = tuple[str, int, int]
"""Rendezvous of processes: a file of their own, this process's number, and their count."""


@dataclass(frozen=True, slots=True)
class DomainRates:
    """Seconds of each kind of work on a target domain.

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
class DomainTask:
    """Input of the timing of a target: its degradation, deepest freeze, some images, and what their values mean."""

    degradation: Degradation
    deepest: int
    images: list[PreparedImage | PreparedPair]
    pixel_format: PixelFormat = PLAIN

    @property
    def channels(self) -> int:
        """Bands of its network."""
        return 3 if self.pixel_format.plain else self.pixel_format.channels


@dataclass(frozen=True, slots=True)
class Task:
    """Input of the timings: settings as of the experiment, ``seconds`` for each kind of step, images to do it on.

    ``device_count`` devices share each batch of a fine-tuning.
    """

    architecture: Architecture
    finetuning: Finetuning
    pretraining: Pretraining
    crop: int
    threads: int
    on_gpu: bool
    seconds: float
    source: list[PreparedImage | PreparedPair]
    domains: dict[str, DomainTask]
    device_count: int = 1


def time_start(rendezvous: Rendezvous) -> float:
    """Returns the time at which this process has imported all that a worker needs."""
    import orchestrator.confirm.driver  # noqa: F401

    arrived = time.time()
    with _process_group(rendezvous):
        return arrived


@contextmanager
def _process_group(rendezvous: Rendezvous, backend: str = "gloo") -> Iterator[None]:
    """Joins all processes of a rendezvous in one process group, and waits for them."""
    file, rank, count = rendezvous
    distributed.init_process_group(backend, init_method=f"file://{file}", rank=rank, world_size=count)
    try:
        distributed.barrier()
        yield
    finally:
        distributed.destroy_process_group()


def time_pretraining(rendezvous: Rendezvous, task: Task) -> float:
    """Seconds of a distributed step."""
    torch.set_num_threads(1)
    section, rank = task.pretraining, rendezvous[1]
    on_gpu = section.gpus_per_worker > 0 and torch.cuda.is_available()
    device = torch.device("cuda", rank % torch.cuda.device_count()) if on_gpu else torch.device("cpu")
    net = SuperResolutionNet(task.architecture).to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    scale = task.architecture.scale
    pool = PatchPool(
        lambda: iter(task.source),
        scale=scale,
        lr_patch=section.lr_patch,
        degradation=Degradation(),
        seed=0,
        device=device,
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

    with _process_group(rendezvous, "cpu:gloo,cuda:nccl" if on_gpu else "gloo"):
        parallel = None
        if distributed.get_world_size() > 1:
            parallel = nn.parallel.DistributedDataParallel(net, gradient_as_bucket_view=True)
        train(2)
        # All must take the same number of steps, or some would wait for ever.
        seconds = torch.tensor([train(2)])
        distributed.all_reduce(seconds, distributed.ReduceOp.MAX)
        return train(_repeats(float(seconds), 2 * task.seconds))


def time_domains(rendezvous: Rendezvous, task: Task) -> dict[str, DomainRates]:
    """Rates of every target; each process begins with another one, as different studies run side by side."""
    torch.set_num_threads(task.threads)
    _, rank, count = rendezvous
    names = list(task.domains)
    first = rank * len(names) // count
    with _process_group(rendezvous):
        devices = _devices(task, rank)
        return {name: _time_domain(task, task.domains[name], devices) for name in names[first:] + names[:first]}


def _devices(task: Task, rank: int) -> list[torch.device]:
    """Devices of a process's trials."""
    if not task.on_gpu:
        return [torch.device("cpu")]
    first, count = rank * task.device_count, torch.cuda.device_count()
    return [torch.device("cuda", (first + number) % count) for number in range(task.device_count)]


def _time_domain(task: Task, domain: DomainTask, devices: list[torch.device]) -> DomainRates:
    section, scale, device = task.finetuning, task.architecture.scale, devices[0]

    def patches() -> PatchPool:
        return PatchPool(
            lambda: iter(domain.images),
            scale=scale,
            lr_patch=section.lr_patch,
            degradation=domain.degradation,
            seed=0,
            device=device,
            channels=domain.channels,
        )

    pool = patches()
    replay = patches() if section.regularizer == "replay" else None  # as many of the domain's as of the source
    architecture = replace(task.architecture, channels=domain.channels)

    def train(depth: int, steps: int) -> float:
        net = SuperResolutionNet(architecture).to(device)
        budget = Budget(steps=steps, batch=section.batch, evaluations=1)
        lambda_ = 1e-4 if section.searches_lambda else 0.0
        configuration = TransferConfiguration(learning_rate=1e-6, lambda_=lambda_, frozen_depth=depth)
        anchor, method = weights_of(net), section.method()
        start = time.perf_counter()
        finetune(
            net,
            configuration,
            budget,
            pool,
            anchor,
            lambda n: 0.0,
            lambda s, v: None,
            method,
            replay,
            devices=devices,
        )
        return (time.perf_counter() - start) / steps

    def step(depth: int) -> float:
        train(depth, 2)
        return train(depth, _repeats(train(depth, 2), task.seconds))

    net = SuperResolutionNet(architecture).to(device).eval()
    images = [named(str(number), image) for number, image in enumerate(domain.images[:_SCORED])]

    def scored(crop: int | None, judge: Callable[[Any, Sequence[Pair], int], Any]) -> tuple[float, float]:
        make_pairs(images[:1], domain.degradation, scale, crop)
        start = time.perf_counter()
        pairs = make_pairs(images, domain.degradation, scale, crop)
        degraded = time.perf_counter()
        judge(lambda lr: net(lr.to(device)), pairs, scale)
        return (degraded - start) / len(images), (time.perf_counter() - degraded) / len(images)

    all_trained, frozen = step(0), step(domain.deepest)
    return DomainRates(all_trained, frozen, *scored(task.crop, mean_psnr), *scored(None, score))


def _repeats(seconds: float, wanted: float) -> int:
    return min(max(4, round(wanted / max(seconds, 1e-4))), 200)
