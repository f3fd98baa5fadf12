"""Handlers that make SIGTERM and SIGHUP end a run as Ctrl-C does: cleaned up, with a sentence and exit code 128 + n.

Spot instances and schedulers send SIGTERM, a terminal that closes sends SIGHUP. By default Python dies of both at once,
which leaves a Ray of our own running; Ray's own handler kills its processes while we still use them.
"""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_HEEDED = (signal.SIGTERM, signal.SIGHUP)
_KEPT = (signal.SIGINT, *_HEEDED)
REPEATED_SECONDS = 5.0
"""Seconds within which a second signal counts as the same request: schedulers signal a process and its group."""


class Terminated(KeyboardInterrupt):
    """Raised when a signal asks this process to stop; handled wherever Ctrl-C is."""


class _Received:
    """The first signal received, and the time of the last one."""

    signal: int | None = None
    at = 0.0


def received() -> int | None:
    """The number of the signal that asked this process to stop; None if there was none."""
    return _Received.signal


def heed_signals() -> None:
    """Makes SIGTERM and SIGHUP raise :class:`Terminated` in the main thread; ignored signals (nohup) stay ignored."""
    _Received.signal, _Received.at = None, 0.0
    for number in _HEEDED:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _stop)


def end_at_once() -> None:
    """Makes a further signal end the process at once; called when only the exit is left."""
    for number in _KEPT:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)


@contextmanager
def handlers_kept() -> Iterator[None]:
    """Restores the signal handlers that a library replaces, and turns its exit on a signal into ours.

    Ray sets a SIGTERM handler of its own when it starts, and Ray Train one for Ctrl-C that ends the process with 0;
    neither restores the previous one.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in _KEPT}
    try:
        yield
    except SystemExit as ended:
        if ended.code in (1, signal.SIGTERM):  # Ray's handlers; Train's ends with 0
            _Received.signal = _Received.signal or signal.SIGTERM
            raise Terminated from None
        raise KeyboardInterrupt from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _stop(number: int, _: FrameType | None) -> None:
    moment = time.monotonic()
    repeated = _Received.signal is not None and moment - _Received.at < REPEATED_SECONDS
    _Received.signal, _Received.at = _Received.signal or number, moment
    if repeated:
        return None
    raise Terminated
