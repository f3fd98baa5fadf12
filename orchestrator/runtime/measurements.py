"""Measurements of tasks while they run: losses, validation scores and the settings that belong to them."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

Setting = str | int | float
"""A setting of a training, as trackers show it."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """Values measured at a step of a training.

    Attributes:
        run: The training, such as ``pretraining``, ``search/medical/trial-0003`` or ``confirm/medical/default-seed1``.
        step: The step; 0 before the first.
        values: The values by name, such as ``loss`` or ``validation_psnr`` in dB.
        settings: Settings and facts of the training that are new with this measurement.
        ended: Whether it is the training's last measurement.
    """

    run: str
    step: int
    values: Mapping[str, float] = field(default_factory=dict)
    settings: Mapping[str, Setting] = field(default_factory=dict)
    ended: bool = False


class Measurements(Protocol):
    """A channel for measurements; it can be passed to tasks."""

    def measure(self, measurement: Measurement) -> None:
        """Appends a measurement without waiting."""

    def measured(self, start: int, seconds: float) -> tuple[int, list[Measurement]] | None:
        """The number of all measurements, and those from number ``start``; of a channel that began anew, all.

        None if there is no answer within so many seconds.
        """


def measure(channel: Measurements, measurement: Measurement) -> None:
    """Sends a measurement and never raises: a lost one must not end the work."""
    with suppress(Exception):
        channel.measure(measurement)
