"""The place of an estimate goes with its process, and nothing else does."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
from fake_s3 import install

from orchestrator.archive.batch import heartbeat
from orchestrator.archive.batch.heartbeat import process_facts
from orchestrator.archive.batch.plan_place import plan_place, remove_dead_plans
from orchestrator.foundation.storage import Storage
from trainables.errors import StorageError

HERE = {"machine": "here", "process": os.getpid(), "started": "long ago"}
ELSEWHERE = {"machine": "there", "process": 1, "started": "7"}

HOLD = """
import sys, time
from orchestrator.archive.batch.plan_place import plan_place
from orchestrator.foundation.storage import Storage
with plan_place(Storage(sys.argv[1])) as place:
    place.child("deep", "a.tif").write_bytes(b"pixels")
    print("held", flush=True)
    time.sleep(60)
"""


def test_what_a_killed_estimate_left_is_removed_and_a_living_one_is_kept(tmp_path):
    parts = tmp_path / "_parts"
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "held\n"
        (place,) = parts.iterdir()
        remove_dead_plans(Storage(str(tmp_path)))
        assert (place / "deep" / "a.tif").exists()
    finally:
        process.kill()
        process.communicate()
    (parts / "plan-00000000").mkdir()
    (parts / "notes.txt").write_text("mine")
    remove_dead_plans(Storage(str(tmp_path)))
    assert sorted(path.name for path in parts.iterdir()) == ["notes.txt", "plan-00000000"]


def test_the_folders_that_it_takes_go_with_it(tmp_path):
    out = Storage(f"{tmp_path}/deep/out")
    with plan_place(out) as place:
        place.child("a.tif").write_bytes(b"pixels")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "empty").mkdir()
    with plan_place(Storage(f"{tmp_path}/empty")):
        pass
    assert list(tmp_path.rglob("*")) == [tmp_path / "empty"]


def test_a_place_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "_parts").write_text("a file")
    said = r"^Nothing can be written to '.*_parts' \(.*\); choose another OUTPUT\.$"
    with pytest.raises(StorageError, match=said), plan_place(Storage(str(tmp_path))):
        pass
    remove_dead_plans(Storage(str(tmp_path)))
    assert (tmp_path / "_parts").read_text() == "a file"


class TestInABucket:
    """An object names the process."""

    OUT = Storage("s3://bucket/out")

    @pytest.fixture
    def server(self, monkeypatch):
        monkeypatch.setattr(heartbeat, "kernel", lambda: "here")
        server = install(monkeypatch)
        server.now = datetime.now(UTC)
        return server

    def leave(self, server, name, process, age=timedelta(0)):
        """What a killed estimate left, of which the newest object has this age."""
        server.now = datetime.now(UTC) - timedelta(days=9)
        server.put_object("bucket", f"out/_parts/{name}/process.json", json.dumps(process).encode())
        server.now = datetime.now(UTC) - age
        server.put_object("bucket", f"out/_parts/{name}/samples/a.json", b"{}")

    def test_it_is_kept_while_its_process_lives_and_goes_with_it(self, server):
        with plan_place(self.OUT) as place:
            place.child("a.tif").write_bytes(b"pixels")
            assert place.child("process.json").read_json() == process_facts(os.getpid())
            remove_dead_plans(self.OUT)
            assert len(server.keys("out/_parts/plan-")) == 2
        assert server.keys() == []

    @pytest.mark.parametrize(
        ("process", "age", "kept"),
        [
            (HERE, timedelta(0), False),
            (ELSEWHERE, timedelta(hours=23), True),
            (ELSEWHERE, timedelta(hours=25), False),
            ({}, timedelta(hours=23), True),
            ({}, timedelta(hours=25), False),
        ],
    )
    def test_what_a_dead_or_abandoned_one_left_is_removed(self, server, process, age, kept):
        self.leave(server, "plan-0a1b2c3d", process, age)
        remove_dead_plans(self.OUT)
        assert bool(server.keys()) is kept

    @pytest.mark.parametrize("name", ["plan-notes", "rayscale-20260101T000000Z-abcdef", "plan-0a1b2c3d4"])
    def test_other_names_are_kept(self, server, name):
        self.leave(server, name, HERE, timedelta(days=9))
        server.put_object("bucket", "out/_parts/plan-0a1b2c3d", b"no folder")
        remove_dead_plans(self.OUT)
        assert len(server.keys()) == 3
