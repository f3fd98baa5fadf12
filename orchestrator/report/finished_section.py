"""The finished model of a domain in the report: its scores beside the confirmed one's, and how it was decided on."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from statistics import fmean

from orchestrator.confirm.record import ArmScores, Candidate, Difference
from orchestrator.experiment.settings import Experiment
from orchestrator.finish.recipe import Recipe
from orchestrator.finish.record import FinishRecord
from orchestrator.foundation.stage_record import read_result
from orchestrator.jobs.stage_jobs import Jobs
from orchestrator.report.schema import Finished, Length, Opening
from orchestrator.report.verdicts import in_db
from trainables.metrics.constant_fields import constant_field_sentence


@dataclass(frozen=True, slots=True)
class FinishedSection:
    """Part of a domain's report on its finished model; nothing where there is none.

    Attributes:
        report: How it was decided on and trained.
        scores: Its scores on the test split; None where the source model won.
        source_psnr: PSNR in dB on held-out source images.
        differences: Its differences to other arms.
        remarks: The result in sentences.
        details: How it was decided on, in sentences.
        flags: A result that speaks against it.
    """

    report: Finished | None = None
    scores: ArmScores | None = None
    source_psnr: float | None = None
    differences: list[Difference] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    details: list[str] = field(default_factory=list)
    flags: list[str] = field(default_factory=list)


def finished_section(experiment: Experiment, name: str) -> FinishedSection:
    """Reads the finished model of one domain."""
    if not experiment.finish.enabled:
        return FinishedSection()
    found = read_result(experiment.home.child("finish", name), FinishRecord)
    report, smallest = _report(experiment, name, found), experiment.confirmation.smallest_effect
    judged = [difference.judged(smallest) for difference in found.differences]
    gain = next((d for d in judged if (d.arm, d.baseline, d.metric) == ("finished", "best", "psnr")), None)
    return FinishedSection(
        report=report,
        scores=found.test,
        source_psnr=found.source_psnr,
        differences=found.differences,
        remarks=list(_remarks(report, gain)),
        details=list(_details(report)),
        flags=list(_flags(report, gain, found.constant_fields)),
    )


def recipe_of(experiment: Experiment, name: str, finished: Finished | None, answer: Candidate, share: float) -> Recipe:
    """All but the configuration that fine-tuning other images of a domain needs."""
    section, target, pixels = experiment.finetuning, experiment.targets[name], Jobs(experiment).pixel_format(name)
    return Recipe(
        source=experiment.home.child("source").uri,
        steps=finished.steps if finished and finished.steps else section.steps,
        batch=section.batch,
        lr_patch=section.lr_patch,
        transfer="feature" if answer.generator == "fresh" else section.transfer,
        regularizer=section.regularizer,
        frozen_from=section.frozen_from,
        adapter_rank=section.adapter_rank,
        share=share if answer.averaged == "source" else 1.0,
        pairs=Jobs(experiment).pairs(name) is not None,
        value_range=target.value_range,
        bands=list(target.bands) if target.bands else None,
        channels=None if pixels.plain else pixels.channels,
        chip=target.chip,
        slice_axis=target.slice_axis,
    )


def finish_protocol(experiment: Experiment) -> str:
    """The finished models in a sentence of the protocol."""
    section, steps = experiment.finish, experiment.finetuning.steps
    return (
        f"Finished models: the winner's configuration is trained on the training split for {steps} steps, doubled up "
        f"to {section.doublings} times until a doubling gains less than {section.least_gain:g} dB on validation; the "
        "chosen length is then trained on training and validation images together. Whether the weights of "
        f"{min(section.seeds, experiment.confirmation.seeds)} seeds are averaged is decided on validation before, too. "
        "The test split is opened for it after the confirmation, and its score chooses nothing."
    )


def _report(experiment: Experiment, name: str, found: FinishRecord) -> Finished:
    decision, opened = found.decision, found.opened
    averaging = decision.averaging if decision else None
    lengths = decision.lengths if decision else []
    return Finished(
        steps=decision.steps if decision else None,
        seeds=list(found.seeds),
        trained_on=list(found.trained_on),
        lengths=[Length(steps=tried.steps, validation_psnr=_mean(tried.validation_psnr)) for tried in lengths],
        still_rises=bool(decision and decision.still_rises),
        single_psnr=averaging.single_psnr if averaging else None,
        averaged_psnr=averaging.averaged_psnr if averaging else None,
        confirmed_model=Jobs(experiment).confirmed_model(name).uri,
        opened=Opening(at=opened.at, by=opened.by, after_choosing=opened.after_choosing) if opened else None,
    )


def _mean(scores: list[float | None]) -> float | None:
    finite = [score for score in scores if score is not None]
    return fmean(finite) if finite else None


def _remarks(report: Finished, gain: Difference | None) -> Iterator[str]:
    if report.steps is None:
        yield "Finished model: the source model won, so there is nothing to train longer."
        return
    if gain is not None:
        seeds = f", {len(report.seeds)} seeds averaged" if len(report.seeds) > 1 else ""
        yield f"Finished model ({report.steps} steps, {' + '.join(report.trained_on)}{seeds}): {in_db(gain)} to best."
    if report.still_rises:
        yield (
            f"Validation still rises after {report.steps} steps, the longest training allowed: more steps "
            "(finish.doublings) would gain more."
        )


def _details(report: Finished) -> Iterator[str]:
    tried = [f"{length.steps}: {length.validation_psnr:.2f}" for length in report.lengths if length.validation_psnr]
    if tried:
        yield f"Validation PSNR by steps, trained on the training split alone: {', '.join(tried)}."


def _flags(report: Finished, gain: Difference | None, field_error: float | None) -> Iterator[str]:
    if gain is not None and gain.verdict == "worse":
        yield (
            f"The finished model is worse on test than the confirmed one, {in_db(gain)}. It stays the domain's model, "
            f"since the test split chooses nothing; the confirmed one is {report.confirmed_model}."
        )
    if report.steps is not None and "validation" not in report.trained_on:
        yield "Every training on the validation images too diverged: the finished model has the training split alone."
    if sentence := constant_field_sentence(field_error):
        yield f"Finished model: {sentence}"
