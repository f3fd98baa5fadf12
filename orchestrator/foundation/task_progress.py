"""Progress of a task, reported to a Python callable."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TaskProgress:
    """Progress of a task.

    Attributes:
        task: Its name, such as ``upscale`` or ``search satellite``.
        done: Units that are done.
        total: All units; 0 where only ``note`` is known.
        note: A line for people; may be empty.
    """

    task: str
    done: float = 0
    total: float = 0
    note: str = ""


ProgressCallback = Callable[[TaskProgress], None]
"""Called with each change; from a thread of its own where workers on Ray report it."""

CountCallback = Callable[[int, int], None]
"""Called with the units that are done, and all of them."""
