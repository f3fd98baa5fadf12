"""One run at a time on a place: who is refused, what the refusal says, and that the dead block nobody."""

import io
import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
import s3_stub
from botocore.exceptions import ClientError
from waiting import wait_for

from orchestrator.foundation.buckets import s3
from orchestrator.foundation.buckets.s3 import ATTEMPTS
from orchestrator.foundation.storage import Storage
from orchestrator.runtime import run_lock
from orchestrator.runtime.run_lock import LOCK, Holder, locked
from trainables.errors import RunError, UsageError

_HOLD = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in what a shell starts in the background
from orchestrator.runtime.run_lock import locked
from orchestrator.foundation.storage import Storage
with locked(Storage.at(sys.argv[1]), "experiment 'x'"):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def other(tmp_path):
    """Another process that holds the lock of ``tmp_path``."""
    process = subprocess.Popen([sys.executable, "-c", _HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_a_second_run_is_refused_with_the_name_of_the_first(tmp_path, other):
    with pytest.raises(UsageError) as refused, locked(Storage.at(str(tmp_path)), "experiment 'x'"):
        pass
    said = rf"^experiment 'x' is being worked on by process {other.pid} on {os.uname().nodename}, since 20\d\d-.* UTC: "
    assert re.match(said, str(refused.value))


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_run_that_was_killed_blocks_nobody(tmp_path, other, how):
    other.send_signal(how)
    other.wait()
    with locked(Storage.at(str(tmp_path)), "experiment 'x'"):
        pass
    assert not (tmp_path / LOCK).exists()


def test_a_lock_that_is_left_behind_by_a_reboot_blocks_nobody(tmp_path):
    (tmp_path / LOCK).write_bytes(Holder("elsewhere", 1, "long ago", "", "", "m").write())
    with locked(Storage.at(str(tmp_path)), "experiment 'x'") as lock:
        assert Holder.read((tmp_path / LOCK).read_bytes()) == lock.holder


def test_a_lock_is_no_file_of_the_experiment_and_goes_with_the_run(tmp_path):
    place = Storage.at(str(tmp_path / "new"))
    with locked(place, "x"):
        assert [facts.path for facts in place.files()] == []
    assert not (tmp_path / "new").exists()


def test_a_lock_within_a_lock_of_the_same_process_is_none(tmp_path):
    place = Storage.at(str(tmp_path))
    with locked(place, "x"):
        with locked(place, "x"):
            pass
        assert (tmp_path / LOCK).exists()


def test_a_link_in_place_of_the_lock_is_not_followed(tmp_path):
    (tmp_path / "precious").write_text("mine")
    (tmp_path / LOCK).symlink_to(tmp_path / "precious")
    with pytest.raises(OSError), locked(Storage.at(str(tmp_path)), "x"):
        pass
    assert (tmp_path / "precious").read_text() == "mine"


def test_a_folder_without_locks_stops_no_run(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(run_lock.fcntl, "flock", refuse)
    with locked(Storage.at(str(tmp_path)), "x"):
        pass


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"\xff", b'{"host": 1}', b"null"])
def test_a_damaged_lock_has_no_holder(data):
    assert Holder.read(data) is None


class Bucket:
    """The three calls of an S3 client that a lease makes, with a clock that a test sets."""

    def __init__(self, conditions=True):
        self.objects, self.conditions = {}, conditions
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def get_object(self, Bucket, Key):
        if Key not in self.objects:
            raise ClientError({"Error": {"Code": "NoSuchKey"}, "ResponseMetadata": {"HTTPStatusCode": 404}}, "Get")
        body, at = self.objects[Key]
        headers = {"date": format_datetime(self.now, usegmt=True)}
        facts = {"LastModified": at, "ETag": f'"{hash(body)}"', "ResponseMetadata": {"HTTPHeaders": headers}}
        return {"Body": io.BytesIO(body), **facts}

    def put_object(self, Bucket, Key, Body, IfNoneMatch=None, IfMatch=None):
        if (IfNoneMatch or IfMatch) and not self.conditions:
            raise ClientError({"Error": {}, "ResponseMetadata": {"HTTPStatusCode": 501}}, "Put")
        there = self.objects.get(Key)
        if (IfNoneMatch and there) or (IfMatch and (there is None or IfMatch != f'"{hash(there[0])}"')):
            raise ClientError({"Error": {}, "ResponseMetadata": {"HTTPStatusCode": 412}}, "Put")
        self.objects[Key] = (Body, self.now)

    def delete_object(self, Bucket, Key):
        del self.objects[Key]


@pytest.fixture(params=[True, False])
def bucket(request, monkeypatch):
    made = Bucket(conditions=request.param)
    monkeypatch.setattr(s3, "client", lambda: made)
    return made


PLACE = Storage("s3://bucket/runs/x")
KEY = f"runs/x/{LOCK}"


def leave(bucket, **changes):
    """Puts another run's lock into the bucket."""
    holder = replace(Holder("other-host", 77, "2026-01-01 00:00:00 UTC", "boot", "1", "mark"), **changes)
    bucket.objects[KEY] = (holder.write(), bucket.now)
    return holder


def test_a_lease_is_there_while_it_is_held_and_goes_with_the_run(bucket):
    with locked(PLACE, "experiment 'x'") as lock:
        assert json.loads(bucket.objects[KEY][0])["mark"] == lock.holder.mark
    assert bucket.objects == {}


def test_a_second_run_on_a_bucket_is_refused_with_the_name_of_the_first(bucket):
    leave(bucket)
    bucket.now += timedelta(seconds=60)
    said = r"process 77 on other-host, since 2026-01-01 00:00:00 UTC.*try again in 120 s\.$"
    with pytest.raises(UsageError, match=said), locked(PLACE, "experiment 'x'"):
        pass
    assert Holder.read(bucket.objects[KEY][0]).process == 77


def test_a_run_on_a_bucket_that_gave_no_sign_of_life_blocks_nobody(bucket):
    leave(bucket)
    bucket.now += timedelta(seconds=181)
    with locked(PLACE, "x") as lock:
        assert Holder.read(bucket.objects[KEY][0]) == lock.holder


def test_a_dead_process_of_this_machine_blocks_nobody_at_once(bucket):
    here = Holder.here()
    leave(bucket, kernel=here.kernel, process=here.process, started="0")  # the number was given again
    with locked(PLACE, "x"):
        pass
    leave(bucket, kernel=here.kernel, process=here.process, started=here.started)
    with pytest.raises(UsageError), locked(PLACE, "x"):
        pass


def test_of_two_that_start_together_one_is_refused(monkeypatch):
    bucket = Bucket()
    monkeypatch.setattr(s3, "client", lambda: bucket)
    read = bucket.get_object
    first = iter([True])

    def quicker(**where):
        """Another run comes between our look and our PUT."""
        if next(first, False):
            try:
                return read(**where)
            finally:
                leave(bucket)
        return read(**where)

    bucket.get_object = quicker
    with pytest.raises(UsageError, match="process 77"), locked(PLACE, "x"):
        pass


def test_a_lease_is_renewed_and_one_that_was_taken_over_is_noticed(bucket, monkeypatch):
    monkeypatch.setattr(run_lock, "BEAT_SECONDS", 0.01)
    with locked(PLACE, "x") as lock:
        bucket.now += timedelta(seconds=100)
        wait_for(lambda: bucket.objects[KEY][1] == bucket.now)
        lock.check()
        other = leave(bucket)
        wait_for(lock._taken_over.is_set)
        with pytest.raises(RunError, match="taken over 's3://bucket/runs/x'"):
            lock.check()
    assert Holder.read(bucket.objects[KEY][0]) == other, "another run's lock was removed"


def test_a_put_whose_answer_was_lost_refuses_nobody(monkeypatch):
    bucket = Bucket()
    monkeypatch.setattr(s3, "client", lambda: bucket)
    put = bucket.put_object

    def put_again(**request):
        put(**request)
        put(**request)  # as boto3 does if no answer comes

    bucket.put_object = put_again
    with locked(PLACE, "x") as lock:
        assert Holder.read(bucket.objects[KEY][0]) == lock.holder


def test_a_lease_is_as_patient_with_a_busy_server_as_all_else(monkeypatch):
    with s3_stub.serving(monkeypatch) as server:
        for method in ("GET", "PUT", "DELETE"):
            server.fail(method, LOCK, 503, "SlowDown", times=ATTEMPTS - 1)
        with locked(PLACE, "x"):
            assert list(server.objects) == [KEY]
        assert server.objects == {}


def test_a_bucket_that_refuses_the_lock_is_named(monkeypatch):
    with s3_stub.serving(monkeypatch) as server:
        server.denied.add(KEY)
        words = rf"'s3://bucket/{KEY}' cannot be read: the S3 server refuses access"
        with pytest.raises(RunError, match=words), locked(PLACE, "x"):
            pass


@pytest.mark.s3
def test_a_lease_on_a_real_server(s3_bucket):
    place = Storage(f"{s3_bucket}/locked")
    with locked(place, "experiment 'x'"):
        run_lock._HELD.clear()
        with pytest.raises(UsageError, match=f"process {os.getpid()}"), locked(place, "experiment 'x'"):
            pass
    assert not place.child(LOCK).exists()
    with locked(place, "x"):
        pass


def test_folders_made_for_the_lock_alone_go_with_it(tmp_path):
    with locked(Storage.at(str(tmp_path / "runs" / "tiny")), "x"):
        assert (tmp_path / "runs" / "tiny" / LOCK).exists()
    assert not (tmp_path / "runs").exists()
    kept = tmp_path / "kept"
    with locked(Storage.at(str(kept / "tiny")), "x"):
        (kept / "file").write_text("")
    assert [path.name for path in kept.iterdir()] == ["file"]
