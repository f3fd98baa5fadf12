"""Adapting to LR images alone: the command as a user meets it."""

import json

import noise_images
import pytest
import tiny_models
import torch

from orchestrator.apply import adapt as adapting
from orchestrator.foundation.model_store import find_model
from orchestrator.foundation.statistics import Interval
from search_spaces import find_space
from trainables.network.network import SuperResolutionNet, preset
from trainables.samples import write_samples


@pytest.fixture
def model(tmp_path):
    torch.manual_seed(0)
    return tiny_models.write(tmp_path / "model", SuperResolutionNet(preset("tiny", 2)), data_licence="CC0")


@pytest.fixture
def images(tmp_path):
    write_samples(tmp_path / "lr", "satellite", 7, 1, seed=1, size=(48, 48))
    return tmp_path / "lr"


def command(images, out, model, *further):
    return ("adapt", images, out, "--model", model, "--space", "satellite", "--steps", 1, *further)


def outcome(monkeypatch, gain):
    """Whatever is trained, the held-out images see this gain."""
    monkeypatch.setattr(adapting, "paired_interval", lambda values, scenes: Interval(gain, gain, gain, 6))


def test_an_adapted_model_says_what_it_came_from(rayscale, images, model, tmp_path, monkeypatch):
    outcome(monkeypatch, 0.5)
    code, told, _ = rayscale(*command(images, tmp_path / "out", model))
    assert code == 0
    assert "Worth it: +0.50 dB" in told
    assert f"rayscale upscale {images} upscaled --model {tmp_path / 'out'}" in told
    found = find_model(str(tmp_path / "out"))
    assert found.card["lineage"] == {
        "source": model,
        "source_model": find_model(model).card["sha256"],
        "source_licence": "CC0",
        "adapted": "without HR: on cross-scale pairs of LR images",
    }
    assert found.degradation == find_space("satellite").degradation
    assert (found.card["adaptation"]["images"], found.card["adaptation"]["held_out"]) == (5, 2)
    changed = found.net.state_dict()
    assert any(not torch.equal(value, changed[name]) for name, value in find_model(model).net.state_dict().items())


@pytest.mark.parametrize("gain", [0.0, -0.2])
def test_what_is_not_worth_it_is_not_written(rayscale, images, model, tmp_path, monkeypatch, gain):
    outcome(monkeypatch, gain)
    code, told, _ = rayscale(*command(images, tmp_path / "out", model))
    assert code == 1
    assert "Not worth it" in told
    assert "Nothing was written" in told
    assert not (tmp_path / "out").exists()


def test_unless_it_is_to_be_kept(rayscale, images, model, tmp_path, monkeypatch):
    outcome(monkeypatch, -0.2)
    code, told, _ = rayscale(*command(images, tmp_path / "out", model, "--keep", "--json"))
    assert code == 0
    assert (json.loads(told)["written"], json.loads(told)["worth_it"]) == (True, False)
    assert find_model(str(tmp_path / "out")).card["adaptation"]["worth_it"] is False


def test_no_scene_is_trained_on_and_held_out(tmp_path, model, monkeypatch):
    names = [f"{camera}/{frame}.png" for camera in "abcdef" for frame in range(2)]
    noise_images.write(tmp_path / "lr", names, (40, 40))
    noise_images.write(tmp_path / "lr", ["g/small.png"], (20, 40))
    seen = {}
    monkeypatch.setattr(adapting, "adapt", lambda net, pixels, *_: seen.update(train=len(pixels)))
    settings = adapting.Settings(steps=1, learning_rate=1e-3, scenes="folder")
    told = adapting.adapt_model(str(tmp_path / "lr"), str(tmp_path / "out"), model, "art", settings, lambda *_: None)
    assert seen == {"train": told["images"]}
    assert (told["images"], told["held_out"]) == (8, 4)
    assert [one["file"] for one in told["skipped"]] == ["g/small.png"]
    # Nothing was trained, so nothing is better.
    assert (told["gain"]["mean"], told["worth_it"], told["written"]) == (0.0, False, False)


@pytest.mark.parametrize(
    ("gain", "worth"),
    [
        (Interval(0.3, 0.1, 0.5, 6), True),
        (Interval(0.3, -0.1, 0.5, 6), False),
        (Interval(0.3, -0.1, 0.5, 3), True),
        (Interval(0.0, 0.0, 0.0, 3), False),
    ],
)
def test_worth_it_is_better_for_certain_or_on_average_where_scenes_are_few(gain, worth):
    assert adapting.worth_it(gain) is worth


def test_a_model_is_not_overwritten(rayscale, images, model):
    code, _, told = rayscale(*command(images, model, model))
    assert code == 2
    assert "There is a model at" in told


def test_too_few_images_are_refused_with_the_reason(rayscale, model, tmp_path):
    noise_images.write(tmp_path / "lr", ["a.png", "b.png"], (20, 20))
    code, _, told = rayscale(*command(tmp_path / "lr", tmp_path / "out", model))
    assert code == 2
    assert "usable LR images of 0 scenes; adapting needs 2" in told
    assert "left out: 2 × smaller than the 24×24 needed" in told


@pytest.mark.parametrize(
    ("wrong", "told"), [(("--learning-rate", "-1"), "must be above 0"), (("--space", "sattelite"), "Did you mean")]
)
def test_wrong_settings_start_nothing(rayscale, images, model, tmp_path, wrong, told):
    code, _, error = rayscale(*command(images, tmp_path / "out", model, *wrong))
    assert code == 2
    assert told in error
