"""The contenders of a confirmation: all that is trained with fresh seeds, or averaged of it, and may be the answer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.confirm.answer import Contender, choose
from orchestrator.confirm.candidates import alike, candidate_of
from orchestrator.confirm.job import ConfirmJob, soup_of
from orchestrator.confirm.record import Candidate
from orchestrator.confirm.run_record import Images, Interpolation
from orchestrator.confirm.submission import RunKey, Runs, Tasks
from orchestrator.confirm.tasks import average_seeds, choose_share
from orchestrator.foundation.vocabulary import INTERPOLATED, ZERO_SHOT


@dataclass(frozen=True, slots=True)
class Planned:
    """Candidates with runs of their own.

    Attributes:
        source: The source model as it is.
        tuned: Fine-tunings of the source model: those of the study, the default, and model transfer.
        features: Feature transfer at the rates that are tried, of which the first fresh seed chooses one.
        model: Name of the one of them that is model transfer; None without the steps of transfer.
    """

    source: Candidate
    tuned: tuple[Candidate, ...]
    features: tuple[Candidate, ...]
    model: str | None

    def runs(self) -> Runs:
        """The fine-tunings, as runs."""
        return {c.name: (c.configuration, "source") for c in self.tuned if c.configuration is not None}

    def feature_runs(self) -> Runs:
        """Feature transfer, as runs."""
        return {c.name: (c.configuration, "features") for c in self.features if c.configuration is not None}


def planned(job: ConfirmJob) -> Planned:
    """Plans the runs of a confirmation; a candidate that does what model transfer does is not trained twice."""
    source = next(c for c in job.candidates if c.configuration is None)
    tuned = tuple(c for c in job.candidates if c.configuration is not None)
    if job.ablation is None:
        return Planned(source, tuned, (), None)
    wanted = job.ablation.model
    same = (c for c in tuned if c.configuration and c.configuration.lambda_ == 0 and alike(c.configuration, wanted))
    model = next(same, None)
    own = () if model else (candidate_of("model", "model transfer", wanted),)
    features = tuple(
        candidate_of(f"feature-{i}", "feature transfer", configuration).model_copy(update={"generator": "fresh"})
        for i, configuration in enumerate(job.ablation.features)
    )
    return Planned(source, (*tuned, *own), features, model.name if model else "model")


def contend(
    tasks: Tasks, job: ConfirmJob, plan: Planned, found: Mapping[RunKey, Any]
) -> tuple[list[Contender], Interpolation | None]:
    """Averages what is trained, and trains the other seeds of feature transfer.

    Args:
        tasks: Where tasks are submitted.
        job: The confirmation.
        plan: What has been trained.
        found: Validation scores by run, None of a diverged one.

    Returns:
        All contenders, the source model as it is among them, and the average with the source's weights; None if all
        fine-tunings diverged.
    """
    source = Contender(plan.source, (ZERO_SHOT,), (found[ZERO_SHOT, 0],))
    tuned = [_of_seeds(job, candidate, found) for candidate in plan.tuned]
    base, feature = _to_average(source, tuned), _best_feature(job, plan, found)
    work: dict[Any, Any] = _soups(tasks, job, tuned)
    if feature:
        runs = {name: run for name, run in plan.feature_runs().items() if name == feature.name}
        work |= tasks.training(runs, job.seeds[1:])
    if base:
        work["share", 0] = tasks.submit(choose_share, base)
    ended = tasks.collect(work, "averages before the test")
    contenders = [*tuned, source, *_averaged(tuned, ended)]
    if feature:
        trained = _of_seeds(job, feature, {**found, **ended})
        soup = tasks.collect(_soups(tasks, job, [trained]), "last steps before the test")
        contenders += [trained, *_averaged([trained], soup)]
    interpolation = ended.get(("share", 0))
    if base and interpolation and interpolation.share < 1:
        contenders.append(_with_source(job, base, interpolation))
    return contenders, interpolation


def _of_seeds(job: ConfirmJob, candidate: Candidate, found: Mapping[RunKey, Images | None]) -> Contender:
    runs = tuple(f"{candidate.name}-seed{seed}" for seed in job.seeds)
    return Contender(candidate, runs, tuple(found[candidate.name, seed] for seed in job.seeds))


def _best_feature(job: ConfirmJob, plan: Planned, found: Mapping[RunKey, Images | None]) -> Candidate | None:
    """Feature transfer at the rate that does better with the first seed; of diverged ones the first."""
    if not plan.features:
        return None
    first = [(c, Contender(c, (), (found[c.name, job.seeds[0]],))) for c in plan.features]
    return max(first, key=lambda entry: entry[1].means[0] or 0.0)[0]


def _to_average(source: Contender, tuned: Sequence[Contender]) -> Candidate | None:
    """The fine-tuning that is averaged with the source: the answer among them, or else the best mean of them."""
    finished = [contender for contender in tuned if contender.finished]
    if not finished:
        return None
    choice = choose([source, *finished])
    among = choice if choice.answer != source.name else choose(finished)
    name = choice.answer if among is choice else among.best_mean
    return next(contender.candidate for contender in finished if contender.name == name)


def _soups(tasks: Tasks, job: ConfirmJob, trained: Sequence[Contender]) -> dict[Any, Any]:
    """Averages over the seeds, of contenders of several seeds of which none diverged."""
    whole = [contender for contender in trained if contender.finished and len(job.seeds) > 1]
    return {(soup_of(c.name), 0): tasks.submit(average_seeds, c.candidate) for c in whole}


def _averaged(trained: Sequence[Contender], ended: Mapping[RunKey, Images | None]) -> list[Contender]:
    found = [(contender.candidate, ended.get((soup_of(contender.name), 0))) for contender in trained]
    return [
        Contender(_average(candidate, soup_of(candidate.name), "seeds"), (soup_of(candidate.name),), (images,))
        for candidate, images in found
        if images
    ]


def _with_source(job: ConfirmJob, candidate: Candidate, interpolation: Interpolation) -> Contender:
    runs = tuple(f"{INTERPOLATED}-seed{seed}" for seed in job.seeds)
    return Contender(_average(candidate, INTERPOLATED, "source"), runs, tuple(interpolation.images))


def _average(candidate: Candidate, name: str, over: str) -> Candidate:
    words = {"seeds": "averaged over seeds", "source": "averaged with the source"}[over]
    label = f"{candidate.label}, {words}"
    own = {"name": name, "label": label, "averaged": over, "of": candidate.name, "search_psnr": None}
    return candidate.model_copy(update=own)
