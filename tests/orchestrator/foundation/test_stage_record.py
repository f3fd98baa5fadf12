"""Resuming: a stage runs once for its inputs, and its record is the last thing written."""

import json
import time
from datetime import UTC, datetime, timedelta

import pytest

from orchestrator.foundation.artefact_digests import CHECKED_BYTES, FileDigest
from orchestrator.foundation.record import Count, DamagedRecordError, Record
from orchestrator.foundation.stage_record import (
    RECORD,
    Check,
    StageRecord,
    Vouched,
    check_stage,
    fingerprint,
    finish_stage,
    finished,
    now,
    read_result,
    read_stage,
    run_stage,
)
from orchestrator.foundation.storage import Storage
from trainables.version import __version__


@pytest.fixture
def stage(tmp_path):
    place, said, runs = Storage.at(str(tmp_path / "stage")), [], []

    def run(inputs, work=None):
        def do():
            runs.append(inputs)
            assert finished(place, inputs) is None
            return {"number": len(runs)} if work is None else work()

        return run_stage("bake", place, inputs, do, said.append)

    run.place, run.said, run.runs = place, said, runs
    return run


def test_a_finished_stage_is_skipped_and_tells_its_result(stage):
    first = stage("a")
    again = stage("a")
    assert stage.runs == ["a"]
    assert again == first
    assert first.result == {"number": 1}
    assert first.rayscale == __version__
    assert stage.said == ["bake: running", "bake: done in 0 s", f"bake: finished {first.finished_at}, skipped"]


def test_other_inputs_run_it_again(stage):
    stage("a")
    assert stage("b").result == {"number": 2}
    assert "bake: its inputs changed, running again" in stage.said
    assert finished(stage.place, "a") is None
    stage("a")
    assert stage.runs == ["a", "b", "a"]


def test_work_that_fails_leaves_no_record(stage):
    def burn():
        stage.place.child("half").write_bytes(b"x")
        raise RuntimeError("burnt")

    with pytest.raises(RuntimeError, match="burnt"):
        stage("a", burn)
    assert not stage.place.child(RECORD).exists()
    assert stage("a").result == {"number": 2}


def test_failing_again_with_other_inputs_keeps_the_old_record_invalid(stage):
    stage("a")
    with pytest.raises(ZeroDivisionError):
        stage("b", lambda: 1 / 0)
    assert finished(stage.place, "b") is None


@pytest.mark.parametrize("record", [b"", b'{"inputs": "a"', b"[]", b'"a"', b"{}"])
def test_a_broken_record_does_not_count(stage, record):
    stage.place.child(RECORD).write_bytes(record)
    assert stage("a").result == {"number": 1}


def test_fingerprints_follow_values_not_order_of_keys():
    assert fingerprint({"a": 1, "b": [2]}, "x") == fingerprint({"b": [2], "a": 1}, "x")
    others = [
        fingerprint({"a": 1, "b": [2]}),
        fingerprint({"a": 1, "b": [3]}, "x"),
        fingerprint("x", {"a": 1, "b": [2]}),
    ]
    assert len({fingerprint({"a": 1, "b": [2]}, "x"), *others}) == 4


def test_fingerprints_are_those_of_finished_experiments():
    """Other digests would make every finished experiment run again."""
    assert fingerprint({"b": [2, 0.5], "a": "é"}, "x", None) == "8d904cb247164c99"


def test_the_time_of_a_record_is_utc_in_whole_seconds():
    moment = datetime.fromisoformat(now())
    assert moment.utcoffset() == timedelta(0)
    assert moment.microsecond == 0
    assert len(now()) == len("2025-01-01T00:00:00+00:00")
    assert abs(datetime.now(UTC) - moment) < timedelta(seconds=5)


@pytest.fixture
def sealed(tmp_path):
    """A finished stage two levels below its home, which vouches for a folder, a file beside it, and itself."""
    home = Storage.at(str(tmp_path / "home"))
    place = home.child("search", "art")
    place.child("a.txt").write_bytes(b"abc")
    home.child("beside.txt").write_bytes(b"beside")
    place.child(RECORD).write_bytes(b"an older one")
    vouched = Vouched(home, [place, home.child("beside.txt")])
    record = finish_stage("search of art", place, "i", time.monotonic() - 12.34, {"best": (1, 2), "z": {3: 4}}, vouched)
    return home, place, record


def test_a_record_holds_what_it_vouches_for(sealed):
    _, place, record = sealed
    written = place.child(RECORD).read_json()
    assert written == json.loads(json.dumps(record.plain()))
    assert list(written) == [
        "stage", "inputs", "rayscale", "finished_at", "seconds", "result", "levels", "files", "sha256",
    ]  # fmt: skip
    assert (written["stage"], written["inputs"], written["levels"]) == ("search of art", "i", 2)
    assert written["seconds"] == pytest.approx(12.3, abs=0.3)
    assert written["seconds"] == round(written["seconds"], 1)
    assert {file["path"]: file["bytes"] for file in written["files"]} == {"search/art/a.txt": 3, "beside.txt": 6}
    read = StageRecord.parse(written)
    assert check_stage(place, "i") == Check(read, {})
    assert check_stage(place, "i").finished == read
    assert finished(place, "i") == read
    assert read_stage(place) == read


def test_a_seal_does_not_depend_on_the_order_of_the_keys(sealed):
    _, place, record = sealed
    place.child(RECORD).write_json(dict(reversed(record.plain().items())))
    assert check_stage(place, "i").damage == {}
    assert record.sha256 == place.child(RECORD).read_json()["sha256"]


def test_digests_of_files_that_are_known_are_not_read_again(tmp_path):
    home = Storage.at(str(tmp_path))
    home.child("x", "a.txt").write_bytes(b"abc")
    known = {"x/a.txt": FileDigest(path="x/a.txt", bytes=3, sha256="as known")}
    record = finish_stage("bake", home.child("x"), "i", 0.0, {}, Vouched(home, [home.child("x", "a.txt")], known))
    assert record.files == list(known.values())
    assert record.levels == 1


def test_files_that_changed_are_named_and_the_stage_runs_again(sealed):
    home, place, _ = sealed
    home.child("beside.txt").write_bytes(b"BESIDE")
    check = check_stage(place, "i")
    assert check.damage == {"beside.txt": "has changed since it was written"}
    assert check.record.result == {"best": [1, 2], "z": {"3": 4}}
    assert check.finished is None
    said = []
    again = run_stage("bake", place, "i", lambda: {"n": 1}, said.append)
    assert said[0] == "bake: beside.txt has changed since it was written, running again"
    assert again.stage == "bake"
    assert again.inputs == "i"
    assert again.files is None


def test_only_so_many_bytes_are_compared(sealed):
    home, place, _ = sealed
    home.child("beside.txt").write_bytes(b"BESIDE")
    assert check_stage(place, "i", most_bytes=8).damage == {}
    assert check_stage(place, "i", most_bytes=9).damage != {}
    assert CHECKED_BYTES == 268_435_456


def test_run_stage_vouches_for_files_that_exist_once_it_has_run_and_counts_its_seconds(tmp_path, monkeypatch):
    home, clock = Storage.at(str(tmp_path)), iter([100.0, 107.26])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    said = []

    def work():
        home.child("x", "a.txt").write_bytes(b"abc")
        return {}

    record = run_stage(
        "bake", home.child("x"), "i", work, said.append, lambda: Vouched(home, [home.child("x", "a.txt")])
    )
    assert [file.path for file in record.files] == ["x/a.txt"]
    assert record.seconds == 7.3
    assert said == ["bake: running", "bake: done in 7 s"]


def test_a_check_that_was_done_before_is_not_done_again(stage):
    first = stage("a")
    said = []
    damaged = Check(first, {"elsewhere/x": "is missing"})
    again = run_stage("bake", stage.place, "a", lambda: {"number": 9}, said.append, check=damaged)
    assert again.result == {"number": 9}
    assert said[0] == "bake: elsewhere/x is missing, running again"
    other = Check(first, {})
    assert run_stage("bake", stage.place, "other", lambda: pytest.fail("finished"), said.append, check=other) == first


def test_a_record_without_a_list_of_files_has_them_looked_at(stage):
    record = stage("a")
    seen = []

    def older(of):
        seen.append(of)
        return {"x": "is missing"}

    assert check_stage(stage.place, "a", older) == Check(record, {"x": "is missing"})
    assert seen == [record]
    assert check_stage(stage.place, "a") == Check(record, {})


@pytest.mark.parametrize("content", [b"", b"[]", b"[" * 100_000])
def test_what_is_no_record_is_damage_and_none_at_all_is_not(stage, content):
    assert check_stage(stage.place, "a") == Check(None, {})
    stage.place.child(RECORD).write_bytes(content)
    assert check_stage(stage.place, "a") == Check(None, {RECORD: "is empty, cut short or no record"})


def unsealed(**changes):
    whole = {"inputs": "a", "result": {}, "finished_at": "2025-01-01", "seconds": 1.5}
    return {key: value for key, value in (whole | changes).items() if value != "none"}


@pytest.mark.parametrize(
    "changes",
    [{}, {"seconds": 0}, {"seconds": 3}, {"levels": 1, "files": []}, {"levels": 9, "files": []}],
)
def test_records_without_a_seal_count_while_they_are_whole(stage, changes):
    record = unsealed(**changes)
    stage.place.child(RECORD).write_json(record)
    assert check_stage(stage.place, "a") == Check(StageRecord.parse(record), {})


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"result": []}, "has result []"),
        ({"result": "none"}, "lacks 'result'"),
        ({"finished_at": 3}, "has finished_at 3"),
        ({"finished_at": "none"}, "lacks 'finished_at'"),
        ({"seconds": "none"}, "lacks 'seconds'"),
        ({"seconds": "3"}, "has seconds '3'"),
        ({"seconds": True}, "has seconds True"),
        ({"seconds": float("nan")}, "has seconds nan"),
        ({"seconds": float("inf")}, "has seconds inf"),
        ({"files": []}, "lacks 'levels'"),
        ({"files": [], "levels": 0}, "has levels 0"),
        ({"files": [], "levels": 10}, "has levels 10"),
        ({"files": [], "levels": 1.0}, "has levels 1.0"),
        ({"files": {}, "levels": 1}, "has files {}"),
        ({"files": [{"path": "/x", "bytes": 1, "sha256": ""}], "levels": 1}, "has files.0.path '/x'"),
        ({"files": [{"path": "a//b", "bytes": 1, "sha256": ""}], "levels": 1}, "has files.0.path 'a//b'"),
        ({"files": [{"path": "../x", "bytes": 1, "sha256": ""}], "levels": 1}, "has files.0.path '../x'"),
        ({"files": [{"path": "x", "bytes": -1, "sha256": ""}], "levels": 1}, "has files.0.bytes -1"),
        ({"files": [{"path": "x", "bytes": True, "sha256": ""}], "levels": 1}, "has files.0.bytes True"),
    ],
)
def test_records_without_a_seal_that_are_not_whole_are_named(stage, changes, reason):
    record = unsealed(**changes)
    stage.place.child(RECORD).write_bytes(json.dumps(record).encode())
    check = check_stage(stage.place, "a")
    assert check.damage == {RECORD: f"is damaged: it {reason}"}
    assert check.finished is None


def test_a_sealed_record_that_was_changed_does_not_count(sealed):
    _, place, record = sealed
    place.child(RECORD).write_json(record.plain() | {"result": {"best": 3}})
    check = check_stage(place, "i")
    assert check.record.result == {"best": 3}
    assert check.damage == {RECORD: "has changed since it was written"}
    assert check_stage(place, "other") == Check(None, {})


class Baked(Record):
    number: Count


def test_a_result_is_read_as_the_record_of_its_stage(stage):
    stage("a")
    assert read_result(stage.place, Baked) == Baked(number=1)
    stage.place.child(RECORD).write_json({"inputs": "a", "finished_at": "", "seconds": 1, "result": {"number": -1}})
    with pytest.raises(DamagedRecordError, match="has number -1"):
        read_result(stage.place, Baked)
    stage.place.child(RECORD).delete()
    with pytest.raises(DamagedRecordError, match="is no object"):
        read_stage(stage.place)
