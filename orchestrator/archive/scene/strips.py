"""Rows of a scene as arrays, with nodata that the data type can hold and colours that are not multiplied by alpha."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Strip:
    """Some whole rows of a scene.

    Attributes:
        pixels: (image bands, n, W) in the source's data type.
        valid: bool, the same shape; None where every sample has a value.
        alpha: (n, W), transparency.
        mask: bool (n, W), False where the file's mask hides the pixel.
    """

    pixels: NDArray[Any]
    valid: NDArray[np.bool_] | None
    alpha: NDArray[Any] | None
    mask: NDArray[np.bool_] | None

    def joined(self, after: "Strip") -> "Strip":
        """These rows and those that follow."""
        return Strip(*(_joined(getattr(self, name), getattr(after, name)) for name in self.__slots__))

    def rows(self, first: int, last: int) -> "Strip":
        """Some of the rows, counted from this strip's first; views."""
        parts: Iterator[Any] = (getattr(self, name) for name in self.__slots__)
        cut: list[Any] = [None if part is None else part[..., first:last, :] for part in parts]
        return Strip(*cut)


def _joined(above: NDArray[Any] | None, below: NDArray[Any] | None) -> Any:
    return None if above is None or below is None else np.concatenate([above, below], axis=-2)


def unpremultiplied(pixels: NDArray[Any], alpha: NDArray[Any]) -> NDArray[Any]:
    """Divides colours that were multiplied by alpha by it; fully transparent pixels keep theirs."""
    most = np.iinfo(pixels.dtype).max
    wide, share = pixels.astype(np.uint32), np.maximum(alpha, 1).astype(np.uint32)
    straight = np.minimum((wide * most + share // 2) // share, most).astype(pixels.dtype)
    return np.where(alpha > 0, straight, pixels)


def usable_nodata(value: float | None, dtype: str) -> float | None:
    """The value of samples without one; None where there is none, or none that the data type can hold."""
    if value is None or np.dtype(dtype).kind == "f":
        return value
    limits = np.iinfo(dtype)
    return value if limits.min <= value <= limits.max and value == int(value) else None


def tidy_limits(pixels: NDArray[Any], nodata: float) -> None:
    """Replaces float32's limit by nodata where nodata lies beyond it (ESRI's -1.797e308) and files hold the limit."""
    if np.isinf(nodata):
        pixels[pixels == np.sign(nodata) * np.finfo(np.float32).max] = nodata
