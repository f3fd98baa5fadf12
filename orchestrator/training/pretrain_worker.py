"""A worker of pretraining, on Ray or in this process: its patches, the training loop, and progress reports."""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from orchestrator.data.train_stream import Ingest, Share
from orchestrator.foundation.logs import log_context
from orchestrator.runtime.measurements import Measurement, measure
from orchestrator.runtime.progress_updates import ProgressUpdates, reporter
from trainables.degradation import Degradation
from trainables.images.patch_pool import PatchPool, Pixels, replaced
from trainables.loops.pretrain import Files, PretrainSettings, Shares, pretrain
from trainables.network.architecture import Architecture
from trainables.network.network import SuperResolutionNet

log = logging.getLogger(__name__)

SOURCE_DEGRADATION = Degradation()
"""Degradation of pretraining: antialiased bicubic decimation, as is customary for SR models."""


@dataclass(frozen=True, slots=True)
class PretrainJob:
    """Input of every pretraining worker; ``workers`` is the number of shares of the images and of the batch."""

    architecture: Architecture
    settings: PretrainSettings
    ingest: Ingest
    lr_patch: int
    pool_images: int
    threads: int
    progress: ProgressUpdates
    workers: int = 1


def train_here(job: PretrainJob) -> Files:
    """Trains in this process in place of all workers; returns the files of the last checkpoint."""
    kept: Files = {}

    def keep(step: int, loss: float, files: Files | None) -> None:
        del step, loss
        kept.update(files or {})

    net, device = new_net(job), torch.device("cpu")
    shares = Shares.of(0, 1, job.workers)
    train(job, net, pools_of_shares(job, shares, device), keep, shares=shares)
    return kept


def new_net(job: PretrainJob) -> SuperResolutionNet:
    """The initial network, the same on every worker."""
    torch.set_num_threads(job.threads)
    torch.manual_seed(job.settings.seed)
    # Gradients take the memory layout of weights; sums over workers need the layout of the training.
    return SuperResolutionNet(job.architecture).to(memory_format=torch.channels_last)


def pools_of_shares(job: PretrainJob, shares: Shares, device: torch.device, step: int = 0) -> list[PatchPool]:
    """Patches of some shares of the images after a step, as an unbroken training would draw them."""
    drawn = step * job.settings.batch

    def images_of(share: Share) -> Callable[[], Iterator[Pixels]]:
        if len(share) <= job.pool_images:
            return share  # the pool holds all of them
        return lambda: share.without_end(replaced(drawn))

    return [
        patches_of(job, images_of(job.ingest.share(number, job.workers)), device, drawn) for number in shares.numbers
    ]


def patches_of(
    job: PretrainJob, passes: Callable[[], Iterator[Pixels]], device: torch.device, drawn: int = 0
) -> PatchPool:
    """A worker's patches, from passes over its share of the images, after so many drawn patches."""
    return PatchPool(
        passes,
        scale=job.architecture.scale,
        lr_patch=job.lr_patch,
        degradation=SOURCE_DEGRADATION,
        seed=job.settings.seed,
        device=device,
        capacity=job.pool_images,
        drawn=drawn,
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
    shares: Shares | None = None,
) -> None:
    """Runs the training loop and reports its progress.

    Args:
        job: Input of the worker.
        net: The network.
        pools: Patches of this worker's shares.
        keep: Called with each (step, loss, checkpoint or None).
        resume: Checkpoint to continue from.
        parallel: The network wrapped for several workers.
        rank: This worker's number.
        shares: The shares; by default the one of this worker's number.
    """
    report_progress = reporter(job.progress, "pretraining")

    def report(step: int, loss: float, files: Files | None) -> None:
        if rank == 0:
            report_progress(step, job.settings.steps, f"loss {loss:.4f}")
            measure(job.progress, Measurement("pretraining", step, {"loss": loss}, ended=step == job.settings.steps))
            with log_context(stage="pretrain"):
                log.info("step %d of %d, loss %.4f", step, job.settings.steps, loss)
        keep(step, loss, files)

    pretrain(
        net,
        job.settings,
        pools[0],
        report,
        resume=resume,
        parallel=parallel,
        rank=rank,
        others=pools[1:],
        shares=shares,
    )
