"""Records of trials: valid ones are read, any other file is named and counts as no record."""

import json
import math
from types import SimpleNamespace

import pytest
from formula_trials import job_at, search, trained  # noqa: F401 - fixture
from records import trial, trial_record

from orchestrator.foundation.record import DamagedRecordError
from orchestrator.foundation.storage import Storage
from orchestrator.search.optuna_export import write_optuna_log
from orchestrator.search.trial_record import best_record, damaged_records, parse_record, read_record, read_records

DROP = object()

WRONG = {
    "number": [5, "1", True, 1.0, None, DROP],
    "origin": [None, 3, DROP],
    "configuration": [
        None,
        [],
        {},
        {"learning_rate": 1e-3},
        {"learning_rate": "x", "lambda_": 0.0, "frozen_depth": 0},
        {"learning_rate": math.nan, "lambda_": 0.0, "frozen_depth": 0},
        {"learning_rate": 1e-3, "lambda_": 0.0, "frozen_depth": 0.5},
        {"learning_rate": 1e-3, "lambda_": 0.0, "frozen_depth": -1},
        {"learning_rate": 1e-3, "lambda_": 0.0, "frozen_depth": 0, "what": 1},
        DROP,
    ],
    "sampled": [None, [], {"learning_rate": "x"}, {"learning_rate": math.nan}, DROP],
    "status": ["running", None, 1, ["finished"], DROP],
    "psnr": [None, math.nan, math.inf, "30", True, [30.0], DROP],
    "objective": [None, math.nan, "30", DROP],
    "curve": [None, [], {}, "x", [[4]], [[4, None]], [[4, math.nan]], [["4", 1.0]], [4, 1.0], DROP],
    "seconds": [None, -1, math.nan, "1", True, DROP],
    "finished_at": [None, "", "yesterday", 5, DROP],
    "speed": [math.nan, 0, -1.0, "fast"],
}


def changed(field, value):
    record = trial_record(1) | {field: value}
    return {name: entry for name, entry in record.items() if entry is not DROP}


@pytest.mark.parametrize("status", ["finished", "stopped", "diverged"])
def test_records_as_a_search_writes_them_are_valid(status):
    for written in (trial_record(1, status=status), trial_record(1, status=status, speed=2.5)):
        assert json.dumps(parse_record(written, 1).plain()) == json.dumps(written)


def test_records_of_a_real_search_are_valid(tmp_path):
    job = job_at(tmp_path)
    search(job)
    assert len(read_records(job.records)) == job.trials
    assert damaged_records(job.records) == {}


@pytest.mark.parametrize(
    ("field", "value"),
    [pytest.param(f, v, id=f"{f} {'missing' if v is DROP else repr(v)}") for f, vs in WRONG.items() for v in vs],
)
def test_a_field_that_is_missing_or_wrong_is_named(field, value):
    with pytest.raises(DamagedRecordError) as error:
        parse_record(changed(field, value), 1)
    problem = str(error.value)
    assert field in problem or (field == "number" and "is of trial" in problem)
    assert len(problem) < 200


BYTES = [b"", b"{}", b"[]", b"null", b"5", b'"x"', b'{"number": 1', b"\xff\xfe", b"[" * 100_000, b"{" * 100_000]


@pytest.mark.parametrize("data", BYTES, ids=range(len(BYTES)))
def test_whatever_a_file_holds_it_is_named_and_the_others_are_read(tmp_path, data):
    place = Storage.at(str(tmp_path))
    for number in (10, 2, 0):
        place.child(f"{number:04d}.json").write_json(trial_record(number))
    place.child("0001.json").write_bytes(data)
    place.child("starts.json").write_json([])
    place.child("0003.json.damaged").write_bytes(data)
    assert [record.number for record in read_records(place)] == [0, 2, 10]
    assert list(damaged_records(place)) == ["0001.json"]
    assert read_record(place.child("0001.json"), 1) is None
    assert read_record(place.child("0005.json"), 5) is None


def test_two_records_of_one_trial_are_one_and_the_other_is_named(tmp_path):
    place = Storage.at(str(tmp_path))
    place.child("0001.json").write_json(trial_record(1, 30.0))
    place.child("1.json").write_json(trial_record(1, 40.0))
    assert [record.psnr for record in read_records(place)] == [30.0]
    assert damaged_records(place) == {"1.json": "is a second record of trial 1"}


def test_a_damaged_record_is_run_again_as_its_number(tmp_path):
    job = job_at(tmp_path)
    search(job)
    before = {record.number: record.configuration for record in read_records(job.records)}
    (tmp_path / "0001.json").write_text("{}")
    search(job)
    after = {record.number: record.configuration for record in read_records(job.records)}
    assert after == before, "number 1 is a start"
    assert damaged_records(job.records) == {}


def test_a_sampled_trial_that_was_lost_is_run_again_with_its_configuration(tmp_path):
    job = job_at(tmp_path)
    search(job)
    records = read_records(job.records)
    (tmp_path / "0006.json").unlink()
    known = {record.number: record.sampled for record in records}
    search(job_at(tmp_path, known=known))
    assert [r.configuration for r in read_records(job.records)] == [r.configuration for r in records]


def test_an_infinite_score_cannot_win(tmp_path):
    place = Storage.at(str(tmp_path))
    place.child("0000.json").write_json(trial_record(0, 30.0))
    (tmp_path / "0001.json").write_text(json.dumps(trial_record(1, math.inf)))
    assert best_record(read_records(place)).number == 0


def test_every_valid_record_can_be_written_to_the_optuna_log(tmp_path):
    job = job_at(tmp_path, settings=SimpleNamespace())
    records = [trial(n, 30.0, status) for n, status in enumerate(("finished", "stopped", "diverged"))]
    write_optuna_log("x", records, job.distributions(), Storage.at(str(tmp_path / "log")))
    assert (tmp_path / "log").stat().st_size > 0
