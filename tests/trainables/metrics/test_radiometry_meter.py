"""Bias, overshoot, values beyond the range and shifts of indices: measured as defined, flagged beyond their limits."""

import numpy as np
import pytest
import torch

from trainables.metrics.consistency import ConsistencyMeter

SCALE = 2
NAMED = {"red": 0, "green": 1, "nir": 2}


def source(bands=3):
    values = torch.rand(bands, 24, 30, generator=torch.Generator().manual_seed(0))
    return (2000 + 3000 * values).round()


def blocks(lr):
    return lr.repeat_interleave(SCALE, -1).repeat_interleave(SCALE, -2)


def measured(lr, sr, dtype="uint16", high=10000, **facts):
    meter = ConsistencyMeter(SCALE, len(lr))
    meter.add(*(np.asarray(values).astype(dtype) for values in (lr, sr)), low=0, high=high, **facts)
    return meter.result().radiometry


def test_an_output_that_repeats_its_source_has_none_of_it():
    found = measured(source(), blocks(source()), named=NAMED)
    assert found.bias == (0, 0, 0)
    assert (found.block_error, found.overshoot, found.outside) == (0, 0, 0)
    assert found.shifts == {"ndvi": 0, "ndwi": 0}
    assert found.flags == ()


@pytest.mark.parametrize(("by", "flagged"), [(0.25, False), (0.75, True)])
def test_bias_of_a_band_is_in_stored_units(by, flagged):
    hr = blocks(source()).unflatten(2, (-1, SCALE)).unflatten(1, (-1, SCALE)).clone()
    hr[1, :, 0, :, 0] += 4 * by  # one of the four pixels of each block
    found = measured(source(), hr.flatten(3).flatten(1, 2))
    assert found.bias == pytest.approx((0, by, 0), abs=1e-3)
    assert found.block_error == pytest.approx(by, abs=1e-3)
    assert ("bias" in found.flags) == flagged


@pytest.mark.parametrize(("by", "flagged"), [(0.4, False), (0.6, True)])
def test_bias_of_decimals_is_a_share_of_the_range(by, flagged):
    found = measured(source(), blocks(source()) + by, "float32")
    assert ("bias" in found.flags) == flagged


@pytest.mark.parametrize(("by", "flagged"), [(0.9, False), (1.1, True)])
def test_overshoot_is_beyond_the_range_of_the_neighbours(by, flagged):
    lr = source(1)
    around = lr[0, 4:7, 7:10]
    hr = blocks(lr)
    hr[0, 10, 16] = around.max() + by * (around.max() - around.min())
    found = measured(lr, hr, high=4000)
    assert found.overshoot == pytest.approx(by, abs=1e-3)
    assert ("overshoot" in found.flags) == flagged


def test_overshoot_below_the_neighbours_counts_as_well():
    lr, hr = source(1), blocks(source(1))
    hr[0, 10, 16] = 0
    assert measured(lr, hr).overshoot > 0.1


def test_neighbours_of_a_window_are_those_of_the_scene():
    lr = torch.full((1, 10, 10), 1000.0)
    lr[0, :, 5:] = 9000
    hr = blocks(lr)
    hr[0, 8, 9] = 9000  # right at the border of the window, beside pixels of 9,000
    alone = measured(lr[:, :, :5], hr[:, :, :10])
    beside = measured(
        lr[:, :, :5], hr[:, :, :10], around=np.pad(lr.numpy(), ((0, 0), (1, 1), (1, 0)), "edge")[:, :, :7]
    )
    assert alone.overshoot > 1
    assert beside.overshoot == 0


def test_neighbours_without_a_value_do_not_count():
    lr = torch.full((1, 10, 10), 1000.0)
    around = np.pad(lr.numpy(), ((0, 0), (1, 1), (1, 1)), constant_values=0)
    hr = blocks(lr)
    hr[0, 0, 0] = 500
    assert measured(lr, hr, around=around).overshoot == 0
    assert measured(lr, hr, around=around, around_valid=around > 0).overshoot == pytest.approx(0.1)


@pytest.mark.parametrize(("pixels", "flagged"), [(14, False), (15, True)])
def test_values_beyond_the_range_are_counted(pixels, flagged):
    lr = source(1)
    lr.view(-1)[:pixels] = 12000
    found = measured(lr, blocks(lr))
    assert found.outside == pytest.approx(pixels / 720)
    assert ("out-of-range" in found.flags) == flagged


def test_bands_that_no_network_saw_have_no_range():
    lr = source(2)
    lr[1] = 20000
    assert measured(lr, blocks(lr)).outside == 0.5
    assert measured(lr, blocks(lr), seen=(0,)).outside == 0


def test_a_shift_of_an_index_is_flagged_where_its_bands_are_known():
    lr = torch.tensor([1000.0, 1500.0, 4000.0])[:, None, None].expand(3, 12, 12)
    hr = blocks(lr) + torch.tensor([0.0, 0.0, 200.0])[:, None, None]
    assert measured(lr, hr).shifts == {}
    found = measured(lr, hr, named=NAMED)
    assert found.shifts["ndvi"] == pytest.approx(3200 / 5200 - 3000 / 5000, abs=1e-6)
    assert found.shifts["ndwi"] == pytest.approx(-2700 / 5700 + 2500 / 5500, abs=1e-6)
    assert {"ndvi", "ndwi"} <= set(found.flags)
    assert measured(lr, hr, named={"red": 0, "green": 1}).shifts == {}


def test_dark_pixels_have_no_index():
    lr = torch.full((3, 12, 12), 90.0)
    assert measured(lr, blocks(lr) + 20, named=NAMED).shifts == {}


def test_meters_of_parts_add_up_to_that_of_the_whole():
    lr, hr = source(), blocks(source()) + torch.rand(3, 48, 60).mul(300).round()
    whole, parts = ConsistencyMeter(SCALE, 3), [ConsistencyMeter(SCALE, 3) for _ in range(2)]
    around = np.pad(lr.numpy(), ((0, 0), (1, 1), (1, 1)), "edge")
    whole.add(lr, hr, low=0, high=6000, around=around, named=NAMED)
    parts[0].add(lr[:, :10], hr[:, :20], low=0, high=6000, around=around[:, :12], named=NAMED)
    parts[1].add(lr[:, 10:], hr[:, 20:], low=0, high=6000, around=around[:, 10:], named=NAMED)
    parts[0].merge(parts[1])
    merged, expected = (meter.result().radiometry.to_dict() for meter in (parts[0], whole))
    assert merged.pop("bias") == pytest.approx(expected.pop("bias"), rel=1e-5)
    assert merged == pytest.approx(expected, rel=1e-5)
