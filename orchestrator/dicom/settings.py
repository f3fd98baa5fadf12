"""Settings of the upscaling of DICOM images, and the facts of an output."""

from dataclasses import dataclass
from typing import TypedDict

from orchestrator.dicom.slice import Normalisation
from trainables.errors import UsageError
from trainables.inference.downscaling import Downscaling
from trainables.inference.tiling import TILE
from trainables.metrics.consistency_record import ConsistencyRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class DicomSettings:
    """Settings for upscaling DICOM images.

    Attributes:
        digest: SHA-256 of the model's weights.
        model: Name of the model in the output.
        normalisation: As of :meth:`Slice.value_range`.
        units: Unit of the two values of ``normalisation``; "" if it is not known.
        tile: Largest side of a tile in LR pixels.
        ensemble: True to average the eight flips and rotations.
        downscaling: How the output is downscaled for back-projection, see :mod:`trainables.inference.radiometry`; None
            for none.
    """

    digest: str
    model: str
    normalisation: Normalisation = "stored"
    units: str = ""
    tile: int = TILE
    ensemble: bool = False
    downscaling: Downscaling | None = "area"

    def __post_init__(self) -> None:
        if isinstance(self.normalisation, tuple) and not self.normalisation[0] < self.normalisation[1]:
            low, high = self.normalisation
            raise UsageError(f"normalisation must be two values LOW,HIGH with LOW below HIGH, found {low:g},{high:g}.")


class ValueRange(TypedDict):
    """Values that meant 0 and 1, and the rule that gave them."""

    rule: str
    low: float
    high: float


class DicomFacts(TypedDict):
    """Facts of an upscaled image.

    A TIFF has no ``sop_instance_uid``, and notes say what was dropped. Of several frames, sizes are those of one, the
    range is from the least to the greatest value of all, and consistency is over all, with the flags of any.
    """

    width: int
    height: int
    bits: int
    signed: bool
    photometric: str
    normalisation: ValueRange
    valid_percent: float
    sop_instance_uid: str | None
    consistency: ConsistencyRecord
    notes: list[str]
    frames: int


def rule_of(settings: DicomSettings) -> str:
    """Name of the rule by which values mean 0 and 1, for records."""
    chosen = settings.normalisation
    return chosen if isinstance(chosen, str) else f"{chosen[0]:g},{chosen[1]:g}"
