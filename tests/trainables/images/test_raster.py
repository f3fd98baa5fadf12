"""Images of any depth, and what their values mean to a network."""

import numpy as np
import pytest

from trainables.errors import UsageError
from trainables.images.raster import FULL_SCALE, PLAIN, PixelFormat, Raster

REFLECTANCE = PixelFormat("uint16", ("red", "nir"), 0, 10000)


def test_values_of_the_range_become_shares_of_full_scale():
    values = np.array([[[0, 10000], [5000, 20000]]], np.uint16)
    image = REFLECTANCE.prepared(Raster(values, REFLECTANCE.bands))
    assert image.valid is None
    assert image.pixels.dtype == np.uint16
    assert (image.pixels == [[[0, 65535], [32768, 65535]]]).all()


@pytest.mark.parametrize(("low", "high"), [(0, 10000), (-1000, 3000), (0, 65535)])
def test_no_stored_value_of_the_range_is_lost(low, high):
    dtype = "int16" if low < 0 else "uint16"
    stated = PixelFormat(dtype, ("gray",), low, high)
    values = np.arange(low, high + 1).astype(dtype).reshape(1, -1, 1)
    pixels = stated.prepared(Raster(values, stated.bands)).pixels
    assert (np.rint(stated.values(pixels / FULL_SCALE["uint16"])) == values).all()


def test_pixels_without_a_value_are_zero_and_stay_marked():
    values = np.array([[[np.nan], [2.0], [-np.inf], [1e30]]], np.float32)
    valid = np.array([[False, True, True, True]])
    image = PixelFormat("float32", ("height",), 0, 4).prepared(Raster(values, ("height",), valid))
    assert (image.pixels[0, :, 0] == [0, 32768, 0, 65535]).all()
    assert image.valid is valid


def test_plain_images_stay_as_they_are():
    values = np.zeros((2, 3, 1), np.uint8)
    assert PLAIN.prepared(Raster(values, ("gray",))).pixels is values
    assert PLAIN.plain
    assert PLAIN.levels == 255
    assert not PixelFormat("uint8", ("red", "green", "blue", "nir"), 0, 255).plain
    assert PixelFormat("float32", ("height",), 0, 1).levels is None


def test_a_window_keeps_names_units_and_mask():
    raster = Raster(np.arange(12.0).reshape(3, 4, 1), ("ct",), np.arange(12).reshape(3, 4) > 5, "HU")
    part = raster.window(0, 1, 2, 2)
    assert (part.height, part.width, part.bands, part.units) == (2, 2, ("ct",), "HU")
    assert (part.valid == [[False, False], [False, True]]).all()
    assert raster.window(0, 0, 1, 4).empty
    assert not part.empty


def test_a_format_survives_a_manifest_and_nonsense_does_not():
    assert PixelFormat.from_dict(REFLECTANCE.to_dict()) == REFLECTANCE
    for wrong in ({}, REFLECTANCE.to_dict() | {"high": 0}, REFLECTANCE.to_dict() | {"dtype": "int64"}, {"bands": 3}):
        with pytest.raises(UsageError):
            PixelFormat.from_dict(wrong)
