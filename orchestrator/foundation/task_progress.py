"""Progress as a callable of Python's is told it."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TaskProgress:
    """How far a task is.

    Attributes:
        task: Such as ``upscale`` or ``search satellite``.
        done: Units that are done.
        total: Units that there are; 0 where ``note`` is all that there is to say.
        note: A line for people; may be empty.
    """

    task: str
    done: float = 0
    total: float = 0
    note: str = ""


ProgressCallback = Callable[[TaskProgress], None]
"""Called with each change; from a thread of its own where workers on Ray report it."""
