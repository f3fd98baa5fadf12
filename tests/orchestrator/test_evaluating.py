"""Scoring a model on one's own images, beside bicubic."""

import noise_images
import pytest

from orchestrator.evaluating import evaluate_model
from orchestrator.statistics import Interval
from orchestrator.storage import Storage
from search_spaces import find_space
from trainables.errors import ImageSetError, StorageError, UsageError
from trainables.models import pack_model
from trainables.network import SuperResolutionNet, preset


@pytest.fixture
def model(tmp_path):
    """An untrained network, which is bicubic interpolation."""
    net = SuperResolutionNet(preset("tiny", 2))
    facts = {"name": "satellite", "degradation": find_space("satellite").degradation.to_dict()}
    for name, data in pack_model(net, facts).items():
        Storage.at(str(tmp_path / "model")).child(name).write_bytes(data)
    return str(tmp_path / "model")


@pytest.fixture
def images(tmp_path):
    noise_images.write(tmp_path / "images", [f"{i}.png" for i in range(3)], (48, 50))
    return tmp_path / "images"


def test_an_untrained_network_ties_with_bicubic(model, images):
    told = evaluate_model(model, str(images))
    assert told["gain"] == {"mean": 0.0, "low": 0.0, "high": 0.0, "scenes": 3}
    assert Interval(**told["gain"]).verdict == "tie"
    assert told["model"] == told["bicubic"]
    assert told["images"] == 3
    assert told["scale"] == 2
    assert told["degradation"] == find_space("satellite").degradation.describe()
    assert told["skipped"] == []


def test_another_space_degrades_otherwise(model, images):
    own, other = (evaluate_model(model, str(images), space) for space in (None, "art"))
    assert other["degradation"] == find_space("art").degradation.describe()
    assert own["bicubic"] != other["bicubic"]
    with pytest.raises(UsageError, match="Did you mean 'satellite'"):
        evaluate_model(model, str(images), "sattelite")


def test_files_that_were_left_out_are_named(model, images):
    noise_images.write(images, ["small.png"], (31, 64))
    (images / "broken.png").write_bytes(b"x")
    (images / "deep.png").write_bytes(noise_images.sixteen_bit_png())
    (images / "notes.txt").write_text("ignored")
    told = evaluate_model(model, str(images))
    assert told["images"] == 3
    reasons = {entry["file"]: entry["reason"] for entry in told["skipped"]}
    assert sorted(reasons) == ["broken.png", "deep.png", "small.png"]
    assert reasons["small.png"] == "64×31 pixels, fewer than 32×32"


def test_no_usable_image(model, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ImageSetError, match="no usable images"):
        evaluate_model(model, str(tmp_path / "empty"))
    with pytest.raises(StorageError, match="There is no folder"):
        evaluate_model(model, str(tmp_path / "nowhere"))


def test_no_model(tmp_path, model, images):
    with pytest.raises(UsageError, match=r"There is no model at '.*images': expected model.safetensors and card.json"):
        evaluate_model(str(images), str(images))
    with pytest.raises(StorageError, match="There is no folder"):
        evaluate_model(str(tmp_path / "nowhere"), str(images))
    weights = Storage.at(model).child("model.safetensors")
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x7f")
    with pytest.raises(UsageError, match="digests differ"):
        evaluate_model(model, str(images))
