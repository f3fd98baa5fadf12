"""What is learnt from examples, and all baselines of a domain together."""

import numpy as np
import pytest
import torch

from trainables.classical import AnchoredRegression, fit_baselines, fitting
from trainables.degradation import Degradation
from trainables.errors import ImageSetError, UsageError
from trainables.images.raster import PreparedImage
from trainables.metrics.evaluation import NamedImage, bicubic, make_pairs, mean_psnr
from trainables.samples import generate

BLURRED = Degradation(blur=(0.3, 0.4))
NAMES = ["bilinear", "bicubic", "lanczos", "tv", "example"]


@pytest.fixture(scope="module", autouse=True)
def small_grids():
    """The same code at a size that takes seconds."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"ANCHORS": 32, "_BATCHES": 4, "WEIGHTS": (0.001, 0.1), "ITERATIONS": (5, 15)}.items():
            patch.setattr(fitting, name, value)
        yield


@pytest.fixture(scope="module")
def train():
    return [generate("surveillance", seed, (128, 160)) for seed in range(4)]


@pytest.fixture(scope="module")
def validation():
    return [NamedImage("v", "v", generate("surveillance", 20, (96, 96)))]


@pytest.fixture(scope="module")
def fitted(train, validation):
    return fit_baselines(train, make_pairs(validation, BLURRED, 2), BLURRED, 2, 0)


@pytest.mark.parametrize("scale", [2, 4])
def test_both_fitted_ones_beat_bicubic_on_an_image_that_nobody_saw(train, validation, fitted, scale):
    if scale != 2:
        fitted = fit_baselines(train, make_pairs(validation, BLURRED, scale), BLURRED, scale, 0)
    assert list(fitted.upscalers) == NAMES
    pairs = make_pairs([NamedImage("t", "t", generate("surveillance", 40, (96, 96)))], BLURRED, scale)
    psnr = {name: mean_psnr(upscale, pairs, scale) for name, upscale in fitted.upscalers.items()}
    assert psnr["bilinear"] < psnr["bicubic"] < psnr["lanczos"]
    assert psnr["tv"] > psnr["bicubic"] + 0.3
    assert psnr["example"] > psnr["bicubic"] + 0.3


def test_what_wins_on_validation_is_chosen(validation, fitted):
    pairs = make_pairs(validation, BLURRED, 2)
    for name in ("tv", "example"):
        assert fitted.chosen[name]["validation_psnr"] == mean_psnr(fitted.upscalers[name], pairs, 2)
    assert (fitted.chosen["tv"]["weight"], fitted.chosen["tv"]["iterations"]) == (0.001, 15)
    assert fitted.chosen["example"]["ridge"] in fitting.RIDGES


def test_a_seed_repeats_and_another_differs(train, validation, fitted):
    pairs = make_pairs(validation, BLURRED, 2)
    again, other = (fit_baselines(train, pairs, BLURRED, 2, seed).upscalers["example"] for seed in (0, 1))
    assert fitted.upscalers["example"].pack() == again.pack() != other.pack()


def test_an_anchored_regression_survives_its_file(fitted):
    example = fitted.upscalers["example"]
    again = AnchoredRegression.unpack(example.pack())
    gray = torch.rand(1, 1, 7, 6, generator=torch.Generator().manual_seed(0)).expand(-1, 3, -1, -1)
    out = again(gray)
    assert torch.equal(out, example(gray))
    assert (again.scale, out.shape) == (2, (1, 3, 14, 12))
    assert torch.equal(out[:, 0], out[:, 2])
    for size in ((1, 1), (1, 4), (2, 3)):
        flat = again(torch.full((2, 3, *size), 0.3))
        torch.testing.assert_close(flat, torch.full((2, 3, 2 * size[0], 2 * size[1]), 0.3), atol=1e-4, rtol=0)


def test_gray_and_blank_training_images_are_enough(validation):
    blank = np.full((128, 128, 1), 90, np.uint8)
    fitted = fit_baselines([blank], make_pairs(validation, BLURRED, 2), BLURRED, 2, 0)
    pairs = make_pairs([NamedImage("b", "b", blank)], BLURRED, 2)
    assert mean_psnr(fitted.upscalers["example"], pairs, 2) == mean_psnr(bicubic(2), pairs, 2)


def test_deep_images_of_two_bands_with_invalid_pixels():
    def bands(seed, height=128, width=160):
        return generate("surveillance", seed, (height, width))[..., :2].astype(np.uint16) * 257

    chain, valid = Degradation(blur=(0.3, 0.4), levels=4095), np.ones((128, 160), bool)
    valid[:30, :30] = False
    train = [PreparedImage(bands(seed), valid) for seed in range(3)]
    pairs = [make_pairs([NamedImage("v", "v", bands(seed, 96, 96))], chain, 2) for seed in (20, 40)]
    fitted = fit_baselines(train, pairs[0], chain, 2, 0)
    psnr = {name: mean_psnr(upscale, pairs[1], 2) for name, upscale in fitted.upscalers.items()}
    assert psnr["bilinear"] < psnr["bicubic"] < psnr["lanczos"]
    assert min(psnr["tv"], psnr["example"]) > psnr["bicubic"] + 0.3


def test_wrong_input_is_told_in_a_sentence(train, validation):
    pairs = make_pairs(validation, BLURRED, 2)
    with pytest.raises(UsageError, match="need one or more, found none"):
        fit_baselines(train, [], BLURRED, 2, 0)
    with pytest.raises(UsageError, match="must be one of 2, 3, 4, found 5"):
        fit_baselines(train, pairs, BLURRED, 5, 0)
    with pytest.raises(UsageError, match=r"pair 'v' is not of scale 4: LR \(48, 48\), HR \(96, 96\)"):
        fit_baselines(train, pairs, BLURRED, 4, 0)
    with pytest.raises(ImageSetError, match="No image has the 56×56 pixels"):
        fit_baselines([train[0][:40]], pairs, BLURRED, 2, 0)
    with pytest.raises(UsageError, match="no safetensors file of an anchored regression"):
        AnchoredRegression.unpack(b"no tensors")
    other = AnchoredRegression(torch.zeros(4, 25), torch.zeros(4, 36, 9))
    with pytest.raises(UsageError, match=r"has anchors \(K, 25\) and maps .* found \{'anchors': \(4, 25\)"):
        AnchoredRegression.unpack(other.pack())
