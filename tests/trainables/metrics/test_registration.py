"""Displacements against ones that were made."""

import numpy as np
import pytest
from scipy import ndimage

from trainables.metrics.registration import phase_shift


def scene(side, seed=0):
    """Smooth shapes with edges, and a margin that displacements bring into view."""
    return ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(side, side)), 1.5)


@pytest.mark.parametrize("by", [(0, 0), (0.25, -0.5), (1.37, 0.82), (-3, 2), (-0.1, 7.5)])
def test_displacements_are_found_to_a_few_hundredths(by):
    wide = scene(96)
    moved = ndimage.shift(wide, by, order=5)
    found = phase_shift(wide[16:-16, 16:-16], moved[16:-16, 16:-16])
    assert found == pytest.approx(by, abs=0.05)


def test_gain_offset_and_sides_do_not_matter():
    wide = scene(96, 1)
    moved = 40 - 3 * -ndimage.shift(wide, (0.5, 1.25), order=5)
    assert phase_shift(wide[20:44, 16:-16], moved[20:44, 16:-16]) == pytest.approx((0.5, 1.25), abs=0.1)


def test_equal_images_lie_exactly_on_each_other():
    assert phase_shift(scene(33), scene(33)) == (0, 0)
