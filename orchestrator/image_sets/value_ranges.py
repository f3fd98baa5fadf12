"""The value range of a set of images of any depth: stated, found in their headers or measured once for all of them."""

from collections.abc import Sequence
from typing import NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from orchestrator.experiment.image_settings import ANY_TYPE, DICOM_VALUES, DeepImages
from orchestrator.image_sets.deep_images import FileShape
from trainables.errors import ImageSetError
from trainables.images.raster import DataType, PixelFormat

PERCENTILES = (0.1, 99.9)
"""Percentiles of the training images' values that mean 0 and 1 where a range is measured."""

_MOST_OUTSIDE, _NOTED_OUTSIDE, _LEAST_USED = 0.99, 0.02, 1e-3
"""Shares of values outside a range that are refused and noted, and of the range that values must span."""


class Sampled(NamedTuple):
    """Some values of an image, and the window that its file states, if any."""

    values: NDArray[np.float32]
    window: tuple[float, float] | None


def format_of(
    deep: DeepImages, shape: FileShape, train: Sequence[Sampled], where: str
) -> tuple[PixelFormat, list[str]]:
    """The meaning of a set's values.

    Args:
        deep: The target's settings.
        shape: Data type and bands of its images.
        train: Samples of the training images, the only ones that are measured.
        where: Its folder, for errors.

    Returns:
        The pixel format, and lines that a user should know.

    Raises:
        ImageSetError: If no range is stated for this data type or in the files, or the values do not fit it.
    """
    values = np.concatenate([np.empty(0, np.float32), *(image.values for image in train)])
    match deep.value_range:
        case "percentile":
            low, high = _measured(values, where)
        case "window":
            low, high = _window([image.window for image in train], where)
        case stated:
            low, high = _stated(stated, shape, where)
    notes = check_fit(values, low, high, where)
    return PixelFormat(cast(DataType, shape.dtype), shape.bands, low, high, shape.units, shape.dicom), notes


def check_fit(values: NDArray[np.float32], low: float, high: float, where: str) -> list[str]:
    """Compares a range with a sample of values.

    Returns:
        A line where more than a few of them lie outside.

    Raises:
        ImageSetError: If nearly all lie outside, or fill next to nothing of it.
    """
    if not len(values):
        return []
    span = f"which run from {values.min():g} to {values.max():g}"
    outside = float(((values < low) | (values > high)).mean())
    if outside > _MOST_OUTSIDE:
        raise ImageSetError(
            f"The value_range {low:g} to {high:g} does not fit the values of '{where}', {span}: {outside:.1%} of them "
            "lie outside and would be cut off. State the values that mean 0 and 1, in the files' own units."
        )
    first, last = np.percentile(values, [1, 99])
    if 0 < last - first < _LEAST_USED * (high - low):
        raise ImageSetError(
            f"The value_range {low:g} to {high:g} does not fit the values of '{where}', {span}: they fill less than "
            f"{_LEAST_USED:.1%} of it. State the values that mean 0 and 1, in the files' own units."
        )
    if outside > _NOTED_OUTSIDE:
        return [f"{outside:.1%} of the training values lie outside the value_range {low:g} to {high:g} and are cut off"]
    return []


def _stated(ranges: dict[str, tuple[float, float]], shape: FileShape, where: str) -> tuple[float, float]:
    keys = (*((DICOM_VALUES,) if shape.dicom else ()), shape.dtype, ANY_TYPE)
    found = next((ranges[key] for key in keys if key in ranges), None)
    if found is None:
        raise ImageSetError(
            f"The images of '{where}' are {shape.dtype}, and value_range states {', '.join(ranges)} alone: add "
            f"{shape.dtype}."
        )
    return found


def _measured(values: NDArray[np.float32], where: str) -> tuple[float, float]:
    low, high = (float(value) for value in np.percentile(values, PERCENTILES)) if len(values) else (0.0, 0.0)
    if not low < high:
        raise ImageSetError(
            f"The values of '{where}' are nearly all {low:g}, so that no value_range can be measured: state one."
        )
    return low, high


def _window(windows: Sequence[tuple[float, float] | None], where: str) -> tuple[float, float]:
    """The median of the windows that the images state."""
    stated = [window for window in windows if window is not None]
    if len(stated) * 2 < len(windows) or not stated:
        raise ImageSetError(
            f"Of the {len(windows)} training images of '{where}', {len(stated)} state a window (as DICOM files may): "
            "state the value_range as [low, high] instead."
        )
    low, high = (float(value) for value in np.median(stated, axis=0))
    return low, high
