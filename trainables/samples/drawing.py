"""Drawing functions shared by the painters: noise, colours, overlapping random shapes, and single shapes.

A picture is an (H, W, C) array of values in 0-1, places in it are (x, y) in pixels.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import fft

Array = NDArray[np.floating[Any]]
Labels = NDArray[np.int32]
Rng = np.random.Generator
Shape = Literal["ellipse", "box", "polygon", "blob", "stroke"]


@dataclass(frozen=True, slots=True)
class Shot:
    """One picture to paint.

    Attributes:
        number: Runs with the scenes; a painter of several kinds of pictures cycles through them by it.
        scene: Random stream that all pictures of a scene start from.
        frame: Random stream of this picture alone.
        height: Rows to paint.
        width: Columns to paint.
    """

    number: int
    scene: Rng
    frame: Rng
    height: int
    width: int


def grid(height: int, width: int) -> tuple[Array, Array]:
    """Row and column of every pixel, each (height, width)."""
    row, column = np.mgrid[:height, :width].astype(np.float32)
    return row, column


def noise(rng: Rng, height: int, width: int, exponent: float, low: float = 1.0) -> Array:
    """Periodic noise of zero mean and unit deviation, amplitude f^-exponent above ``low`` cycles a side."""
    longest = max(height, width)
    fy, fx = np.fft.fftfreq(height)[:, None] * longest, np.fft.rfftfreq(width) * longest
    weight = np.maximum(np.hypot(fy, fx), low).astype(np.float32) ** -exponent
    weight[0, 0] = 0
    white = rng.standard_normal((height, width), dtype=np.float32)
    field = fft.irfft2(fft.rfft2(white) * weight, (height, width))
    return np.asarray(field / field.std(), dtype=np.float32)


def look_up(tile: NDArray[Any], y: Array, x: Array) -> NDArray[Any]:
    """Samples a periodic tile at the pixels nearest to ``y`` and ``x``."""
    rows, columns = y.astype(np.int32) % tile.shape[0], x.astype(np.int32) % tile.shape[1]
    return np.asarray(tile.ravel()[rows * tile.shape[1] + columns])


def related_colours(rng: Rng, count: int, saturation: tuple[float, float], value: tuple[float, float]) -> Array:
    """(count, 3) colours, dark to light, around one earthy, green or blue hue, and one accent."""
    hue = rng.choice([0.07, 0.12, 0.24, 0.57]) + rng.normal(0, 0.06, count)
    hue[rng.integers(count)] += rng.uniform(0.3, 0.7)
    return colours(hue, rng.uniform(*saturation, count), np.linspace(*value, count))


def colours(hue: Array, saturation: Array, value: Array) -> Array:
    """(n, 3) RGB of (n,) hues, saturations and values; hues repeat after 1, the others lie in 0-1."""
    phase = (hue[:, None] * 6 + np.array([5, 3, 1])) % 6
    return np.asarray(value[:, None] * (1 - saturation[:, None] * np.clip(np.minimum(phase, 4 - phase), 0, 1)))


def tint(palette: Array, at: Array) -> Array:
    """Colours at positions 0-1 along a palette, shape ``at.shape + (3,)``."""
    stops = np.linspace(0, 1, len(palette))
    return np.stack([np.interp(at, stops, palette[:, c]) for c in range(3)], axis=-1).astype(np.float32)


def stack(top: Labels, numbers: Labels, items: Array, shape: Shape) -> None:
    """Lays shapes over each other: ``top`` (H, W) becomes the largest number at each pixel.

    Shapes of like size are drawn together, on boxes that just hold them.

    Args:
        top: Labels so far, updated in place.
        numbers: (n,) label of each item.
        items: (n, 5): x, y, half length, half breadth, angle.
        shape: Kind of all shapes; irregularities follow from an item's number.
    """
    level = np.ceil(2 * np.log2(np.hypot(items[:, 2], items[:, 3])))
    for step in np.unique(level):
        members = np.flatnonzero(level == step)
        at_once = int(200_000 / 2.0**step) + 1  # bounds memory
        for start in range(0, len(members), at_once):
            batch = members[start : start + at_once]
            _stack_batch(top, numbers[batch, None, None], items[batch], shape, int(2 ** (step / 2)) + 1)


def _stack_batch(top: Labels, number: Labels, items: Array, shape: Shape, reach: int) -> None:
    height, width = top.shape
    x, y, length, breadth, angle = items.T[..., None, None].astype(np.float32)
    cos, sin = np.cos(angle), np.sin(angle)
    if shape == "stroke":  # long and thin: stepping along it visits far fewer points than its box holds
        along = np.arange(-reach, reach, 0.7, dtype=np.float32)
        across = np.arange(-breadth.max(), breadth.max(), 0.7, dtype=np.float32)[:, None]
        column = np.floor(x + along * cos - across * sin)
        row = np.floor(y + along * sin + across * cos)
        u, v = along / length, across / breadth
    else:
        steps = np.arange(-reach, reach + 1, dtype=np.float32)
        column, row = np.floor(x) + steps, np.floor(y) + steps[:, None]
        u = (column - x) * (cos / length) + (row - y) * (sin / length)
        v = (row - y) * (cos / breadth) - (column - x) * (sin / breadth)
    inside = _inside(shape, u, v, number.astype(np.float32))
    inside &= (row >= 0) & (row < height) & (column >= 0) & (column < width)
    pixels = (row.astype(np.intp) * width + column.astype(np.intp))[inside]
    np.maximum.at(top.reshape(-1), pixels, np.broadcast_to(number, inside.shape)[inside])


def _inside(shape: Shape, u: Array, v: Array, phase: Array) -> NDArray[np.bool_]:
    """Mask of the points inside a shape; ``u`` and ``v`` are -1 to 1 along and across it."""
    if shape == "ellipse":
        return np.asarray(u * u + v * v < 1)
    if shape == "blob":
        return np.asarray(u * u + v * v < 0.6 + 0.3 * np.sin(5 * u + phase) * np.cos(4 * v + 2 * phase))
    if shape == "polygon":
        inside = u < 0.7
        for k in range(1, 5):
            side = 1.257 * k + np.sin(phase * (k + 0.7)) * 0.5
            inside &= u * np.cos(side) + v * np.sin(side) < 0.7
        return np.asarray(inside)
    fray = 0.25 + 0.35 * np.sin(5 * v + phase) * np.sin(17 * v + 3 * phase)  # of the ends, by the bristles
    return np.asarray((np.abs(u) + (fray if shape == "stroke" else 0) < 1) & (np.abs(v) < 1))


def mix(pixels: Array, cover: Array, colour: ArrayLike) -> None:
    """Moves ``pixels`` towards ``colour``, fully where ``cover`` (H, W) is 1 or more, not at all below 0."""
    pixels += np.clip(cover, 0, 1)[..., None] * (np.asarray(colour, np.float32) - pixels)


def draw_capsule(pixels: Array, start: ArrayLike, end: ArrayLike, radius: float, colour: ArrayLike) -> None:
    """Paints a thick line with round ends between two (x, y) points; a disk where they coincide."""
    (ax, ay), (bx, by) = a, b = np.asarray(start, float), np.asarray(end, float)
    dx, dy = bx - ax, by - ay

    def cover(y: Array, x: Array) -> Array:
        t = np.clip(((x - ax) * dx + (y - ay) * dy) / (dx * dx + dy * dy + 1e-9), 0, 1)
        return np.asarray(radius + 0.5 - np.hypot(x - ax - t * dx, y - ay - t * dy))

    _mix_box(pixels, np.minimum(a, b) - radius, np.maximum(a, b) + radius, cover, colour)


def draw_polygon(pixels: Array, points: ArrayLike, colour: ArrayLike) -> None:
    """Paints a convex polygon given as (n, 2) x, y corners."""
    corners = np.asarray(points, float)
    centre = corners.mean(axis=0)

    def cover(y: Array, x: Array) -> Array:
        inner = np.full(x.shape, np.inf)
        for (ax, ay), (bx, by) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
            nx, ny = ay - by, bx - ax
            norm = np.copysign(np.hypot(nx, ny) + 1e-9, (centre[0] - ax) * nx + (centre[1] - ay) * ny)
            inner = np.minimum(inner, ((x - ax) * nx + (y - ay) * ny) / norm)
        return inner + 0.5

    _mix_box(pixels, corners.min(axis=0), corners.max(axis=0), cover, colour)


def _mix_box(pixels: Array, low: Array, high: Array, cover: Callable[[Array, Array], Array], colour: ArrayLike) -> None:
    """``mix`` with ``cover(y, x)``, looking only at the box (x, y) low to high."""
    x0, y0 = (int(max(value - 1, 0)) for value in low)
    x1, y1 = (int(max(value + 2, 0)) for value in high)
    part = pixels[y0:y1, x0:x1]
    if part.size:
        y, x = grid(*part.shape[:2])
        mix(part, cover(y + y0, x + x0), colour)
