"""The benchmark of real pairs on a few generated images: every arm once, every wrong set refused, nothing twice."""

import json
import sys

import numpy as np
import pytest
import tiny_models

from benchmarks.training import real_pairs
from trainables.samples import write_samples

TINY = (
    "--domains satellite --scenes file --rates 1e-3 --seeds 2 --steps 1 --batch 1 --lr-patch 12 --validation-images 1 "
    "--validation-crop 64 --test-crop 64 --wrong 4"
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    root = tmp_path_factory.mktemp("pairs")
    for split, scenes in (("train", 5), ("val", 3)):
        write_samples(root / "satellite" / split, "satellite", scenes, 1, seed=len(split), size=(192, 192))
    model = tiny_models.write(root / "model", tiny_models.net(2), degradation=None)
    arguments = [*TINY.split(), "--data", str(root), "--model", model, "--out", str(root / "out")]
    trained = []
    with pytest.MonkeyPatch.context() as patch:
        whole = real_pairs.run_finetuning
        patch.setattr(real_pairs, "run_finetuning", lambda *a: trained.append(a[0].pairs_share) or whole(*a))
        for results in ("first", "second"):
            patch.setattr(sys, "argv", ["real_pairs", *arguments, "--results", str(root / results)])
            real_pairs.main()
    pages = {name: next((root / name).glob("*.md")).read_text() for name in ("first", "second")}
    figures = json.loads(next((root / "first").glob("*.json")).read_text())
    return figures, pages, trained


def test_arms_are_trained_once(finished):
    figures, pages, trained = finished
    assert sorted(trained) == [0.0, 0.0, 0.5, 0.5, 1.0, 1.0]
    assert pages["first"].partition("| domain")[2] == pages["second"].partition("| domain")[2]
    found = figures["domains"]["satellite"]
    assert set(found["psnr"]) == {"bicubic", "zero-shot", "simulated", "mixed", "pairs"}
    assert found["images"] == {"train": 4, "validation": 1, "test": 3}


def test_wrong_pairs_are_refused_and_the_camera_s_are_not(finished):
    found = finished[0]["domains"]["satellite"]
    faults = [sentence.partition("do not fit: ")[2].partition(" ")[0] for sentence in found["refused"].values()]
    assert faults == ["LR", "the", "radiometry"]
    assert any("displacement of LR" in line for line in found["checks"])


def test_the_page_has_scores_interval_and_refusals(finished):
    page = finished[1]["first"]
    (row,) = (line for line in page.splitlines() if line.startswith("| satellite | 3 (3) |"))
    assert row.count("|") == 10
    assert "| satellite | misregistered by 2 LR pixels | LR is displaced against HR by " in page
    assert "**no**" not in page


def test_an_interval_over_scenes_and_seeds():
    rng = np.random.default_rng(0)
    base = rng.normal(30, 3, (3, 40))
    gain = 0.5 + rng.normal(0, 0.2, (3, 40))
    scenes = [str(number // 2) for number in range(40)]
    found = real_pairs._difference({"a": base + gain, "b": base}, scenes, "a", "b")
    assert found["low"] < 0.5 < found["high"]
    assert found["high"] - found["low"] < 0.2
    none = real_pairs._difference({"a": base, "b": base}, scenes, "a", "b")
    assert none["low"] == none["high"] == 0
