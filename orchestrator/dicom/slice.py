"""One grayscale DICOM image as stored values, and the values that mean black and white to a network.

Paragraphs of DICOM PS3.3 2024 are cited by number.
"""

import io
import warnings
import zlib
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError
from pydicom.filereader import _read_file_meta_info
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.utils import pixel_array
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, RLELossless

from orchestrator.dicom.element_values import DicomError, has_value, whole_number
from orchestrator.dicom.padding import padded, padding_range
from orchestrator.dicom.units import rescale_of, window_of

Normalisation = Literal["stored", "window"] | tuple[float, float]
MOST_PIXELS = 1 << 27
"""Most pixels of an image: above the largest scanned film, and few enough to decode for any damaged file."""

_GRAY = ("MONOCHROME1", "MONOCHROME2")
MOST_INFLATED = 2 * MOST_PIXELS + (64 << 20)
RLE_AT_MOST = 64
"""Bytes that one byte of a run-length code becomes at most (PS3.5 G.3)."""


@dataclass(frozen=True, slots=True)
class Slice:
    """One image and the meaning of its values.

    Attributes:
        dataset: All of the file's elements.
        values: (H, W) stored values, int16, uint16 or uint8.
        valid: (H, W), False where a pixel is padding, which fills what the scanner did not see (C.7.5.1.1.2).
        limits: Least and greatest value that the stored bits can hold.
        inverted: True if low values are shown bright, as in MONOCHROME1.
        padding: Least and greatest value that means padding.
    """

    dataset: Dataset
    values: NDArray[Any]
    valid: NDArray[np.bool_]
    limits: tuple[int, int]
    inverted: bool
    padding: tuple[int, int] | None = None

    @property
    def rescale(self) -> tuple[float, float]:
        """Slope and intercept from stored values to units such as Hounsfield's; 1 and 0 where the file has none.

        Raises:
            DicomError: If they are no numbers, or the slope is 0.
        """
        return rescale_of(self.dataset)

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
        low, high = window_of(self.dataset) if normalisation == "window" else normalisation
        slope, intercept = self.rescale
        ends = sorted(((low - intercept) / slope, (high - intercept) / slope))
        return ends[0], ends[1]


def read_slice(data: bytes) -> Slice:
    """Reads one grayscale image of 8 to 16 bits with the bits around its stored bits cleared.

    Raises:
        DicomError: ``unreadable``, ``corrupt`` or ``unsupported``, whatever is wrong with the bytes.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's remarks on values that this leaves as they are
        try:
            return _read(data)
        except DicomError:
            raise
        except Exception as error:  # malformed elements end in errors of many kinds
            raise DicomError("corrupt", f"its elements do not describe an image ({_line(error)})") from None


def _read(data: bytes) -> Slice:
    try:
        _check_inflated_size(data)
        dataset = dcmread(io.BytesIO(data))
    except DicomError:
        raise
    except InvalidDicomError:
        raise DicomError("unreadable", "no DICOM file: the mark 'DICM' at byte 128 is missing") from None
    except Exception as error:
        raise DicomError("corrupt", f"its elements cannot be read ({_line(error)})") from None
    _check(dataset)
    try:
        raw = pixel_array(dataset, correct_unused_bits=False)
    except Exception as error:  # decoders too have errors of their own
        raise DicomError("corrupt", f"its pixels cannot be decoded ({_line(error)})") from None
    return slice_of(dataset, raw)


def slice_of(dataset: Dataset, raw: NDArray[Any]) -> Slice:
    """An image from its elements, which :func:`check_description` took, and its decoded pixels.

    Args:
        dataset: The elements.
        raw: (H, W), all bits that are allocated.

    Raises:
        DicomError: ``corrupt``, if they do not fit together.
    """
    allocated, stored = (whole_number(dataset, name) for name in ("BitsAllocated", "BitsStored"))
    signed = bool(whole_number(dataset, "PixelRepresentation"))
    padding = padding_range(dataset, allocated, stored, signed)
    if raw.shape != (dataset.Rows, dataset.Columns) or raw.dtype.itemsize * 8 != allocated:
        raise DicomError("corrupt", f"its pixels are {raw.shape} of {raw.dtype}, not what its elements say")
    limits = limits_of(dataset)
    values = _only_stored_bits(raw, stored, signed)
    hole = padded(raw, values, padding, limits)
    values = np.where(hole, raw, values)  # padding may be a value that the stored bits do not hold
    return Slice(dataset, values, ~hole, limits, dataset.PhotometricInterpretation == "MONOCHROME1", padding)


def limits_of(dataset: Dataset) -> tuple[int, int]:
    """Least and greatest value that the stored bits of an image can hold."""
    stored = whole_number(dataset, "BitsStored")
    if whole_number(dataset, "PixelRepresentation"):
        return -(1 << stored - 1), (1 << stored - 1) - 1
    return 0, (1 << stored) - 1


def _check_inflated_size(data: bytes) -> None:
    """Refuses data that would inflate beyond the limit, before all of them are inflated.

    Raises:
        DicomError: ``corrupt``.
    """
    if data[128:132] != b"DICM" or DeflatedExplicitVRLittleEndian.encode() not in data:
        return
    file = io.BytesIO(data)
    file.seek(132)
    if _read_file_meta_info(file).get("TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
        return
    inflater, rest, inflated = zlib.decompressobj(-zlib.MAX_WBITS), file.read(), 0
    while rest and not inflater.eof:
        inflated += len(inflater.decompress(rest, 1 << 24))
        rest = inflater.unconsumed_tail
        if inflated > MOST_INFLATED:
            raise DicomError("corrupt", f"its deflated elements become more than {MOST_INFLATED >> 20} MiB")


def _check(dataset: Dataset) -> None:
    if "PixelData" not in dataset:
        # pydicom leaves out an element that is cut short, or all that lie around it.
        cut = ", or it ends too early" if has_value(dataset, "Rows") or not len(dataset) else ""
        what = f"modality {dataset.Modality}" if has_value(dataset, "Modality") else _kind_of_object(dataset)
        raise DicomError("unsupported", f"it holds no image of whole numbers ({what}){cut}")
    if holds_frames(dataset):
        raise DicomError(
            "unsupported",
            f"it is a multi-frame object ({number_of_frames(dataset)} frames) whose frames cannot be read one by one; "
            "store it without deflated elements",
        )
    check_description(dataset)
    _check_bytes(dataset)


def number_of_frames(dataset: Dataset) -> int:
    """The number of images in a file; 1 where it does not say."""
    return whole_number(dataset, "NumberOfFrames") if has_value(dataset, "NumberOfFrames") else 1


def holds_frames(dataset: Dataset) -> bool:
    """Returns True of a multi-frame object, of one frame too, whose functional groups describe it."""
    return number_of_frames(dataset) > 1 or "SharedFunctionalGroupsSequence" in dataset


def check_description(dataset: Dataset) -> None:
    """Refuses elements that do not describe grayscale images of 8 to 16 bits that can be decoded.

    Raises:
        DicomError: ``corrupt`` or ``unsupported``.
    """
    photometric, samples = dataset.get("PhotometricInterpretation"), whole_number(dataset, "SamplesPerPixel")
    if photometric not in _GRAY or samples != 1:
        raise DicomError("unsupported", f"{photometric} with {samples} samples a pixel is not {' or '.join(_GRAY)}")
    if dataset.get("Modality") == "SEG":
        raise DicomError("unsupported", "its values are labels of a segmentation")
    allocated, stored, highest = (whole_number(dataset, name) for name in ("BitsAllocated", "BitsStored", "HighBit"))
    if allocated not in (8, 16) or not 8 <= stored <= allocated or highest != stored - 1:
        raise DicomError(
            "unsupported", f"{stored} bits up to bit {highest} of {allocated} are not 8 to 16 bits from bit 0 up"
        )
    if whole_number(dataset, "PixelRepresentation") not in (0, 1):
        raise DicomError("corrupt", f"its PixelRepresentation is {dataset.PixelRepresentation}, where 0 or 1 is due")
    if not isinstance(getattr(dataset, "file_meta", {}).get("TransferSyntaxUID"), str):
        raise DicomError("corrupt", "it does not say how its pixels are encoded (no single TransferSyntaxUID)")
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax == ExplicitVRBigEndian:
        raise DicomError("unsupported", "the retired big-endian syntax; convert it to little endian first")
    if not syntax.is_transfer_syntax:
        raise DicomError("corrupt", f"its TransferSyntaxUID, {str(syntax)[:64]}, is none")
    if syntax.is_compressed:
        _check_decodable(syntax)
    _check_size(dataset)


def _kind_of_object(dataset: Dataset) -> str:
    """Kind of object that the file states, such as a directory of files."""
    kind = dataset.get("SOPClassUID") or getattr(dataset, "file_meta", {}).get("MediaStorageSOPClassUID")
    return str(getattr(kind, "name", kind))


def _check_size(dataset: Dataset) -> None:
    height, width = (whole_number(dataset, name) for name in ("Rows", "Columns"))
    if height < 1 or width < 1:
        raise DicomError("corrupt", f"it has {height} rows and {width} columns")
    if height * width > MOST_PIXELS:
        raise DicomError("unsupported", f"{height} x {width} pixels are more than {MOST_PIXELS >> 20} Mi of them")


def _check_bytes(dataset: Dataset) -> None:
    """Refuses images that their data cannot fill, before memory is taken for them."""
    height, width = dataset.Rows, dataset.Columns
    found, whole = len(dataset.get_item("PixelData").value or b""), frame_bytes(dataset)
    syntax = dataset.file_meta.TransferSyntaxUID
    if not syntax.is_compressed and found < whole:
        raise DicomError(
            "corrupt", f"its pixels cannot be decoded: {found} bytes, where {height} x {width} pixels are {whole}"
        )
    if syntax == RLELossless and found * RLE_AT_MOST < whole:
        raise DicomError("corrupt", f"its pixels cannot be decoded: {found} bytes cannot become {whole}")


def frame_bytes(dataset: Dataset) -> int:
    """Bytes of one decoded image."""
    height, width, allocated = (whole_number(dataset, name) for name in ("Rows", "Columns", "BitsAllocated"))
    return height * width * allocated // 8


def _check_decodable(syntax: Any) -> None:
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        raise DicomError("unsupported", f"{syntax.name} is no syntax of single images that can be decoded") from None
    if not decoder.is_available:
        needed = "; or ".join(decoder.missing_dependencies)
        raise DicomError("unsupported", f"{syntax.name} needs a decoder that is not installed: {needed}")


def _only_stored_bits(values: NDArray[Any], stored: int, signed: bool) -> NDArray[Any]:
    """Clears the bits above the stored ones, where older files keep overlays, and extends the sign."""
    unused = 8 * values.dtype.itemsize - stored
    if not unused:
        return values
    kind = np.dtype(f"{'i' if signed else 'u'}{values.dtype.itemsize}")
    cleared: NDArray[Any] = (values.view(kind) << unused) >> unused
    return cleared


def _line(error: Exception) -> str:
    return (str(error).split("\n")[0] or type(error).__name__)[:160]
