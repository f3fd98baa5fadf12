"""Depth of images: how many steps a sensor or file has between the values that are 0 and 1 to a network."""

from typing import Protocol

EIGHT_BITS = 255.0
"""Steps between 0 and 1 of 8-bit values."""


class ValueRange(Protocol):
    """A :class:`trainables.images.raster.PixelFormat`, as far as a degradation depends on it."""

    @property
    def plain(self) -> bool:
        """True for 8-bit gray and RGB from 0 to 255."""

    @property
    def levels(self) -> float | None:
        """Steps of the stored values between 0 and 1; None for decimals."""

    @property
    def low(self) -> float:
        """Value that is 0."""

    @property
    def high(self) -> float:
        """Value that is 1."""

    @property
    def units(self) -> str:
        """Unit of the values."""


def rounding_of(levels: float | None) -> str:
    """A few words for reports and errors."""
    return "no rounding" if levels is None else f"rounding to 1/{levels:g}"
