"""Progress through a Ray actor, from tasks on any node to the display."""

import time
import uuid
from typing import Any

import ray

from orchestrator.runtime.head_node import on_head
from orchestrator.runtime.measurements import Measurement
from orchestrator.runtime.progress_updates import LocalUpdates, Updates

ANSWER_SECONDS = 60.0
"""Time after which an answer of the actor counts as lost."""

CHECK_SECONDS = 2.0
"""Time between two checks of a task that its actor still takes updates."""

REPLACED = "progress: its process was lost and has been replaced"


class RayUpdates:
    """A channel through a named Ray actor on the head node.

    If the actor's process dies, Ray restarts it. If it is gone for good, the display replaces it by another one of the
    same name, and tasks look it up again.

    Args:
        name: Name of the actor, which must exist.
        starts: Whether this process starts the actor where it is missing: the display's does, tasks do not.
    """

    def __init__(self, name: str, starts: bool = False) -> None:
        self._name, self._starts, self._asked = name, starts, 0.0
        self._actor: Any = None
        self._answer: Any = None
        self._sent: Any = None
        self._checked = time.monotonic()
        self._lines: list[str] = []
        self._lost = False

    @classmethod
    def start(cls) -> "RayUpdates":
        """Starts the actor."""
        updates = cls(f"progress-{uuid.uuid4().hex}", starts=True)
        updates._found()
        return updates

    def report(self, task: str, done: float, total: float, note: str) -> None:
        """Sends an update to the actor."""
        self._send(lambda actor: actor.report.remote(task, done, total, note))

    def log(self, line: str) -> None:
        """Sends a line to the actor."""
        self._send(lambda actor: actor.log.remote(line))

    def begin(self, submission: str, name: str) -> None:
        """Tells the actor that a task begins."""
        self._send(lambda actor: actor.begin.remote(submission, name))

    def measure(self, measurement: Measurement) -> None:
        """Sends a measurement to the actor."""
        self._send(lambda actor: actor.measure.remote(measurement))

    def measured(self, start: int, seconds: float) -> tuple[int, list[Measurement]] | None:
        """The number of measurements, and those from number ``start``; None without an answer in time."""
        try:
            found: tuple[int, list[Measurement]] = ray.get(self._found().measured.remote(start), timeout=seconds)
            return found
        except Exception:  # whatever happens to the actor must not end the run
            return None

    def latest(self, seconds: float) -> Updates | None:
        """The latest updates. The next call waits for a slow answer, and asks again for a lost one."""
        try:
            if self._answer is None or time.monotonic() - self._asked > ANSWER_SECONDS:
                self._answer, self._asked = self._found().answer.remote(), time.monotonic()
            if not ray.wait([self._answer], timeout=seconds)[0]:
                return None
            updates, lines = ray.get(self._answer)
            self._answer = None
            self._lines += [REPLACED, *lines] if self._lost else lines
            self._lost = False
            return dict(updates)
        except ray.exceptions.RayActorError:
            self._answer = self._actor = None
            self._lost = True
            return None
        except Exception:  # whatever happens to the actor must not end the run
            self._answer = None
            return None

    def lines(self) -> list[str]:
        """Lines that came with the latest updates."""
        lines, self._lines = self._lines, []
        return lines

    def _send(self, message: Any) -> None:
        moment = time.monotonic()
        if self._sent is not None and moment - self._checked > CHECK_SECONDS:
            self._checked = moment
            try:
                if ray.wait([self._sent], timeout=0)[0]:
                    ray.get(self._sent)
            except ray.exceptions.RayError:
                self._actor = None
        self._sent = message(self._found())

    def _found(self) -> Any:
        """The actor; it may be another one of this name than before."""
        if self._actor is None and self._starts:
            options = on_head() | {"num_cpus": 0, "max_restarts": -1, "name": self._name, "get_if_exists": True}
            self._actor = ray.remote(LocalUpdates).options(**options).remote()
        elif self._actor is None:
            self._actor = ray.get_actor(self._name)
        return self._actor

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickles the actor's name alone."""
        return RayUpdates, (self._name,)
