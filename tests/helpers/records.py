"""Whole records of trials, for any test."""

from typing import Any


def trial_record(number: int, psnr: float | None = 30.0, status: str = "finished", **changes: Any) -> dict[str, Any]:
    """A trial's record as a search writes it."""
    point = {"learning_rate": 1e-3 / (1 + number), "lambda_": 1e-4, "frozen_depth": 1}
    return {
        "number": number,
        "origin": "sampler",
        "configuration": point,
        "sampled": point,
        "status": status,
        "psnr": psnr if status == "finished" else None,
        "objective": {"finished": psnr, "diverged": 20.0, "stopped": None}[status],
        "curve": [] if status == "diverged" else [[4, psnr]],
        "seconds": 1.0,
        "cpu_seconds": 1.0,
        "finished_at": "2026-01-01T00:00:00+00:00",
        **changes,
    }
