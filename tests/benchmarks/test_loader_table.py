"""Tables of loaders: rows in processes of their own, and our ratio to the fastest rival that shuffles as well."""

import json
from argparse import Namespace
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from benchmarks.training import ingest, loader_table
from benchmarks.training.loader_table import measured_rows, qualities, run_row
from benchmarks.training.loaders import Row

OURS, GOOD, POOR = Row("pool < pyarrow", 64, 8, 0), Row("WebDataset", 1, 64), Row("litdata", 1, 64)
QUALITY = {OURS.name: {"quality": 0.9}, GOOD.name: {"quality": 0.89}, POOR.name: {"quality": 0.5}}


@pytest.mark.parametrize(
    ("code", "limit", "told"),
    [
        ("import json, sys; print('RESULT', json.dumps(sys.argv[1::2]))", 60, ["--row", "--place", "--warm-up"]),
        ("print('loading'); raise SystemExit('there is no such loader')", 60, {"failure": "there is no such loader"}),
        ("import time; time.sleep(600)", 0.5, {"failure": "nothing after 0 s"}),
    ],
)
def test_a_row_is_measured_in_a_process_of_its_own(tmp_path, monkeypatch, code, limit, told):
    (tmp_path / "some_benchmark.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    assert run_row("some_benchmark", OURS, "place", limit, warm_up=1) == told


def test_ours_is_compared_with_the_fastest_rival_that_shuffles_as_well(tmp_path, monkeypatch):
    speeds = {OURS: 300.0, GOOD: 200.0, POOR: 900.0}
    monkeypatch.setattr(loader_table, "prepare", lambda images, place: None)
    monkeypatch.setattr(loader_table, "encoded_images", lambda folder: [b"12", b"345"])
    monkeypatch.setattr(loader_table, "run_row", lambda module, row, place, limit, **_: {"patches_per_s": speeds[row]})
    told = measured_rows("benchmarks.x", list(speeds), None, tmp_path, QUALITY, seconds=1)
    assert (told["images"], told["bytes"], told["places"]) == (2, 5, ["disk"])
    ours, *rivals = (row["disk"] for row in told["rows"])
    assert (ours["best_rival"], ours["ratio"]) == (GOOD.name, 1.5)
    assert rivals == [{"patches_per_s": 200.0}, {"patches_per_s": 900.0}]


def test_rows_that_leave_pairs_to_a_gpu_are_compared_among_themselves():
    def entry(row: Row, speed: float) -> loader_table.Json:
        facts = {"row": asdict(row), "name": row.name, "ours": row.ours, "shuffling": QUALITY[row.order]}
        return {**facts, "disk": {"patches_per_s": speed}}

    left = [replace(row, degrade="gpu") for row in (OURS, GOOD)]
    table = [entry(OURS, 300.0), entry(GOOD, 200.0), entry(left[0], 900.0), entry(left[1], 600.0)]
    loader_table.compare(table, "disk")
    assert [row["disk"].get("best_rival") for row in table] == [GOOD.name, None, left[1].name, None]
    assert left[1].name == f"{GOOD.name}, pairs on the GPU"


def test_the_speed_of_rows_needs_how_well_they_shuffle(tmp_path: Path):
    options = Namespace(out=tmp_path, pool=96, many=64, buffer=2048, warm_up=1.0, seconds=1.0)
    assert qualities(tmp_path) == {}
    (tmp_path / "ingest-shuffling_2025.json").write_text(json.dumps({"shuffling": QUALITY}))
    assert qualities(tmp_path) == QUALITY
    with pytest.raises(SystemExit, match=r"is not in .*: run --part shuffling first"):
        ingest.speed(options, tmp_path)
