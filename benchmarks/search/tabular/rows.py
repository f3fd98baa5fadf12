"""One row: a real fine-tuning of one configuration, with its learning curve. Its file is written by whoever trained it.

A row's file is named after everything that determines its numbers, so that a killed build goes on, a larger grid keeps
what a smaller one has, and rows of other settings never mix.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import ray
import torch

from orchestrator.experiment.settings import Cluster
from orchestrator.foundation.stage_record import fingerprint
from orchestrator.foundation.storage import Storage
from orchestrator.runtime.on_ray.ray_session import connect
from orchestrator.search.divergence import PENALTY_DB
from orchestrator.training.finetune import DomainJob, load_source, run_finetuning, validation_pairs, validation_psnr
from trainables.errors import DivergedError, RunError
from trainables.loops.settings import TransferConfiguration
from trainables.metrics.evaluation import bicubic, mean_psnr
from trainables.network.network import SuperResolutionNet
from trainables.network.weight_average import SHARES as ALL_SHARES
from trainables.network.weight_average import interpolated
from trainables.version import __version__

SHARES = tuple(share for share in ALL_SHARES if share < 1)
"""Shares of the tuned weights that are scored beside the tuned network itself."""

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class RowTask:
    """What one row needs.

    Attributes:
        part: Name of the grid that it belongs to.
        scenes: Training scenes that there are.
        seed: Seed of the training.
        configuration: The cell.
        job: Data, source model and budget.
        folder: Where all rows are.
    """

    part: str
    scenes: int
    seed: int
    configuration: TransferConfiguration
    job: DomainJob
    folder: Storage

    @property
    def place(self) -> Storage:
        """The row's file."""
        job = self.job
        digest = fingerprint(
            "tabular-row-1",
            [__version__, torch.__version__],
            [job.domain, job.shards_digest, job.source_digest, job.degradation.to_dict(), job.scale],
            [asdict(job.budget), job.lr_patch, job.validation_images, job.validation_crop],
            [self.configuration.to_dict(), self.seed, self.part],
        )
        return self.folder.child(job.domain, f"{digest}.json")

    def read(self) -> Row | None:
        """The finished row; None if it is missing or cut short."""
        row = self.place.read_json()
        return row if isinstance(row, dict) else None


def finish_row(task: RowTask) -> Row:
    """The row, trained and written now unless it is there."""
    row = task.read()
    if row is None:
        row = _train(task)
        task.place.write_json(row)
    return row


def finish_all(tasks: Sequence[RowTask], cpus: int, done: Callable[[Row, int], None]) -> None:
    """Finishes rows as independent Ray tasks of one CPU, all others even if some fail.

    Args:
        tasks: Rows that are missing.
        cpus: CPUs of a Ray of our own.
        done: Called with each row and how many have finished.

    Raises:
        RunError: If rows failed.
    """
    train = ray.remote(num_cpus=1, max_retries=2)(finish_row)
    failures: list[str] = []
    with connect(Cluster(cpus=cpus)):
        pending = [train.remote(task) for task in tasks]
        for number in range(1, len(tasks) + 1):
            (ready,), pending = ray.wait(pending, num_returns=1)
            try:
                done(ray.get(ready), number)
            except ray.exceptions.RayError as error:
                failures.append(str(getattr(error, "cause", None) or error).strip().splitlines()[-1])
    if failures:
        raise RunError(f"{len(failures)} of {len(tasks)} rows failed ({failures[-1]}); the others are kept.")


def _train(task: RowTask) -> Row:
    job, rungs = task.job, task.job.budget.evaluation_steps()
    torch.set_num_threads(1)
    begun, reached = time.process_time(), 0
    bicubic_db, zero_shot_db = _baselines(job)

    def tell(step: float, total: float, note: str) -> None:
        nonlocal reached
        reached = rungs.index(int(step)) + 1

    start = time.monotonic()
    try:
        net, curve = run_finetuning(job, task.configuration, task.seed, tell)
        seconds = time.monotonic() - start
        told: Row = {"status": "finished", "psnr": curve[-1][1], "curve": [value for _, value in curve]}
        told |= {"objective": curve[-1][1], "evaluations": len(rungs), "interpolated": _between(job, net)}
    except DivergedError:
        seconds = time.monotonic() - start
        told = {"status": "diverged", "psnr": None, "curve": [], "interpolated": []}
        told |= {"objective": bicubic_db - PENALTY_DB, "evaluations": reached + 1}
    return {
        "domain": job.domain,
        "part": task.part,
        "scenes": task.scenes,
        "seed": task.seed,
        **task.configuration.to_dict(),
        **told,
        "bicubic": bicubic_db,
        "zero_shot": zero_shot_db,
        "seconds": round(seconds, 3),
        "cpu_seconds": round(time.process_time() - begun, 3),
    }


@lru_cache(maxsize=8)
def _baselines(job: DomainJob) -> tuple[float, float]:
    """Bicubic interpolation and the source model as it is, in dB on the validation images."""
    return mean_psnr(bicubic(job.scale), validation_pairs(job), job.scale), validation_psnr(job, load_source(job))


def _between(job: DomainJob, tuned: SuperResolutionNet) -> list[float]:
    """PSNR in dB between the source's and the tuned weights, at each of :data:`SHARES`."""
    source = load_source(job)
    return [validation_psnr(job, interpolated(source, tuned, share)) for share in SHARES]
