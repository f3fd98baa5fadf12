"""Result of an evaluation, as printed by ``--json`` and returned by the Python API."""

from typing import NotRequired, TypedDict

from orchestrator.foundation.summaries import LeftOutFile, PassedOver


class PlainScores(TypedDict):
    """Means over plain images: PSNR in dB, SSIM, and LPIPS if requested, None if all images were too small."""

    psnr: float
    ssim: float
    lpips: NotRequired[float | None]


class SceneScores(TypedDict):
    """Means over scenes that have a measure: PSNR in dB, SSIM, spatial correlation, spectral angle (°) and ERGAS."""

    psnr: float | None
    psnr_by_band: list[float | None]
    ssim: float | None
    scc: float | None
    sam: float | None
    ergas: float | None


class DeepScores(TypedDict):
    """Means over images of any depth: PSNR in dB, SSIM, spectral angle (°) and ERGAS; None where not defined."""

    psnr: float
    psnr_by_band: list[float]
    ssim: float
    sam: float | None
    ergas: float | None


class GainRecord(TypedDict):
    """Model minus bicubic in dB of PSNR, with its 95 % interval over images or scenes."""

    mean: float
    low: float
    high: float
    scenes: int


class _Set(TypedDict):
    name: str
    images: int
    gain: GainRecord
    skipped: list[LeftOutFile]
    passed_over: NotRequired[PassedOver]


class PlainSet(_Set):
    """A set of plain images."""

    bicubic: PlainScores
    bilinear: NotRequired[PlainScores]
    lanczos: NotRequired[PlainScores]
    model: PlainScores


class OneScene(TypedDict):
    """Properties of a scene, and its scores by upscaler."""

    name: str
    bands: int
    dtype: str
    normalisation: str
    band_map: str
    scores: dict[str, SceneScores]


class SceneSet(_Set):
    """A set of GeoTIFF scenes."""

    bands: int
    lr: str
    dtype: list[str]
    normalisation: list[str]
    band_map: list[str]
    bicubic: SceneScores
    bilinear: NotRequired[SceneScores]
    lanczos: NotRequired[SceneScores]
    model: SceneScores
    scenes: list[OneScene]


class DeepSet(_Set):
    """A set of images of any depth and bands, scored by the value range of the model's card."""

    bands: list[str]
    protocol: str
    degradation: str
    notes: list[str]
    bicubic: DeepScores
    bilinear: NotRequired[DeepScores]
    lanczos: NotRequired[DeepScores]
    model: DeepScores


class Evaluation(TypedDict):
    """Scores of a model on all sets; the degradation is None if LR images were given."""

    model: str
    scale: int
    precision: str
    degradation: str | None
    self_ensemble: bool
    sets: list[PlainSet | SceneSet | DeepSet]
