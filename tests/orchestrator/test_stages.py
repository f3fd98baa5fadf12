"""Resuming: a stage runs once for its inputs, and its record is the last thing written."""

import pytest

from orchestrator.stages import RECORD, fingerprint, finished, run_stage
from orchestrator.storage import Storage
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
    assert first["result"] == {"number": 1}
    assert first["rayscale"] == __version__
    assert stage.said == ["bake: running", "bake: done in 0 s", f"bake: finished {first['finished_at']}, skipped"]


def test_other_inputs_run_it_again(stage):
    stage("a")
    assert stage("b")["result"] == {"number": 2}
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
    assert stage("a")["result"] == {"number": 2}


def test_failing_again_with_other_inputs_keeps_the_old_record_invalid(stage):
    stage("a")
    with pytest.raises(ZeroDivisionError):
        stage("b", lambda: 1 / 0)
    assert finished(stage.place, "b") is None


@pytest.mark.parametrize("record", [b"", b'{"inputs": "a"', b"[]", b'"a"', b"{}"])
def test_a_broken_record_does_not_count(stage, record):
    stage.place.child(RECORD).write_bytes(record)
    assert stage("a")["result"] == {"number": 1}


def test_fingerprints_follow_values_not_order_of_keys():
    assert fingerprint({"a": 1, "b": [2]}, "x") == fingerprint({"b": [2], "a": 1}, "x")
    others = [
        fingerprint({"a": 1, "b": [2]}),
        fingerprint({"a": 1, "b": [3]}, "x"),
        fingerprint("x", {"a": 1, "b": [2]}),
    ]
    assert len({fingerprint({"a": 1, "b": [2]}, "x"), *others}) == 4
