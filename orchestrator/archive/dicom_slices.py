"""One grayscale DICOM image as stored values, and which of them mean black and white to a network.

Paragraphs of DICOM PS3.3 2024 are cited by number.
"""

import io
import warnings
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import ExplicitVRBigEndian

from trainables.images import UnreadableImageError

Normalisation = Literal["stored", "window"] | tuple[float, float]
_GRAY = ("MONOCHROME1", "MONOCHROME2")


class DicomError(UnreadableImageError):
    """One DICOM file cannot be upscaled.

    Attributes:
        kind: ``unreadable``, ``corrupt``, ``unsupported`` or ``normalisation``.
        reason: Why, in a few words.
    """

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(kind, reason)
        self.kind, self.reason = kind, reason

    def __str__(self) -> str:
        return self.reason


@dataclass(frozen=True, slots=True)
class Slice:
    """One image and what its values mean.

    Attributes:
        dataset: All of the file's elements.
        values: (H, W) stored values, int16, uint16 or uint8.
        valid: (H, W), False where a pixel is padding, which fills what the scanner did not see (C.7.5.1.1.2).
        limits: Least and greatest value that the stored bits can hold.
        inverted: Whether low values are shown bright, as in MONOCHROME1.
    """

    dataset: Dataset
    values: NDArray[Any]
    valid: NDArray[np.bool_]
    limits: tuple[int, int]
    inverted: bool

    @property
    def rescale(self) -> tuple[float, float]:
        """Slope and intercept from stored values to units such as Hounsfield's; 1 and 0 where the file has none."""
        return float(self.dataset.get("RescaleSlope", 1) or 1), float(self.dataset.get("RescaleIntercept", 0) or 0)

    def padding(self) -> tuple[int, int] | None:
        """Least and greatest stored value that means padding."""
        return _padding(self.dataset)

    def value_range(self, normalisation: Normalisation) -> tuple[float, float]:
        """The stored values that mean 0 and 1 to the network.

        Args:
            normalisation: ``stored``: the limits of the stored bits, the same throughout a series. ``window``: the
                file's first window (C.11.2.1.2), which scanners often set slice by slice. Two values: that range, in
                the file's rescaled units.

        Raises:
            DicomError: ``normalisation``, if the file has no window or values beyond a linear rescale.
        """
        if normalisation == "stored":
            return float(self.limits[0]), float(self.limits[1])
        if "ModalityLUTSequence" in self.dataset:
            raise DicomError("normalisation", "its values pass a table, so no window applies; take the stored range")
        low, high = self._window() if normalisation == "window" else normalisation
        slope, intercept = self.rescale
        ends = sorted(((low - intercept) / slope, (high - intercept) / slope))
        return ends[0], ends[1]

    def _window(self) -> tuple[float, float]:
        center, width = (_first(self.dataset.get(name)) for name in ("WindowCenter", "WindowWidth"))
        if center is None or width is None or width <= 1:
            raise DicomError("normalisation", "it states no window; take the stored range or name one")
        return center - 0.5 - (width - 1) / 2, center - 0.5 + (width - 1) / 2


def read_slice(data: bytes) -> Slice:
    """Reads one grayscale image of 8 to 16 bits with the bits around its stored bits cleared.

    Raises:
        DicomError: ``unreadable``, ``corrupt`` or ``unsupported``.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's remarks on values that this leaves as they are
        try:
            dataset = dcmread(io.BytesIO(data))
        except InvalidDicomError:
            raise DicomError("unreadable", "no DICOM file: the mark 'DICM' at byte 128 is missing") from None
        except Exception as error:  # malformed elements end in errors of many kinds
            raise DicomError("corrupt", f"its elements cannot be read ({_line(error)})") from None
        try:
            _check(dataset)
            stored, signed = int(dataset.BitsStored), bool(dataset.PixelRepresentation)
        except (AttributeError, TypeError, ValueError) as error:
            raise DicomError("corrupt", f"its elements do not describe an image ({_line(error)})") from None
        try:
            values = dataset.pixel_array
        except Exception as error:  # decoders too have errors of their own
            raise DicomError("corrupt", f"its pixels cannot be decoded ({_line(error)})") from None
        values = _only_stored_bits(values, stored, signed)
        padding = _padding(dataset)
    valid = np.ones(values.shape, bool) if padding is None else (values < padding[0]) | (values > padding[1])
    limits = (-(1 << stored - 1), (1 << stored - 1) - 1) if signed else (0, (1 << stored) - 1)
    return Slice(dataset, values, valid, limits, dataset.PhotometricInterpretation == "MONOCHROME1")


def _check(dataset: Dataset) -> None:
    if "PixelData" not in dataset:
        raise DicomError("unsupported", f"it holds no image of whole numbers (modality {dataset.get('Modality')})")
    photometric, samples = dataset.PhotometricInterpretation, int(dataset.SamplesPerPixel)
    if photometric not in _GRAY or samples != 1:
        raise DicomError("unsupported", f"{photometric} with {samples} samples a pixel is not {' or '.join(_GRAY)}")
    frames = int(dataset.get("NumberOfFrames") or 1)
    if frames > 1 or "SharedFunctionalGroupsSequence" in dataset:
        raise DicomError("unsupported", f"it is a multi-frame object ({frames} frames); one slice a file is expected")
    if dataset.get("Modality") == "SEG":
        raise DicomError("unsupported", "its values are labels of a segmentation")
    allocated, stored, highest = int(dataset.BitsAllocated), int(dataset.BitsStored), int(dataset.HighBit)
    if allocated not in (8, 16) or not 8 <= stored <= allocated or highest != stored - 1:
        raise DicomError(
            "unsupported", f"{stored} bits up to bit {highest} of {allocated} are not 8 to 16 bits from bit 0 up"
        )
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax == ExplicitVRBigEndian:
        raise DicomError("unsupported", "the retired big-endian syntax; convert it to little endian first")
    if syntax.is_compressed and not syntax.is_deflated:
        _check_decodable(syntax)


def _check_decodable(syntax: Any) -> None:
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        raise DicomError("unsupported", f"{syntax.name} is no syntax of single images that can be decoded") from None
    if not decoder.is_available:
        needed = "; or ".join(decoder.missing_dependencies)
        raise DicomError("unsupported", f"{syntax.name} needs a decoder that is not installed: {needed}")


def _padding(dataset: Dataset) -> tuple[int, int] | None:
    first = dataset.get("PixelPaddingValue")
    if first is None:
        return None
    last = dataset.get("PixelPaddingRangeLimit")
    ends = sorted((int(first), int(first if last is None else last)))
    return ends[0], ends[1]


def _only_stored_bits(values: NDArray[Any], stored: int, signed: bool) -> NDArray[Any]:
    """Without what older files keep in the bits above, such as overlays, and with the sign where it belongs."""
    unused = 8 * values.dtype.itemsize - stored
    if not unused:
        return values
    kind = np.dtype(f"{'i' if signed else 'u'}{values.dtype.itemsize}")
    cleared: NDArray[Any] = (values.view(kind) << unused) >> unused
    return cleared


def _first(value: Any) -> float | None:
    if value is None or value == "":
        return None
    return float(value) if isinstance(value, int | float | str) else float(value[0])


def _line(error: Exception) -> str:
    return (str(error).split("\n")[0] or type(error).__name__)[:160]
