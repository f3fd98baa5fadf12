"""Progress through a Ray actor, from tasks on any node to the display."""

import time
from typing import Any

import ray

from orchestrator.runtime.measurements import Measurement
from orchestrator.runtime.progress_updates import LocalUpdates, Updates

ANSWER_SECONDS = 60.0
"""Time after which an answer of the actor counts as lost."""


class RayUpdates:
    """A channel through a Ray actor; if the actor dies, Ray restarts it under the same handle."""

    def __init__(self, actor: Any) -> None:
        self._actor, self._asked = actor, 0.0
        self._answer: Any = None

    @classmethod
    def start(cls) -> "RayUpdates":
        """Starts the actor."""
        return cls(ray.remote(num_cpus=0, max_restarts=-1)(LocalUpdates).remote())

    def report(self, task: str, done: float, total: float, note: str) -> None:
        """Sends an update to the actor."""
        self._actor.report.remote(task, done, total, note)

    def latest(self, seconds: float) -> Updates | None:
        """The latest updates. The next call waits for a slow answer, and asks again for a lost one."""
        try:
            if self._answer is None or time.monotonic() - self._asked > ANSWER_SECONDS:
                self._answer, self._asked = self._actor.latest.remote(), time.monotonic()
            if not ray.wait([self._answer], timeout=seconds)[0]:
                return None
            updates: Updates = ray.get(self._answer)
            self._answer = None
            return updates
        except Exception:  # the death of the actor must not end the run
            self._answer = None
            return None

    def measure(self, measurement: Measurement) -> None:
        """Sends a measurement to the actor."""
        self._actor.measure.remote(measurement)

    def measured(self, start: int, seconds: float) -> tuple[int, list[Measurement]] | None:
        """The number of measurements, and those from number ``start``; None without an answer in time."""
        try:
            found: tuple[int, list[Measurement]] = ray.get(self._actor.measured.remote(start), timeout=seconds)
            return found
        except Exception:  # as above
            return None

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickles the actor's handle alone, without an answer that this process waits for."""
        return RayUpdates, (self._actor,)
