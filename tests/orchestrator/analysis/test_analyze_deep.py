"""`rayscale analyze --images` on images of any depth and bands."""

import json

import noise_images
import numpy as np
import pytest
import tiny_models
from helpers.own_scenes import write_sites

from orchestrator.analysis import analyze as analysis


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tiny_models.write(tmp_path / "model", tiny_models.net(2))
    noise_images.write(tmp_path / "natural", [f"{i}.png" for i in range(6)], (64, 64))
    write_sites(tmp_path / "sites", 3, side=96)


SET = ["analyze", "--model", "./model", "--images", "sites", "--space", "satellite-v2", "--source-images", "natural"]


def test_four_bands_in_a_stated_range(rayscale):
    options = ["--scenes", "folder", "--value-range", "0,10000"]
    code, out, err = rayscale(*SET, *options, "--json")
    assert code == 0, err
    (target,) = json.loads(out)["targets"].values()
    assert (target["images"], target["scenes"]) == (5, 3)  # of one, too little lies within the swath
    assert target["values"] == "uint16, blue, green, red, nir; 0 to 10000 mean 0 to 1"
    assert np.isfinite(target["frechet_over_floor"]["value"])
    assert "values" not in json.loads(rayscale(*SET[:4], "natural", *SET[5:], "--json")[1])["targets"]["satellite"]
    code, out, _ = rayscale(*SET, *options, "--bands", "nir")
    assert code == 0
    assert "satellite: uint16, nir; 0 to 10000 mean 0 to 1" in out


def test_images_that_large_files_give_are_counted(rayscale, monkeypatch):
    monkeypatch.setattr(analysis, "MOST_IMAGES", 4)
    seen = {}
    advise = analysis.advise
    monkeypatch.setattr(analysis, "advise", lambda *given: seen.update(train=given[2]) or advise(*given))
    code, _, err = rayscale(*SET, "--scenes", "folder", "--value-range", "percentile")
    assert code == 0, err
    assert seen == {"train": 6}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--value-range", "0,x"], "--value-range is LOW,HIGH"),
        (["--bands", "nir"], "--bands needs --value-range"),
        (["--value-range", "0,10000", "--bands", "nir,swir"], "it has no band 'swir'"),
    ],
)
def test_wrong_input_is_refused_in_a_sentence(rayscale, options, words):
    code, _, err = rayscale(*SET, *options)
    assert code == 2
    assert words in err


def test_an_experiment_states_its_own_ranges(rayscale):
    code, _, err = rayscale("analyze", "x.yaml", "--value-range", "0,1")
    assert code == 2
    assert "remove --value-range, or the file" in err
