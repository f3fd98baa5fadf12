"""PSNR and SSIM against hand calculation, scikit-image and Pillow."""

import math

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.metrics import structural_similarity

from trainables.degradation import Degradation
from trainables.metrics.evaluation import NamedImage, bicubic, make_pairs, run
from trainables.metrics.psnr_ssim import HIGHEST_PSNR, comparable, luma, psnr, ssim
from trainables.samples import generate


def planes(height, width, spread):
    chance = np.random.default_rng(0)
    first = chance.uniform(0, 255, (height, width))
    return first, (first + chance.normal(0, spread, first.shape)).clip(0, 255)


def test_psnr_by_hand():
    first = torch.zeros(4, 5, dtype=torch.float64)
    second = first.clone()
    second[0, 0] = 10
    assert psnr(first, second) == pytest.approx(10 * math.log10(255**2 / (100 / 20)))
    assert psnr(first, first + 255) == pytest.approx(0)
    assert psnr(first, first) == HIGHEST_PSNR
    assert psnr(first, first + 1e-4) == HIGHEST_PSNR
    assert math.isnan(psnr(first, first * math.nan))  # or divergence would look like success


@pytest.mark.parametrize("size", [(11, 11), (40, 33)])
@pytest.mark.parametrize("spread", [2, 30, 200])
def test_ssim_is_scikit_images_on_the_valid_region(size, spread):
    first, second = planes(*size, spread)
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 255}
    mean, whole = structural_similarity(first, second, full=True, **options)
    valid = whole[5 : size[0] - 5, 5 : size[1] - 5].mean()
    ours = ssim(torch.from_numpy(first), torch.from_numpy(second))
    assert ours == pytest.approx(valid, abs=1e-7)
    assert ours == pytest.approx(mean, abs=1e-7)


def test_ssim_of_equal_planes_is_one_and_symmetric():
    first, second = map(torch.from_numpy, planes(20, 20, 40))
    assert ssim(first, first) == pytest.approx(1)
    assert ssim(first, second) == pytest.approx(ssim(second, first))
    assert ssim(first, second) < 0.98


@pytest.mark.parametrize(
    ("colour", "expected"),
    [((1, 1, 1), 235), ((0, 0, 0), 16), ((1, 0, 0), 81.481), ((0, 1, 0), 144.553), ((0, 0, 1), 40.966)],
)
def test_luma_is_studio_range_bt601(colour, expected):
    plane = luma(torch.tensor(colour, dtype=torch.float32).view(3, 1, 1))
    assert plane.item() == pytest.approx(expected, abs=1e-4)


def test_comparable_leaves_out_the_border_and_keeps_gray_on_its_own_scale():
    image = torch.rand(1, 9, 12).expand(3, -1, -1)
    gray = comparable(image, True, 3)
    assert gray.shape == (3, 6)
    torch.testing.assert_close(gray, image[0, 3:6, 3:9].double() * 255)
    colour = comparable(image, False, 2)
    assert colour.shape == (5, 8)
    torch.testing.assert_close(colour, 16 + 219 * image[0, 2:7, 2:10].double())
    assert comparable(image, True, 0).shape == (9, 12)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_bicubic_baseline_of_a_whole_image_is_pillows(scale):
    image = generate("natural", 3, (64, 96))
    (pair,) = make_pairs([NamedImage("a", "a", image)], Degradation(), scale)
    size = (pair.hr.shape[2], pair.hr.shape[1])
    # In floating point: between its two passes over bytes, Pillow would cut overshoots off.
    bands = [Image.fromarray(band.numpy() * 255).resize(size, Image.Resampling.BICUBIC) for band in pair.lr]
    expected = np.stack(bands).clip(0, 255).round()
    ours = run(bicubic(scale), pair).numpy() * 255
    assert np.abs(ours - expected).max() < 1.01
    assert (ours.round() != expected).mean() < 1e-3
    outputs = [torch.from_numpy(output / 255) for output in (ours, expected)]
    scores = [psnr(comparable(output, False, scale), comparable(pair.hr, False, scale)) for output in outputs]
    assert scores[0] == pytest.approx(scores[1], abs=1e-3)


def test_only_valid_pixels_count():
    first, second = map(torch.from_numpy, planes(40, 30, 30))
    valid = torch.ones(40, 30, dtype=torch.bool)
    valid[12:15] = False
    spoilt = torch.where(valid, second, math.nan)
    error = (first - second)[valid].square().mean().item()
    assert psnr(first, spoilt, valid) == pytest.approx(10 * math.log10(255**2 / error))
    above, below = (ssim(first[rows], second[rows]) for rows in (slice(12), slice(15, 40)))
    windows = [2 * 20, 15 * 20]  # of 11×11 in each part
    assert ssim(first, spoilt, valid) == pytest.approx(np.average([above, below], weights=windows))
    assert ssim(first, second, valid | True) == pytest.approx(ssim(first, second))
    assert math.isnan(psnr(first, second, ~(valid | True)))
    assert math.isnan(ssim(first, second, ~(valid | True)))
