"""DICOM's padding pixels, compared by their stored bits (PS3.3 C.7.5.1.1.2)."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from orchestrator.dicom.element_values import DicomError, has_value, numbers

_ENDS = ("PixelPaddingValue", "PixelPaddingRangeLimit")


def padding_range(dataset: Dataset, allocated: int, stored: int, signed: bool) -> tuple[int, int] | None:
    """Least and greatest value of a pixel that mean padding.

    Whatever type the file gives to them, they are read as the bits of a pixel: 63536 is -2000 where 16 bits are signed,
    and so are the 12 bits 0x830. A value that the stored bits cannot hold is meant for all bits that are allocated.

    Args:
        dataset: Dataset of the image.
        allocated: Bits of a pixel, 8 or 16.
        stored: Number of them that hold its value.
        signed: True if that has a sign.

    Returns:
        None where the file names no padding, or one that no pixel can hold.

    Raises:
        DicomError: ``corrupt``, if it is no single whole number.
    """
    if not has_value(dataset, _ENDS[0]):
        return None
    ends = [_as_pixel(_number(dataset, name), allocated, stored, signed) for name in _ENDS if has_value(dataset, name)]
    if ends[0] is None:
        return None
    known = sorted(end for end in ends if end is not None)
    return known[0], known[-1]


def padded(
    raw: NDArray[Any], values: NDArray[Any], padding: tuple[int, int] | None, limits: tuple[int, int]
) -> NDArray[np.bool_]:
    """Mask of padding pixels.

    Args:
        raw: (H, W), all allocated bits.
        values: (H, W), the stored bits alone.
        padding: As of :func:`padding_range`.
        limits: Least and greatest value of the stored bits.
    """
    if padding is None:
        return np.zeros(values.shape, bool)
    first, last = padding
    compared = values if limits[0] <= first and last <= limits[1] else raw
    inside: NDArray[np.bool_] = (compared >= first) & (compared <= last)
    return inside


def write_padding(dataset: Dataset, padding: tuple[int, int] | None, signed: bool) -> None:
    """States padding in the type that the standard gives it; leaves alone one that no pixel can hold."""
    if padding is None:
        return
    kind = "SS" if signed else "US"
    dataset.add_new(_ENDS[0], kind, padding[0])
    if has_value(dataset, _ENDS[1]):
        dataset.add_new(_ENDS[1], kind, padding[1])


def _as_pixel(number: int, allocated: int, stored: int, signed: bool) -> int | None:
    if not -(1 << allocated - 1) <= number < 1 << allocated:
        return None
    bits = number & ((1 << allocated) - 1)
    # Of a value with a sign, the bits above the stored ones repeat it or are 0.
    width = stored if signed and bits < 1 << stored else allocated
    return bits - (1 << width) if signed and bits >> width - 1 else bits


def _number(dataset: Dataset, name: str) -> int:
    value = dataset[name].value
    if isinstance(value, bytes):
        # Of a type without numbers (OB, OW, UN): little-endian words of 16 bits.
        found = [float(int.from_bytes(value[at : at + 2], "little")) for at in range(0, len(value), 2)]
    else:
        found = numbers(dataset[name])
    if len(set(found)) != 1 or found[0] != round(found[0]):
        raise DicomError("corrupt", f"its {name} is {str(value)[:40]}, where one whole number is due")
    return round(found[0])
