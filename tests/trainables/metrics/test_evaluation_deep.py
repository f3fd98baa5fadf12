"""Pairs and scores of images deeper than 8 bits, of any number of bands, with pixels without a value."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torchmetrics.functional.image import error_relative_global_dimensionless_synthesis, spectral_angle_mapper

from trainables.degradation import Degradation
from trainables.errors import ImageSetError
from trainables.metrics.evaluation import NamedImage, bicubic, compare, make_pairs, mean_psnr, run, score
from trainables.samples import generate

LEVELS = 10000.0
AREA = Degradation(decimation="area", levels=LEVELS)


def deep(name="a", height=48, width=60, channels=4, valid=None):
    planes = [generate("natural", seed, (height, width))[..., :1] for seed in range(channels)]
    values = np.concatenate(planes, axis=2).astype(np.uint16) * 257
    if valid is not None:
        values[~valid] = 0
    return NamedImage(name, f"scene-{name}", values, valid)


def holed(height=48, width=60):
    valid = np.ones((height, width), bool)
    valid[10:13, 20:23] = False
    return valid


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_deep_pair_keeps_bands_and_steps(channels):
    image = deep(channels=channels)
    (pair,) = make_pairs([image], AREA, 4)
    assert (pair.deep, pair.levels, pair.valid, pair.gray) == (True, LEVELS, None, channels == 1)
    np.testing.assert_array_equal((pair.hr.double() * 65535).round().permute(1, 2, 0).numpy(), image.pixels)
    assert pair.lr.shape == (channels, 12, 15)
    steps = pair.lr.double() * LEVELS
    assert (steps - steps.round()).abs().max() < 0.01


def test_an_image_has_the_same_deep_pair_whatever_its_company():
    noisy = replace(AREA, noise=(0.01, 0.02))
    alone, together = make_pairs([deep("b")], noisy, 2), make_pairs([deep("a", 64), deep("b")], noisy, 2)
    assert torch.equal(alone[0].lr, together[1].lr)


def test_bands_are_compared_each_on_the_stated_range():
    (pair,) = make_pairs([deep()], AREA, 2)
    found = compare(run(bicubic(2), pair), pair, 2)
    ours, truth = (image[:, 2:-2, 2:-2].double().numpy() for image in (run(bicubic(2), pair), pair.hr))
    psnrs = [peak_signal_noise_ratio(t, o, data_range=1) for t, o in zip(truth, ours, strict=True)]
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1}
    ssims = [structural_similarity(t, o, **options) for t, o in zip(truth, ours, strict=True)]
    assert found.bands == pytest.approx(psnrs, rel=1e-9)
    assert found.psnr == pytest.approx(np.mean(psnrs), rel=1e-9) == mean_psnr(bicubic(2), [pair], 2)
    assert found.ssim == pytest.approx(np.mean(ssims), abs=1e-6)
    batch = [torch.from_numpy(image)[None] for image in (ours, truth)]
    assert found.sam == pytest.approx(math.degrees(spectral_angle_mapper(*batch).item()), rel=1e-6)
    # torchmetrics' ratio is l/h.
    assert found.ergas == pytest.approx(error_relative_global_dimensionless_synthesis(*batch, ratio=2).item(), rel=1e-6)


def test_one_band_has_no_angle_and_three_are_not_compared_on_luma():
    one, three = (make_pairs([deep(channels=channels)], AREA, 2)[0] for channels in (1, 3))
    single, colour = score(bicubic(2), [one], 2)[0], score(bicubic(2), [three], 2)[0]
    assert (single.bands, single.sam, single.ergas) == ((single.psnr,), None, None)
    assert len(colour.bands) == 3
    assert colour.psnr == pytest.approx(np.mean(colour.bands))


def test_outputs_are_rounded_to_the_levels_of_the_pair():
    (pair,) = make_pairs([deep()], AREA, 2)
    steps = run(bicubic(2), pair).double() * LEVELS
    assert (steps - steps.round()).abs().max() < 0.01
    assert len(steps.round().unique()) > 1000
    (exact,) = make_pairs([deep()], replace(AREA, levels=None), 2)
    output = run(bicubic(2), exact)
    torch.testing.assert_close(output, bicubic(2)(exact.lr[None])[0].clamp(0, 1), atol=0, rtol=0)


def test_pixels_whose_lr_pixel_covers_an_invalid_one_are_not_compared():
    (pair,) = make_pairs([deep(valid=holed())], AREA, 4)
    expected = np.ones((48, 60), bool)
    expected[8:16, 20:24] = False
    assert np.array_equal(pair.valid.numpy(), expected)
    perfect = compare(pair.hr, pair, 4)
    spoilt = compare(torch.where(pair.valid, pair.hr, 1.0), pair, 4)
    assert (spoilt.psnr, spoilt.sam, spoilt.ergas) == (perfect.psnr, pytest.approx(perfect.sam), perfect.ergas)
    assert spoilt.ssim == pytest.approx(1)
    wrong = pair.hr.clone()
    wrong[:, 8, 19] += 0.1
    assert compare(wrong, pair, 4).psnr < perfect.psnr
    assert mean_psnr(lambda lr: torch.where(pair.valid, pair.hr, 1.0)[None], [pair], 4) > 90


def test_invalid_pixels_are_filled_with_the_nearest_valid_before_degrading():
    valid = np.ones((48, 48), bool)
    valid[:, 20:] = False
    level = NamedImage("a", "a", np.where(valid[..., None], np.uint16(30000), np.uint16(0)).repeat(2, 2), valid)
    (pair,) = make_pairs([level], replace(AREA, blur=(0.5, 0.5)), 2)
    assert (pair.lr.max() - pair.lr.min()) < 1.5 / LEVELS
    assert pair.hr.min() == pair.hr.max()


def test_a_plain_image_may_have_invalid_pixels_too():
    pixels, valid = generate("natural", 1, (48, 60)), holed()
    (pair,) = make_pairs([NamedImage("a", "a", pixels, valid)], Degradation(), 4)
    spoilt = compare(torch.where(pair.valid, pair.hr, 1.0), pair, 4)
    assert (pair.deep, spoilt.psnr, spoilt.bands) == (False, 100, ())


def test_the_crop_is_where_most_pixels_are_valid_and_nearest_to_the_middle():
    valid = np.zeros((64, 96), bool)
    valid[:, :30] = True
    image = deep(height=64, width=96, valid=valid)
    (pair,) = make_pairs([image], AREA, 2, crop=24)
    assert pair.valid is None
    np.testing.assert_array_equal(
        (pair.hr.double() * 65535).round().permute(1, 2, 0).numpy(), image.pixels[20:44, 6:30]
    )
    (whole,) = make_pairs([replace(image, valid=np.ones((64, 96), bool))], AREA, 2, crop=24)
    assert torch.equal(whole.hr, make_pairs([replace(image, valid=None)], AREA, 2, crop=24)[0].hr)


def test_images_in_which_nothing_can_be_compared_are_left_out():
    dotted = np.ones((48, 60), bool)
    dotted[::8, ::8] = False
    pairs = make_pairs([deep("a", valid=dotted), deep("b"), deep("c", valid=np.zeros((48, 60), bool))], AREA, 2)
    assert [pair.name for pair in pairs] == ["b"]
    with pytest.raises(ImageSetError, match="No image can be scored at x2: none has 11×11 pixels, all with a value"):
        make_pairs([deep("a", valid=dotted)], AREA, 2)
    assert make_pairs([], AREA, 2) == []


def test_a_range_of_zeros_has_neither_angle_nor_ergas():
    dark = NamedImage("dark", "dark", np.zeros((48, 48, 2), np.uint16))
    (found,) = score(bicubic(2), make_pairs([dark], AREA, 2), 2)
    assert (found.psnr, found.sam, found.ergas) == (100, None, None)
