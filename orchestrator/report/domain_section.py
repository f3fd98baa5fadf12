"""One domain's part of the report, gathered from what its study and its confirmation left."""

from typing import Any

from orchestrator.data.locked_test import OPENING, PREFIX, openings
from orchestrator.data.shards import read_manifest
from orchestrator.experiment.settings import Experiment
from orchestrator.foundation.stage_record import RECORD
from orchestrator.foundation.storage import Storage
from orchestrator.foundation.vocabulary import INTERPOLATED, ArmName
from orchestrator.jobs.stage_jobs import Jobs
from orchestrator.report.advice_grade import grade_advice
from orchestrator.report.front_section import front_report
from orchestrator.report.schema import (
    Arm,
    Candidate,
    Comparison,
    CurvePoint,
    Difference,
    DomainReport,
    Interpolation,
    Opening,
    Panel,
    SplitCounts,
    Trial,
)
from orchestrator.report.study_section import study_report
from orchestrator.report.verdicts import flags, optimism, remarks, verdict
from orchestrator.search.trial_record import Record

LABELS: dict[ArmName, str] = {
    "bicubic": "bicubic",
    "bilinear": "bilinear",
    "lanczos": "Lanczos",
    "tv": "total variation",
    "example": "anchored regression",
    "zero_shot": "zero-shot",
    "scratch": "scratch",
    "default": "default fine-tune",
    "feature": "feature transfer",
    "model": "model transfer",
    "best": "best transfer",
    "interpolated": "best, averaged with the source",
}


def domain_report(experiment: Experiment, name: str, records: list[Record], pictures: dict[str, bytes]) -> DomainReport:
    """Gathers one domain.

    Args:
        experiment: What was run, to its end.
        name: The target.
        records: Its trials.
        pictures: Takes the PNG files of the comparisons, by name.
    """
    home, space = experiment.home, experiment.space(name)
    told = home.child("confirm", name, RECORD).read_json()["result"]
    candidates = [Candidate(**_without_none(c)) for c in told["candidates"]]
    differences = [Difference(**entry) for entry in told["differences"]]
    winner = next(c for c in candidates if c.name == told["winner"])
    arms = [_arm(arm, told) for arm in LABELS if arm in told["arms"]]
    trials = [_trial(record) for record in records]
    model, locked = home.child("models", name), home.child(PREFIX, name)
    averaged, luck = _interpolation(told, model), optimism(winner, candidates, differences)
    opened = Opening(**{key: told["opened"][key] for key in OPENING})
    every = [Opening(**entry) for entry in openings(home.child("confirm", name, "test-opened"), locked)]
    advice = Jobs(experiment).advice(name)
    return DomainReport(
        space=space.id,
        degradation=space.degradation.describe(),
        counts=split_counts(home.child("shards", name), locked),
        verdict=verdict(winner, differences),
        flags=flags(winner, arms, differences),
        remarks=remarks(arms, differences, luck, averaged),
        configuration=winner.configuration,
        model=model.uri,
        arms=arms,
        differences=differences,
        candidates=candidates,
        winner=winner.name,
        optimism=luck,
        interpolation=averaged,
        advice=grade_advice(advice, winner, trials, differences) if advice else None,
        trials=trials,
        study=study_report(experiment, name, records, winner.configuration),
        front=front_report(experiment, name, records, told),
        lambda_floor=space.lambda_[0],
        frozen_depth_limit=experiment.frozen_depths(name)[1],
        steps_per_trial=experiment.finetuning.steps,
        test_opened=opened,
        earlier_openings=[opening for opening in every if opening.at < opened.at],
        comparisons=[_comparison(home.child(told["runs"]), name, entry, pictures) for entry in told["pictures"]],
    )


def split_counts(*places: Storage) -> SplitCounts:
    """Images and scenes of all splits of one set of images, which may lie at several places."""
    manifests = [read_manifest(place) for place in places]
    return SplitCounts(
        images={split: count for each in manifests for split, count in each["images"].items()},
        scenes={split: len(names) for each in manifests for split, names in each["scenes"].items()},
        skipped=sum(len(each["skipped"]) for each in manifests),
    )


def _without_none(candidate: dict[str, Any]) -> dict[str, Any]:
    return {
        **candidate,
        "validation_psnr": [value for value in candidate["validation_psnr"] if value is not None],
    }


def _comparison(runs: Storage, domain: str, entry: dict[str, Any], pictures: dict[str, bytes]) -> Comparison:
    panels = []
    for panel in entry["panels"]:
        file = f"{domain}-{panel['file']}"
        pictures[file] = runs.child("pictures", panel["file"]).read_bytes()
        panels.append(Panel(label=panel["label"], file=file, psnr=panel.get("psnr")))
    return Comparison(image=entry["image"], panels=panels)


def _arm(name: ArmName, told: dict[str, Any]) -> Arm:
    facts, tuned = told["arms"][name], told["classical"].get(name, {})
    return Arm(
        name=name,
        label=LABELS[name],
        psnr=facts["psnr"],
        ssim=facts["ssim"],
        psnr_by_seed=facts["psnr_by_seed"],
        chosen=_chosen(name, tuned, told),
        validation_psnr=tuned.get("validation_psnr"),
        source_psnr=told["source_psnr"].get(name),
    )


def _chosen(name: ArmName, tuned: dict[str, Any], told: dict[str, Any]) -> str | None:
    if name == "tv":
        return "μ {weight:g}, {iterations} iterations".format(**tuned)
    if name == "example":
        return "ridge {ridge:g}".format(**tuned)
    if name == INTERPOLATED:
        return f"{told['interpolation']['share']:g} of the tuned weights"
    if step := told["steps"].get(name):
        begins = "F_θ reused, G_φ fresh" if name == "feature" else "F_θ and G_φ reused"
        return f"{begins}, λ 0, nothing frozen, lr {step['learning_rate']:.3g}"
    return None


def _interpolation(told: dict[str, Any], model: Storage) -> Interpolation | None:
    found = told["interpolation"]
    if found is None:
        return None
    where = model.child(INTERPOLATED).uri if found["share"] < 1 else None
    return Interpolation(share=found["share"], validation=found["validation"], model=where)


def _trial(record: dict[str, Any]) -> Trial:
    return Trial(
        number=record["number"],
        origin=record["origin"],
        configuration=record["configuration"],
        sampled_lambda=record["sampled"].get("lambda_", 0.0),
        status=record["status"],
        psnr=record["psnr"],
        seconds=record["seconds"],
        speed=record.get("speed"),
        curve=[CurvePoint(step=step, value=value) for step, value in record["curve"]],
    )
