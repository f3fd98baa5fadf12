"""Degradations of images deeper than 8 bits."""

import json

import pytest
import torch

from trainables.degradation import Degradation
from trainables.errors import UsageError
from trainables.images.raster import PLAIN, PixelFormat

SATELLITE = PixelFormat("uint16", ("red", "green", "blue", "nir"), 0, 10000)
CT = PixelFormat("int16", ("gray",), -160, 240, "HU")
DECIMALS = PixelFormat("float32", ("gray",), 0, 1)


def degraded(chain, hr, seed=0):
    return chain(hr, 2, torch.zeros(len(hr), dtype=torch.bool), torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("levels", [255.0, 10000.0, 65535.0])
def test_values_are_rounded_to_the_levels_of_the_format_and_to_no_coarser_ones(levels):
    lr = degraded(Degradation(noise=(0.1, 0.1), levels=levels), torch.full((2, 4, 32, 32), 0.5))
    steps = lr.double() * levels
    assert (steps - steps.round()).abs().max() < 0.01
    assert not torch.equal(steps.round() % 2, torch.zeros_like(steps))
    assert len(lr.unique()) > min(levels, 1000) / 3


def test_no_levels_are_no_rounding_and_draw_the_same_noise():
    hr = torch.full((2, 4, 32, 32), 0.5)
    exact, rounded = (degraded(Degradation(noise=(0.1, 0.1), levels=levels), hr) for levels in (None, 100.0))
    assert 0.004 < (exact - rounded).abs().max() <= 0.5001 / 100
    assert exact.unique().numel() > 1000


def test_a_format_sets_levels_and_the_window_of_a_ct():
    chain = Degradation(noise=(0.0, 0.01))
    assert chain.for_format(SATELLITE) == Degradation(noise=(0.0, 0.01), levels=10000)
    assert chain.for_format(DECIMALS).levels is None
    assert chain.for_format(SATELLITE).for_format(PLAIN) == chain
    assert chain.for_format(CT).window == chain.window
    dose = Degradation(photons=(1e3, 1e5), window=1500.0)
    assert (dose.for_format(CT).window, dose.for_format(CT).levels) == (400, 400)
    assert dose.for_format(PixelFormat("int16", ("gray",), 0, 4000)).window == 1500


@pytest.mark.parametrize("codec", ["jpeg", "h264"])
def test_codecs_stay_with_8_bit_gray_and_rgb(codec):
    chain = Degradation(**{codec: (20, 40)})
    assert chain.for_format(PLAIN) == chain
    for other in (SATELLITE, CT, PixelFormat("uint8", ("a", "b"), 0, 255)):
        with pytest.raises(UsageError, match="is a codec of 8-bit gray and RGB images and cannot degrade"):
            chain.for_format(other)
    with pytest.raises(UsageError, match="needs 8-bit values, 255 levels, found rounding to 1/1000"):
        Degradation(**{codec: (20, 40)}, levels=1000)


@pytest.mark.parametrize("levels", [0, -1, float("nan"), float("inf")])
def test_impossible_levels_are_refused(levels):
    with pytest.raises(UsageError, match="levels must be a number above 0, or None"):
        Degradation(levels=levels)


def test_cards_and_descriptions_state_levels_only_where_they_are_not_8_bits():
    assert "levels" not in Degradation().to_dict()
    for levels, said in ((10000.0, "bicubic, rounding to 1/10000"), (None, "bicubic, no rounding")):
        chain = Degradation(levels=levels)
        assert chain.to_dict()["levels"] == levels
        assert Degradation.from_dict(json.loads(json.dumps(chain.to_dict()))) == chain
        assert chain.describe() == said
