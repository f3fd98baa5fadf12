"""Status of experiments that run, died, were stopped or have finished, from lock and records alone."""

import json
import os
import signal
import subprocess
import sys

import pytest

from orchestrator.foundation.storage import Storage
from orchestrator.pipeline.status import experiment_status
from orchestrator.runtime.run_lock import LOCK, locked
from trainables.errors import UsageError

_HOLD = """
import sys, time
from orchestrator.runtime.run_lock import locked
from orchestrator.foundation.storage import Storage
with locked(Storage.at(sys.argv[1]), "x"):
    print("held", flush=True)
    time.sleep(60)
"""
DONE = {"finished_at": "2026-01-01T00:00:00+00:00", "seconds": 2.5}


@pytest.fixture
def home(tmp_path):
    settings = {
        "name": "tiny",
        "source": {"images": "natural"},
        "targets": {"art": {}, "medical": {}},
        "search": {"trials": 12, "starts": ["default"]},
        "finish": {"enabled": True},
    }
    place = Storage.at(str(tmp_path / "tiny"))
    place.child("experiment.json").write_json({"settings": settings})
    return place


def states(home):
    return {
        f"{stage.stage} {stage.name}".strip(): (stage.state, stage.done) for stage in experiment_status(home).stages
    }


def test_stages_are_read_from_their_records(home):
    for place in ("shards/source", "shards/art", "shards/medical", "source", "search/art"):
        home.child(place, "stage.json").write_json(DONE)
    for number in range(7):
        home.child("search/medical/study-abc", f"{number:04d}.json").write_json({})
    home.child("search/medical/study-old/0000.json").write_json({})
    home.child("confirm/art/runs-abc/default-seed1/run.json").write_json({})
    found = states(home)
    assert list(found) == [
        *("shards source", "shards art", "shards medical", "pretrain source", "search art", "search medical"),
        *("confirm art", "confirm medical", "finish art", "finish medical", "report"),
    ]
    assert found["search art"] == ("finished", "")
    assert found["search medical"] == ("begun", "7 of 12 trials")
    assert found["confirm art"] == ("begun", "1 trained models")
    assert found["confirm medical"] == ("not begun", "")
    assert experiment_status(home).stages[0].seconds == 2.5


def test_without_a_run_it_is_stopped_until_every_stage_has_finished(home):
    assert experiment_status(home).run == "stopped"
    for stage in experiment_status(home).stages:
        folder = {"pretrain": "source", "report": "report"}.get(stage.stage, f"{stage.stage}/{stage.name}")
        home.child(folder, "stage.json").write_json(DONE)
    assert experiment_status(home).run == "finished"


def test_a_run_that_lives_and_one_that_was_killed(home):
    process = subprocess.Popen([sys.executable, "-c", _HOLD, home.uri], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "held\n"
        found = experiment_status(home)
        assert found.run == "running"
        assert f"process {process.pid} on {os.uname().nodename}" in found.sentence
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    found = experiment_status(home)
    assert found.run == "died"
    assert found.sentence.endswith("has died; the same command goes on from there.")
    with locked(home, "x"):  # looking at the lock has not taken it
        assert experiment_status(home).run == "running"


@pytest.mark.parametrize("other", [{"kernel": "another machine"}, None])
def test_the_lock_of_another_machine_counts_as_long_as_it_is_held(home, other):
    """A shared folder: the process is not to be seen from here, the kernel's lock is."""
    with locked(home, "x"):
        lock = json.loads(home.child(LOCK).read_bytes())
        with open(home.child(LOCK).path, "r+b") as file:  # noqa: PTH123
            file.truncate()
            file.write(json.dumps(lock | other).encode() if other else b"damaged")
        assert experiment_status(home).run == "running"
    home.child(LOCK).write_bytes(b"damaged")
    assert experiment_status(home).run == "died"


def test_a_folder_without_an_experiment_is_refused(tmp_path):
    with pytest.raises(UsageError, match="holds no experiment that has begun"):
        experiment_status(Storage.at(str(tmp_path)))
