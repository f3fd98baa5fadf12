"""Lines that Ray would print in the middle of a run's own, such as a raylet's last twenty when its node is lost."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ray._private import worker

log = logging.getLogger(__name__)

_PRINT = "print_to_stdstream"


@contextmanager
def ray_lines_logged() -> Iterator[None]:
    """Sends lines that Ray prints to this process's log; they are in Ray's own logs too.

    Ray prints what its nodes report even where ``log_to_driver`` is off.
    """
    before = getattr(worker, _PRINT)
    setattr(worker, _PRINT, _log)
    try:
        yield
    finally:
        setattr(worker, _PRINT, before)


def _log(data: dict[str, Any], ignore_prefix: bool) -> None:
    del ignore_prefix
    for line in data.get("lines", ()):
        log.info("Ray: %s", line)
