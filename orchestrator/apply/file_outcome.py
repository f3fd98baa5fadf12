"""Outcome of one file that was to be upscaled."""

from dataclasses import dataclass

from orchestrator.apply.images_to_upscale import Work
from trainables.errors import reason_of


@dataclass(frozen=True, slots=True)
class Outcome:
    """Outcome of a file: its name, the reason of a failure, a note for the user, and pixels of the output."""

    name: str
    failure: str | None = None
    note: str | None = None
    pixels: int = 0


def failed(work: Work, error: Exception) -> Outcome:
    """Outcome of a file that failed with an error."""
    if isinstance(error, MemoryError):
        return Outcome(work.name, failure="too little memory is free for it; cut it into pieces, or save it as GeoTIFF")
    return Outcome(work.name, failure=reason_of(error))
