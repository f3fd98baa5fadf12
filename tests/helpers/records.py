"""Whole records of trials, for any test."""

from typing import Any

from orchestrator.search.trial_record import TrialRecord


def trial_record(number: int, psnr: float | None = 30.0, status: str = "finished", **changes: Any) -> dict[str, Any]:
    """A trial's record as its file has it."""
    point = {"learning_rate": 1e-3 / (1 + number), "lambda_": 1e-4, "frozen_depth": 1}
    return {
        "number": number,
        "origin": "sampler",
        "configuration": point,
        "sampled": point,
        "status": status,
        "psnr": psnr if status == "finished" else None,
        "objective": {"finished": psnr, "diverged": 20.0, "stopped": None}[status],
        **({"speed": changes.pop("speed")} if "speed" in changes else {}),
        "curve": [] if status == "diverged" else [[4, psnr]],
        "seconds": 1.0,
        "cpu_seconds": 1.0,
        "finished_at": "2026-01-01T00:00:00+00:00",
        **changes,
    }


def trial(number: int, psnr: float | None = 30.0, status: str = "finished", **changes: Any) -> TrialRecord:
    """A trial's record as a search gives it; what is changed is not checked again."""
    return TrialRecord.parse(trial_record(number, psnr or 30.0, status)).model_copy(update=changes)
