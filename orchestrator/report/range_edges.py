"""Warnings about configurations on an edge of the search space, with the setting that widens it."""

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
    """Range of a setting in the search space, and limits to which it can be widened.

    Attributes:
        key: The setting of the experiment file that widens it.
        low: Lower end; for λ its floor.
        high: Upper end.
        log: Whether it is searched on a log scale.
        lowest: Limit of the lower end; ``low`` if it cannot be moved.
        highest: Limit of the upper end; ``high`` if it cannot be moved.
    """

    key: str
    low: float
    high: float
    log: bool
    lowest: float
    highest: float


def edge_warnings(configuration: Mapping[str, float], axes: Mapping[str, Axis]) -> list[str]:
    """A sentence for each setting that is near an end that can be moved: within 5 % of the range, on its own scale."""
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
    """Position of a value in its range, 0 at the lower and 1 at the upper end."""
    if axis.high == axis.low:
        return 0.5
    if axis.log:
        return math.log(value / axis.low) / math.log(axis.high / axis.low)
    return (value - axis.low) / (axis.high - axis.low)


def _further(axis: Axis, end: str) -> float:
    """The end of a wider range: half a decade further on a log scale, otherwise the limit."""
    if not axis.log:
        return axis.lowest if end == "lower" else axis.highest
    half = math.sqrt(10)
    return float(f"{axis.low / half:.1g}") if end == "lower" else float(f"{axis.high * half:.1g}")
