"""The interface of trackers, and their packages."""

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Protocol

from orchestrator.runtime.measurements import Measurement, Setting
from trainables.errors import UsageError


class TrackedRun(Protocol):
    """One training in a tracker."""

    def add_settings(self, settings: Mapping[str, Setting]) -> None:
        """Adds settings and facts."""

    def add_values(self, step: int, values: Mapping[str, float]) -> None:
        """Adds values of a step."""

    def end(self) -> None:
        """Ends it."""


class Tracker(Protocol):
    """A service or folder that keeps trainings."""

    def begin(self, name: str) -> TrackedRun:
        """Begins a training."""


class RunsOf:
    """The trainings of a tracker by name, each begun with its first measurement and ended with its last one."""

    def __init__(self, tracker: Tracker) -> None:
        self._tracker = tracker
        self._runs: dict[str, TrackedRun] = {}

    def take(self, measurement: Measurement) -> None:
        """Passes a measurement on."""
        run = self._runs.get(measurement.run)
        if run is None:
            run = self._runs[measurement.run] = self._tracker.begin(measurement.run)
        if measurement.settings:
            run.add_settings(measurement.settings)
        if measurement.values:
            run.add_values(measurement.step, measurement.values)
        if measurement.ended:
            self._runs.pop(measurement.run).end()

    def close(self) -> None:
        """Ends the trainings that have not ended, of a run that was stopped."""
        while self._runs:
            self._runs.popitem()[1].end()


def check_package(module: str, setting: str, extra: str) -> None:
    """Checks that the package of a tracker is installed.

    Raises:
        UsageError: If it is not.
    """
    if find_spec(module) is None:
        raise UsageError(
            f"`{setting}` needs the package {module}: pip install 'rayscale[{extra}]', or remove `{setting}`."
        )
