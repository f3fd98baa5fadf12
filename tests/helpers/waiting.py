"""Waiting for what another thread or process does, however slow the machine is."""

import threading
import time
from collections.abc import Callable
from typing import Any


def wait_for(
    reached: Callable[[], Any], seconds: float = 60.0, what: str = "what was to come", pause: float = 0.005
) -> Any:
    """Waits until ``reached`` gives something true, which is returned; fails after so many seconds."""
    end = time.monotonic() + seconds
    while not (found := reached()):
        assert time.monotonic() < end, f"waited {seconds:g} s for {what}"
        time.sleep(pause)
    return found


def act_after(reached: Callable[[], Any], seconds: float, act: Callable[[], Any]) -> None:
    """Acts from a thread, so many seconds after ``reached`` gives something true."""

    def wait_and_act() -> None:
        wait_for(reached)
        time.sleep(seconds)
        act()

    threading.Thread(target=wait_and_act, daemon=True).start()
