"""A start of Ray that takes long is waited for; one that has died is not."""

import os
import subprocess
import sys

import pytest
import ray
from waiting import wait_for

from orchestrator.runtime.on_ray import ray_start
from orchestrator.runtime.on_ray.ray_start import PATIENCE, patience, patient_start, started_again
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
    monkeypatch.setattr(ray_start, "PAUSE", 0.01)
    return asked


def test_a_node_that_registers_late_is_waited_for_and_said(monkeypatch, slow):
    monkeypatch.setattr(ray_start, "has_raylet", lambda: True)
    monkeypatch.setattr(ray_start, "SAID_AFTER", 0.0)
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
    monkeypatch.setattr(ray_start, "has_raylet", lambda: alive)
    monkeypatch.setattr(ray_start, "PAUSE", 1.1)
    monkeypatch.setenv(PATIENCE, seconds)
    with patient_start(print), pytest.raises(RuntimeError, match="no node yet"):
        ray._private.services.get_node("here", "1")
    assert len(slow) == (2 if alive else 1)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_only_a_living_raylet_of_this_process_counts(tmp_path):
    program = tmp_path / "raylet"
    program.symlink_to("/bin/sleep")
    assert not ray_start.has_raylet()
    child = subprocess.Popen([program, "60"])
    try:
        wait_for(ray_start.has_raylet)
    finally:
        child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert not ray_start.has_raylet(), "dead, and not yet waited for"
    child.wait()


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "soon"])
def test_a_patience_that_is_no_number_is_refused(monkeypatch, text):
    monkeypatch.setenv(PATIENCE, text)
    with pytest.raises(UsageError, match=rf"^{PATIENCE} must be a whole number of seconds above 0, found '{text}'\.$"):
        patience()


ENDED = "The current node timed out during startup. This could happen because some of the raylet failed to startup."


@pytest.mark.parametrize(("failures", "error", "starts"), [(0, ENDED, 1), (2, ENDED, 3), (3, ENDED, 3), (1, "x", 1)])
def test_a_node_that_ended_while_it_started_is_started_again_twice(monkeypatch, failures, error, starts):
    shut, tried, lines = [], [], []
    monkeypatch.setattr(ray, "shutdown", lambda: shut.append(1))

    def start():
        tried.append(1)
        if len(tried) <= failures:
            raise Exception(error)
        return "context"

    if failures < starts:
        assert started_again(start, lines.append) == "context"
    else:
        with pytest.raises(Exception, match=error.split()[0]):
            started_again(start, lines.append)
    assert (len(tried), len(shut), len(lines)) == (starts, starts - 1, starts - 1)


def test_what_ends_too_late_is_not_started_again(monkeypatch):
    monkeypatch.setattr(ray_start, "patience", lambda: -1)
    tried = []

    def start():
        tried.append(1)
        raise Exception(ENDED)

    with pytest.raises(Exception, match="timed out"):
        started_again(start, print)
    assert tried == [1]
