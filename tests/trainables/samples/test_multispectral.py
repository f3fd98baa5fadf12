"""Drawn scenes of four bands."""

import numpy as np
import pytest

from trainables.samples.multispectral import BANDS, QUANTIFICATION, SEASONS, scene


def ndvi(drawn):
    red, nir = (drawn.raster.values[..., BANDS.index(name)].astype(float) for name in ("red", "nir"))
    return (nir - red) / (nir + red)


def test_a_site_keeps_its_map_and_loses_its_leaves_in_winter():
    summer, winter = (scene(3, season, (128, 128)) for season in ("summer", "winter"))
    assert (scene(3, "summer", (128, 128)).raster.values == summer.raster.values).all()
    assert ndvi(summer).mean() > ndvi(winter).mean() + 0.1
    blue = [drawn.raster.values[..., 0].astype(float).ravel() for drawn in (summer, winter)]
    assert np.corrcoef(blue)[0, 1] > 0.8


def test_values_are_reflectances_of_many_levels():
    values = scene(1, "spring", (128, 96)).raster.values
    assert values.shape == (128, 96, 4)
    assert values.dtype == np.uint16
    assert 1 <= values.min() < 500 < 1500 < values.max() < QUANTIFICATION
    assert len(np.unique(values)) > 1000


def test_the_near_infrared_is_no_copy_of_a_visible_band():
    drawn = scene(5, "summer", (128, 128)).raster.values.reshape(-1, 4).astype(float)
    assert abs(np.corrcoef(drawn.T)[3, :3]).max() < 0.9


@pytest.mark.parametrize("season", SEASONS)
def test_clouds_are_bright_and_marked_and_the_edge_has_no_value(season):
    drawn = scene(2, season, (128, 128), clouds=0.3, edge=True)
    inside = drawn.raster.valid
    assert 0.25 < drawn.clouds.mean() < 0.35
    assert (drawn.raster.values[~inside] == 0).all()
    assert (drawn.raster.values[inside] > 0).all()
    assert 0.02 < (~inside).mean() < 0.45
    assert drawn.raster.values[drawn.clouds & inside].mean() > 1.3 * drawn.raster.values[~drawn.clouds & inside].mean()
