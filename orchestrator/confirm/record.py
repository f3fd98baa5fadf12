"""Result of a confirmation, as its stage's record keeps it and the report reads it."""

from typing import Literal

from pydantic import Field

from orchestrator.confirm.run_record import FittedBaselines, Interpolation
from orchestrator.data.locked_test import Opening
from orchestrator.foundation.configuration import Configuration
from orchestrator.foundation.record import Count, FileName, Record
from orchestrator.foundation.vocabulary import Verdict

Metric = Literal["psnr", "ssim"]


class Candidate(Record):
    """A configuration that can win.

    Attributes:
        name: Name of its runs.
        label: The name in words.
        configuration: Its configuration; None for the source model as it is.
        validation_psnr: PSNR in dB of each fresh seed, None for a diverged one; empty before they are trained.
        search_psnr: PSNR in dB of its trial; None if it was not a trial.
    """

    name: str
    label: str
    configuration: Configuration | None
    validation_psnr: list[float | None]
    search_psnr: float | None

    @property
    def scores(self) -> list[float]:
        """PSNR in dB of the seeds that did not diverge."""
        return [value for value in self.validation_psnr if value is not None]


class ArmScores(Record):
    """Mean PSNR in dB and SSIM of one arm over test images and runs, and PSNR run by run.

    Of other than 8-bit gray and RGB images also PSNR of each band and, of several bands, SAM in degrees and ERGAS.
    """

    psnr: float
    ssim: float
    psnr_by_seed: list[float]
    images: Count
    bands: list[float] = Field(default_factory=list)
    sam: float | None = None
    ergas: float | None = None


class Difference(Record):
    """Mean paired difference ``arm - baseline`` over test images with its 95 % bootstrap interval.

    ``wilcoxon_p`` is the two-sided p of the signed-rank test on the scenes' means; the verdict rests on the interval.
    """

    arm: str
    baseline: str
    metric: Metric
    mean: float
    low: float
    high: float
    scenes: int
    verdict: Verdict
    wilcoxon_p: float


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
        winner: Name of the winning candidate.
        validation: PSNR in dB of each candidate's seeds, None for a diverged one.
        opened: Time at which the test split was opened, and the choice made before it.
        arms: Scores on the test split, by arm.
        differences: Differences between arms on the test split.
        classical: The fitted baselines.
        steps: Configurations of the steps between zero-shot and the winner.
        source_psnr: Mean PSNR in dB on held-out source images, by arm that may forget them.
        interpolation: Average of the winner's and the source's weights; None if the source model won.
        front: Points of the front of quality and speed; empty if speed was not an objective.
        pictures: Crops of test images.
        candidates: All candidates.
        runs: Path of the folder of its runs below the experiment's.
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
