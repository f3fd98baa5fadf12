"""Result of a confirmation, as its stage's record keeps it and the report reads it."""

from math import inf
from typing import Literal, Self

from pydantic import Field

from orchestrator.confirm.run_record import FittedBaselines, Interpolation, Psnr
from orchestrator.data.locked_test import Opening
from orchestrator.foundation.configuration import Configuration
from orchestrator.foundation.record import Count, FileName, Record
from orchestrator.foundation.statistics import Interval
from orchestrator.foundation.vocabulary import Verdict

Metric = Literal["psnr", "ssim"]


class Candidate(Record):
    """An answer that can be chosen: a configuration and how weights are made with it.

    Attributes:
        name: Its name, and that of its runs.
        label: The name in words.
        configuration: Its configuration; None for the source model as it is.
        validation_psnr: PSNR in dB of each fresh seed, None for a diverged one, or of weights averaged over them; empty
            before they are trained.
        search_psnr: PSNR in dB of its trial; None if it was not a trial.
        generator: ``fresh`` for the feature transfer of the ablation; else as the experiment's method says.
        averaged: What its weights are averaged over: the fresh seeds, or the tuned and the source's.
        of: Of averaged weights, name of the candidate whose they are.
        source_loss: PSNR in dB that held-out source images lose with it; None where no limit is set.
    """

    name: str
    label: str
    configuration: Configuration | None
    validation_psnr: list[float | None]
    search_psnr: float | None
    generator: Literal["reused", "fresh"] = "reused"
    averaged: Literal["seeds", "source"] | None = None
    of: str = ""
    source_loss: float | None = None

    @property
    def scores(self) -> list[float]:
        """PSNR in dB of the seeds that did not diverge."""
        return [value for value in self.validation_psnr if value is not None]


class ArmScores(Record):
    """Mean PSNR in dB and SSIM of one arm over test images and runs, and PSNR run by run.

    Of other than 8-bit gray and RGB images also PSNR of each band and, of several bands, SAM in degrees and ERGAS.
    ``by_scene`` is the mean PSNR of each scene's images over runs; empty in records of earlier versions.
    """

    psnr: float
    ssim: float
    psnr_by_seed: list[float]
    images: Count
    bands: list[float] = Field(default_factory=list)
    sam: float | None = None
    ergas: float | None = None
    by_scene: dict[FileName, Psnr] = Field(default_factory=dict)


class Difference(Record):
    """Mean paired difference ``arm - baseline`` over test images with its 95 % interval over scenes and seeds.

    Attributes:
        arm: The first arm.
        baseline: The arm that it is compared with.
        metric: What is compared.
        mean: Mean difference; positive favours ``arm``.
        low: Lower end of the interval.
        high: Upper end of the interval.
        scenes: Scenes of the test split.
        verdict: Verdict; in a confirmation's record, whatever the size of the difference. The report judges again, with
            the smallest effect of the experiment.
        seed_sd: Standard deviation of the difference between seeds; None in records of earlier versions, whose
            intervals are bootstrap intervals over scenes alone.
        scenes_ahead: Scenes in which ``arm`` has the higher mean.
        wilcoxon_p: p of the signed-rank test in records of earlier versions.
    """

    arm: str
    baseline: str
    metric: Metric
    mean: float
    low: float
    high: float
    scenes: int
    verdict: Verdict
    seed_sd: float | None = None
    scenes_ahead: Count | None = None
    wilcoxon_p: float | None = None

    @property
    def interval(self) -> Interval:
        """The difference without its names."""
        return Interval(self.mean, self.low, self.high, self.scenes)

    def judged(self, smallest_effect: float) -> Self:
        """The same difference with the verdict that takes account of its size.

        Args:
            smallest_effect: Smallest difference of PSNR in dB that matters; any difference of SSIM does.
        """
        if self.metric == "ssim":
            return self.model_copy(update={"verdict": self.interval.judged(largest_loss=inf)})
        return self.model_copy(update={"verdict": self.interval.judged(smallest_effect)})


class Standing(Record):
    """A candidate on validation: the best mean minus its own in dB, with the interval of that difference."""

    name: str
    mean: float
    low: float
    high: float


class Choice(Record):
    """Choice of the answer on validation, see :mod:`orchestrator.confirm.answer`.

    Attributes:
        answer: Name of the candidate that is the answer.
        best_mean: Name of the candidate with the best mean.
        scenes: Validation scenes.
        by: ``interval``: the simplest candidate within ``margin`` of the best mean whose interval against it holds
            zero; ``margin``, with too few scenes for intervals: the simplest within it.
        margin: Largest shortfall of the answer's mean in dB; None in records of earlier versions, in which an interval
            that holds zero was enough.
        standings: All candidates that did not diverge, the simplest first.
    """

    answer: str
    best_mean: str
    scenes: Count
    by: Literal["interval", "margin"]
    margin: float | None = None
    standings: list[Standing]

    @property
    def behind(self) -> Standing:
        """Standing of the answer."""
        return next(standing for standing in self.standings if standing.name == self.answer)


class Steps(Record):
    """Configurations of the steps between zero-shot and the winner; None for steps that were left out."""

    feature: Configuration | None
    model: Configuration | None


class FrontResult(Record):
    """A point of the front of quality and speed, with fresh seeds.

    Attributes:
        kept: Residual blocks that it keeps.
        trial: Number of its trial.
        run: Name of its runs.
        validation_psnr: PSNR in dB of each seed that did not diverge.
        test: Scores on the test split; None if all of its seeds diverged.
        difference: Best arm minus this one in PSNR; None in the same case.
    """

    kept: Count
    trial: Count
    run: str
    validation_psnr: list[float]
    test: ArmScores | None
    difference: Difference | None


class PicturePanel(Record):
    """One arm's crop of a test image: a PNG file beside the runs, and the PSNR in dB of the whole image."""

    label: str
    file: FileName
    psnr: float | None


class Picture(Record):
    """Crops of one test image; ``image`` is its name with the reason for showing it."""

    image: FileName
    name: FileName
    panels: list[PicturePanel]


class ConfirmationRecord(Record):
    """One domain's confirmation.

    Attributes:
        winner: Name of the candidate that is the answer.
        validation: PSNR in dB of each candidate's seeds, None for a diverged one.
        opened: Time at which the test split was opened, and the choice made before it.
        arms: Scores on the test split, by arm.
        differences: Differences between arms on the test split.
        classical: The fitted baselines.
        steps: Configurations of the steps between zero-shot and the winner.
        source_psnr: Mean PSNR in dB on held-out source images, by arm that may forget them.
        interpolation: Average of a candidate's and the source's weights; None if all trainings diverged, and in records
            of earlier versions if the source model won.
        front: Points of the front of quality and speed; empty if speed was not an objective.
        pictures: Crops of test images.
        candidates: All candidates.
        runs: Path of the folder of its runs below the experiment's.
        choice: How the answer was chosen; None in records of earlier versions, whose answer has the best mean.
        constant_fields: Deviation of the answer's constant fields as a share of the range, see
            :mod:`trainables.metrics.constant_fields`; None in records of earlier versions.
    """

    winner: str
    validation: dict[str, list[float | None]]
    opened: Opening
    arms: dict[str, ArmScores]
    differences: list[Difference]
    classical: FittedBaselines
    steps: Steps
    source_psnr: dict[str, float]
    interpolation: Interpolation | None
    front: list[FrontResult]
    pictures: list[Picture]
    candidates: list[Candidate]
    runs: str
    choice: Choice | None = None
    constant_fields: float | None = None
