"""Records of finished models: what was decided on validation, and the result as the stage's record keeps it."""

from typing import Annotated

from pydantic import Field

from orchestrator.confirm import run_record
from orchestrator.confirm.record import ArmScores, Difference
from orchestrator.data.locked_test import Opening
from orchestrator.foundation.configuration import Configuration
from orchestrator.foundation.record import Count, Number, Record

DECISION, FINISHED = "decision.json", "finished"

_Steps = Annotated[int, Field(strict=True, gt=0)]


class Length(Record):
    """Trainings of one length on the training split.

    Attributes:
        steps: Optimiser steps.
        validation_psnr: PSNR in dB by seed, None if it diverged.
        source_loss: PSNR in dB on held-out source images that they lose on average; None where that is not limited.
    """

    steps: _Steps
    validation_psnr: Annotated[list[Number | None], Field(min_length=1)]
    source_loss: Number | None = None


class Averaging(Record):
    """Mean validation PSNR in dB of single seeds, and validation PSNR of the network with their mean weights."""

    single_psnr: Number
    averaged_psnr: Number


class Decision(Record):
    """All that is decided on validation images before a model is trained on them; ``decision.json``.

    Attributes:
        winner: Name of the confirmation's winner.
        configuration: Its configuration.
        lengths: Lengths that were tried, the confirmation's first, each twice as long as the one before.
        steps: The chosen length.
        still_rises: Whether the last doubling that was allowed still gained enough.
        averaging: Comparison that decides on averaging over seeds; None with one seed.
    """

    winner: str
    configuration: Configuration
    lengths: Annotated[list[Length], Field(min_length=1)]
    steps: _Steps
    still_rises: bool
    averaging: Averaging | None

    @property
    def averages(self) -> bool:
        """True if averaging over seeds did not lose on validation."""
        return self.averaging is not None and self.averaging.averaged_psnr >= self.averaging.single_psnr

    def sentence(self) -> str:
        """The decision as the opening of the test split records it."""
        seeds = "weights averaged over seeds" if self.averages else "one seed"
        return f"{self.winner}, {self.steps} steps on train and validation, {seeds}"


class FinishRecord(Record):
    """One domain's finished model.

    Attributes:
        winner: Name of the confirmation's winner.
        decision: Decisions on validation; None where the source model won, which is not trained.
        seeds: Seeds whose weights the model has; several are averaged.
        trained_on: Splits that it was trained on; without validation only where every such training diverged.
        opened: Opening of the test split for it; None where the source model won.
        test: Its scores on the test split.
        differences: Differences of it and other arms on the test split.
        source_psnr: Mean PSNR in dB on held-out source images.
        runs: Path of the folder of its trainings below the experiment's; empty if there are none.
        constant_fields: Deviation of its constant fields as a share of the range, see
            :mod:`trainables.metrics.constant_fields`; None where the source model won, and in earlier versions.
    """

    winner: str
    decision: Decision | None = None
    seeds: list[Count] = Field(default_factory=list)
    trained_on: list[str] = Field(default_factory=list)
    opened: Opening | None = None
    test: ArmScores | None = None
    differences: list[Difference] = Field(default_factory=list)
    source_psnr: float | None = None
    runs: str = ""
    constant_fields: float | None = None


def problem_of(name: str, value: object) -> str:
    """Description of the damage of a record among the trainings, by its file's name; empty if it is valid."""
    return Decision.problem(value) if name == DECISION else run_record.problem_of(name, value)
