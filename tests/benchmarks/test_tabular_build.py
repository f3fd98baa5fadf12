"""The table's builder on a few generated images: real trainings, a kill in between, clear refusals."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from benchmarks.search.tabular import build as build_script
from benchmarks.search.tabular.grid import grid_of, parts_of
from benchmarks.search.tabular.rows import finish_row
from benchmarks.search.tabular.table import domain_tables, read_table
from orchestrator.data.shard_reader import read_manifest
from orchestrator.foundation.storage import Storage
from search_spaces import find_space
from trainables.errors import UsageError
from trainables.network.model_files import pack_model
from trainables.network.network import SuperResolutionNet, preset
from trainables.samples import write_samples

ROOT = Path(__file__).parents[2]
TINY = (
    "--domains satellite --scenes file --few-scenes 2 --rates 2 --lambdas 3 --depths 2 --steps 2 --batch 1 --lr-patch 8"
)
TINY += " --evaluations 2 --validation-images 1 --validation-crop 32"


@pytest.fixture(scope="module")
def arguments(tmp_path_factory):
    root = tmp_path_factory.mktemp("tabular")
    write_samples(root / "satellite" / "train", "satellite", 5, 1, seed=1, size=(64, 64))
    (root / "satellite" / "val").mkdir()
    (root / "satellite" / "val" / "unreadable.png").write_bytes(b"a test split that nobody may open")
    torch.manual_seed(0)
    (root / "model").mkdir()
    for name, data in pack_model(SuperResolutionNet(preset("tiny", 4)), {"data_licence": "CC0"}).items():
        (root / "model" / name).write_bytes(data)
    return [*TINY.split(), "--root", str(root), "--model", str(root / "model")]


def build(monkeypatch, *arguments, finish=finish_row):
    """The script in this process, rows one after the other instead of on Ray."""
    trained = []

    def finish_all(tasks, cpus, done):
        for number, task in enumerate(tasks, 1):
            row = finish(task)
            trained.append(task.place.uri)
            done(row, number)

    monkeypatch.setattr(build_script, "finish_all", finish_all)
    monkeypatch.setattr(sys, "argv", ["build", *map(str, arguments)])
    build_script.main()
    return trained


def told(out):
    rows, facts = read_table(Storage.at(str(out / "table.parquet")))
    return [{name: value for name, value in row.items() if "seconds" not in name} for row in rows], facts


def test_a_killed_build_goes_on_and_ends_like_an_unbroken_one(tmp_path, arguments, monkeypatch):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    build(monkeypatch, *arguments, "--out", whole, "--limit", 3)
    seen = []

    def killed_at_the_third(task):
        if len(seen) == 2:
            raise KeyboardInterrupt
        seen.append(task.place)
        return finish_row(task)

    with pytest.raises(KeyboardInterrupt):
        build(monkeypatch, *arguments, "--out", broken, "--limit", 3, finish=killed_at_the_third)
    assert not (broken / "table.parquet").exists()
    cut = Path(seen[1].path)
    cut.write_bytes(cut.read_bytes()[:40])  # as a kill during a write would on a filesystem without renames
    kept = Path(seen[0].path)
    before = kept.stat().st_mtime_ns
    files = {path.name for path in (whole / "rows" / "satellite").iterdir()}
    monkeypatch.setattr(build_script, "spread_out", lambda tasks, n: [t for t in tasks if t.place.uri[-21:] in files])
    assert len(build(monkeypatch, *arguments, "--out", broken, "--limit", 3)) == 2
    assert kept.stat().st_mtime_ns == before

    (rows, facts), (again, _) = told(whole), told(broken)
    assert again == rows
    assert len(rows) == facts["rows"] == 3 < facts["rows_wanted"]
    for row in rows:
        assert row["status"] == "finished"
        assert len(row["curve"]) == 2
        assert row["curve"][-1] == row["psnr"] == row["objective"]
        assert len(row["interpolated"]) == 3
        assert row["zero_shot"] == pytest.approx(row["bicubic"], abs=1e-3)  # the source's last layer is still zero
    with pytest.raises(UsageError, match="a replay needs them all"):
        domain_tables(rows, facts)


def test_rows_of_an_earlier_table_are_taken_over_where_it_is_of_the_same(tmp_path, arguments, monkeypatch):
    build(monkeypatch, *arguments, "--out", tmp_path / "some", "--limit", 3)
    earlier = ["--table", tmp_path / "some" / "table.parquet"]
    trained = build(monkeypatch, *arguments, *earlier, "--out", tmp_path / "all", "--limit", 2)
    rows, _ = told(tmp_path / "all")
    assert (len(trained), len(rows)) == (2, 5)
    assert all(row in rows for row in told(tmp_path / "some")[0])
    with pytest.raises(SystemExit):
        build(monkeypatch, *arguments, *earlier, "--out", tmp_path / "other", "--steps", 3)


def test_validation_scenes_do_not_depend_on_the_training_scenes_and_no_test_image_is_read(
    tmp_path, arguments, monkeypatch
):
    build(monkeypatch, *arguments, "--out", tmp_path, "--limit", 1)
    shards = tmp_path / "shards" / "satellite"
    full, few = (read_manifest(Storage.at(str(shards / name))) for name in ("all", "2-scenes"))
    assert few["scenes"]["validation"] == full["scenes"]["validation"]
    assert len(few["scenes"]["train"]) == 2
    assert set(few["scenes"]["train"]) < set(full["scenes"]["train"])
    assert full["images"] == {"train": 4, "validation": 1}
    assert not full["skipped"]  # the unreadable file in val/ was never met


def test_a_set_that_has_no_more_scenes_is_left_out_and_said(tmp_path, arguments, monkeypatch):
    build(monkeypatch, *arguments, "--few-scenes", 4, "--out", tmp_path, "--limit", 1)
    _, facts = told(tmp_path)
    assert facts["domains"]["satellite"]["parts"]["4 scenes"].startswith("left out")
    assert facts["rows_wanted"] == 2 * 3 * 2 + 2 * 3


def test_a_diverged_row_scores_below_bicubic_as_in_a_search(tmp_path, arguments, monkeypatch):
    from benchmarks.search.tabular import rows
    from trainables.errors import DivergedError

    def diverge(job, configuration, seed, tell):
        tell(1, 2, "20.00 dB")
        raise DivergedError("not finite")

    monkeypatch.setattr(rows, "run_finetuning", diverge)
    build(monkeypatch, *arguments, "--out", tmp_path, "--limit", 1)
    ((row,), _) = told(tmp_path)
    assert (row["status"], row["psnr"], row["curve"], row["evaluations"]) == ("diverged", None, [], 2)
    assert row["objective"] == row["bicubic"] - 3


def test_the_grid_covers_the_space_and_its_thin_parts_lie_on_it():
    space = find_space("satellite")
    grid = grid_of(space, 9, (6, 5, 5))
    assert (grid.learning_rates[0], grid.learning_rates[-1]) == space.learning_rate
    assert grid.lambdas[0] == 0
    assert (grid.lambdas[1], grid.lambdas[-1]) == space.lambda_
    assert (grid.frozen_depths[0], grid.frozen_depths[-1]) == (0, 9)
    assert len(grid.configurations()) == len(set(grid.configurations())) == 150
    for part in parts_of(grid, 0, [4]):
        assert set(part.grid.configurations()) <= set(grid.configurations())
    with pytest.raises(UsageError, match="at most 4 of the last here"):
        grid_of(space, 3, (6, 5, 5))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (["--domains", "satelite"], "Did you mean 'satellite'?"),
        (["--model", "base-x5"], "Did you mean"),
        (["--scenes", "table"], "There is no scene table"),
        (["--steps", "1"], "--evaluations must be at most --steps"),
        (["--root", "/nowhere"], "There is no folder '/nowhere'"),
    ],
)
def test_wrong_settings_get_one_clear_sentence(tmp_path, arguments, monkeypatch, capsys, wrong, words):
    with pytest.raises(SystemExit) as stop:
        build(monkeypatch, *arguments, "--out", tmp_path, *wrong)
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line


@pytest.mark.kill
def test_a_build_on_ray_that_is_killed_goes_on(tmp_path, arguments):
    command = [
        sys.executable,
        "-m",
        "benchmarks.search.tabular.build",
        *arguments,
        "--out",
        str(tmp_path),
        "--cpus",
        "2",
    ]
    first = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL, cwd=ROOT)
    deadline = time.monotonic() + 300
    rows = tmp_path / "rows" / "satellite"
    while not (rows.exists() and list(rows.glob("*.json"))):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    kept = {path: path.read_bytes() for path in rows.glob("*.json")}
    again = subprocess.run(command, capture_output=True, text=True, check=True, timeout=600, cwd=ROOT)
    _, facts = told(tmp_path)
    assert facts["rows"] == facts["rows_wanted"] == 2 * 3 * 2 + 2 * 3 + 3
    assert int(again.stdout.split(" rows, ")[1].split()[0]) >= len(kept) > 0
    assert all(path.read_bytes() == data for path, data in kept.items())
    assert all(json.loads(path.read_text())["status"] == "finished" for path in rows.glob("*.json"))
