"""Places of patches and windows in an image of which some pixels have no value."""

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]
Mask = NDArray[np.bool_]


class ValidPlaces:
    """Top left corners of all squares of S×S valid pixels of an image, numbered row by row.

    They are kept as runs along rows: a mask of a few large holes takes next to no memory.

    Args:
        valid: bool (H, W).
        side: S.
    """

    def __init__(self, valid: Mask, side: int) -> None:
        fits = min(valid.shape) >= side
        free = window_sums(valid, side, side) == side**2 if fits else np.zeros((0, 0), bool)
        # A column of False ends each row's last run.
        padded = np.pad(free, ((0, 0), (1, 1))).astype(np.int8).ravel()
        steps = np.diff(padded)
        starts, ends = np.flatnonzero(steps == 1), np.flatnonzero(steps == -1)
        self._rows: Integers = starts // (free.shape[1] + 2)
        self._columns: Integers = starts % (free.shape[1] + 2)
        self._before = np.concatenate([[0], np.cumsum(ends - starts)])

    def __len__(self) -> int:
        return int(self._before[-1])

    def place(self, number: int) -> tuple[int, int]:
        """Row and column of a corner, 0 being the first."""
        run = int(np.searchsorted(self._before, number, side="right")) - 1
        return int(self._rows[run]), int(self._columns[run] + number - self._before[run])


def fullest_window(valid: Mask | None, size: tuple[int, int], height: int, width: int) -> tuple[int, int]:
    """Top left corner of the h×w window with the most valid pixels, of several the one nearest to the middle.

    Args:
        valid: bool (H, W); None where all pixels are valid.
        size: H and W.
        height: h, 1 to H.
        width: w, 1 to W.
    """
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    if valid is None or valid.all():
        return top, left
    counts = window_sums(valid, height, width)
    rows, columns = np.nonzero(counts == counts.max())
    nearest = np.argmin((rows - top) ** 2 + (columns - left) ** 2)
    return int(rows[nearest]), int(columns[nearest])


def window_sums(valid: Mask, height: int, width: int) -> Integers:
    """Number of valid pixels of each h×w window: (H, W) to (H - h + 1, W - w + 1), by the window's top left corner.

    Args:
        valid: bool (H, W).
        height: h, 1 to H.
        width: w, 1 to W.
    """
    table = np.zeros((valid.shape[0] + 1, valid.shape[1] + 1), np.int64)
    table[1:, 1:] = valid.cumsum(0, dtype=np.int64).cumsum(1)
    right, left = table[:, width:], table[:, :-width]
    sums: Integers = right[height:] - right[:-height] - left[height:] + left[:-height]
    return sums
