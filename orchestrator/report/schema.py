"""What a report says: the typed contents of ``report.json``, the one source of every page and table.

All PSNR values are in dB and all SSIM values in [0, 1], both higher-is-better. ``test`` numbers come from the
confirmation on the test split; ``validation`` numbers only ever choose, they are never the result.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from orchestrator.confirm.record import Candidate, Difference
from orchestrator.foundation.configuration import Configuration
from orchestrator.foundation.vocabulary import ArmName
from orchestrator.report.study_facts import StudyFacts
from orchestrator.search.trial_record import TrialOrigin


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class CurvePoint(_Record):
    """One point of a learning curve."""

    step: int
    value: float


class Trial(_Record):
    """One trial of a domain's study. ``psnr`` is measured on validation images, at the end of a finished one.

    ``speed`` is that of its network in megapixels of output per second, where that was searched too.
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
    """One way to upscale, scored on the test split: mean over images, and over seeds where it is trained.

    ``chosen`` says what was tuned on validation images, ``validation_psnr`` what it scored there (classical baselines),
    and ``source_psnr`` how it does on held-out images of the source, for networks that began with the source model.
    """

    name: ArmName
    label: str
    psnr: float
    ssim: float
    psnr_by_seed: list[float]
    chosen: str | None = None
    validation_psnr: float | None = None
    source_psnr: float | None = None


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
    """When the locked test split was opened, by what, and after which choice."""

    at: str
    by: str
    after_choosing: str


class Optimism(_Record):
    """How much of the winner's score was luck of the search, in dB.

    ``search_psnr`` is the winning trial's and ``confirmed_psnr`` the mean of its fresh seeds, both on validation. Test
    images are others, so with them only gains over the source model as it is can be compared.
    """

    search_psnr: float
    confirmed_psnr: float
    search_gain: float
    confirmed_gain: float
    test_gain: float


class Interpolation(_Record):
    """The winner's weights averaged with the source's; a ``share`` of 1 where that gained nothing on validation."""

    share: float
    validation: list[tuple[float, float]]  # share, mean PSNR
    model: str | None


class AdviceGrade(_Record):
    """What domain analysis advised, and how that turned out; None where it cannot be said.

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


class FrontPoint(_Record):
    """A trial that no other one beat in both validation PSNR and speed.

    ``search_psnr`` is the trial's. What follows is of fresh seeds, as of every arm, and None where the point was not
    confirmed or all of them diverged; ``difference`` is best minus this one.
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


class SplitCounts(_Record):
    """How many images and scenes of a domain went where."""

    images: dict[str, int]
    scenes: dict[str, int]
    skipped: int


class DomainReport(_Record):
    """The answer for one target domain and all that backs it."""

    space: str
    degradation: str
    counts: SplitCounts
    verdict: str
    flags: list[str]
    remarks: list[str]
    configuration: Configuration | None
    model: str
    arms: list[Arm]
    differences: list[Difference]
    candidates: list[Candidate]
    winner: str
    optimism: Optimism | None
    interpolation: Interpolation | None
    advice: AdviceGrade | None
    trials: list[Trial]
    study: StudyFacts | None = None
    front: Front | None = None
    lambda_floor: float
    frozen_depth_limit: int
    steps_per_trial: int
    test_opened: Opening
    earlier_openings: list[Opening]
    comparisons: list[Comparison]


class SourceReport(_Record):
    """How the source model came to be: pretrained here, or ``model`` where one was there already."""

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
    """A whole experiment's answer."""

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
