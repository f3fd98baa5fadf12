"""Corrected pairs show the same place in the same radiometry."""

import numpy as np
import pytest

from trainables.errors import UsageError
from trainables.images.pair_correction import matched, registered
from trainables.images.raster import Raster


def raster(values, valid=None):
    return Raster(values, tuple("abcd"[: values.shape[2]]), valid)


def area(pixels, scale):
    height, width, bands = pixels.shape
    return pixels.reshape(height // scale, scale, width // scale, scale, bands).mean((1, 3))


@pytest.mark.parametrize("shift", [(0, 0), (0.25, -0.5), (1.75, 2), (-3, 0.5), (0.6, -0.1)], ids=str)
def test_a_displaced_pair_is_cut_to_what_both_show(shift):
    """A scene of smooth gradients, so that a pixel's value says where it lies: HR and LR are windows of it."""
    scale, side = 4, 12
    by = [round(axis * scale) for axis in shift]
    rows, columns = np.mgrid[-20:100, -20:100].astype(np.uint16)
    scene = np.stack([rows * 100 + 10000, columns * 100 + 10000], axis=-1)
    hr = scene[20:][:, 20:][: side * scale, : side * scale]
    seen = scene[20 - by[0] :][:, 20 - by[1] :][: side * scale, : side * scale]
    lr = area(seen.astype(float), scale).round().astype(np.uint16)
    valid = np.ones((side, side), bool)
    valid[0] = False
    new_hr, new_lr = registered(raster(hr), raster(lr, valid), scale, shift)
    lost = [-(-abs(axis) // scale) for axis in by]
    assert new_lr.values.shape == (side - lost[0], side - lost[1], 2)
    assert new_hr.values.shape == (scale * (side - lost[0]), scale * (side - lost[1]), 2)
    assert np.abs(area(new_hr.values.astype(float), scale) - new_lr.values).max() < 1
    assert new_hr.valid is None
    assert new_lr.valid.shape == new_lr.values.shape[:2]


def test_images_with_nothing_in_common_are_refused():
    hr, lr = raster(np.zeros((32, 32, 1), np.uint8)), raster(np.zeros((8, 8, 1), np.uint8))
    with pytest.raises(UsageError, match=r"8×8 pixels .* found 8.0 down and 0.0 right"):
        registered(hr, lr, 4, (8.0, 0.0))


@pytest.mark.parametrize(("dtype", "full"), [(np.uint8, 255), (np.uint16, 65535), (np.int16, 2000)])
def test_radiometry_is_undone_to_a_level(dtype, full):
    truth = np.random.default_rng(0).uniform(0.1, 0.6, (8, 8, 2)) * full
    offsets = np.array([0.05, -0.03]) * full
    lr = matched(raster(np.rint(truth * [1.2, 0.8] + offsets).astype(dtype)), (1.2, 0.8), offsets)
    assert lr.values.dtype == dtype
    assert np.abs(lr.values - truth).max() <= 1.2


def test_decimals_are_not_rounded():
    lr = matched(raster(np.array([[[0.3]]], np.float32)), (0.5,), (0.1,))
    assert lr.values == pytest.approx(0.4)
    assert lr.values.dtype == np.float32


def test_values_stay_in_range_and_invalid_pixels_as_they_are():
    valid = np.array([[True, False]])
    lr = matched(raster(np.array([[[10], [7]]], np.uint8), valid), (1.0,), (128.0,))
    assert lr.values.tolist() == [[[0], [7]]]
    bright = matched(raster(np.array([[[250], [7]]], np.uint8), valid), (0.5,), (-128.0,))
    assert bright.values.tolist() == [[[255], [7]]]
    assert bright.valid is valid


def test_a_band_without_a_line_stays():
    values = np.array([[[10, 20]]], np.uint8)
    assert matched(raster(values), (2.0, None), (0.0, None)).values.tolist() == [[[5, 20]]]


def test_a_negative_is_refused():
    with pytest.raises(UsageError, match="above 0 was expected, found -1"):
        matched(raster(np.zeros((2, 2, 1), np.uint8)), (-1.0,), (1.0,))
