"""Progress of an archive's run, for those who show it."""

import time
from collections import Counter
from dataclasses import dataclass, field

from orchestrator.runtime.gpu_demand import Joined


@dataclass(slots=True)
class Progress:
    """Progress of a run.

    Attributes:
        scenes: Scenes to upscale.
        done: Scenes that have ended.
        samples_done: Pixels times bands that are finished, those of parts of scenes included.
        samples_left: The same of what is left.
        ok: Scenes that came out.
        megapixels: HR megapixels of those.
        failed: Failed scenes by class.
        started: Start of the run in seconds of the monotonic clock.
        elsewhere: Scenes of those that have ended that a run beside this one has finished.
        joined: GPUs that are there and that are asked for; None where none are asked for.
        notes: Sentences for the user, which hold for the whole run.
    """

    scenes: int
    done: int = 0
    samples_done: float = 0.0
    samples_left: float = 0.0
    ok: int = 0
    megapixels: float = 0.0
    failed: Counter[str] = field(default_factory=Counter)
    elsewhere: int = 0
    started: float = field(default_factory=time.monotonic)
    joined: Joined | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """Seconds since the run began."""
        return time.monotonic() - self.started

    @property
    def seconds_left(self) -> float | None:
        """Estimate from the pixels of all bands that are left; None before any is finished."""
        return self.seconds * self.samples_left / self.samples_done if self.samples_done > 0 else None
