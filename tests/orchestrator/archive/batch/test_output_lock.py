"""One run at a time on the same outputs; a second is refused in a sentence, and a dead one blocks nobody."""

import os
import subprocess
import sys

import pytest
from fake_s3 import install

from orchestrator.archive.batch import heartbeat as liveness
from orchestrator.archive.batch import output_lock
from orchestrator.archive.batch.heartbeat import Heartbeat, others_alive
from orchestrator.archive.batch.output_lock import alive, only_run
from orchestrator.archive.ledger.ledger import Ledger
from orchestrator.archive.places import workspace
from orchestrator.foundation.storage import Storage
from orchestrator.runtime.run_lock import LOCK
from trainables.errors import StorageError, UsageError

HOLD = """
import sys, time
from orchestrator.archive.batch.output_lock import only_run
from orchestrator.foundation.storage import Storage
with only_run(Storage(sys.argv[1]), False):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_run_on_a_folder_is_refused_and_a_dead_one_blocks_nobody(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    out = Storage(str(tmp_path))
    try:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(UsageError) as refused, only_run(out, False):
            pass
        assert f"process {process.pid} on " in str(refused.value)
        assert ", since 20" in str(refused.value)
        assert "--side-by-side" in str(refused.value)
        with (
            pytest.raises(UsageError, match=rf"process {process.pid} on .* started without --side-by-side: wait"),
            only_run(out, True),
        ):
            pass
        with pytest.raises(UsageError, match="started without"), alive(Ledger.new(out), out, True):
            pass
    finally:
        process.kill()
        process.communicate()
    with only_run(out, True) as check:
        check()
    with only_run(out, False) as check:
        check()
    assert not (tmp_path / LOCK).exists()


def test_a_folder_that_stays_empty_is_not_left_behind(tmp_path):
    with only_run(Storage(f"{tmp_path}/deep/out"), False):
        assert (tmp_path / "deep" / "out" / LOCK).exists()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ZeroDivisionError), only_run(Storage(f"{tmp_path}/deep/out"), False):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "mine").mkdir()
    with only_run(Storage(f"{tmp_path}/mine"), False):
        pass
    with only_run(Storage(f"{tmp_path}/full"), False):
        (tmp_path / "full" / "a.tif").write_bytes(b"")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full", "mine"]


def test_a_place_that_is_no_folder_is_a_sentence(tmp_path):
    (tmp_path / "file").write_bytes(b"mine")
    with (
        pytest.raises(StorageError, match="Nothing can be written to"),
        only_run(Storage(f"{tmp_path}/file/out"), False),
    ):
        pass
    assert (tmp_path / "file").read_bytes() == b"mine"


def test_a_run_beside_another_is_seen_by_a_third(tmp_path):
    out = Storage(str(tmp_path))
    beside = Ledger.new(out)
    with alive(beside, out, True):
        with (
            pytest.raises(UsageError, match=rf"process {os.getpid()} on .*, since 20"),
            alive(Ledger.new(out), out, False),
        ):
            pass
        with alive(Ledger.new(out), out, True):
            pass
    with alive(Ledger.new(out), out, False):
        pass
    assert not (tmp_path / "_ledger").exists()


def test_workers_that_outlive_a_killed_driver_block_nobody(tmp_path):
    """They hold its workspace for a moment."""
    workspace.enter_workspace.cache_clear()
    workspace.enter_workspace(tmp_path / "_parts", "killed")
    out = Storage(str(tmp_path))
    with only_run(out, False), alive(Ledger.new(out), out, False):
        pass


@pytest.mark.parametrize("content", [b"", b"odd"])
def test_the_lock_of_a_dead_run_and_odd_files_block_nobody(tmp_path, content):
    out = Storage(str(tmp_path))
    for name in ("dead", "pipe", "link"):
        (tmp_path / "_ledger" / name).mkdir(parents=True)
    (tmp_path / "_ledger" / "dead" / LOCK).write_bytes(content)
    os.mkfifo(tmp_path / "_ledger" / "pipe" / LOCK)
    (tmp_path / "_ledger" / "link" / LOCK).symlink_to("/dev/zero")
    with alive(Ledger.new(out), out, False):
        pass


class TestInABucket:
    """Runs say that they are alive in objects of their own."""

    @pytest.fixture
    def server(self, monkeypatch):
        server = install(monkeypatch)
        monkeypatch.setattr(liveness, "kernel", lambda: "here")
        monkeypatch.setattr(output_lock, "lock_state", lambda place: None)  # test_run_lock.py has locks in buckets
        return server

    @pytest.fixture
    def out(self):
        return Storage("s3://bucket/out")

    def test_another_run_is_seen_until_it_stops(self, server, out):
        mine, other = Ledger.new(out), Ledger.new(out)
        beat, own = Heartbeat(other), Heartbeat(mine)
        beat.beat()
        own.beat()
        (seen,) = others_alive(mine)
        assert (seen.run, seen.process, seen.beats) == (other.run, os.getpid(), 1)
        assert str(seen).startswith(f"process {os.getpid()} on ")
        beat.stop()
        assert others_alive(mine) == []
        own.stop()
        assert server.keys() == []

    def test_ages_are_taken_by_the_servers_clock(self, server, out):
        """The server's clock of these tests is years from this machine's."""
        mine, other = Ledger.new(out), Ledger.new(out)
        Heartbeat(other).beat()
        server.pass_time(seconds=179)
        Heartbeat(mine).beat()
        assert [one.run for one in others_alive(mine)] == [other.run]
        server.pass_time(seconds=2)
        Heartbeat(mine).beat()
        assert others_alive(mine) == []
        assert server.keys() == [f"out/_ledger/{mine.run}/alive"], "what a dead run said is removed"

    def test_a_run_of_this_machine_whose_process_has_ended_is_dead(self, server, out, monkeypatch):
        other = Ledger.new(out)
        with monkeypatch.context() as patch:
            patch.setattr(liveness.os, "getpid", lambda: 2**22 + 1)  # no process has such a number
            patch.setattr(
                liveness, "process_facts", lambda number: {"machine": "here", "process": number, "started": "7"}
            )
            Heartbeat(other).beat()
        mine = Ledger.new(out)
        Heartbeat(mine).beat()
        assert others_alive(mine) == []

    def test_the_same_process_number_on_another_machine_says_nothing(self, server, out, monkeypatch):
        other = Ledger.new(out)
        with monkeypatch.context() as patch:
            patch.setattr(liveness, "process_facts", lambda number: {"machine": "there", "process": 1, "started": "7"})
            Heartbeat(other).beat()
        mine = Ledger.new(out)
        Heartbeat(mine).beat()
        assert [one.process for one in others_alive(mine)] == [1]

    @pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"\xff", b"[" * 60_000, b'{"machine": "", "process": "x"}'])
    def test_what_no_run_wrote_is_never_removed(self, server, out, content):
        server.put_object("bucket", "out/_ledger/notes/alive", content)
        server.pass_time(days=1)
        mine = Ledger.new(out)
        Heartbeat(mine).beat()
        assert others_alive(mine) == []
        assert ("bucket", "out/_ledger/notes/alive") in server.objects
        server.put_object("bucket", "out/_ledger/notes/alive", content)
        assert [str(one) for one in others_alive(mine)] == ["process unknown on another machine, since an unknown time"]

    def test_odd_values_of_a_record_are_left_out(self, server, out):
        record = b'{"machine": "x", "process": [1], "started": 3, "host": 7, "since": null, "beats": true}'
        server.put_object("bucket", "out/_ledger/other/alive", record)
        mine = Ledger.new(out)
        Heartbeat(mine).beat()
        assert [one.host for one in others_alive(mine)] == ["another machine"]

    def test_a_second_run_is_refused_and_named(self, server, out):
        with alive(Ledger(out.child("_ledger"), "a"), out, True):
            with (
                pytest.raises(UsageError, match=rf"process {os.getpid()} on .*, since 20.* --side-by-side"),
                alive(Ledger(out.child("_ledger"), "b"), out, False),
            ):
                pass
            with alive(Ledger(out.child("_ledger"), "c"), out, True):
                pass
        assert server.keys() == []
        with alive(Ledger(out.child("_ledger"), "b"), out, False):
            pass

    def test_of_two_that_begin_together_one_goes_on(self, server, out):
        first, second = (Ledger(out.child("_ledger"), run) for run in "ab")
        Heartbeat(second).beat()
        # The first sees the other's first beat, and has the earlier name.
        with alive(first, out, False), pytest.raises(UsageError), alive(second, out, False):
            pass

    def test_a_beat_that_fails_ends_nothing_and_comes_again(self, server, out, monkeypatch):
        now = [0.0]
        monkeypatch.setattr(liveness.time, "monotonic", lambda: now[0])
        from fake_s3 import refused

        server.fail["put_object"] = [refused("SlowDown", 503)]
        beat = Heartbeat(Ledger.new(out))
        for seconds, written in ((0.0, 0), (5.0, 0), (11.0, 1), (30.0, 1), (32.0, 2)):
            now[0] = seconds
            beat.beat()
            assert sum(operation == "put_object" for operation, _ in server.calls) - 1 == written, seconds
        server.fail["delete_object"] = [refused("AccessDenied", 403)]
        beat.stop()
