"""Adapting to LR images of any depth and bands: the range of a card or of the command, and what the new card states."""

import json

import dicom_files
import noise_images
import numpy as np
import pytest
import tiny_models
from helpers.own_scenes import write_geotiff, write_sites

from orchestrator.apply import adapt_images
from orchestrator.foundation.model_store import find_model
from trainables.samples.multispectral import BANDS

UINT16 = {"value_range": {"uint16": [0, 10000]}}


def command(images, out, model, *further, space="satellite"):
    common = ("--steps", 1, "--keep", "--json", "--scenes", "folder")
    return ("adapt", images, out, "--model", model, "--space", space, *common, *further)


@pytest.fixture
def sites(tmp_path):
    write_sites(tmp_path / "sites", 4, side=64)
    return tmp_path / "sites"


def test_an_rgb_model_learns_four_bands_in_a_stated_range(rayscale, sites, tmp_path):
    model = tiny_models.write(tmp_path / "rgb", tiny_models.net(2))
    code, out, err = rayscale(*command(sites, tmp_path / "out", model, "--value-range", "0,10000"))
    assert code == 0, err
    result = json.loads(out)
    assert result["values"] == "uint16, blue, green, red, nir; 0 to 10000 mean 0 to 1"
    assert (result["images"] + result["held_out"], result["gain"]["scenes"]) == (8, 1)
    found = find_model(str(tmp_path / "out"))
    assert found.net.architecture.channels == 4
    assert found.card["value_range"] == {"uint16": [0, 10000]}
    assert found.card["band_map"] == {"4": [[1, 2, 3, 4]]}
    assert found.card["band_names"] == list(BANDS)
    assert found.degradation.levels == 10000


def test_a_model_of_stated_bands_keeps_them_and_its_card(rayscale, sites, tmp_path):
    names = ("red", "green", "nir")
    facts = {**UINT16, "band_names": list(names), "units": "reflectance × 10000"}
    facts["value_range"] = {"uint16": [0, 10000], "float32": [0, 1]}
    model = tiny_models.write(tmp_path / "deep", tiny_models.of_bands(*names, scale=2), **facts)
    code, out, err = rayscale(*command(sites, tmp_path / "out", model))
    assert code == 0, err
    assert json.loads(out)["values"].startswith("uint16, red, green, nir;")
    card = find_model(str(tmp_path / "out")).card
    assert {name: card[name] for name in facts} == facts
    assert card["band_map"] == {"3": [[1, 2, 3]]}


def test_the_range_of_dicom_values_has_a_key_of_its_own(rayscale, tmp_path):
    for patient in range(3):
        place = tmp_path / "ct" / f"p{patient}" / "1.dcm"
        place.parent.mkdir(parents=True)
        place.write_bytes(dicom_files.ct(64 + patient, 64))
    facts = {"value_range": {"dicom": [-1000, 7000], "int16": [0, 5]}, "units": "HU"}
    model = tiny_models.write(tmp_path / "gray", tiny_models.of_bands("gray", scale=2), **facts)
    code, out, err = rayscale(*command(tmp_path / "ct", tmp_path / "out", model, space="ct-v1"))
    assert code == 0, err
    assert json.loads(out)["values"] == "int16, gray; -1000 to 7000 HU mean 0 to 1"
    assert find_model(str(tmp_path / "out")).card["value_range"] == facts["value_range"]


def test_of_large_scenes_a_few_chips_from_all_over_are_used(rayscale, tmp_path, monkeypatch):
    monkeypatch.setattr(adapt_images, "MOST_IMAGES", 8)
    for site in "ab":
        values = np.random.default_rng(ord(site)).integers(1, 9000, (1024, 1024, 1))
        write_geotiff(tmp_path / "big" / site / "1.tif", values.astype(np.uint16), names=("pan",))
    model = tiny_models.write(tmp_path / "rgb", tiny_models.net(2))
    code, out, err = rayscale(*command(tmp_path / "big", tmp_path / "out", model, "--value-range", "percentile"))
    assert code == 0, err
    assert (json.loads(out)["images"], json.loads(out)["held_out"]) == (4, 4)
    low, high = find_model(str(tmp_path / "out")).card["value_range"]["uint16"]
    assert 0 < low < 100 < 8900 < high < 9000


def test_plain_images_of_a_model_with_a_range_are_read_as_8_bits(rayscale, tmp_path):
    noise_images.write(tmp_path / "lr", [f"{name}/1.png" for name in "abc"], (48, 48))
    model = tiny_models.write(tmp_path / "rgb", tiny_models.net(2), **UINT16)
    code, out, err = rayscale(*command(tmp_path / "lr", tmp_path / "out", model))
    assert code == 0, err
    assert "values" not in json.loads(out)
    assert "value_range" not in find_model(str(tmp_path / "out")).card


@pytest.mark.parametrize(
    ("options", "facts", "words"),
    [
        (("--value-range", "10,3"), {}, "--value-range needs two numbers with low < high, found 10,3"),
        (("--value-range", "some"), {}, "LOW,HIGH (such as 0,10000), percentile or window, found 'some'"),
        (("--value-range", "1,x"), {}, "percentile or window, found '1,x'"),
        (("--value-range", "0,1", "--bands", "nir,nir"), {}, "must name different bands"),
        (("--bands", "nir"), {}, "--bands needs --value-range"),
        (("--value-range", "0,9"), UINT16, "states a value_range already: leave out --value-range"),
        (("--value-range", "0,10000", "--bands", "swir"), {}, "it has no band 'swir': its bands are"),
        (("--value-range", "50000,60000"), {}, "does not fit the values of"),
        (("--value-range", "0,10000", "--space", "surveillance"), {}, "cannot degrade images of another depth"),
        ((), {}, "Images of other depths and formats are used where a `value_range` is stated"),
        ((), {"value_range": {"int16": [0, 9]}}, "states a value_range of int16 alone, and the images of"),
        ((), {**UINT16, "band_names": ["red", "green", "swir"]}, "it has no band 'swir'"),
    ],
)
def test_wrong_input_is_refused_in_a_sentence(rayscale, sites, tmp_path, options, facts, words):
    if not (options or facts):
        (tmp_path / "sites/notes.txt").write_text("none")
        for file in sites.rglob("*.tif"):
            np.save(file.with_suffix(".npy"), np.zeros((64, 64), np.uint16))
            file.unlink()
    net = tiny_models.of_bands(*facts["band_names"], scale=2) if "band_names" in facts else tiny_models.net(2)
    model = tiny_models.write(tmp_path / "model", net, **facts)
    code, _, err = rayscale(*command(sites, tmp_path / "out", model, *options))
    assert code == 2
    assert words in err
    assert len(err.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_bands_and_depths_that_do_not_go_together(rayscale, sites, tmp_path):
    write_geotiff(sites / "odd" / "1.tif", np.ones((64, 64, 1), np.uint16), names=("pan",))
    model = tiny_models.write(tmp_path / "rgb", tiny_models.net(2))
    code, _, err = rayscale(*command(sites, tmp_path / "out", model, "--value-range", "0,10000"))
    assert code == 2
    assert "must have one data type and the same bands" in err
    (sites / "odd" / "1.tif").unlink()
    five = tiny_models.write(tmp_path / "five", tiny_models.of_bands("a", "b", "c", "d", "e", scale=2), **UINT16)
    code, _, err = rayscale(*command(sites, tmp_path / "out", five))
    assert code == 2
    assert "takes 5 bands, and the images have 4: blue, green, red, nir" in err
