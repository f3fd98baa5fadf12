"""Choosing each arm's settings on validation, then opening the test split once for the chosen ones."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.transfer.arms import INTERPOLATED, MODEL, TRAINED, ZERO_SHOT, Candidate, Grid, first, second
from benchmarks.transfer.runs import Row, Run, Runs
from orchestrator.foundation.stage_record import fingerprint, now
from orchestrator.foundation.statistics import paired_interval
from orchestrator.image_sets.set_files import SourceFile, read_image
from orchestrator.training.finetune import DomainJob, load_source, source_psnr, validation_psnr
from trainables.metrics.evaluation import NamedImage, Pair, Upscaler, bicubic, make_pairs, score
from trainables.network.weight_average import interpolated

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Chosen:
    """An arm's chosen setting: one row for each seed, and the share of tuned weights for each."""

    arm: str
    rows: list[Row]
    shares: list[float]


def choose(job: DomainJob, grid: Grid, seeds: list[int], runs: Runs) -> list[Chosen]:
    """Trains every setting with the first seed and the best of each arm with the others too.

    The choice is by PSNR on validation scenes, and by their cross-scale PSNR for what may see LR images alone.
    """

    def best(candidates: list[Candidate]) -> Candidate:
        rows = [runs.finish(Run(job, candidate, seeds[0])) for candidate in candidates]
        return max(zip(rows, candidates, strict=True), key=lambda pair: _or_worst(pair[0]["choice"]))[1]

    every = first(grid)
    rate = best([each for each in every if each.arm == MODEL]).configuration.learning_rate
    every += second(grid, rate)
    chosen = []
    for arm in TRAINED:
        candidate = best([each for each in every if each.arm == arm])
        rows = [runs.finish(Run(job, candidate, seed)) for seed in seeds]
        chosen.append(Chosen(arm, rows, [1.0] * len(rows)))
        if arm == MODEL:
            # The last of equals is the largest share: averaging must earn its place.
            shares = [max(reversed(row["between"]), key=itemgetter("validation"))["share"] for row in rows]
            chosen.append(Chosen(INTERPOLATED, rows, shares))
    return chosen


def judge(job: DomainJob, chosen: list[Chosen], runs: Runs, test: list[SourceFile], crop: int, out: Path) -> Json:
    """Scores the chosen settings on the test split, once: a result that stands is not computed again."""
    digest = fingerprint("test-1", [[row["key"] for row in one.rows] + one.shares for one in chosen], crop)
    place = out / "test" / f"{digest}.json"
    if place.exists():
        told: Json = json.loads(place.read_text(encoding="utf-8"))
        return told
    pairs = make_pairs(images_of(test, job), job.degradation, job.scale, crop)
    source = load_source(job)
    zero = _scores(source, pairs, job.scale)
    told = {"test_opened_at": now(), "images": len(pairs), "scenes": len({pair.scene for pair in pairs})}
    told["bicubic"] = {"test": float(np.mean(_scores(bicubic(job.scale), pairs, job.scale)))}
    plain = {"validation": validation_psnr(job, source), "source": source_psnr(job, source)}
    told["arms"] = {ZERO_SHOT: plain | {"test": float(np.mean(zero))}}
    for one in chosen:
        told["arms"][one.arm] = _judged(job, one, runs, pairs, zero)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(json.dumps(told, indent=1), encoding="utf-8")
    return told


def _judged(job: DomainJob, chosen: Chosen, runs: Runs, pairs: list[Pair], zero: list[float]) -> Json:
    rows = chosen.rows
    setting = {"configuration": rows[0]["configuration"], "shares": chosen.shares}
    if any(row["validation"] is None for row in rows):
        return setting | {"diverged": True}
    nets = [
        interpolated(load_source(job), runs.network(row["key"]), share)
        for row, share in zip(rows, chosen.shares, strict=True)
    ]
    by_seed = [_scores(net, pairs, job.scale) for net in nets]
    gains = np.mean(by_seed, axis=0) - np.asarray(zero)
    return setting | {
        "validation": float(np.mean([_of_share(row, share, "validation") for row, share in _each(chosen)])),
        "source": float(np.mean([_of_share(row, share, "source") for row, share in _each(chosen)])),
        "test": float(np.mean(by_seed)),
        "test_by_seed": [float(np.mean(scores)) for scores in by_seed],
        "gain": asdict(paired_interval(list(gains), [pair.scene for pair in pairs])),
        "training_cpu_s": float(np.mean([row["training_cpu_s"] for row in rows])),
    }


def _each(chosen: Chosen) -> Iterator[tuple[Row, float]]:
    return zip(chosen.rows, chosen.shares, strict=True)


def _of_share(row: Row, share: float, name: str) -> float:
    if share == 1:
        return float(row[name])
    return float(next(one[name] for one in row["between"] if one["share"] == share))


def _scores(upscale: Upscaler, pairs: list[Pair], scale: int) -> list[float]:
    return [one.psnr for one in score(upscale, pairs, scale)]


def images_of(files: list[SourceFile], job: DomainJob) -> Iterator[NamedImage]:
    """The images of a test split that are large enough."""
    for file in files:
        read = read_image(file.place, file.facts.path, job.lr_patch * job.scale)
        if isinstance(read, tuple):
            yield NamedImage(file.facts.path, file.scene, read[1].pixels)


def _or_worst(value: float | None) -> float:
    return -np.inf if value is None else value
