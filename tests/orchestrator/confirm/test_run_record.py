"""Records of a confirmation, starts and speeds: whole and valid, or as if they were not there."""

import math

import pytest

from orchestrator.confirm.run_record import (
    problem_of,
    read_fitted,
    read_interpolation,
    read_run,
    read_scores,
    read_source_psnr,
)
from orchestrator.foundation.storage import Storage
from orchestrator.search.network_speed import read_speeds
from orchestrator.search.starts import Start, found_best, searched_domains, settle_starts
from trainables.errors import UsageError
from trainables.loops.settings import TransferConfiguration

TIME = "2026-01-01T00:00:00+00:00"
RUN = {"validation_psnr": 30.0, "curve": [[2, 29.0], [4, 30.0]], "finished_at": TIME}
KINDS = {
    "run.json": (
        read_run,
        [RUN, {"validation_psnr": None, "curve": [], "finished_at": TIME}],
        [
            {},
            {name: value for name, value in RUN.items() if name != "finished_at"},
            RUN | {"validation_psnr": math.nan},
            RUN | {"validation_psnr": "30"},
            RUN | {"validation_psnr": None},
            RUN | {"curve": []},
            RUN | {"curve": [[2]]},
            RUN | {"finished_at": 5},
        ],
    ),
    "test-default-seed1.json": (
        read_scores,
        [[["a.png", "a", 30.0, 0.9]], [["a.png", "a", math.inf, 1.0]]],
        [[], {}, [[]], [["a", "a", 1.0]], [["a", "a", math.nan, 0.9]], [["a", 5, 30.0, 0.9]], [["a", "a", "30", 0.9]]],
    ),
    "source-default-seed1.json": (
        read_source_psnr,
        [{"source_psnr": 30.0}],
        [{}, [], {"source_psnr": None}, {"source_psnr": math.nan}, {"source_psnr": "30"}],
    ),
    "interpolation.json": (
        read_interpolation,
        [{"share": 0.5, "validation": [[0.5, 30.0], [1.0, 29.0]]}],
        [
            {},
            [],
            {"share": 2, "validation": [[0.5, 30.0]]},
            {"share": math.nan, "validation": [[0.5, 30.0]]},
            {"share": 0.5, "validation": []},
            {"share": 0.5, "validation": [[0.5, None]]},
            {"share": 0.5},
        ],
    ),
    "fitted.json": (
        read_fitted,
        [{"lanczos": {"validation_psnr": 30.0}, "tv": {"validation_psnr": 30.0, "weight": 0.1, "iterations": 20}}],
        [
            {},
            [],
            {"tv": {"validation_psnr": 30.0}},
            {"tv": None},
            {"tv": {"validation_psnr": math.nan, "weight": 1.0, "iterations": 2}},
        ],
    ),
}
BYTES = [b"", b"null", b"5", b'{"share": 0.5', b"\xff", b"[" * 100_000]


@pytest.mark.parametrize("name", KINDS)
def test_whole_records_are_read_and_others_are_not_there(name, tmp_path):
    read, good, bad = KINDS[name]
    place = Storage.at(str(tmp_path / name))
    assert read(place) is None
    for value in good:
        place.write_json(value)
        assert read(place) is not None
        assert problem_of(name, place.read_json()) == ""
    for value in bad:
        place.write_json(value)
        assert read(place) is None, value
        assert problem_of(name, place.read_json()), value
    for data in BYTES:
        place.write_bytes(data)
        assert read(place) is None, data


def test_other_files_of_a_confirmation_have_no_problem_of_this_kind():
    assert problem_of("card.json", {}) == problem_of("picture-0-HR.png", None) == ""


CONFIGURATION = TransferConfiguration(learning_rate=1e-3, lambda_=0.0, frozen_depth=1)
START = Start("default", CONFIGURATION)


@pytest.mark.parametrize(
    "data",
    [
        *BYTES,
        b"{}",
        b"[{}]",
        b"[5]",
        b'[{"origin": "x", "configuration": {"learning_rate": 1, "lambda_": 0, "frozen_depth": 0}, "of": ""}]',
        b'[{"origin": "default", "configuration": {"learning_rate": -1, "lambda_": 0, "frozen_depth": 0}, "of": ""}]',
    ],
)
def test_starts_that_are_damaged_are_gathered_again(data, tmp_path):
    records = Storage.at(str(tmp_path))
    assert settle_starts(records, lambda: [START]) == (START,)
    assert settle_starts(records, lambda: []) == (START,), "they are settled once"
    records.child("starts.json").write_bytes(data)
    other = Start("start", CONFIGURATION)
    assert settle_starts(records, lambda: [other]) == (other,)
    assert settle_starts(records, lambda: []) == (other,)


@pytest.mark.parametrize(
    "data", [*BYTES, b"{}", b"[]", b'{"megapixels_per_second": 5}', b'{"megapixels_per_second": {"1": -2}}']
)
def test_speeds_that_are_damaged_are_measured_again(data, tmp_path):
    place = Storage.at(str(tmp_path / "speeds.json"))
    assert read_speeds(place) == {}
    place.write_json({"megapixels_per_second": {"1": 2.5}})
    assert read_speeds(place) == {1: 2.5}
    place.write_bytes(data)
    assert read_speeds(place) == {}


@pytest.mark.parametrize("data", [*BYTES, b"{}", b"[]", b'{"settings": 5}', b'{"settings": {"targets": []}}'])
def test_another_experiment_that_is_damaged_is_refused_in_a_sentence(data, tmp_path):
    (tmp_path / "experiment.json").write_bytes(data)
    with pytest.raises(UsageError, match=r"search\.starts_from names .* damaged"):
        searched_domains(Storage.at(str(tmp_path)))


@pytest.mark.parametrize(
    "data", [*BYTES, b"{}", b"[]", b'{"result": 5}', b'{"result": {"best": {"configuration": {"learning_rate": 0}}}}']
)
def test_a_damaged_record_of_a_search_names_no_best(data, tmp_path):
    (tmp_path / "search" / "art").mkdir(parents=True)
    (tmp_path / "search" / "art" / "stage.json").write_bytes(data)
    assert found_best(Storage.at(str(tmp_path)), "art") is None
