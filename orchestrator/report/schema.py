"""Typed contents of ``report.json``, the only source of every page and table.

All PSNR values are in dB and all SSIM values in [0, 1], both higher-is-better. ``test`` numbers come from the
confirmation on the test split; ``validation`` numbers serve to choose and are never a result.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from orchestrator.confirm.record import Candidate, Choice, Difference
from orchestrator.finish.recipe import Recipe
from orchestrator.foundation.configuration import Configuration
from orchestrator.foundation.vocabulary import ArmName
from orchestrator.report.forgetting import Forgetting
from orchestrator.report.study_facts import StudyFacts
from orchestrator.search.trial_record import TrialOrigin


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class CurvePoint(_Record):
    """One point of a learning curve."""

    step: int
    value: float


class Trial(_Record):
    """One trial of a domain's study; ``psnr`` is on validation images, at the end of a finished trial.

    ``speed`` is that of its network in megapixels of output per second, if it was an objective too.
    """

    number: int
    origin: TrialOrigin
    configuration: Configuration
    sampled_lambda: float
    status: Literal["finished", "stopped", "diverged"]
    psnr: float | None
    seconds: float
    curve: list[CurvePoint]
    speed: float | None = None


class Arm(_Record):
    """A method of upscaling and its scores on the test split: means over images, and over the seeds of trained ones.

    ``chosen`` names settings that were tuned on validation images, ``validation_psnr`` is the score of a classical
    baseline there, and ``source_psnr`` that of a network that started from the source model on held-out source images.
    ``bands`` (PSNR of each), ``sam`` in degrees and ``ergas`` are those of other than 8-bit gray and RGB images.
    """

    name: ArmName
    label: str
    psnr: float
    ssim: float
    psnr_by_seed: list[float]
    chosen: str | None = None
    validation_psnr: float | None = None
    source_psnr: float | None = None
    bands: dict[str, float] | None = None
    sam: float | None = None
    ergas: float | None = None


class Panel(_Record):
    """One picture of a side-by-side comparison; ``file`` is a PNG beside the report."""

    label: str
    file: str
    psnr: float | None  # of the whole image


class Comparison(_Record):
    """Crops of one test image under several arms."""

    image: str
    panels: list[Panel]


class Opening(_Record):
    """Opening of the locked test split: its time, the program, and the choice made before it."""

    at: str
    by: str
    after_choosing: str


class Optimism(_Record):
    """Optimism of the search: the winner's score in the search beside that of fresh seeds, in dB.

    ``search_psnr`` is the winning trial's and ``confirmed_psnr`` the mean of its fresh seeds, both on validation. For
    the test split, which has other images, only the gain over the source model can be compared.
    """

    search_psnr: float
    confirmed_psnr: float
    search_gain: float
    confirmed_gain: float
    test_gain: float


class Interpolation(_Record):
    """Average of the winner's weights and the source's; ``share`` is 1 if averaging gained nothing on validation.

    ``limit`` says what a limit on forgetting, ``search.keep_source``, did: it passed over a share with a better mean on
    validation (``restricted``), or even the smallest share ``exceeded`` it. It is None otherwise.
    """

    share: float
    limit: Literal["restricted", "exceeded"] | None = None
    validation: list[tuple[float, float]]  # share, mean PSNR
    model: str | None


class AdviceGrade(_Record):
    """Advice of domain analysis and its grade; None for parts that cannot be graded.

    Regrets are in dB of validation PSNR in the search: the best trial minus the best advised point, and the default
    fine-tune minus the best advised point.
    """

    regime: str
    frozen_depth: tuple[int, int]
    depth_was_right: bool | None
    regret_to_best: float | None
    regret_to_default: float | None
    expected_gain: bool | None
    gain_was_right: bool | None
    sentence: str


class SearchWorthGrade(_Record):
    """Predicted worth of a search and its grade; None where the study cannot grade it.

    ``worth`` is the best trial's gain over the portfolio's in dB of validation PSNR.
    """

    predicted: str
    found: str | None
    worth: float | None
    right: bool | None
    sentence: str


class FrontPoint(_Record):
    """A trial that no other one beats in both validation PSNR and speed.

    ``search_psnr`` is the trial's. Later scores are of fresh seeds, as of every arm, and None if the point was not
    confirmed or all of its seeds diverged; ``difference`` is best minus this point.
    """

    kept_blocks: int
    trial: int
    configuration: Configuration
    megapixels_per_second: float
    search_psnr: float
    confirmed: bool
    is_best: bool
    validation_psnr: float | None
    test_psnr: float | None
    test_ssim: float | None
    difference: Difference | None
    model: str | None


class Front(_Record):
    """The front of quality and speed, the best quality first; speed is of output, on ``device``."""

    device: str
    blocks: int
    points: list[FrontPoint]


class SceneDifference(_Record):
    """PSNR in dB of the best arm minus every other arm's, over the images and seeds of one test scene.

    ``group`` is the scene's folder, or the first part of its name; None if that does not group the scenes.
    """

    scene: str
    group: str | None
    gains: dict[ArmName, float]


class GroupDifference(_Record):
    """Mean of the differences of a group's scenes."""

    group: str
    scenes: int
    gains: dict[ArmName, float]


class Length(_Record):
    """One length of training that was tried: steps, and mean PSNR on validation over the seeds that did not diverge."""

    steps: int
    validation_psnr: float | None


class Finished(_Record):
    """The finished model: the winner's configuration, trained for longer on the images of ``trained_on``.

    All but its scores was decided on validation before: ``lengths`` were trained on the training split alone, and
    ``single_psnr`` and ``averaged_psnr`` compare single seeds with their mean weights. ``steps`` is None where the
    source model won, which is not trained. ``confirmed_model`` is the confirmed model beside it.
    """

    steps: int | None
    seeds: list[int]
    trained_on: list[str]
    lengths: list[Length]
    still_rises: bool
    single_psnr: float | None
    averaged_psnr: float | None
    confirmed_model: str
    opened: Opening | None


class SplitCounts(_Record):
    """Numbers of images and scenes of a domain, by split."""

    images: dict[str, int]
    scenes: dict[str, int]
    skipped: int


class DomainReport(_Record):
    """Result for one target domain, with the data behind it.

    ``pixel_format`` says what the values of other than 8-bit gray and RGB images mean. ``choice`` holds the candidates'
    validation differences from the best mean, which the answer rests on. ``scenes`` and ``groups`` begin with the
    largest loss. Reports of earlier versions have none of these three.
    """

    space: str
    degradation: str
    pixel_format: str | None = None
    counts: SplitCounts
    verdict: str
    flags: list[str]
    remarks: list[str]  # those that change a decision first
    configuration: Configuration | None
    model: str
    arms: list[Arm]
    differences: list[Difference]
    scenes: list[SceneDifference] = []
    groups: list[GroupDifference] = []
    candidates: list[Candidate]
    winner: str
    choice: Choice | None = None
    optimism: Optimism | None
    interpolation: Interpolation | None
    advice: AdviceGrade | None
    search_worth: SearchWorthGrade | None = None
    trials: list[Trial]
    study: StudyFacts | None = None
    front: Front | None = None
    forgetting: Forgetting | None = None
    finished: Finished | None = None
    recipe: Recipe | None = None
    lambda_floor: float
    frozen_depth_limit: int
    steps_per_trial: int
    test_opened: Opening
    earlier_openings: list[Opening]
    comparisons: list[Comparison]


class SourceReport(_Record):
    """Origin of the source model: pretrained in this experiment, or an existing ``model``."""

    name: str
    degradation: str
    parameters: dict[str, int]
    macs_per_lr_pixel: int
    blocks: list[str]
    model: str | None = None
    licence: str | None = None
    metrics: dict[str, float] = {}  # as the model's own card says
    steps: int | None = None
    counts: SplitCounts | None = None
    loss: list[CurvePoint] = []  # mean absolute error on the [0, 1] scale
    validation_psnr: float | None = None
    validation_psnr_bicubic: float | None = None


class Report(_Record):
    """Results of a whole experiment."""

    rayscale: str
    experiment: str
    created: str
    generated_samples: bool
    scale: int
    seeds: list[int]
    protocol: list[str]
    notes: list[str]
    environment: dict[str, str]
    stage_seconds: dict[str, float]
    source: SourceReport
    domains: dict[str, DomainReport]
    next_commands: list[str]
    missing: dict[str, str] = {}  # domains that failed, with stage and reason
