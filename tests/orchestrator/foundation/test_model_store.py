"""Models by name, on storage."""

import hashlib
import json
import math

import pytest
import tiny_models
import torch
from PIL import Image
from safetensors.torch import load, save

from orchestrator.foundation.model_store import find_model, find_rgb_model, read_model
from orchestrator.foundation.storage import Storage
from trainables.degradation import Degradation
from trainables.errors import UsageError


@pytest.fixture
def folder(tmp_path):
    tiny_models.write(tmp_path / "model", tiny_models.net(2), degradation=Degradation(blur=(0.1, 0.2)).to_dict())
    return tmp_path / "model"


def change_card(folder, **changes):
    card = json.loads((folder / "card.json").read_bytes())
    (folder / "card.json").write_text(json.dumps(card | changes))


def test_a_found_model_knows_its_degradation(folder):
    assert find_model(str(folder)).degradation == Degradation(blur=(0.1, 0.2))
    change_card(folder, degradation=None)
    assert find_model(str(folder)).degradation is None


def test_a_damaged_model_is_named(folder):
    tensors = load((folder / "model.safetensors").read_bytes())
    weights = save({name: torch.full_like(value, math.nan) for name, value in tensors.items()})
    (folder / "model.safetensors").write_bytes(weights)
    change_card(folder, sha256=hashlib.sha256(weights).hexdigest())
    for read in (lambda: find_model(str(folder)), lambda: read_model(Storage.at(str(folder)))):
        with pytest.raises(UsageError, match=rf"Model '{folder}': .*tensor '\S+' holds NaN"):
            read()


@pytest.mark.parametrize(
    "changes",
    [{"degradation": {"noise": "loud"}}, {"value_range": {"uint16": [5]}}, {"band_map": [4]}, {"scale": 9}],
    ids=lambda changes: next(iter(changes)),
)
def test_a_card_that_makes_no_sense_is_refused_before_anything_is_upscaled(folder, changes, rayscale, tmp_path):
    change_card(folder, **changes)
    (tmp_path / "in").mkdir()
    Image.new("RGB", (16, 16)).save(tmp_path / "in" / "a.png")
    code, _, error = rayscale("upscale", tmp_path / "in", tmp_path / "out", "--model", folder)
    assert code == 1
    assert next(iter(changes)) in error
    assert not (tmp_path / "out").exists()


def test_work_with_plain_images_alone_needs_a_model_of_three_bands(tmp_path):
    for names, bands in ((["gray"], "1 band"), (["red", "green", "blue", "nir"], "4 bands")):
        where = tiny_models.write(tmp_path / "other", tiny_models.of_bands(*names))
        assert find_model(where).net.architecture.channels == len(names)
        with pytest.raises(UsageError, match=f"takes {bands}; gray and colour images need one that takes 3"):
            find_rgb_model(where)
    assert find_rgb_model(tiny_models.write(tmp_path / "rgb", tiny_models.net())).net.architecture.channels == 3


@pytest.mark.parametrize("name", ["model.safetensors", "card.json"])
def test_what_is_no_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(UsageError, match=r"There is no model at .*expected model\.safetensors and card\.json"):
        find_model(str(folder))
    (folder / name).mkdir()
    with pytest.raises(UsageError, match=rf"The model at '{folder}' cannot be read"):
        find_model(str(folder))
