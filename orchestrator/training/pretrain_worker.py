"""A worker of pretraining, on Ray or in this process: its patches, the training loop, and progress reports."""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from orchestrator.data.train_stream import Ingest, direct
from orchestrator.foundation.logs import log_context
from orchestrator.runtime.measurements import Measurement, measure
from orchestrator.runtime.progress_updates import ProgressUpdates, reporter
from trainables.degradation import Degradation
from trainables.images.patch_pool import PatchPool, Pixels
from trainables.loops.pretrain import Files, PretrainSettings, pretrain
from trainables.network.network import Architecture, SuperResolutionNet

log = logging.getLogger(__name__)

SOURCE_DEGRADATION = Degradation()
"""Degradation of pretraining: antialiased bicubic decimation, as is customary for SR models."""


@dataclass(frozen=True, slots=True)
class PretrainJob:
    """Input of every pretraining worker."""

    architecture: Architecture
    settings: PretrainSettings
    ingest: Ingest
    lr_patch: int
    pool_images: int
    threads: int
    progress: ProgressUpdates


def train_here(job: PretrainJob, workers: int) -> Files:
    """Trains in this process in place of so many workers; returns the files of the last checkpoint."""
    kept: Files = {}

    def keep(step: int, loss: float, files: Files | None) -> None:
        del step, loss
        kept.update(files or {})

    net, device = new_net(job), torch.device("cpu")
    shares = [direct(job.ingest.shards, rank, workers, job.ingest.threads) for rank in range(workers)]
    train(job, net, [patches_of(job, share, device) for share in shares], keep)
    return kept


def new_net(job: PretrainJob) -> SuperResolutionNet:
    """The initial network, the same on every worker."""
    torch.set_num_threads(job.threads)
    torch.manual_seed(job.settings.seed)
    # Gradients take the memory layout of weights; sums over workers need the layout of the training.
    return SuperResolutionNet(job.architecture).to(memory_format=torch.channels_last)


def patches_of(job: PretrainJob, passes: Callable[[], Iterator[Pixels]], device: torch.device) -> PatchPool:
    """A worker's patches, from passes over its share of the images."""
    return PatchPool(
        passes,
        scale=job.architecture.scale,
        lr_patch=job.lr_patch,
        degradation=SOURCE_DEGRADATION,
        seed=job.settings.seed,
        device=device,
        capacity=job.pool_images,
    )


def train(
    job: PretrainJob,
    net: SuperResolutionNet,
    pools: Sequence[PatchPool],
    keep: Callable[[int, float, Files | None], None],
    *,
    resume: Files | None = None,
    parallel: nn.Module | None = None,
    rank: int = 0,
) -> None:
    """Runs the training loop and reports its progress.

    Args:
        job: Input of the worker.
        net: The network.
        pools: Patches of this worker, and of the workers that it replaces.
        keep: Called with each (step, loss, checkpoint or None).
        resume: Checkpoint to continue from.
        parallel: The network wrapped for several workers.
        rank: This worker's number.
    """
    report_progress = reporter(job.progress, "pretraining")

    def report(step: int, loss: float, files: Files | None) -> None:
        if rank == 0:
            report_progress(step, job.settings.steps, f"loss {loss:.4f}")
            measure(job.progress, Measurement("pretraining", step, {"loss": loss}, ended=step == job.settings.steps))
            with log_context(stage="pretrain"):
                log.info("step %d of %d, loss %.4f", step, job.settings.steps, loss)
        keep(step, loss, files)

    pretrain(net, job.settings, pools[0], report, resume=resume, parallel=parallel, rank=rank, others=pools[1:])
