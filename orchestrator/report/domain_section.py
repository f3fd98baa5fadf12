"""One domain's section of the report, from the records of its study and its confirmation."""

from statistics import fmean
from typing import Literal

from orchestrator.confirm import run_record
from orchestrator.confirm.record import ArmScores, Candidate, Choice, ConfirmationRecord, Picture
from orchestrator.data import locked_test
from orchestrator.data.locked_test import PREFIX, openings
from orchestrator.data.shard_reader import read_manifest
from orchestrator.experiment.settings import Experiment
from orchestrator.foundation.stage_record import read_result
from orchestrator.foundation.storage import Storage
from orchestrator.foundation.vocabulary import BEST_MEAN, INTERPOLATED, ArmName
from orchestrator.jobs.stage_jobs import Jobs
from orchestrator.report.advice_grade import grade_advice, grade_search_worth
from orchestrator.report.choice_sentence import choice_sentence
from orchestrator.report.finished_section import finished_section, recipe_of
from orchestrator.report.forgetting import forgetting_report
from orchestrator.report.front_section import front_report
from orchestrator.report.scene_section import group_differences, scene_differences
from orchestrator.report.schema import (
    Arm,
    Comparison,
    CurvePoint,
    DomainReport,
    Interpolation,
    Opening,
    Panel,
    SplitCounts,
    Trial,
)
from orchestrator.report.study_section import study_report
from orchestrator.report.verdicts import flags, optimism, remarks, still_rises, verdict
from orchestrator.search.trial_record import TrialRecord
from trainables.degradation import Degradation
from trainables.images.raster import PixelFormat
from trainables.metrics.constant_fields import constant_field_sentence

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
    "soup": "best, averaged over seeds",
    "interpolated": "averaged with the source",
    "best_mean": "best mean on validation",
    "finished": "finished model",
}


def domain_report(
    experiment: Experiment, name: str, records: list[TrialRecord], pictures: dict[str, bytes]
) -> DomainReport:
    """Builds the section of one domain.

    Args:
        experiment: The finished experiment.
        name: The target.
        records: Its trials.
        pictures: Receives the PNG files of the comparisons, by name.
    """
    home, space = experiment.home, Jobs(experiment).space(name)
    found = read_result(home.child("confirm", name), ConfirmationRecord)
    candidates = [c.model_copy(update={"validation_psnr": c.scores}) for c in found.candidates]
    smallest = experiment.confirmation.smallest_effect
    finished = finished_section(experiment, name)
    differences = [difference.judged(smallest) for difference in (*found.differences, *finished.differences)]
    rising = still_rises(_winning_curve(found, home.child(found.runs), fresh_seeds(experiment)), smallest)
    winner = next(c for c in candidates if c.name == found.winner)
    pixel_format = Jobs(experiment).pixel_format(name)
    arms = [_arm(arm, found, pixel_format) for arm in LABELS if arm in found.arms]
    if finished.scores is not None:
        arms.append(_arm_of("finished", finished.scores, pixel_format, source_psnr=finished.source_psnr))
    trials = [_trial(record) for record in records]
    model, locked = home.child("models", name), home.child(PREFIX, name)
    share = found.interpolation.share if found.interpolation else 1.0
    confirmed_model = Jobs(experiment).confirmed_model(name)
    averaged = _interpolation(found.interpolation, candidates, confirmed_model, experiment.search.keep_source)
    luck = optimism(winner, candidates, differences)
    opened = _opening(found.opened)
    every = [_opening(entry) for entry in openings(home.child("confirm", name, "test-opened"), locked)]
    advice = Jobs(experiment).advice(name)
    counts = split_counts(home.child("shards", name), locked)
    facts = Jobs(experiment).search_facts(name, counts.scenes["train"], counts.images["train"])
    return DomainReport(
        space=space.id,
        degradation=_degradation(experiment, name, space.degradation),
        pixel_format=None if pixel_format.plain else pixel_format.describe(),
        counts=counts,
        verdict=verdict(winner, differences, arms, smallest),
        flags=[
            *flags(winner, arms, differences, smallest, _validation_scenes(found.choice, counts, experiment)),
            *filter(None, [constant_field_sentence(found.constant_fields)]),
            *finished.flags,
        ],
        remarks=[
            *finished.remarks,
            *([rising] if rising else []),
            *remarks(arms, differences, luck, averaged),
            *([choice_sentence(found.choice, candidates)] if found.choice else []),
            *finished.details,
        ],
        configuration=winner.configuration,
        model=model.uri,
        arms=arms,
        differences=differences,
        scenes=(scenes := scene_differences(_scored(found, finished.scores))),
        groups=group_differences(scenes),
        candidates=candidates,
        winner=winner.name,
        choice=found.choice,
        optimism=luck,
        interpolation=averaged,
        advice=grade_advice(advice, winner, trials, differences) if advice else None,
        search_worth=grade_search_worth(facts, trials),
        trials=trials,
        study=study_report(experiment, name, records, winner.configuration),
        front=front_report(experiment, name, records, found),
        forgetting=forgetting_report(experiment.search.keep_source, records, found.candidates),
        finished=finished.report,
        recipe=recipe_of(experiment, name, finished.report, winner, share) if winner.configuration else None,
        lambda_floor=space.lambda_[0],
        frozen_depth_limit=experiment.frozen_depths(name)[1],
        steps_per_trial=experiment.finetuning.steps,
        test_opened=opened,
        earlier_openings=[opening for opening in every if opening.at < opened.at],
        comparisons=[_comparison(home.child(found.runs), name, picture, pictures) for picture in found.pictures],
    )


def fresh_seeds(experiment: Experiment) -> list[int]:
    """Seeds of the runs of a confirmation."""
    return [experiment.seed + 1 + i for i in range(experiment.confirmation.seeds)]


def _degradation(experiment: Experiment, name: str, degradation: Degradation) -> str:
    """A sensor's, of pairs, or the domain's."""
    if Jobs(experiment).pairs(name) is None:
        return degradation.describe()
    share = experiment.targets[name].pairs_share
    real = "real LR images of pairs"
    return real if share == 1 else f"{real}; {1 - share:.0%} of the training patches: {degradation.describe()}"


def split_counts(*places: Storage) -> SplitCounts:
    """Numbers of images and scenes of all splits of an image set, whose shards may lie at several places."""
    manifests = [read_manifest(place) for place in places]
    return SplitCounts(
        images={split: count for manifest in manifests for split, count in manifest["images"].items()},
        scenes={split: len(names) for manifest in manifests for split, names in manifest["scenes"].items()},
        skipped=sum(len(manifest["skipped"]) for manifest in manifests),
    )


def _scored(found: ConfirmationRecord, finished: ArmScores | None) -> dict[ArmName, ArmScores]:
    """Scores of all arms in the order of the report."""
    scored = {arm: found.arms[arm] for arm in LABELS if arm in found.arms}
    return scored if finished is None else {**scored, "finished": finished}


def _validation_scenes(choice: Choice | None, counts: SplitCounts, experiment: Experiment) -> int | None:
    """Scenes of the validation images that are scored, which are spread over all scenes."""
    if choice is not None:
        return choice.scenes
    scenes = counts.scenes.get("validation")
    return None if scenes is None else min(scenes, experiment.search.validation_images)


def _winning_curve(found: ConfirmationRecord, runs: Storage, seeds: list[int]) -> list[CurvePoint]:
    """Mean learning curve of the winner's fresh seeds; empty if it was not trained."""
    places = (runs.child(f"{found.winner}-seed{seed}", run_record.RUN) for seed in seeds)
    curves = [run.curve for place in places if (run := run_record.read_run(place)) and run.curve]
    return [
        CurvePoint(step=points[0][0], value=fmean(value for _, value in points))
        for points in zip(*curves, strict=False)
    ]


def _opening(opening: locked_test.Opening) -> Opening:
    return Opening(at=opening.at, by=opening.by, after_choosing=opening.after_choosing)


def _comparison(runs: Storage, domain: str, picture: Picture, pictures: dict[str, bytes]) -> Comparison:
    panels = []
    for panel in picture.panels:
        file = f"{domain}-{panel.file}"
        pictures[file] = runs.child("pictures", panel.file).read_bytes()
        panels.append(Panel(label=panel.label, file=file, psnr=panel.psnr))
    return Comparison(image=picture.image, panels=panels)


def _arm(name: ArmName, found: ConfirmationRecord, pixel_format: PixelFormat) -> Arm:
    return _arm_of(
        name,
        found.arms[name],
        pixel_format,
        chosen=_chosen(name, found),
        validation_psnr=found.classical.validation_psnr(name),
        source_psnr=found.source_psnr.get(name),
    )


def _arm_of(
    name: ArmName,
    scores: ArmScores,
    pixel_format: PixelFormat,
    chosen: str | None = None,
    validation_psnr: float | None = None,
    source_psnr: float | None = None,
) -> Arm:
    return Arm(
        name=name,
        label=LABELS[name],
        psnr=scores.psnr,
        ssim=scores.ssim,
        psnr_by_seed=scores.psnr_by_seed,
        chosen=chosen,
        validation_psnr=validation_psnr,
        source_psnr=source_psnr,
        bands=dict(zip(pixel_format.bands, scores.bands, strict=True)) if scores.bands else None,
        sam=scores.sam,
        ergas=scores.ergas,
    )


def _chosen(name: ArmName, found: ConfirmationRecord) -> str | None:
    if name == "tv" and (tv := found.classical.tv):
        return f"μ {tv.weight:g}, {tv.iterations} iterations"
    if name == "example" and (example := found.classical.example):
        return f"ridge {example.ridge:g}"
    if name == INTERPOLATED and found.interpolation:
        of = "" if found.interpolation.of in ("", found.winner) else f" of {_label(found, found.interpolation.of)}"
        return f"{found.interpolation.share:g} of the tuned weights{of}"
    if name == BEST_MEAN and found.choice:
        return _label(found, found.choice.best_mean)
    if step := {"feature": found.steps.feature, "model": found.steps.model}.get(name):
        begins = "F_θ reused, G_φ fresh" if name == "feature" else "F_θ and G_φ reused"
        return f"{begins}, λ 0, nothing frozen, lr {step.learning_rate:.3g}"
    return None


def _label(found: ConfirmationRecord, candidate: str) -> str:
    return next(c.label for c in found.candidates if c.name == candidate)


def _interpolation(
    found: run_record.Interpolation | None, candidates: list[Candidate], model: Storage, limit: float | None
) -> Interpolation | None:
    if found is None:
        return None
    where = model.child(INTERPOLATED).uri if found.share < 1 else None
    return Interpolation(
        share=found.share, limit=_limit_of(found, candidates, limit), validation=found.validation, model=where
    )


def _limit_of(
    found: run_record.Interpolation, candidates: list[Candidate], limit: float | None
) -> Literal["restricted", "exceeded"] | None:
    """Effect of a limit on forgetting on the share of averaged weights."""
    if limit is None:
        return None
    lost = next((c.source_loss for c in candidates if c.averaged == "source"), None)
    if lost is not None and lost > limit:
        return "exceeded"
    return "restricted" if dict(found.validation)[found.share] < max(dict(found.validation).values()) else None


def _trial(record: TrialRecord) -> Trial:
    return Trial(
        number=record.number,
        origin=record.origin,
        configuration=record.configuration,
        sampled_lambda=record.sampled.get("lambda_", 0.0),
        status=record.status,
        psnr=record.psnr,
        seconds=record.seconds,
        speed=record.speed,
        curve=[CurvePoint(step=step, value=value) for step, value in record.curve],
    )
