"""The benchmark of adapted and fresh stems, on a few small scenes."""

import json
import sys

import numpy as np
import pytest
import tiny_models
import torch

from benchmarks.training import bands
from trainables.network.bands import with_bands

TINY = "--steps 1 2 --rates 1e-4 1e-3 --seeds 2 --batch 1 --lr-patch 8 --scenes 2 --validation 1 --test 2 --size 64"


def test_every_arm_is_judged_at_every_budget(tmp_path, monkeypatch, capsys):
    model = tiny_models.write(tmp_path / "model", tiny_models.net(2))
    monkeypatch.setattr(sys, "argv", ["bands", *TINY.split(), "--model", model, "--out", str(tmp_path / "out")])
    bands.main()
    figures, page = sorted((tmp_path / "out").iterdir())
    rows = json.loads(figures.read_text())["rows"]
    assert [(row["steps"], row["arm"]) for row in rows[3:]] == [(n, arm) for n in (1, 2) for arm in bands.ARMS]
    for row in rows[3:]:
        assert row["rate"] == float(max(row["validation"], key=row["validation"].get))
        assert len(row["scores"]["by_scene"]) == 2
        assert row["scores"]["psnr"] == pytest.approx(np.mean(row["scores"]["bands"]), abs=1e-6)
    text = page.read_text()
    assert "Command: `python -m benchmarks.training.bands --steps 1 2" in text
    assert sum(line.startswith("| 2 |") for line in text.splitlines()) == len(bands.ARMS)
    assert capsys.readouterr().out.count("\n") == 2 * len(bands.ARMS)


def test_arms_differ_in_what_is_fresh():
    source = tiny_models.net(2)
    adapted = with_bands(source, bands.FORMAT.bands).state_dict()
    generator = [name for name in adapted if name.startswith("generator")]
    blocks = [name for name in adapted if name.startswith("features.blocks")]
    for arm in bands.ARMS:
        state = bands.begin(arm, source, seed=1).state_dict()
        assert torch.equal(state["features.stem.weight"], adapted["features.stem.weight"]) == ("adapted stem" in arm)
        assert all(torch.equal(state[name], adapted[name]) for name in generator) == ("adapted generator" in arm)
        assert all(torch.equal(state[name], adapted[name]) for name in blocks) == (arm != "from scratch")
        zero = not any(state[name].any() for name in generator)
        assert zero == ("adapted generator" not in arm)


def test_near_infrared_shows_leaves_bright_and_water_dark():
    leaf, soil, water, roof = (
        np.array([[colour]]) / 2
        for colour in ((0.2, 0.34, 0.12), (0.55, 0.45, 0.3), (0.13, 0.22, 0.25), (0.5, 0.48, 0.47))
    )
    assert bands.near_infrared(leaf) > 3 * leaf[..., 0]
    assert bands.near_infrared(water) < 0.2 * water[..., 0]
    for bare in (soil, roof):
        assert bare[..., 0] < bands.near_infrared(bare) < 1.5 * bare[..., 0]


def test_scenes_are_deep_and_those_that_judge_are_others():
    image = bands.raster(3, 64)
    assert image.values.shape == (64, 64, 4)
    assert image.values.dtype == np.uint16
    assert len(np.unique(image.values[..., 0])) > 1000
    assert 0 < image.values.max() < 10_000
    held_out = bands.scenes(bands.TEST, 1, 64)[0].pixels
    assert not np.array_equal(held_out, bands.FORMAT.prepared(image).pixels)
