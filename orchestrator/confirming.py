"""The winners again, with fresh seeds, beside the baselines; the only reader of the test split.

First every candidate is trained with fresh seeds and scored on validation, and the best mean chooses the winner: one
of the study's top configurations, the default fine-tune, or no fine-tuning at all. Only then is the test split opened,
and the moment is recorded. Every run leaves its weights and scores on storage and is not run again.
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import ray

from orchestrator.confirmation_runs import (
    Candidate,
    ConfirmJob,
    make_pictures,
    publish_model,
    score_run,
    train_run,
    validate_source,
)
from orchestrator.progress import teller
from orchestrator.stages import now
from orchestrator.statistics import paired_interval
from orchestrator.trial_records import Record
from trainables.evaluation import Score
from trainables.finetune import TransferConfiguration
from trainables.version import __version__

BASELINES = ("bicubic", "zero_shot", "scratch", "default")


def candidates_of(records: Sequence[Record], top: int, default: TransferConfiguration) -> tuple[Candidate, ...]:
    """The study's ``top`` best configurations, the default fine-tune and no fine-tuning."""
    best = sorted((r for r in records if r["status"] == "finished"), key=lambda r: -r["psnr"])
    by_configuration: dict[TransferConfiguration, Record] = {}
    for record in best:
        by_configuration.setdefault(TransferConfiguration(**record["configuration"]), record)
    untuned = Candidate("default", "default fine-tune", default, None)
    chosen: list[Candidate] = []
    for configuration, record in list(by_configuration.items())[:top]:
        number, psnr = record["number"], record["psnr"]
        if configuration == default:
            untuned = Candidate("default", "default fine-tune", default, psnr)
        else:
            chosen.append(Candidate(f"trial-{number}", f"trial {number}", configuration, psnr))
    return (*chosen, untuned, Candidate("zero_shot", "source model as it is", None, None))


@ray.remote(num_cpus=0, max_retries=2)
def drive_confirmation(job: ConfirmJob) -> dict[str, Any]:
    """Confirms one domain, as a driver of its own: trains, chooses, opens the test split, scores, publishes."""
    on_worker = {"num_cpus": job.cpus, "num_gpus": job.gpus, "max_retries": 2}
    trained = {c.name: c.configuration for c in job.candidates if c.configuration is not None}
    wanted = [(seed, item) for seed in job.seeds for item in (trained | {"scratch": job.scratch}).items()]
    training = [train_run.options(**on_worker).remote(job, name, config, seed) for seed, (name, config) in wanted]
    told = {(name, seed): value for name, seed, value in _collect(job, training, "training")}
    validation = {name: [told[name, seed] for seed in job.seeds] for name in trained}
    validation["zero_shot"] = [ray.get(validate_source.options(**on_worker).remote(job))]
    winner = max(validation, key=lambda name: (np.mean([_or_worst(v) for v in validation[name]]), name == "zero_shot"))
    opened = _open_test(job, winner)

    arms = _arms(job, winner)
    # A run may stand for two arms, when the default fine-tune or the source model wins.
    distinct = dict.fromkeys(run_name for runs in arms.values() for run_name in runs)
    scored = dict(_collect(job, [score_run.options(**on_worker).remote(job, name) for name in distinct], "test"))
    scores = {arm: [[Score(*v) for v in scored[name]] for name in runs if scored[name]] for arm, runs in arms.items()}
    pictures = ray.get(make_pictures.options(**on_worker).remote(job, winner, _picture_choice(scores)))
    ray.get(publish_model.options(**on_worker).remote(job, winner, _summary(scores)))
    return {
        "winner": winner,
        "validation": validation,
        "test_opened_at": opened["at"],
        "arms": _summary(scores),
        "differences": [entry for baseline in BASELINES for entry in _differences(scores, baseline)],
        "pictures": pictures,
    }


def _arms(job: ConfirmJob, winner: str) -> dict[str, list[str]]:
    def of(name: str) -> list[str]:
        return [f"{name}-seed{seed}" for seed in job.seeds]

    best = ["zero_shot"] if winner == "zero_shot" else of(winner)
    return {
        "bicubic": ["bicubic"],
        "zero_shot": ["zero_shot"],
        "scratch": of("scratch"),
        "default": of("default"),
        "best": best,
    }


def _open_test(job: ConfirmJob, winner: str) -> dict[str, str]:
    place = job.runs.child("test-opened.json")
    opened: dict[str, str] | None = place.read_json()
    if opened is None:
        opened = {"at": now(), "by": f"rayscale {__version__}, confirmation", "after_choosing": winner}
        place.write_json(opened)
    return opened


def _collect(job: ConfirmJob, tasks: list[Any], phase: str) -> list[Any]:
    tell, collected, pending = teller(job.board, f"confirm {job.domain.domain}"), [], list(tasks)
    tell(0, len(tasks), phase)
    while pending:
        ready, pending = ray.wait(pending, num_returns=1)
        collected += ray.get(ready)
        tell(len(collected), len(tasks), phase)
    return collected


def _or_worst(value: float | None) -> float:
    return -1e9 if value is None else value


def _summary(scores: dict[str, list[list[Score]]]) -> dict[str, Any]:
    return {
        arm: {
            "psnr": float(np.mean([s.psnr for run_scores in runs for s in run_scores])),
            "ssim": float(np.mean([s.ssim for run_scores in runs for s in run_scores])),
            "psnr_by_seed": [float(np.mean([s.psnr for s in run_scores])) for run_scores in runs],
            "images": len(runs[0]),
        }
        for arm, runs in scores.items()
        if runs
    }


def _differences(scores: dict[str, list[list[Score]]], baseline: str) -> list[dict[str, Any]]:
    if not scores[baseline] or not scores["best"]:
        return []
    scenes, told = [s.scene for s in scores["best"][0]], []
    for metric in ("psnr", "ssim"):
        interval = paired_interval(_per_image(scores, "best", metric) - _per_image(scores, baseline, metric), scenes)
        told.append(
            {
                "arm": "best",
                "baseline": baseline,
                "metric": metric,
                **asdict(interval),
                "verdict": interval.verdict,
            }
        )
    return told


def _per_image(scores: dict[str, list[list[Score]]], arm: str, metric: str) -> Any:
    return np.mean([[getattr(s, metric) for s in run_scores] for run_scores in scores[arm]], axis=0)


def _picture_choice(scores: dict[str, list[list[Score]]]) -> dict[str, str]:
    """The test images where the best arm gains most, least and in the middle over zero-shot: no cherry-picking."""
    gains = _per_image(scores, "best", "psnr") - _per_image(scores, "zero_shot", "psnr")
    order, names = np.argsort(gains, kind="stable"), [s.name for s in scores["best"][0]]
    picks = {"largest gain": order[-1], "median gain": order[len(order) // 2], "smallest gain": order[0]}
    return {f"{reason}, {gains[i]:+.2f} dB over zero-shot": names[i] for reason, i in picks.items()}
