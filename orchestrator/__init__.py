"""RayScale: finds the best super-resolution transfer configuration for a kind of image, and upscales with it.

The names below are all that a notebook needs (docs/python.md). They are imported when they are first used, so that
``import orchestrator`` takes no time.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestrator.api import (
        TaskProgress,
        adapt,
        benchmark,
        evaluate,
        export,
        finetune,
        load_experiment,
        load_model,
        plan,
        read_report,
        run,
        upscale,
    )

__all__ = [
    "TaskProgress",
    "adapt",
    "benchmark",
    "evaluate",
    "export",
    "finetune",
    "load_experiment",
    "load_model",
    "plan",
    "read_report",
    "run",
    "upscale",
]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from orchestrator import api

    return getattr(api, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
