"""Models that come with the package."""

import math

import pytest
import torch

from trainables.errors import UsageError
from trainables.network import packaged as pretrained
from trainables.network.model_files import CARD, WEIGHTS, pack_model
from trainables.network.network import SuperResolutionNet, preset


@pytest.fixture
def packaged(tmp_path, monkeypatch):
    for name, scale in {"base-x4": 4, "base-x2": 2}.items():
        (tmp_path / name).mkdir()
        for file, data in pack_model(SuperResolutionNet(preset("tiny", scale)), {"name": name}).items():
            (tmp_path / name / file).write_bytes(data)
    (tmp_path / "no-model").mkdir()
    monkeypatch.setattr(pretrained, "folder", lambda: tmp_path)


@pytest.mark.usefixtures("packaged")
def test_a_packaged_model_is_found_by_its_name():
    assert pretrained.names() == ["base-x2", "base-x4"]
    net, card = pretrained.load("base-x2")
    assert (net.architecture.scale, card["name"], net.training) == (2, "base-x2", False)


@pytest.mark.usefixtures("packaged")
@pytest.mark.parametrize(("name", "close"), [("bse-x4", "base-x4"), ("base-x3", "base-x"), ("no-model", None)])
def test_an_unknown_name_is_answered_with_the_closest(name, close):
    with pytest.raises(
        UsageError, match=rf"No packaged model is called '{name}'; there are base-x2, base-x4\."
    ) as told:
        pretrained.load(name)
    assert (f"Did you mean '{close}" in str(told.value)) is (close is not None)


def test_a_package_without_models(tmp_path, monkeypatch):
    monkeypatch.setattr(pretrained, "folder", lambda: tmp_path / "nowhere")
    assert pretrained.names() == []
    with pytest.raises(UsageError, match="there are none"):
        pretrained.load("base-x4")


def test_shipped_models_are_whole_and_say_where_they_come_from():
    """The real ones: at least base-x2 and base-x4, small enough to ship, each with a card that holds its story."""
    names = pretrained.names()
    assert {"base-x2", "base-x4"} <= set(names)
    size = 0
    for name in names:
        place = pretrained.folder().joinpath(name)
        assert {file.name for file in place.iterdir()} == {WEIGHTS, CARD}, f"{name} holds other files than its two"
        size += sum(len(file.read_bytes()) for file in place.iterdir())
        net, card = pretrained.load(name)
        assert card["name"] == name
        assert name.endswith(f"-x{card['scale']}")
        assert net.architecture.channels == 3
        with torch.inference_mode():
            assert net(torch.rand(1, 3, 8, 9)).isfinite().all()
        assert card["command"].strip()
        assert card["degradation"]
        assert card.get("licence") or card["data_licence"]
        assert "not stated" not in (card.get("licence"), card.get("data_licence"))
        numbers = [value for value in leaves(card["metrics"]) if isinstance(value, float)]
        assert numbers
        assert all(math.isfinite(value) for value in numbers)
    assert size < 2e6, f"the packaged models are {size:,} bytes together"


def leaves(value):
    if not isinstance(value, dict | list):
        return [value]
    return [leaf for part in (value.values() if isinstance(value, dict) else value) for leaf in leaves(part)]
