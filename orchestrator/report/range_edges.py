"""Whether a configuration lies on an edge of the space that was searched, and what to widen then."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

_EDGE = 0.05
_WORDS = {
    "learning_rate": "learning rate",
    "lambda_": "λ",
    "frozen_depth": "frozen depth",
    "kept_blocks": "number of kept blocks",
}


@dataclass(frozen=True, slots=True)
class Axis:
    """One setting's range in the space, and which of its ends could be moved.

    Attributes:
        key: The setting of the experiment file that widens it.
        low: Lower end; of λ its floor.
        high: Upper end.
        log: Whether it is searched on a log scale.
        lowest: What the lower end can go down to; equal to ``low`` where it cannot.
        highest: What the upper end can go up to.
    """

    key: str
    low: float
    high: float
    log: bool
    lowest: float
    highest: float


def edge_warnings(configuration: Mapping[str, float], axes: Mapping[str, Axis]) -> list[str]:
    """A sentence for each setting within 5 % of its range (on the scale it is searched on) of an end that can move."""
    warnings = []
    for name, axis in axes.items():
        value = configuration[name]
        if value <= 0 < axis.low:  # λ = 0, which no wider range changes
            continue
        place = _place(value, axis)
        for near, end, limit in ((place, "lower", axis.lowest), (1 - place, "upper", axis.highest)):
            bound = axis.low if end == "lower" else axis.high
            if near <= _EDGE and limit != bound:
                wider = [_further(axis, end), axis.high] if end == "lower" else [axis.low, _further(axis, end)]
                warnings.append(
                    f"the winner's {_WORDS[name]} {value:g} lies on the {end} edge of its range ({axis.low:g} to "
                    f"{axis.high:g}): the best may lie beyond; widen {axis.key}, for example to "
                    f"[{wider[0]:g}, {wider[1]:g}]."
                )
    return warnings


def _place(value: float, axis: Axis) -> float:
    """Where a value lies in its range, 0 at the lower and 1 at the upper end."""
    if axis.high == axis.low:
        return 0.5
    if axis.log:
        return math.log(value / axis.low) / math.log(axis.high / axis.low)
    return (value - axis.low) / (axis.high - axis.low)


def _further(axis: Axis, end: str) -> float:
    """A new end: half a decade on where the scale is logarithmic, else as far as it goes."""
    if not axis.log:
        return axis.lowest if end == "lower" else axis.highest
    half = math.sqrt(10)
    return float(f"{axis.low / half:.1g}") if end == "lower" else float(f"{axis.high * half:.1g}")
