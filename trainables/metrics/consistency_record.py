"""Consistency of an upscaled scene as ledgers and records keep it, in plain values; read without torch."""

from collections.abc import Mapping
from typing import Any, NotRequired, TypedDict

MeterState = Mapping[str, Any]
"""All that a :class:`trainables.metrics.consistency.ConsistencyMeter` has seen, as numbers and numpy arrays."""


class RadiometryRecord(TypedDict):
    """Plain values of a :class:`trainables.metrics.radiometry.Radiometry`."""

    bias: list[float]
    block_error: float
    overshoot: float
    outside_percent: float
    ndvi_shift: float | None
    ndwi_shift: float | None


class ConsistencyRecord(TypedDict):
    """Plain values of a :class:`trainables.metrics.consistency.Consistency`; earlier versions have no radiometry."""

    pixels: int
    non_finite: int
    reflectance: list[float]
    spectral_angle: float | None
    shift: list[float] | None
    patches: int
    radiometry: NotRequired[RadiometryRecord]
    flags: list[str]
