"""The phase map: its plan, trainings on a few generated images, and worths judged by scenes that did not choose."""

import json
import sys
from collections import Counter
from typing import get_args

import pytest

from benchmarks.phase_map import report, rule, sources, table, train
from benchmarks.phase_map.plan import BRIEF, DEFAULT, NETWORKS, SCENES, SHIFTS, STEPS, Cell, content_of, trainings
from benchmarks.phase_map.table_file import read_table
from benchmarks.phase_map.worth import seed_noise, worth_of_steps, worths
from orchestrator.analysis.search_worth import Verdict, leaf_of
from orchestrator.foundation.storage import Storage
from trainables.errors import UsageError
from trainables.network.adapters import check_rank
from trainables.network.architecture import preset
from trainables.samples import write_samples

CONTENTS = {"medical": 40, "satellite": 11, "surveillance": 15, "art": 30}


def test_each_training_is_planned_once_and_cheap_cells_of_all_shifts_come_first():
    planned = list(trainings(CONTENTS, ("tiny", "base")))
    assert len(planned) == len(set(planned))
    first = [cell for cell, _ in planned[: 18 * len(BRIEF)]]
    assert {(cell.network, cell.steps) for cell in first} == {("tiny", 200)}
    assert set(Counter((cell.shift, cell.scenes) for cell in first).values()) == {len(BRIEF)}
    assert {cell.shift for cell in first[: 6 * len(BRIEF)]} == set(SHIFTS)
    assert {(cell.network, cell.steps) for cell, _ in planned[18 * len(BRIEF) :][:60]} > {("tiny", 1000), ("base", 200)}
    every = {(network, steps) for network in ("tiny", "base") for steps in STEPS}
    assert {(cell.network, cell.steps) for cell, _ in planned[:300]} == every - {("base", 4000)}
    assert {cell.scenes for cell, _ in planned} == set(SCENES)
    assert {cell.content for cell, _ in planned if cell.scenes == 16} == {"medical", "art"}


def test_adapters_have_no_more_parameters_than_are_allowed():
    ranks = {(cell.network, choice.adapter_rank) for cell, choice in trainings(CONTENTS, NETWORKS)}
    assert {network for network, rank in ranks if rank} == set(NETWORKS)
    for network, rank in ranks:
        if rank:
            check_rank(rank, preset(network, 4))


def test_every_place_of_the_map_comes_with_every_domain():
    contents = list(CONTENTS)
    for shift in SHIFTS:
        turned = {content_of(shift, 4, contents, turn) for turn in range(len(contents))}
        assert turned == set(contents)


def row(rate, choosing, judging, seed=0, lambda_=0.0, depth=0, regularizer="l2-sp", **cell):
    """A training whose two images belong to four scenes, two of each half."""
    told = {"network": "tiny", "steps": 200, "scenes": 4, "shift": "noise", "content": "art"} | cell
    return told | {
        "learning_rate": rate,
        "lambda_": lambda_,
        "frozen_depth": depth,
        "regularizer": regularizer,
        "seed": seed,
        "psnr_choosing": choosing,
        "psnr_judging": judging,
        "image_scenes": ["a", "b", "c", "d"],
        "image_psnr": [choosing, judging, choosing, judging],
        "image_bicubic": [20.0] * 4,
        "image_zero_shot": [21.0] * 4,
        "training_scenes": 4,
        "training_images": 8,
        "batch": 4,
        "lr_patch": 16,
        "hardware": "CPU",
    }


BEST = DEFAULT.configuration.learning_rate


def test_no_scene_judges_what_it_chose():
    (found,) = worths([row(BEST, 30.0, 30.0), row(1e-3, 30.5, 29.9), row(3e-3, 29.0, 30.2)])
    # One half chooses 1e-3, worth -0.1 to the other; that one chooses 3e-3, worth -1 to the first.
    assert found.rate == pytest.approx((-0.1 - 1.0) / 2)
    assert found.both_ways["rate"] == pytest.approx((-0.1, -1.0))
    assert found.default == 30.0
    assert found.rest is None


def test_two_judgements_of_a_cell_agree_or_not():
    found = worths([row(BEST, 30.0, 30.0), row(1e-3, 30.5, 29.9), row(3e-3, 29.0, 30.2)])
    known = rule.known_worths(found)
    for threshold, agreed in ((0.02, "1 of 1 (100%)"), (-0.5, "0 of 1 (0%)")):
        *_, line = report._agreement(known, [threshold])
        assert line == f"| ≥ {threshold} dB | {agreed} | 0 of 0 (0%) | {agreed} |"


def test_depth_and_lambda_count_beyond_the_best_rate():
    rows = [row(BEST, 30.0, 30.0), row(1e-3, 30.4, 30.4), row(1e-3, 30.7, 30.6, depth=2)]
    rows += [row(BEST, 30.1, 30.1, lambda_=0.01), row(BEST, 30.6, 30.2, lambda_=0.01, regularizer="replay")]
    rows.append(row(BEST, 30.2, 30.0, seed=1))
    (found,) = worths(rows)
    assert found.rate == pytest.approx(0.4)
    assert found.depth == pytest.approx(0.25)
    assert found.lambda_ == pytest.approx(0.0)
    assert found.replay == pytest.approx(0.0 + (30.2 - 30.4) / 2)
    assert found.search == pytest.approx(0.65)
    assert seed_noise([found]) == pytest.approx(0.1 / 2**0.5)


def test_more_steps_are_compared_within_one_cell_and_one_size_of_a_step():
    longer = row(BEST, 30.3, 30.3, steps=1000)
    other = row(BEST, 31.0, 31.0, steps=1000, content="medical")
    larger = row(BEST, 35.0, 35.0, steps=1000) | {"lr_patch": 24}
    found = worths([row(BEST, 30.0, 30.1), longer, other, larger])
    cell = Cell("tiny", 200, 4, "noise", "art")
    assert worth_of_steps(found, 200, 1000) == {cell: pytest.approx(0.25)}


def many_rows():
    """Cells in which the rate pays under noise alone, and the rest with one scene alone."""
    for content in ("art", "medical"):
        for shift in SHIFTS:
            for scenes in (1, 2, 3, 4, 8, 16):
                place = {"shift": shift, "content": content, "scenes": scenes}
                better = 0.2 if shift == "strong noise" or shift == "noise" else 0.0
                yield row(BEST, 30.0, 30.0, **place)
                yield row(1e-3, 30 + better, 30 + better, **place) | {"training_scenes": scenes}
                rest = better + (0.1 if scenes == 1 else -0.1)
                yield row(1e-3, 30 + rest, 30 + rest, depth=2, **place)
                yield row(BEST, 30.3, 30.3, steps=1000, **place)


def test_the_rule_finds_what_decides_and_is_tested_on_shifts_that_it_has_not_seen():
    rows = [each | {"training_scenes": each["scenes"]} for each in many_rows()]
    evidence, records = rule.fitted(worths(rows), len(rows))
    quiet = {"training_scenes": 4, "training_images": 8, "pixels": 1, "parameters": 1, "noise": 0.0, "blur": 0.0}
    quiet |= {"codec": 0, "pairs": 0}
    trees = evidence["fits"]["stated"]["trees"]
    assert leaf_of(trees["rate"], quiet)["median"] == 0
    assert leaf_of(trees["rate"], quiet | {"noise": 0.1})["median"] == pytest.approx(0.2)
    assert leaf_of(trees["rest"], quiet | {"training_scenes": 1})["median"] == pytest.approx(0.1)
    records = records[rule.THRESHOLD]
    assert records["stated"]["content"]["rate"] == {"right": 72, "constant": "False", "constant_right": 48, "cells": 72}
    assert records["stated"]["shift"]["rest"]["right"] == 72
    assert evidence["fits"]["measured"]["held_out"] == records["measured"]["shift"]


def test_advice_is_right_where_nothing_else_gains_what_matters():
    assert rule._fitting(0.01, 0.01, 0.0) == set(get_args(Verdict))
    assert rule._fitting(0.0, 0.1, 0.0) == {"search the rate alone", "search all settings"}
    assert rule._fitting(0.0, 0.1, -0.1) == {"search the rate alone"}
    assert rule._fitting(0.1, 0.0, 0.05) == {"the portfolio is enough"}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    root = tmp_path_factory.mktemp("map")
    for name in ("satellite", "natural"):
        write_samples(root / name / "train", "satellite", 10, 1, seed=len(name), size=(128, 128))
        (root / name / "val").mkdir()
        (root / name / "val" / "unreadable.png").write_bytes(b"a test split that nobody may open")
    told = "--contents satellite --networks tiny --scenes file --batch 1 --lr-patch 8 --limit 3 --validation-crop 32"
    return root, [*told.split(), "--root", str(root), "--out", str(root / "out")]


def call(monkeypatch, script, *arguments):
    monkeypatch.setattr(sys, "argv", [script.__name__, *map(str, arguments)])
    script.main()


def test_trainings_go_on_where_they_stopped_and_become_one_table(trained, monkeypatch, capsys):
    root, arguments = trained
    monkeypatch.setitem(sources.PRETRAINING, "tiny", 2)
    short = [
        (Cell(c.network, 2, c.scenes, c.shift, c.content), choice)
        for c, choice in trainings({"satellite": 6}, ["tiny"])
    ]
    pairs = [each for each in short if each[0].shift == "real pairs"]
    monkeypatch.setattr(train.PhaseMap, "planned", lambda self: [*short[:3], *pairs[:1]])
    call(monkeypatch, train, *arguments, "--processes", "2")
    call(monkeypatch, train, *arguments)
    rows = sorted((root / "out" / "rows").rglob("*.json"))
    assert len(rows) == 4, "three rows, then the one that was missing"
    place = root / "map.parquet"
    for _ in range(2):
        call(monkeypatch, table, "--out", root / "out", "--table", place, "--contents", "satellite")
    found, facts = read_table(Storage.at(str(place)))
    assert len(found) == facts["rows"] == 4
    assert facts["cells"] == 2
    assert facts["cells"] < facts["cells_planned"]
    assert {(each["shift"], each["scenes"]) for each in found} == {("bicubic", 1), ("real pairs", None)}
    for each in found:
        assert each["training_scenes"] == (each["scenes"] or 6)
        assert len(each["image_psnr"]) == len(set(each["image_scenes"])) == 4
    assert "4 trainings in 2 of" in capsys.readouterr().out
    for file in rows:
        file.unlink()
    call(monkeypatch, train, *arguments, "--table", place)
    assert not list((root / "out" / "rows").rglob("*.json")), "the table has them all"


def test_a_report_needs_a_table(tmp_path):
    with pytest.raises(UsageError, match="There is no table"):
        read_table(Storage.at(str(tmp_path / "none.parquet")))


def test_the_report_writes_page_figure_and_rule(tmp_path, monkeypatch):
    rows = [each | {"training_scenes": each["scenes"]} for each in many_rows()]
    facts = {"command": "C", "environment": {"hardware": "H", "versions": "V", "commit": "1"}, "seeds": [0, 1]}
    facts |= {"rows": len(rows), "rows_planned": 9, "cells": 1, "cells_planned": 9, "cpu_hours": 1.0}
    monkeypatch.setattr(report, "read_table", lambda place: (rows, facts))
    target = tmp_path / "rule.json"
    call(monkeypatch, report, "--table", "T", "--out", tmp_path, "--rule", target)
    (page,) = tmp_path.glob("phase-map_*.md")
    assert "| all cells | 148 |" in page.read_text()
    assert "| ≥ 0.02 dB | 76 of 76 (100%) | 75 of 76 (99%) |" in page.read_text(), "generated cells, and the four"
    for threshold in (0.02, 0.1):
        assert f"| a search beyond the portfolio ≥ {threshold} dB | measured | " in page.read_text()
    assert json.loads(target.read_text())["cells"] == 148, "with the four of the tabular benchmark"
    assert {file.suffix for file in tmp_path.glob("phase-map.*")} == {".svg", ".png"}
