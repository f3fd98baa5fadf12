"""The front of quality and speed as a report has it: what the search found, and what fresh seeds scored on test."""

from statistics import fmean
from typing import Any

from orchestrator.confirm.publish import front_model
from orchestrator.experiment.settings import Experiment
from orchestrator.foundation.storage import Storage
from orchestrator.jobs.stage_jobs import Jobs
from orchestrator.report.schema import Configuration, Difference, Front, FrontPoint
from orchestrator.search.network_speed import device_sentence
from orchestrator.search.pareto_front import pareto_front
from orchestrator.search.trial_record import Record
from trainables.network.model_files import WEIGHTS


def front_report(experiment: Experiment, domain: str, records: list[Record], told: dict[str, Any]) -> Front | None:
    """Gathers one domain's front.

    Args:
        experiment: What was run, to its end.
        domain: The target.
        records: Its trials.
        told: What its confirmation left.

    Returns:
        None where quality alone was searched.
    """
    if experiment.search.kept_blocks is None:
        return None
    blocks, confirmed = experiment.architecture.blocks, {entry["trial"]: entry for entry in told["front"]}
    model = experiment.home.child("models", domain)
    points = [
        _point(record, confirmed.get(record["number"]), told["winner"], model, blocks)
        for record in pareto_front(records)
    ]
    speeds = Jobs(experiment).speeds_place().read_json()
    device = device_sentence(speeds) if speeds else "a device whose record is gone"
    return Front(device=device, blocks=blocks, points=points)


def _point(record: Record, found: dict[str, Any] | None, winner: str, model: Storage, blocks: int) -> FrontPoint:
    kept = record["configuration"].get("kept_blocks") or blocks
    place, test = front_model(model, kept), found and found["test"]
    return FrontPoint(
        kept_blocks=kept,
        trial=record["number"],
        configuration=Configuration(**record["configuration"]),
        megapixels_per_second=record["speed"],
        search_psnr=record["psnr"],
        confirmed=found is not None,
        is_best=found is not None and found["run"] == winner,
        validation_psnr=fmean(found["validation_psnr"]) if found and found["validation_psnr"] else None,
        test_psnr=test["psnr"] if test else None,
        test_ssim=test["ssim"] if test else None,
        difference=_difference(found["difference"]) if found and found["difference"] else None,
        model=place.uri if place.child(WEIGHTS).exists() else None,
    )


def _difference(told: dict[str, Any]) -> Difference:
    return Difference(**{**told, "baseline": "front"})
