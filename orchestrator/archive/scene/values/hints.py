"""Advice for a scene whose value range is not known: its measured percentiles, and the option that fits them."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class _Usual(NamedTuple):
    """A range in use, what it is for, and the values between which the 1st and 99th percentile of such scenes lie."""

    low: float
    high: float
    meaning: str
    least: float
    most: float


_REFLECTANCE = _Usual(0, 10000, "reflectance times 10,000", -1000, 16000)
_USUAL = {
    "uint16": (
        _Usual(7273, 43636, "Landsat Collection 2 surface reflectance", 5000, 60000),
        _REFLECTANCE,
        _Usual(0, 65535, "values that fill 16 bits", 0, 65535),
    ),
    "int16": (_REFLECTANCE,),
    "float32": (_Usual(0, 1, "reflectance", -0.2, 1.6), _REFLECTANCE),
}


def advice(dtype: str, values: NDArray[np.float32]) -> str:
    """Sentences with percentiles of the values and the first option that fits; none without values."""
    if not len(values):
        return ""
    first, middle, last = (float(value) for value in np.percentile(values, [1, 50, 99]))
    measured = f"Of its values, 1 % lie below {first:,.6g}, half below {middle:,.6g} and 1 % above {last:,.6g}."
    fitting = next((usual for usual in _USUAL.get(dtype, ()) if usual.least <= first and last <= usual.most), None)
    options = [f"--normalisation {dtype}={fitting.low:g},{fitting.high:g} fits {fitting.meaning}"] if fitting else []
    return f"{measured} {'; '.join([*options, '--normalisation measured takes one range from a sample'])}."
