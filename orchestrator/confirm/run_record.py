"""Records that a confirmation's tasks leave: each is read whole and valid, or as if it were not there.

A task whose record is not valid does its work again; what was wrong is reported before, by what checks the stage.
"""

import math
from collections.abc import Callable
from typing import Any

from orchestrator.foundation.storage import Storage
from orchestrator.search.trial_record import is_curve, is_number, is_time

RUN, INTERPOLATION, FITTED = "run.json", "interpolation.json", "fitted.json"

Scores = list[tuple[str, str, float, float]]
"""Name, scene, PSNR in dB and SSIM of each test image."""


def read_run(place: Storage) -> dict[str, Any] | None:
    """The record of a training, ``run.json``: ``validation_psnr`` (None if it diverged), ``curve``, ``finished_at``."""
    record: dict[str, Any] | None = _read(place, run_problem)
    return record


def read_scores(place: Storage) -> Scores | None:
    """Scores of a run on the test split, ``test-RUN.json``."""
    told = _read(place, scores_problem)
    return None if told is None else [(name, scene, float(psnr), float(ssim)) for name, scene, psnr, ssim in told]


def read_source_psnr(place: Storage) -> float | None:
    """PSNR in dB of a run on held-out source images, ``source-RUN.json``."""
    told = _read(place, source_problem)
    return None if told is None else float(told["source_psnr"])


def read_interpolation(place: Storage) -> dict[str, Any] | None:
    """The share of averaged weights, ``interpolation.json``: ``share`` and ``validation``."""
    record: dict[str, Any] | None = _read(place, interpolation_problem)
    return record


def read_fitted(place: Storage) -> dict[str, dict[str, Any]] | None:
    """The fitted classical baselines, ``fitted.json``: for each its ``validation_psnr`` and settings."""
    record: dict[str, dict[str, Any]] | None = _read(place, fitted_problem)
    return record


def problem_of(name: str, value: Any) -> str:
    """What is wrong with a record of a confirmation, by its file's name; empty if nothing is, or it is another file."""
    kinds = {RUN: run_problem, INTERPOLATION: interpolation_problem, FITTED: fitted_problem}
    check = kinds.get(name)
    if name.endswith(".json") and check is None:
        check = {"test": scores_problem, "source": source_problem}.get(name.partition("-")[0])
    return "" if check is None else check(value)


def run_problem(record: Any) -> str:
    """What is wrong with the record of a training; empty if nothing is."""
    if not isinstance(record, dict):
        return "is empty, cut short or no object"
    if missing := [name for name in ("validation_psnr", "curve", "finished_at") if name not in record]:
        return f"lacks '{missing[0]}'"
    diverged = record["validation_psnr"] is None
    if not diverged and not is_number(record["validation_psnr"]):
        return f"has validation_psnr {record['validation_psnr']!r:.40}"
    if not is_curve(record["curve"]) or bool(record["curve"]) == diverged:
        return f"has curve {record['curve']!r:.40}"
    return "" if is_time(record["finished_at"]) else f"has finished_at {record['finished_at']!r:.40}"


def scores_problem(record: Any) -> str:
    """What is wrong with scores on the test split; empty if nothing is."""
    if not isinstance(record, list) or not record:
        return "is empty, cut short or no list of scores"
    for entry in record:
        fits = isinstance(entry, list) and len(entry) == 4 and all(isinstance(text, str) for text in entry[:2])
        # PSNR is infinite where an image is reproduced exactly.
        if not fits or not all(type(v) in (int, float) and not math.isnan(v) for v in entry[2:]):
            return f"has a score {entry!r:.60}"
    return ""


def source_problem(record: Any) -> str:
    """What is wrong with the record of what is not forgotten; empty if nothing is."""
    value: Any = record.get("source_psnr") if isinstance(record, dict) else None
    fits = type(value) in (int, float) and not math.isnan(value)
    return "" if fits else "is empty, cut short or has no source_psnr"


def interpolation_problem(record: Any) -> str:
    """What is wrong with the record of averaged weights; empty if nothing is."""
    if not isinstance(record, dict):
        return "is empty, cut short or no object"
    share, tried = record.get("share"), record.get("validation")
    if not is_number(share) or not 0 <= float(share or 0) <= 1:
        return f"has share {share!r:.40}"
    pairs = isinstance(tried, list) and all(
        isinstance(pair, list) and len(pair) == 2 and all(map(is_number, pair)) for pair in tried
    )
    return "" if pairs and tried else f"has validation {tried!r:.40}"


def fitted_problem(record: Any) -> str:
    """What is wrong with the record of fitted baselines; empty if nothing is."""
    if not isinstance(record, dict) or not record:
        return "is empty, cut short or no object"
    for name, facts in record.items():
        if not isinstance(facts, dict) or not is_number(facts.get("validation_psnr")):
            return f"has no validation_psnr of {name:.40}"
    tuned = record.get("tv", {})
    return "" if all(is_number(tuned.get(key)) for key in ("weight", "iterations")) else "has no settings of tv"


def _read(place: Storage, problem: Callable[[Any], str]) -> Any:
    record = place.read_json()
    return None if record is None or problem(record) else record
