"""Input of the training of a domain's finished model."""

from dataclasses import dataclass, replace

from orchestrator.confirm.job import ConfirmJob, soup_of
from orchestrator.confirm.record import Candidate, ConfirmationRecord
from orchestrator.confirm.tasks import Start
from orchestrator.experiment.settings import Finish
from orchestrator.foundation.storage import Storage
from trainables.loops.settings import TransferConfiguration

ALL_SPLITS = ("train", "validation")
"""Splits that a finished model is trained on."""


@dataclass(frozen=True, slots=True)
class FinishJob:
    """One domain's finished model.

    Attributes:
        confirmation: The domain's confirmation.
        confirmed: Its result.
        settings: Longest schedule, smallest gain and seeds.
        runs: Folder of the trainings.
        opening: Record that opens the test split for the finished model.
        model: Folder of the finished model.
        keep_source: Most PSNR in dB on source images that a length may lose; None for no limit.
    """

    confirmation: ConfirmJob
    confirmed: ConfirmationRecord
    settings: Finish
    runs: Storage
    opening: Storage
    model: Storage
    keep_source: float | None = None

    @property
    def winner(self) -> str:
        """Name of the confirmation's answer."""
        return self.confirmed.winner

    @property
    def answer(self) -> Candidate:
        """The confirmation's answer."""
        return next(c for c in self.confirmed.candidates if c.name == self.winner)

    @property
    def configuration(self) -> TransferConfiguration | None:
        """The answer's configuration; None if it is the source model."""
        return self.answer.configuration

    @property
    def base(self) -> str:
        """Name of the answer's trainings; of averaged weights, of those that were averaged."""
        return self.answer.of or self.winner

    @property
    def start(self) -> Start:
        """Initial weights of the answer's trainings."""
        return "features" if self.answer.generator == "fresh" else "source"

    @property
    def share(self) -> float:
        """Share of the tuned weights in the answer's; below 1 where they are averaged with the source's."""
        interpolation = self.confirmed.interpolation
        return interpolation.share if self.answer.averaged == "source" and interpolation else 1.0

    @property
    def best_runs(self) -> list[str]:
        """Names of the answer's runs, as the confirmation scored them on the test split."""
        if self.answer.averaged == "seeds":
            return [soup_of(self.base)]
        return [f"{self.winner}-seed{seed}" for seed in self.confirmation.seeds]

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds of its trainings, the first ones of the confirmation."""
        return self.confirmation.seeds[: self.settings.seeds]

    @property
    def base_steps(self) -> int:
        """Steps of the confirmation's trainings."""
        return self.confirmation.domain.budget.steps

    def training(self, steps: int, splits: tuple[str, ...] = ("train",)) -> ConfirmJob:
        """Input of the tasks that train for so many steps, and score; the confirmation's, with folders of its own.

        A training that reads the validation split is scored there once, at its end, to tell whether it diverged.
        """
        budget = replace(self.confirmation.domain.budget, steps=steps)
        if "validation" in splits:
            budget = replace(budget, evaluations=1)
        domain = replace(self.confirmation.domain, budget=budget, splits=splits)
        return replace(self.confirmation, domain=domain, runs=self.runs, opening=self.opening, stage="finish")


def run_name(steps: int, splits: tuple[str, ...] = ("train",)) -> str:
    """Name of the trainings of one length, without the seed."""
    return f"steps-{steps}" if splits == ("train",) else f"all-images-{steps}"
