"""A start of Ray that takes long is waited for; one that has died is not."""

import subprocess
import sys
import time

import pytest
import ray

from orchestrator.runtime import ray_start
from orchestrator.runtime.ray_start import PATIENCE, patience, patient_start
from trainables.errors import UsageError


@pytest.fixture
def slow(monkeypatch):
    """A Ray whose node registers at the fourth question."""
    asked = []

    def get_node(address, node):
        asked.append((address, node))
        if len(asked) < 4:
            raise RuntimeError("no node yet")
        return {"labels": {}}

    monkeypatch.setattr(ray._private.services, "get_node", get_node)
    monkeypatch.setattr(ray_start, "_PAUSE", 0.01)
    return asked


def test_a_node_that_registers_late_is_waited_for_and_said(monkeypatch, slow):
    monkeypatch.setattr(ray_start, "_has_raylet", lambda: True)
    monkeypatch.setattr(ray_start, "_SAID_AFTER", 0.0)
    lines = []
    with patient_start(lines.append):
        assert ray._private.services.get_node("here", "1") == {"labels": {}}
    assert len(slow) == 4
    assert lines == [
        "Ray has not started after 0 s; this machine is busy. It is waited for, 300 s in all "
        "(RAYSCALE_RAY_START_SECONDS)."
    ]


@pytest.mark.parametrize(("alive", "seconds"), [(False, "300"), (True, "1")])
def test_a_dead_raylet_and_one_that_is_too_late_are_not(monkeypatch, slow, alive, seconds):
    monkeypatch.setattr(ray_start, "_has_raylet", lambda: alive)
    monkeypatch.setattr(ray_start, "_PAUSE", 1.1)
    monkeypatch.setenv(PATIENCE, seconds)
    with patient_start(print), pytest.raises(RuntimeError, match="no node yet"):
        ray._private.services.get_node("here", "1")
    assert len(slow) == (2 if alive else 1)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_only_a_living_raylet_of_this_process_counts(tmp_path):
    program = tmp_path / "raylet"
    program.symlink_to("/bin/sleep")
    assert not ray_start._has_raylet()
    child = subprocess.Popen([program, "60"])
    try:
        until = time.monotonic() + 30
        while not ray_start._has_raylet() and time.monotonic() < until:
            time.sleep(0.01)
        assert ray_start._has_raylet()
    finally:
        child.kill()
    time.sleep(0.2)
    assert not ray_start._has_raylet(), "dead, and not yet waited for"
    child.wait()


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "soon"])
def test_a_patience_that_is_no_number_is_refused(monkeypatch, text):
    monkeypatch.setenv(PATIENCE, text)
    with pytest.raises(UsageError, match=rf"^{PATIENCE} must be a whole number of seconds above 0, found '{text}'\.$"):
        patience()
