"""One worker of pretraining, wherever it runs: its patches, the loop, and what it reports."""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from orchestrator.data.train_stream import Ingest, direct
from orchestrator.foundation.logs import log_context
from orchestrator.runtime.progress_updates import ProgressUpdates, reporter
from trainables.degradation import Degradation
from trainables.images.patch_pool import PatchPool, Pixels
from trainables.loops.pretrain import Files, PretrainSettings, pretrain
from trainables.network.network import Architecture, SuperResolutionNet

log = logging.getLogger(__name__)

SOURCE_DEGRADATION = Degradation()
"""The source model learns to undo plain antialiased bicubic decimation, as SR models customarily do."""


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
    """Trains in this process, which stands for so many workers; gives the files of the last checkpoint."""
    kept: Files = {}

    def keep(step: int, loss: float, files: Files | None) -> None:
        del step, loss
        kept.update(files or {})

    net, device = new_net(job), torch.device("cpu")
    shares = [direct(job.ingest.shards, rank, workers, job.ingest.threads) for rank in range(workers)]
    train(job, net, [patches_of(job, share, device) for share in shares], keep)
    return kept


def new_net(job: PretrainJob) -> SuperResolutionNet:
    """The network that training begins with, the same on every worker."""
    torch.set_num_threads(job.threads)
    torch.manual_seed(job.settings.seed)
    # Gradients are laid out as weights are: what is summed over workers must have the training's own layout.
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
    """Runs the loop and reports its progress.

    Args:
        job: What is trained.
        net: The network.
        pools: Patches of this worker, and of those that it stands for.
        keep: Takes each (step, loss, checkpoint or None).
        resume: A checkpoint to go on from.
        parallel: The network wrapped for several workers.
        rank: This worker's number.
    """
    report_progress = reporter(job.progress, "pretraining")

    def report(step: int, loss: float, files: Files | None) -> None:
        if rank == 0:
            report_progress(step, job.settings.steps, f"loss {loss:.4f}")
            with log_context(stage="pretrain"):
                log.info("step %d of %d, loss %.4f", step, job.settings.steps, loss)
        keep(step, loss, files)

    pretrain(net, job.settings, pools[0], report, resume=resume, parallel=parallel, rank=rank, others=pools[1:])
