"""Means of measures that are not defined on every image."""

from collections.abc import Iterable


def mean_of_known(values: Iterable[float | None]) -> float | None:
    """Mean of the values that are not None; None where there is none."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
