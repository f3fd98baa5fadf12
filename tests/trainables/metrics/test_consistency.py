"""Consistency against scenes whose shift, gain or spectra were changed on purpose."""

import json
import math
import pickle

import numpy as np
import pytest
import torch
from scipy import ndimage

from trainables.errors import UsageError
from trainables.metrics.consistency import ANGLE_LIMIT, REFLECTANCE_LIMIT, SHIFT_LIMIT, Consistency, ConsistencyMeter
from trainables.metrics.radiometry import Radiometry
from trainables.network.network import interpolate

SCALE = 4


@pytest.fixture(scope="module")
def lr():
    """Four bands of reflectance with common and own structure."""
    noise = np.random.default_rng(0).normal(size=(5, 160, 200))
    smooth = ndimage.gaussian_filter(noise, (0, 1.5, 1.5))
    bands = 0.25 + 0.3 * smooth[:1] + 0.1 * smooth[1:] + np.array([0.0, 0.05, 0.1, 0.2])[:, None, None]
    return torch.from_numpy(bands).float()


@pytest.fixture(scope="module")
def sr(lr):
    return interpolate(lr[None], SCALE)[0]


def flags_of(found):
    """Flags that are not of radiometry, which has a test of its own."""
    return tuple(flag for flag in found.flags if flag not in found.radiometry.flags)


def measured(lr, sr, valid=None, scale=SCALE):
    meter = ConsistencyMeter(scale, lr.shape[0])
    meter.add(lr, sr, valid)
    return meter.result()


@pytest.mark.parametrize("scale", [1, 2, 3])
def test_repeated_pixels_are_perfectly_consistent(lr, scale):
    found = measured(lr, lr.repeat_interleave(scale, 1).repeat_interleave(scale, 2), scale=scale)
    assert max(found.reflectance) < 1e-7
    assert found.spectral_angle == pytest.approx(0, abs=1e-4)
    assert found.shift == (0, 0)
    assert (found.pixels, found.patches, found.non_finite, flags_of(found)) == (32000, 6, 0, ())


def test_interpolation_is_consistent(lr, sr):
    found = measured(lr, sr)
    assert max(found.reflectance) < 0.003
    assert found.spectral_angle < 0.4
    assert found.shift == (0, 0)
    assert flags_of(found) == ()


@pytest.mark.parametrize("by", [(1, 0), (0, -2), (3, 5)])
def test_a_displaced_output_is_found_to_a_tenth_of_an_hr_pixel(lr, sr, by):
    found = measured(lr, torch.roll(sr, by, (1, 2)))
    assert found.shift == pytest.approx([each / SCALE for each in by], abs=0.1 / SCALE)
    assert ("shift" in flags_of(found)) == (math.hypot(*by) / SCALE > SHIFT_LIMIT)


def test_offset_and_gain_are_told_in_the_bands_own_units(lr):
    nearest = lr.repeat_interleave(SCALE, 1).repeat_interleave(SCALE, 2)
    offset = torch.tensor([0.0, 0.01, -0.03, 0.0])[:, None, None]
    found = measured(lr, nearest + offset)
    assert found.reflectance == pytest.approx([0, 0.01, 0.03, 0], abs=1e-6)
    assert "reflectance" in found.flags
    brighter = measured(lr, nearest * 1.2)
    assert brighter.reflectance == pytest.approx((0.2 * lr.abs()).mean((1, 2)).tolist(), rel=1e-4)
    assert brighter.spectral_angle == pytest.approx(0, abs=1e-4)
    assert brighter.shift == (0, 0)
    assert flags_of(brighter) == ("reflectance",)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float64])
def test_stored_values_are_told_which_of_them_mean_0_and_1(lr, sr, dtype):
    low, high = (0, 255) if dtype == np.uint8 else (np.array([-100, 0, 50, 100]), np.array([9900, 1e4, 1e4, 20000]))
    per_band = [np.broadcast_to(level, 4).astype(np.float64)[:, None, None] for level in (low, high)]
    stored = [(per_band[0] + (per_band[1] - per_band[0]) * each.clip(0.05, 1).numpy()).round() for each in (lr, sr)]
    meter = ConsistencyMeter(SCALE, 4)
    meter.add(*(each.astype(dtype) for each in stored), None, low, high)
    expected = measured(lr.clip(0.05, 1), sr.clip(0.05, 1))
    assert meter.result().reflectance == pytest.approx(expected.reflectance, abs=1e-3)
    assert meter.result().shift == expected.shift


@pytest.mark.parametrize("degrees", [1, 2.9, 3.1, 20])
def test_spectra_that_were_turned_have_that_angle(degrees):
    angle = math.radians(degrees)
    lr = torch.zeros(2, 20, 20) + torch.tensor([0.01, 0.002])[:, None, None]
    turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    found = measured(lr, torch.einsum("ij,jhw->ihw", turn, lr).repeat_interleave(2, 1).repeat_interleave(2, 2), scale=2)
    assert found.spectral_angle == pytest.approx(degrees, abs=1e-3)
    assert flags_of(found) == (("spectral-angle",) if degrees > ANGLE_LIMIT else ())
    assert found.shift is None


def test_the_output_is_averaged_before_it_is_compared(lr):
    checks = torch.tensor([[0.1, -0.1], [-0.1, 0.1]]).repeat(lr.shape[1], lr.shape[2])
    found = measured(lr, lr.repeat_interleave(2, 1).repeat_interleave(2, 2) + checks, scale=2)
    assert max(found.reflectance) < 1e-6


def test_what_is_not_valid_counts_nowhere(lr, sr):
    valid = np.zeros(lr.shape[1:], bool)
    valid[:100, :140] = True
    dirty, broken = lr.clone(), sr.clone()
    dirty[:, ~torch.from_numpy(valid)] = float("nan")
    broken[:, 400:] = 1e9
    broken[:, :, 560:] = float("nan")
    found = measured(dirty, broken, valid)
    clean = measured(lr[:, :100, :140], sr[:, :400, :560])
    assert found.to_dict() == clean.to_dict()
    assert (found.pixels, found.patches, flags_of(found)) == (14000, 2, ())


def test_an_output_that_is_not_finite_is_flagged_and_in_no_mean(lr, sr):
    broken = sr.clone()
    broken[2, 8, 9] = float("inf")
    broken[0, 400, 9] = float("nan")
    found = measured(lr, broken)
    assert (found.non_finite, found.pixels, flags_of(found)) == (2, 31998, ("non-finite",))
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["flags"][0] == "non-finite"


def test_windows_come_in_any_order_from_several_workers(lr, sr):
    rows = [(slice(top, top + 64), slice(top * SCALE, (top + 64) * SCALE)) for top in (0, 64, 128)]
    forward, backward, other = (ConsistencyMeter(SCALE, 4) for _ in range(3))
    for low, high in rows:
        forward.add(lr[:, low], sr[:, high])
    for low, high in rows[:0:-1]:
        backward.add(lr[:, low].numpy(), sr[:, high].numpy())
    other.add(lr[:, :64], sr[:, :256])
    backward.merge(ConsistencyMeter.of(other.state()))
    assert backward.result().to_dict() == forward.result().to_dict()
    whole = measured(lr, sr).to_dict()
    assert {key: forward.result().to_dict()[key] for key in ("pixels", "reflectance", "spectral_angle")} == {
        key: whole[key] for key in ("pixels", "reflectance", "spectral_angle")
    }


def test_memory_does_not_grow_with_the_scene():
    chance = np.random.default_rng(0)
    meter, sizes = ConsistencyMeter(1, 1), []
    for _ in range(20):
        window = chance.random((1, 64, 192), dtype=np.float32)
        meter.add(window, window)
        sizes.append(len(pickle.dumps(meter)))
    assert meter.result().patches == 16
    assert sizes[-1] - sizes[6] < 64


def test_the_shift_withstands_wrong_patches_and_prefers_contrast():
    chance = np.random.default_rng(0)
    meter = ConsistencyMeter(1, 1)
    for number in range(30):
        wide = ndimage.gaussian_filter(chance.random((64, 84)), 2)[None]
        moved = wide[:, :, 9:73]
        if number % 5 == 0:  # a fifth shows something else altogether
            moved = np.roll(moved, (11, -7), (1, 2))
        meter.add(wide[:, :, 10:74], moved)
        faint = wide[:, :, 10:74] / 50
        meter.add(faint, np.roll(faint, 20, 2))
    found = meter.result()
    assert found.shift == pytest.approx((0, 1), abs=0.05)
    assert found.patches == 16


def test_one_band_has_no_spectrum_and_a_flat_scene_no_shift(lr, sr):
    gray = measured(lr[:1], sr[:1])
    assert gray.spectral_angle is None
    assert gray.shift == (0, 0)
    flat = measured(torch.zeros(2, 40, 40), torch.zeros(2, 160, 160))
    assert (flat.shift, flat.patches, flat.spectral_angle, flat.reflectance) == (None, 0, None, (0, 0))
    assert measured(lr[:, :, :15], sr[:, :, :60]).shift is None
    nothing = measured(lr, sr, np.zeros(lr.shape[1:]))
    radiometry = Radiometry((), (), 0.0, 0.0, 0.0, {})
    assert nothing == Consistency(0, 0, (), None, None, 0, radiometry)
    assert nothing.flags == ()


def test_limits_are_the_published_ones():
    assert (REFLECTANCE_LIMIT, ANGLE_LIMIT, SHIFT_LIMIT) == (0.02, 3.0, 0.25)


def test_windows_that_do_not_fit_are_refused(lr, sr):
    meter = ConsistencyMeter(SCALE, 4)
    for wrong in ((lr, sr[:, :-1]), (lr[:3], sr[:3]), (lr[0], sr[0]), (lr, lr)):
        with pytest.raises(UsageError, match="Windows of 4 bands at x4 were expected, found LR"):
            meter.add(*wrong)
    with pytest.raises(UsageError, match=r"A mask of shape \(160, 200\) was expected, found \(160,\)"):
        meter.add(lr, sr, np.ones(160))
