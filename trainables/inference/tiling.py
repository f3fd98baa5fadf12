"""Exact tiling: tiles of one shape whose outputs together equal the network's output for the whole image.

Shapes: H×W LR pixels, r the scale factor, R the network's receptive radius (``Prepared.radius``).

The image is continued by reflection, as in ``numpy.pad(mode="reflect")``, and each tile is computed with a halo of R
pixels of it. Whatever a network does at its own borders stays within R pixels and is cut off. So the result is
``crop(network(reflect_pad(image, R)), r·R)``, whatever the tiles; a border of the image is treated as none.

On CPUs this holds bit for bit where every convolution adds up in one order for all shapes, which oneDNN's kernels for
AVX2 and later do for the packaged models (tests/trainables/inference/test_tiling.py); elsewhere to the last bits of a
sum.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[Any]

TILE = 256
"""Default largest side of a tile in LR pixels, without its halo."""

LARGEST_TILE = 512
"""Larger ones save little: with a halo of 18 pixels, 512 costs 15 % more than the image, 1024 7 %."""

SMALLEST_TILE = 16


@dataclass(frozen=True, slots=True)
class Tile:
    """A core rectangle of LR pixels, clipped at the right and lower end of an image."""

    row: int
    column: int
    rows: int
    columns: int


@dataclass(frozen=True, slots=True)
class Grid:
    """Grid of tiles that an image is cut into.

    Attributes:
        height: LR rows of the image.
        width: LR columns.
        rows: LR rows of a whole tile, without its halo.
        columns: LR columns of it.
    """

    height: int
    width: int
    rows: int
    columns: int

    @classmethod
    def of(cls, height: int, width: int, tile: int, halo: int, multiple: int = 1) -> "Grid":
        """The grid of least work whose tiles have sides of at most ``tile``.

        Args:
            height: LR rows of the image.
            width: LR columns.
            tile: Largest side of a tile, without its halo.
            halo: LR pixels computed to each side.
            multiple: Number that sides must be multiples of where there is more than one tile along them.
        """
        return cls(height, width, _side(height, tile, halo, multiple), _side(width, tile, halo, multiple))

    def tiles(self, first: int = 0, last: int | None = None) -> Iterator[Tile]:
        """The tiles of rows ``first`` to ``last``, row by row, starting at ``first``."""
        last = self.height if last is None else last
        for row in range(first, last, self.rows):
            for column in range(0, self.width, self.columns):
                yield Tile(row, column, min(self.rows, last - row), min(self.columns, self.width - column))


def _side(length: int, tile: int, halo: int, multiple: int) -> int:
    """Side of the tiles along a line that computes the fewest pixels, halos and the whole last tile included."""
    if length <= tile:
        return length
    least = math.ceil(length / tile)
    if multiple > 1:
        sides = range(multiple, max(tile, multiple) + 1, multiple)
    else:
        sides = range(math.ceil(length / least), tile + 1)
    return min(sides, key=lambda side: (math.ceil(length / side) * (side + 2 * halo), -side))


def reflected(first: int, last: int, length: int) -> NDArray[np.intp]:
    """Indices of pixels ``first`` to ``last`` in a line of ``length`` that is continued by reflection without end."""
    if length == 1:
        return np.zeros(last - first, np.intp)
    period = 2 * (length - 1)
    places = np.arange(first, last) % period
    return np.minimum(places, period - places)


def cut(pixels: Pixels, row: int, column: int, rows: int, columns: int, height: int, first: int = 0) -> Pixels:
    """A window of an image continued by reflection.

    Args:
        pixels: (..., n, W): rows ``first`` to ``first + n`` of the image, among them all that the window needs.
        row: First row of the window, which may lie outside the image.
        column: First column of it.
        rows: Rows of the window.
        columns: Columns of it.
        height: Rows of the whole image.
        first: Row of the image that ``pixels`` begins with.

    Returns:
        (..., rows, columns), a view where the window lies inside.
    """
    width = pixels.shape[-1]
    if row >= 0 and row + rows <= height:
        pixels = pixels[..., row - first : row - first + rows, :]
    else:
        pixels = pixels[..., reflected(row, row + rows, height) - first, :]
    if column >= 0 and column + columns <= width:
        return pixels[..., column : column + columns]
    return pixels[..., reflected(column, column + columns, width)]


def rows_needed(row: int, rows: int, height: int) -> tuple[int, int]:
    """First and last row of the image that :func:`cut` reads for a window."""
    places = reflected(row, row + rows, height)
    return int(places.min()), int(places.max()) + 1
