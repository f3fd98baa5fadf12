"""The benchmark of transfer methods on a few generated images: every arm once, then nothing twice."""

import json
import sys

import pytest
import torch

from benchmarks.transfer import methods, runs
from benchmarks.transfer.arms import (
    COST,
    FROM_OUTPUT,
    INTERPOLATED,
    LR_ALONE,
    TRAINED,
    ZERO_SHOT,
    Grid,
    second,
    steps_of_model_transfer,
)
from orchestrator.data import source_images
from trainables.network.model_files import pack_model
from trainables.network.network import SuperResolutionNet, preset
from trainables.samples import write_samples

TINY = (
    "--domains satellite --scenes file --few-scenes 2 --rates 1e-3 --lambdas 1e-3 --depths-from-input 1 "
    "--depths-from-output 1 --seeds 1 --steps 1 --batch 1 --lr-patch 8 --validation-images 1 --validation-crop 32 "
    "--test-crop 32"
)


@pytest.fixture(scope="module")
def arguments(tmp_path_factory):
    root = tmp_path_factory.mktemp("transfer")
    for split, scenes in (("train", 3), ("val", 2)):
        write_samples(root / "satellite" / split, "satellite", scenes, 1, seed=len(split), size=(96, 96))
    torch.manual_seed(0)
    (root / "model").mkdir()
    for name, data in pack_model(SuperResolutionNet(preset("tiny", 2)), {"data_licence": "CC0"}).items():
        (root / "model" / name).write_bytes(data)
    return [*TINY.split(), "--root", str(root), "--model", str(root / "model")]


@pytest.fixture
def compare(arguments, tmp_path, monkeypatch):
    monkeypatch.setattr(source_images, "GENERATED", 1)
    monkeypatch.setattr(source_images, "LEAST_SIDE", 64)
    trained = []

    def train(run):
        trained.append(run.candidate.arm)
        return whole(run)

    whole = runs.train
    monkeypatch.setattr(runs, "train", train)

    def run(*further):
        trained.clear()
        places = ["--out", str(tmp_path / "out"), "--results", str(tmp_path / "results")]
        monkeypatch.setattr(sys, "argv", ["methods", *arguments, *places, *further])
        methods.main()
        return list(trained)

    return run


def test_every_arm_is_trained_once_and_a_second_run_trains_what_is_missing(compare, tmp_path, capsys):
    assert sorted(compare()) == sorted(TRAINED)  # two training scenes are all there are
    (file,) = (tmp_path / "results").glob("*.json")
    told = json.loads(file.read_text())
    (entry,) = told["results"]
    assert set(entry["arms"]) == {ZERO_SHOT, INTERPOLATED, *TRAINED}
    assert (entry["training_scenes"], entry["validation_scenes"], entry["scenes"]) == (2, 1, 2)
    assert all({"validation", "test", "source"} <= each.keys() for each in entry["arms"].values())
    page = file.with_suffix(".md").read_text()
    assert f"| {LR_ALONE} | 0.001 |" in page
    assert str(tmp_path) not in page

    lines = tmp_path / "out" / "runs.jsonl"
    kept = lines.read_text().splitlines()
    lines.write_text("\n".join(kept[:-1]) + "\n" + kept[-1][:40])  # as a kill would leave it
    opened = entry["test_opened_at"]
    assert compare() == [json.loads(kept[-1])["arm"]]
    assert compare() == []
    again = json.loads(file.read_text())["results"][0]
    assert again["test_opened_at"] == opened
    assert again["arms"] == entry["arms"]


def test_an_estimate_keeps_nothing(compare, tmp_path, capsys):
    compare("--estimate")
    assert "about" in capsys.readouterr().out
    assert not (tmp_path / "out" / "runs.jsonl").exists()


def test_what_a_benchmark_costs():
    grid = Grid((1e-3,), (1e-3, 1e-2), (3,), (1,))
    assert [each.method.frozen_from for each in second(grid, 1e-3) if each.arm == FROM_OUTPUT] == ["output"]
    # 3 arms with a rate of their own, four regularizers at two λ, two ends; then the chosen nine again.
    joint = 1 + 1 + COST["joint, features"] + COST["joint, replay"]
    once = 2 + COST[LR_ALONE] + 2 * joint + 2
    assert steps_of_model_transfer(grid, 1) == pytest.approx(once)
    assert steps_of_model_transfer(grid, 2) == pytest.approx(2 * once - joint)
