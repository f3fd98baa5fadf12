"""Scoring a model on pairs: plain images and images of any depth with LR images of their own."""

import noise_images
import numpy as np
import pytest
import tiny_models
from PIL import Image

from orchestrator.apply.evaluation.evaluate import evaluate_model
from search_spaces import find_space
from trainables.errors import ImageSetError
from trainables.images.raster import PixelFormat, Raster
from trainables.metrics.evaluation import NamedImage, make_pairs

SATELLITE = find_space("satellite").degradation


@pytest.fixture
def plain(tmp_path):
    """HR photographs and their LR images, whose names have the marks of published sets."""
    noise_images.write(tmp_path / "hr", [f"{i}_HR.png" for i in range(3)], (64, 66))
    (tmp_path / "lr").mkdir()
    for path in sorted((tmp_path / "hr").iterdir()):
        pixels = np.asarray(Image.open(path).convert("RGB"))
        (pair,) = make_pairs([NamedImage("", "", pixels)], SATELLITE, 2)
        lr = (pair.lr * 255).round().byte().permute(1, 2, 0).numpy()
        Image.fromarray(lr).save(tmp_path / "lr" / path.name.replace("_HR", "_LR2"))
    return str(tmp_path / "hr"), str(tmp_path / "lr")


@pytest.fixture
def model(tmp_path):
    return tiny_models.write(tmp_path / "model", tiny_models.net(2), degradation=SATELLITE.to_dict())


def test_lr_images_of_plain_pairs_are_taken_as_they_are(plain, model, rayscale):
    """They were made by the model's degradation, so that the scores are those of a degradation here."""
    hr, lr = plain
    real, made = evaluate_model(model, [hr], lr=[lr]), evaluate_model(model, [hr])
    assert real["sets"][0]["images"] == 3
    for arm in ("bicubic", "model"):
        assert real["sets"][0][arm] == pytest.approx(made["sets"][0][arm], abs=1e-9)
    assert (real["degradation"], made["degradation"]) == (None, SATELLITE.describe())
    code, out, err = rayscale("evaluate", "--images", hr, "--lr", lr, "--model", model)
    assert code == 0, err
    assert "gain in dB" in out


def test_another_lr_image_is_another_score(plain, model, tmp_path):
    hr, lr = plain
    before = evaluate_model(model, [hr], lr=[lr])["sets"][0]["bicubic"]["psnr"]
    for path in (tmp_path / "lr").iterdir():
        Image.fromarray(255 - np.asarray(Image.open(path))).save(path)
    assert evaluate_model(model, [hr], lr=[lr])["sets"][0]["bicubic"]["psnr"] < before - 1


def test_a_pair_that_does_not_fit_is_left_out_by_name(plain, model, tmp_path):
    hr, lr = plain
    Image.fromarray(np.zeros((20, 20, 3), np.uint8)).save(tmp_path / "lr" / "0_LR2.png")
    (tmp_path / "lr" / "1_LR2.png").write_bytes(b"no")
    (only,) = evaluate_model(model, [hr], lr=[lr])["sets"]
    assert only["images"] == 1
    reasons = {entry["file"]: entry["reason"] for entry in only["skipped"]}
    assert reasons["0_HR.png"].startswith("A pair at x2 was expected, found HR of")
    assert reasons["1_HR.png"].startswith("its LR image '1_LR2.png': ")


def test_an_image_without_its_partner_is_refused(plain, model, tmp_path):
    hr, lr = plain
    (tmp_path / "lr" / "1_LR2.png").unlink()
    with pytest.raises(ImageSetError, match=r"1 of 3 HR images has no LR image, such as .1_HR\.png"):
        evaluate_model(model, [hr], lr=[lr])


def test_pairs_of_any_depth_are_scored_on_the_range_of_the_card(tmp_path):
    """Arrays of four bands; their LR images are those that the degradation makes, rounded to whole values."""
    names, low, high = ("red", "green", "blue", "nir"), 0, 10000
    stated = PixelFormat("uint16", names, low, high)
    (tmp_path / "hr").mkdir()
    (tmp_path / "lr").mkdir()
    rng = np.random.default_rng(0)
    degradation = SATELLITE.for_format(stated)
    for number in range(2):
        values = rng.integers(1000, 9000, (48, 50, 4)).astype(np.uint16)
        np.save(tmp_path / "hr" / f"{number}.npy", values)
        (pair,) = make_pairs([NamedImage("", "", stated.prepared(Raster(values, names)).pixels)], degradation, 2)
        lr = (pair.lr.permute(1, 2, 0).double() * (high - low) + low).round().numpy()
        np.save(tmp_path / "lr" / f"{number}.npy", lr.astype(np.uint16))
    net, facts = (
        tiny_models.of_bands(*names, scale=2),
        {"band_names": list(names), "value_range": {"uint16": [low, high]}},
    )
    model = tiny_models.write(tmp_path / "model", net, degradation=SATELLITE.to_dict(), **facts)
    (real,) = evaluate_model(model, [str(tmp_path / "hr")], lr=[str(tmp_path / "lr")])["sets"]
    (made,) = evaluate_model(model, [str(tmp_path / "hr")])["sets"]
    assert (real["images"], real["degradation"]) == (2, "images of their own")
    for arm in ("bicubic", "model"):
        assert real[arm]["psnr_by_band"] == pytest.approx(made[arm]["psnr_by_band"], abs=1e-3)
