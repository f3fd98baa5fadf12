"""An image of any depth and number of bands, and the meaning of its values to a network.

A network sees values between 0 and 1. Which stored values these are is said once for a domain, by its
:class:`PixelFormat`, and never guessed from one image.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray

from trainables.errors import UsageError

DataType = Literal["uint8", "uint16", "int16", "float32"]
DATA_TYPES: tuple[DataType, ...] = get_args(DataType)
"""Data types that an image's values may have."""

GRAY, RGB = ("gray",), ("red", "green", "blue")
"""Names of the bands of plain images."""

FULL_SCALE = {"uint8": 255, "uint16": 65535}
"""The value that stands for 1 in pixels prepared for a network, by their data type."""


@dataclass(frozen=True, slots=True, eq=False)
class Raster:
    """An image as its owner has it.

    Attributes:
        values: (H, W, C) of one of :data:`DATA_TYPES`.
        bands: Name of each band.
        valid: bool (H, W), False where a pixel has no value in at least one band; None if all have one.
        units: Unit of the values, such as ``HU``; "" where the file states none.
    """

    values: NDArray[Any]
    bands: tuple[str, ...]
    valid: NDArray[np.bool_] | None = None
    units: str = ""

    @property
    def height(self) -> int:
        """Rows in pixels."""
        return int(self.values.shape[0])

    @property
    def width(self) -> int:
        """Columns in pixels."""
        return int(self.values.shape[1])

    @property
    def empty(self) -> bool:
        """True if no pixel has a value."""
        return self.valid is not None and not self.valid.any()

    def window(self, row: int, column: int, height: int, width: int) -> "Raster":
        """A part of it, whose arrays are views."""
        part = np.s_[row : row + height, column : column + width]
        return Raster(self.values[part], self.bands, None if self.valid is None else self.valid[part], self.units)


@dataclass(frozen=True, slots=True, eq=False)
class PreparedImage:
    """Pixels as networks are trained on them.

    Attributes:
        pixels: (H, W, C): uint8 of a plain format, otherwise uint16; the type's largest value stands for 1.
        valid: bool (H, W), False where a pixel has no value, which is 0 there; None if all have one.
    """

    pixels: NDArray[Any]
    valid: NDArray[np.bool_] | None = None


@dataclass(frozen=True, slots=True)
class PixelFormat:
    """Data type and bands of a domain's images, and the meaning of their values to a network.

    Attributes:
        dtype: Data type of the stored values.
        bands: Name of each band.
        low: Value that is 0 to the network.
        high: Value that is 1 to it, above ``low``.
        units: Unit of the values, "" if none is known.
        dicom: True if they are those of DICOM files after their rescale.
    """

    dtype: DataType
    bands: tuple[str, ...]
    low: float
    high: float
    units: str = ""
    dicom: bool = False

    def __post_init__(self) -> None:
        if self.dtype not in DATA_TYPES or not self.bands or not -1e300 < self.low < self.high < 1e300:
            raise UsageError(
                f"A pixel format needs a data type of {', '.join(DATA_TYPES)}, at least one band and a value range "
                f"with low < high, found {self.dtype!r:.40}, {list(self.bands)!r:.80}, {self.low} to {self.high}."
            )

    @property
    def channels(self) -> int:
        """Number of bands."""
        return len(self.bands)

    @property
    def plain(self) -> bool:
        """True for 8-bit gray and RGB from 0 to 255, which share networks and are compared on luma."""
        return self.dtype == "uint8" and self.bands in (GRAY, RGB) and (self.low, self.high) == (0, 255)

    @property
    def levels(self) -> float | None:
        """Steps of the stored values between 0 and 1, to which a sensor rounds; None for decimals."""
        return None if self.dtype == "float32" else self.high - self.low

    def prepared(self, raster: Raster) -> PreparedImage:
        """The pixels that a network is trained on; values outside the range are cut off.

        Args:
            raster: An image of this data type and these bands.
        """
        if self.plain:
            return PreparedImage(raster.values, raster.valid)
        with np.errstate(invalid="ignore", over="ignore"):
            share = (raster.values.astype(np.float64) - self.low) / (self.high - self.low)
        if raster.valid is not None:
            share[~raster.valid] = 0
        scaled = np.nan_to_num(share, nan=0.0, posinf=1.0, neginf=0.0).clip(0, 1) * FULL_SCALE["uint16"]
        return PreparedImage(np.rint(scaled).astype(np.uint16), raster.valid)

    def values(self, shares: NDArray[Any]) -> NDArray[np.float64]:
        """Stored values, not yet rounded, of shares where the range is 0 to 1: the inverse of normalisation."""
        return shares.astype(np.float64) * (self.high - self.low) + self.low

    def describe(self) -> str:
        """One line: data type, bands and the values that mean 0 and 1."""
        units = f" {self.units}" if self.units else ""
        return f"{self.dtype}, {', '.join(self.bands)}; {self.low:g} to {self.high:g}{units} mean 0 to 1"

    def to_dict(self) -> dict[str, object]:
        """Plain values, as a manifest stores them."""
        return asdict(self) | {"bands": list(self.bands)}

    @classmethod
    def from_dict(cls, stated: Mapping[str, object]) -> "PixelFormat":
        """The inverse of :meth:`to_dict`.

        Raises:
            UsageError: If it makes no sense.
        """
        try:
            plain = cast(dict[str, Any], dict(stated))
            return cls(**plain | {"bands": tuple(str(band) for band in plain["bands"])})
        except (TypeError, KeyError, ValueError):
            raise UsageError(f"This is no pixel format: {stated!r:.200}.") from None


PLAIN = PixelFormat("uint8", RGB, 0, 255)
"""8-bit images; gray ones have three equal bands to a network."""
