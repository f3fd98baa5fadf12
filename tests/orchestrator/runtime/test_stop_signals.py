"""SIGTERM and SIGHUP end a run as Ctrl-C does; libraries that take signals over give them back."""

import os
import signal
import subprocess
import sys
import time

import pytest

from orchestrator.runtime import stop_signals
from orchestrator.runtime.stop_signals import Terminated, handlers_kept, heed_signals, received


@pytest.fixture(autouse=True)
def own_handlers():
    """Those of a terminal, wherever the tests run: `nohup` ignores SIGHUP, a shell's background SIGINT."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
    stop_signals._Received.signal = None


def ask(number):
    """Sends this process a signal and waits for what comes of it."""
    os.kill(os.getpid(), number)
    time.sleep(5)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_is_raised_where_ctrl_c_would_be(number):
    heed_signals()
    with pytest.raises(KeyboardInterrupt) as raised:
        ask(number)
    assert raised.type is Terminated
    assert received() == number


def test_a_signal_that_is_repeated_at_once_does_not_disturb_the_cleaning_up(monkeypatch):
    heed_signals()
    with pytest.raises(Terminated):
        ask(signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGHUP)
    time.sleep(0.05)
    assert received() == signal.SIGTERM
    monkeypatch.setattr(stop_signals, "REPEATED_SECONDS", 0.0)
    with pytest.raises(Terminated):
        ask(signal.SIGTERM)


def test_a_run_under_nohup_outlives_its_terminal():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    heed_signals()
    os.kill(os.getpid(), signal.SIGHUP)
    assert received() is None


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_handlers_that_a_library_takes_over_are_given_back(number):
    before = signal.getsignal(number)
    with handlers_kept():
        signal.signal(number, lambda number, frame: None)
    assert signal.getsignal(number) is before


@pytest.mark.parametrize(("code", "expected"), [(1, signal.SIGTERM), (15, signal.SIGTERM), (0, None)])
def test_the_exit_of_a_library_on_a_signal_is_ours(code, expected):
    heed_signals()
    with pytest.raises(KeyboardInterrupt), handlers_kept():
        raise SystemExit(code)
    assert received() == expected


_SLEEP = """
import sys, time
from orchestrator.cli import app as cli
def slow(*_, **__):
    print("started", flush=True)
    time.sleep(60)
cli.app.registered_commands.clear()
cli.app.command("slow")(lambda: slow())
cli.app.command("other")(lambda: None)
sys.argv = ["rayscale", "slow"]
cli.main()
"""


@pytest.mark.parametrize(
    ("number", "code", "first"),
    [(signal.SIGTERM, 143, "Stopped by SIGTERM"), (signal.SIGHUP, 129, "Stopped by SIGHUP"), (2, 130, "Interrupted")],
)
def test_a_process_that_is_stopped_says_so_and_ends_with_128_and_the_signal(number, code, first):
    pipe = subprocess.PIPE
    process = subprocess.Popen([sys.executable, "-c", _SLEEP], stdout=pipe, stderr=pipe, text=True)
    assert process.stdout.readline() == "started\n"
    process.send_signal(number)
    _, said = process.communicate(timeout=30)
    assert said == f"rayscale: {first}. What had finished is kept; the same command goes on from there.\n"
    assert process.returncode == code
