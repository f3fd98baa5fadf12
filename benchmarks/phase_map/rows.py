"""One training of the map: its scores on the scenes that choose and on those that judge.

A row's file is named after everything that determines its numbers, as in ``benchmarks/search/tabular/rows.py``.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from benchmarks.phase_map.plan import Cell, Choice
from orchestrator.data.shard_reader import read_manifest
from orchestrator.foundation.stage_record import fingerprint
from orchestrator.foundation.storage import Storage
from orchestrator.training.finetune import DomainJob, run_finetuning, validation_pairs, zero_shot
from trainables.errors import DivergedError
from trainables.metrics.evaluation import Upscaler, bicubic, mean_psnr
from trainables.version import __version__

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class MapTask:
    """What one row needs.

    Attributes:
        cell: Place on the map.
        choice: Configuration, regularizer and seed.
        job: Data, source model and budget.
        folder: Where all rows are.
    """

    cell: Cell
    choice: Choice
    job: DomainJob
    folder: Storage

    @property
    def place(self) -> Storage:
        """The row's file."""
        job, choice = self.job, self.choice
        digest = fingerprint(
            "phase-map-row-1",
            [__version__, torch.__version__.partition("+")[0], job.on_gpu],
            [job.shards_digest, job.source_digest, job.degradation.to_dict(), job.scale],
            [asdict(job.budget), job.lr_patch, job.validation_images, job.validation_crop],
            [choice.configuration.to_dict(), choice.regularizer, choice.seed],
            *([choice.adapter_rank] if choice.adapter_rank else []),
        )
        return self.folder.child(f"{self.cell.network}-{self.cell.steps}", f"{digest}.json")

    def read(self) -> Row | None:
        """The finished row; None if it is missing or cut short."""
        row = self.place.read_json()
        return row if isinstance(row, dict) else None


def finish_row(task: MapTask) -> Row:
    """The row, trained and written now unless it is there."""
    row = task.read()
    if row is None:
        row = _train(task)
        task.place.write_json(row)
    return row


def hardware(on_gpu: bool) -> str:
    """A row's ``hardware``."""
    return "GPU" if on_gpu else "CPU"


def half_of(scenes: Sequence[str]) -> dict[str, str]:
    """``choosing`` or ``judging`` for each validation scene: every second one of them in the order of their names."""
    return {scene: ("choosing", "judging")[i % 2] for i, scene in enumerate(sorted(set(scenes)))}


def _train(task: MapTask) -> Row:
    job, choice = task.job, task.choice
    fixed = _fixed(job)
    start, begun = time.monotonic(), time.process_time()
    try:
        net, curve = run_finetuning(job, choice.configuration, choice.seed, lambda *_: None)
        net.eval()
        images, status = _scores(net, job), "finished"
    except DivergedError:
        images, curve, status = [], [], "diverged"
    halves = half_of(fixed["image_scenes"])
    return {
        **asdict(task.cell),
        "training_scenes": fixed["training_scenes"],
        "training_images": fixed["training_images"],
        **choice.configuration.to_dict(),
        "regularizer": choice.regularizer,
        "adapter_rank": choice.adapter_rank,
        "seed": choice.seed,
        "status": status,
        **{f"psnr_{half}": _mean(images, fixed["image_scenes"], halves, half) for half in ("choosing", "judging")},
        "curve": [value for _, value in curve],
        "image_scenes": fixed["image_scenes"],
        "image_psnr": images,
        "image_bicubic": fixed["bicubic"],
        "image_zero_shot": fixed["zero_shot"],
        "seconds": round(time.monotonic() - start, 2),
        "cpu_seconds": round(time.process_time() - begun, 2),
        "batch": job.budget.batch,
        "lr_patch": job.lr_patch,
        "source": job.source_digest[:16],
        "rayscale": __version__,
        "torch": torch.__version__,
        "hardware": hardware(job.on_gpu),
    }


def _mean(images: Sequence[float], scenes: Sequence[str], halves: dict[str, str], half: str) -> float | None:
    if not images:
        return None
    return float(np.mean([value for value, scene in zip(images, scenes, strict=True) if halves[scene] == half]))


def _scores(upscale: Upscaler, job: DomainJob) -> list[float]:
    """PSNR in dB of each validation image."""
    return [mean_psnr(upscale, [pair], job.scale) for pair in validation_pairs(job)]


@lru_cache(maxsize=16)
def _fixed(job: DomainJob) -> dict[str, Any]:
    """What all trainings of a cell have in common."""
    manifest = read_manifest(job.shards)
    return {
        "training_scenes": len(manifest["scenes"]["train"]),
        "training_images": manifest["images"]["train"],
        "image_scenes": [pair.scene for pair in validation_pairs(job)],
        "bicubic": _scores(bicubic(job.scale), job),
        "zero_shot": _scores(zero_shot(job), job),
    }
