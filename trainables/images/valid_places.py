"""Where a patch fits into an image without touching a pixel that has no value."""

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
        free = _whole_squares(valid, side)
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


def _whole_squares(valid: Mask, side: int) -> Mask:
    """True at the top left corner of each square of valid pixels: (H - S + 1, W - S + 1)."""
    height, width = valid.shape
    if min(height, width) < side:
        return np.zeros((0, 0), bool)
    holes = np.zeros((height + 1, width + 1), np.int64)
    holes[1:, 1:] = (~valid).cumsum(0, dtype=np.int64).cumsum(1)
    inside = holes[side:, side:] - holes[:-side, side:] - holes[side:, :-side] + holes[:-side, :-side]
    return np.asarray(inside == 0)
