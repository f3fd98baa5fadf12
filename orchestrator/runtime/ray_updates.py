"""Progress through a Ray actor, from tasks on any node to the display."""

import time
from typing import Any

import ray

from orchestrator.runtime.progress_updates import LocalUpdates, Updates

ANSWER_SECONDS = 60.0
"""After so long an answer of the actor counts as lost."""


class RayUpdates:
    """Updates through a Ray actor; where it dies, Ray starts it again under the same handle."""

    def __init__(self, actor: Any) -> None:
        self._actor, self._asked = actor, 0.0
        self._answer: Any = None

    @classmethod
    def start(cls) -> "RayUpdates":
        """Starts the actor."""
        return cls(ray.remote(num_cpus=0, max_restarts=-1)(LocalUpdates).remote())

    def report(self, task: str, done: float, total: float, note: str) -> None:
        """Sends an update on its way."""
        self._actor.report.remote(task, done, total, note)

    def latest(self, seconds: float) -> Updates | None:
        """Asks for the latest updates; a slow answer is waited for, and a lost one is asked for again."""
        try:
            if self._answer is None or time.monotonic() - self._asked > ANSWER_SECONDS:
                self._answer, self._asked = self._actor.latest.remote(), time.monotonic()
            if not ray.wait([self._answer], timeout=seconds)[0]:
                return None
            updates: Updates = ray.get(self._answer)
            self._answer = None
            return updates
        except Exception:  # an actor that died must not take the run with it
            self._answer = None
            return None

    def __reduce__(self) -> tuple[Any, ...]:
        """A task gets the actor, and not the answers that are waited for here."""
        return RayUpdates, (self._actor,)
