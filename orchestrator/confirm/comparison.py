"""Comparison of arms on the same test images: means, paired differences, and the choice of images to show."""

from collections.abc import Iterable
from itertools import chain, pairwise
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from orchestrator.confirm.record import ArmScores, Difference, Metric
from orchestrator.foundation.statistics import paired_interval, seed_spread
from orchestrator.foundation.vocabulary import CLASSICAL, STEPS
from trainables.metrics.evaluation import Score

Scores = dict[str, list[list[Score]]]
"""Runs by arm, each with one score per test image; empty if all runs of the arm diverged."""

_COMPARED = (
    *(("best", baseline) for baseline in (*CLASSICAL, "zero_shot", "scratch", "default", "feature", "model")),
    ("default", "zero_shot"),
    ("zero_shot", "bicubic"),
    *((after, before) for before, after in pairwise(STEPS)),
    ("best", "best_mean"),
    ("soup", "best"),
    ("interpolated", "best"),
    ("interpolated", "zero_shot"),
)
"""Pairs of arm and baseline that a report compares."""


def summarize(scores: Scores) -> dict[str, ArmScores]:
    """Mean PSNR in dB and SSIM of each arm over images and runs, and PSNR run by run."""
    return {
        arm: ArmScores(
            psnr=float(np.mean([s.psnr for run in runs for s in run])),
            ssim=float(np.mean([s.ssim for run in runs for s in run])),
            psnr_by_seed=[float(np.mean([s.psnr for s in run])) for run in runs],
            images=len(runs[0]),
            by_scene=_by_scene(runs),
            **_by_band([s for run in runs for s in run]),
        )
        for arm, runs in scores.items()
        if runs
    }


def _by_scene(runs: list[list[Score]]) -> dict[str, float]:
    """Mean PSNR in dB of each scene's images over runs."""
    found: dict[str, list[float]] = {}
    for score in chain(*runs):
        found.setdefault(score.scene, []).append(score.psnr)
    return {scene: float(np.mean(found[scene])) for scene in sorted(found)}


class _ByBand(TypedDict, total=False):
    bands: list[float]
    sam: float
    ergas: float


def _by_band(scores: list[Score]) -> _ByBand:
    """Mean PSNR of each band, SAM and ERGAS; empty where there are none."""
    if not scores[0].bands:
        return {}
    means: _ByBand = {"bands": np.mean([score.bands for score in scores], axis=0).tolist()}
    angles = [score.sam for score in scores if score.sam is not None]
    errors = [score.ergas for score in scores if score.ergas is not None]
    if angles:
        means["sam"] = float(np.mean(angles))
    if errors:
        means["ergas"] = float(np.mean(errors))
    return means


def differences(scores: Scores, compared: Iterable[tuple[str, str]] = _COMPARED) -> list[Difference]:
    """Paired differences with interval and verdict, of all compared arms that have scores.

    Args:
        scores: Scores of all arms.
        compared: Pairs of arm and baseline; by default those of every report.
    """
    pairs = [(a, b) for a, b in dict.fromkeys(compared) if scores.get(a) and scores.get(b)]
    return [difference for pair in pairs for difference in _differences(scores, *pair)]


def picture_choice(scores: Scores) -> dict[str, str]:
    """The test images with the largest, median and smallest gain of the best arm over zero-shot, by reason to show."""
    gains = _per_image(scores, "best", "psnr") - _per_image(scores, "zero_shot", "psnr")
    order, names = np.argsort(gains, kind="stable"), [s.name for s in scores["best"][0]]
    picks = {"largest gain": order[-1], "median gain": order[len(order) // 2], "smallest gain": order[0]}
    return {f"{reason}, {gains[i]:+.2f} dB over zero-shot": names[i] for reason, i in picks.items()}


def _differences(scores: Scores, arm: str, baseline: str) -> Iterable[Difference]:
    scenes = [s.scene for s in scores[arm][0]]
    metrics: tuple[Metric, ...] = ("psnr", "ssim")
    for metric in metrics:
        values = _per_image(scores, arm, metric) - _per_image(scores, baseline, metric)
        spread = seed_spread(_per_run(scores, arm, metric), _per_run(scores, baseline, metric))
        interval = paired_interval(values.tolist(), scenes, spread)
        difference = Difference(
            arm=arm,
            baseline=baseline,
            metric=metric,
            mean=interval.mean,
            low=interval.low,
            high=interval.high,
            scenes=interval.scenes,
            verdict=interval.verdict,
            seed_sd=spread.sd,
            scenes_ahead=int((_scene_means(values, scenes) > 0).sum()),
        )
        yield difference.judged(0.0)


def _scene_means(values: NDArray[np.float64], scenes: list[str]) -> NDArray[np.float64]:
    _, scene_of = np.unique(np.asarray(scenes), return_inverse=True)
    return np.bincount(scene_of, weights=values) / np.bincount(scene_of)


def _per_run(scores: Scores, arm: str, metric: Metric) -> list[float]:
    """Mean of the metric over images, run by run."""
    return [float(np.mean([getattr(score, metric) for score in run])) for run in scores[arm]]


def _per_image(scores: Scores, arm: str, metric: Metric) -> NDArray[np.float64]:
    """Metric of each image, averaged over the arm's runs."""
    runs = [[score.psnr if metric == "psnr" else score.ssim for score in run] for run in scores[arm]]
    return np.mean(np.asarray(runs, dtype=np.float64), axis=0)  # type: ignore[no-any-return]
