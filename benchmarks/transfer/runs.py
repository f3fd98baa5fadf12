"""One run: trained for real, scored on validation scenes and on held-out source images, its weights kept for the test.

A run's files are named after everything that determines its numbers, so that a killed benchmark goes on.
"""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from benchmarks.transfer.arms import LR_ALONE, MODEL, Candidate
from orchestrator.data.shard_reader import read_split
from orchestrator.foundation.model_store import read_model, write_model
from orchestrator.foundation.stage_record import fingerprint
from orchestrator.foundation.storage import Storage
from orchestrator.training.finetune import DomainJob, load_source, run_finetuning, source_psnr, validation_psnr
from trainables.errors import DivergedError
from trainables.images.patch_pool import Pixels
from trainables.loops.cross_scale import adapt
from trainables.metrics.evaluation import NamedImage, Pair, make_pairs, mean_psnr
from trainables.network.network import SuperResolutionNet
from trainables.network.weight_average import SHARES, interpolated
from trainables.version import __version__

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Run:
    """One setting with one seed, for one domain and data budget."""

    job: DomainJob
    candidate: Candidate
    seed: int

    @property
    def key(self) -> str:
        """Digest of everything that determines the run."""
        job, candidate = self.job, self.candidate
        return fingerprint(
            "transfer-run-1",
            [__version__, torch.__version__],
            [job.domain, job.shards_digest, job.source_digest, job.degradation.to_dict(), job.scale],
            [asdict(job.budget), job.lr_patch, job.validation_images, job.validation_crop],
            [asdict(candidate), self.seed],
        )


class Runs:
    """What has been run: one JSON line each, and the weights beside them.

    Args:
        folder: Where they are.
        tell: Told each run that is finished now.
    """

    def __init__(self, folder: Path, tell: Callable[[Row], None]) -> None:
        self._folder, self._tell = folder, tell
        folder.mkdir(parents=True, exist_ok=True)
        self._lines = folder / "runs.jsonl"
        self._rows = {row["key"]: row for row in _read(self._lines)}

    def finish(self, run: Run) -> Row:
        """The run's row, trained now unless it is there."""
        if run.key not in self._rows:
            row = {"key": run.key, "domain": run.job.domain, "seed": run.seed, **asdict(run.candidate)}
            row |= _scored(run, Storage.at(str(self._weights(run.key))))
            with self._lines.open("a", encoding="utf-8") as lines:
                # First an end for a line that may have been cut short, as one is by a kill.
                lines.write("\n" + json.dumps(row))
            self._rows[run.key] = row
            self._tell(row)
        return self._rows[run.key]

    def cpu_seconds(self) -> float:
        """Of all training so far."""
        return float(sum(row["training_cpu_s"] for row in self._rows.values()))

    def network(self, key: str) -> SuperResolutionNet:
        """The weights that a run left."""
        return read_model(Storage.at(str(self._weights(key))))[0]

    def _weights(self, key: str) -> Path:
        return self._folder / "weights" / key


def train(run: Run) -> tuple[SuperResolutionNet, float]:
    """The trained network and the CPU seconds of its training.

    Raises:
        DivergedError: If training stops being finite.
    """
    start = time.process_time()
    if run.candidate.arm == LR_ALONE:
        net = _adapted(run)
    else:
        job = replace(run.job, method=run.candidate.method)
        net, _ = run_finetuning(job, run.candidate.configuration, run.seed, lambda *_: None)
    return net, round(time.process_time() - start, 3)


def _read(lines: Path) -> list[Row]:
    """Every whole line."""
    rows = []
    for line in lines.read_text(encoding="utf-8").splitlines() if lines.exists() else []:
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            continue  # empty, or cut short
    return rows


def _scored(run: Run, weights: Storage) -> Row:
    job, arm = run.job, run.candidate.arm
    try:
        net, seconds = train(run)
    except DivergedError:
        return {"validation": None, "choice": None, "source": None, "training_cpu_s": 0.0, "between": []}
    write_model(weights, net, {"name": run.key})
    validation = validation_psnr(job, net)
    choice = mean_psnr(net, _cross_scale(job, "validation"), job.scale) if arm == LR_ALONE else validation
    told = {"validation": validation, "choice": choice, "source": source_psnr(job, net), "training_cpu_s": seconds}
    return told | {"between": [_between(job, net, share) for share in SHARES] if arm == MODEL else []}


def _between(job: DomainJob, net: SuperResolutionNet, share: float) -> Row:
    part = interpolated(load_source(job), net, share)
    return {"share": share, "validation": validation_psnr(job, part), "source": source_psnr(job, part)}


def _adapted(run: Run) -> SuperResolutionNet:
    job, net = run.job, load_source(run.job)
    torch.manual_seed(run.seed)
    settings = run.candidate.configuration
    images = _lr_images(job, "train")
    adapt(net, images, job.degradation, settings, job.budget, run.seed, lambda _: 0.0, lambda *_: None)
    return net


def _cross_scale(job: DomainJob, split: str) -> list[Pair]:
    named = [NamedImage(str(i), str(i), pixels) for i, pixels in enumerate(_lr_images(job, split))]
    return make_pairs(named, job.degradation, job.scale)


@lru_cache(maxsize=4)
def _lr_images(job: DomainJob, split: str) -> list[Pixels]:
    """The LR versions of a split's scenes, each degraded once; the HR images play no part after that."""
    pairs = make_pairs(read_split(job.shards, split), job.degradation, job.scale)
    pixels = [(pair.lr * 255).round().byte().permute(1, 2, 0).numpy() for pair in pairs]
    return [each[:, :, :1] if pair.gray else each for each, pair in zip(pixels, pairs, strict=True)]
