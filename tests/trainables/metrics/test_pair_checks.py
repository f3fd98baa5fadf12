"""Measures of single pairs, against displacements, masks and radiometry that were made."""

import made_pairs
import numpy as np
import pytest
import torch

from trainables.errors import UsageError
from trainables.metrics.pair_checks import measure_pair, on_lr_grid, radiometry


def pair(scale=4, domain="satellite"):
    return made_pairs.good(domain, made_pairs.image(domain, 0), scale, 0)


@pytest.mark.parametrize("by", [(0, 0), (3, 0), (0, 1), (2, 5)], ids=str)
def test_displacements_are_found_to_a_few_hundredths_of_an_lr_pixel(by):
    hr, lr = pair()
    down, right = by
    height, width = (side - shift for side, shift in zip(lr.shape[1:], by, strict=True))
    measured = measure_pair(hr[:, 4 * down :, 4 * right :], lr[:, :height, :width], 4)
    assert measured.shift == pytest.approx(by, abs=0.05)


def test_parts_of_an_lr_pixel():
    hr, _ = pair()
    moved, kept = hr[:, 1:-3, 3:-1], hr[:, :-4, :-4]
    measured = measure_pair(moved, made_pairs.degraded("satellite", kept, 4, 0), 4)
    assert measured.shift == pytest.approx((0.25, 0.75), abs=0.05)


@pytest.mark.parametrize("size", [(79, 80), (80, 81)], ids=str)
def test_sizes_that_do_not_fit_are_refused(size):
    hr, _ = pair()
    with pytest.raises(
        UsageError, match=rf"4 times the height and width .*, found 320×320 and {size[1]}×{size[0]} pix"
    ):
        measure_pair(hr, torch.zeros(3, *size), 4)


def test_other_bands_are_refused():
    hr, lr = pair()
    with pytest.raises(UsageError, match="the same bands, found 3 and 1"):
        measure_pair(hr, lr[:1], 4)


def test_overlap_is_the_share_of_pixels_valid_in_either():
    hr, lr = pair()
    hr_valid, lr_valid = torch.ones(hr.shape[1:], dtype=torch.bool), torch.ones(lr.shape[1:], dtype=torch.bool)
    hr_valid[:, :80] = False
    lr_valid[:, 60:] = False
    assert measure_pair(hr, lr, 4, hr_valid, lr_valid).overlap == pytest.approx(0.5)
    both = torch.ones(lr.shape[1:], dtype=torch.bool)
    both[:20] = False
    same = measure_pair(hr, lr, 4, both.repeat_interleave(4, 0).repeat_interleave(4, 1), both)
    assert same.overlap == 1


def test_invalid_pixels_are_neither_registered_nor_regressed():
    hr, lr = pair()
    valid = torch.ones(lr.shape[1:], dtype=torch.bool)
    valid[:16] = False
    expected = measure_pair(hr, lr, 4, None, valid)
    spoilt = lr.clone()
    spoilt[:, :16] = torch.rand(3, 16, lr.shape[2], generator=torch.Generator().manual_seed(0))
    measured = measure_pair(hr, spoilt, 4, None, valid)
    assert measured == expected
    assert measured.shift == pytest.approx((0, 0), abs=0.05)


def test_an_hr_pixel_without_value_makes_its_lr_pixel_invalid():
    valid = torch.ones(8, 8, dtype=torch.bool)
    valid[5, 2] = False
    means, known = on_lr_grid(torch.rand(1, 8, 8), valid, 4)
    assert means.shape == (1, 2, 2)
    assert known.tolist() == [[True, True], [False, True]]


def test_nothing_valid_is_no_overlap_and_no_claim():
    hr, lr = pair()
    measured = measure_pair(hr, lr, 4, None, torch.zeros(lr.shape[1:], dtype=torch.bool))
    assert (measured.overlap, measured.correlation, measured.shift) == (0, None, None)


def test_flat_images_claim_nothing():
    measured = measure_pair(torch.full((1, 256, 256), 0.5), torch.full((1, 64, 64), 0.5), 4)
    assert (measured.overlap, measured.shift, measured.slopes) == (1, None, ())


def test_noise_of_a_flat_place_claims_nothing():
    """Two recordings of open water agree in nothing but their level."""
    hr, lr = (torch.randn(2, side, side, generator=torch.Generator().manual_seed(side)) for side in (256, 64))
    measured = measure_pair(0.1 + 0.002 * hr, 0.1 + 0.002 * lr, 4)
    assert (measured.correlation, measured.shift, measured.shown_scale) == (None, None, None)


def test_small_images_are_not_registered():
    hr, lr = pair()
    assert measure_pair(hr[:, :80, :80], lr[:, :20, :20], 4).correlation is None


def test_radiometry_is_that_of_most_pixels():
    rng = np.random.default_rng(0)
    hr = np.repeat(np.repeat(rng.uniform(size=(2, 16, 16)), 4, 1), 4, 2)
    lr = hr * [[[1.1]], [[0.7]]] + [[[-0.02]], [[0.1]]] + rng.normal(0, 0.01, hr.shape)
    lr[:, :16] = rng.uniform(size=(2, 16, 64))  # a quarter has changed
    slopes, offsets = radiometry(hr, lr, np.ones((64, 64), bool))
    assert slopes == pytest.approx((1.1, 0.7), abs=0.02)
    assert offsets == pytest.approx((-0.02, 0.1), abs=0.02)


def test_a_flat_band_has_no_line():
    varied = np.random.default_rng(0).uniform(size=(64, 64)).cumsum(0) / 64
    hr = np.stack([varied, np.full((64, 64), 0.3)])
    slopes, offsets = radiometry(hr, hr, np.ones((64, 64), bool))
    assert slopes[0] == pytest.approx(1)
    assert (slopes[1], offsets[1]) == (None, None)
    few = np.zeros((64, 64), bool)
    few[:8, :8] = True
    assert radiometry(hr, hr, few) == ((None, None), (None, None))
