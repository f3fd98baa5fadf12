"""A sample of a scene's values: windows all over it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Sample = tuple[NDArray[Any], NDArray[np.bool_] | None]
"""A window, (bands, h, w) or (h, w) of one band, and which of its samples have a value; None where all have one."""


def known_values(samples: Sequence[Sample], bands: Sequence[int]) -> NDArray[np.float32]:
    """Valid values of some bands in a sample, in one row."""
    known = [
        window[band].ravel() if valid is None else window[band][valid[band]]
        for window, valid in samples
        for band in bands
    ]
    return np.concatenate([np.empty(0, np.float32), *(values.astype(np.float32) for values in known)])
