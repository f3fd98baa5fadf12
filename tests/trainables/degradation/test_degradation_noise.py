"""Noise models: statistics, and CT dose against a real Radon transform and filtered back-projection."""

import math

import numpy as np
import pytest
import torch
from skimage.transform import iradon, radon

from trainables.degradation import Degradation
from trainables.degradation.noise import CT_PIXEL, VIEWS, WATER, add_dose_noise, add_sensor_noise

PLAIN, GRAY = torch.tensor([False]), torch.tensor([True])


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def dose_noise(photons, count=1, side=256, scale=4, attenuation=3.0, window=1000.0, gray=False):
    flat = torch.full((count, 3, side, side), 0.5)
    bands = torch.full((count,), gray)
    return add_dose_noise(flat, scale, photons, (attenuation,) * 2, window, bands, seeded()) - 0.5


def radial_spectrum(images):
    """Mean power per pixel at frequencies k/side cycles per pixel, k from 1 to just below Nyquist."""
    side = images.shape[-1]
    power = (np.abs(np.fft.fft2(images)) ** 2 / side**2).reshape(-1, side, side).mean(0)
    frequency = np.fft.fftfreq(side)
    ring = np.round(np.hypot(frequency[:, None], frequency) * side).astype(int)
    return (np.bincount(ring.ravel(), power.ravel()) / np.bincount(ring.ravel()))[1 : side // 2]


def back_projection(variance, views, frequency):
    """Riederer, Pelc and Chesler's spectrum with a Hann filter and linear interpolation."""
    return math.pi / views * frequency * (np.cos(math.pi * frequency) * np.sinc(frequency)) ** 4 * variance


@pytest.mark.parametrize("scale", [2, 4])
def test_dose_noise_has_the_spectrum_of_filtered_back_projection(scale):
    noise = dose_noise((4096, 4096), count=8, scale=scale).numpy()
    hounsfield = 1000 / (WATER * CT_PIXEL * scale)
    expected = back_projection(math.exp(3) / 4096, VIEWS, np.arange(1, 128) / 256) * (hounsfield / 1000) ** 2
    measured = radial_spectrum(noise)
    assert measured[5:100] == pytest.approx(expected[5:100], rel=0.15)
    assert measured.sum() == pytest.approx(expected.sum(), rel=0.02)


def test_dose_noise_falls_with_the_root_of_the_photons_and_rises_with_attenuation():
    few, many = (float(dose_noise((n, n)).std()) for n in (1e3, 1e5))
    assert few / many == pytest.approx(10, rel=1e-4)
    assert float(dose_noise((1e3, 1e3), attenuation=5.0).std()) / few == pytest.approx(math.e, rel=1e-4)
    assert float(dose_noise((1e3, 1e3), window=500.0).std()) / few == pytest.approx(2, rel=1e-4)


def test_dose_is_drawn_on_a_log_scale_and_dose_noise_has_no_mean():
    noise = dose_noise((1e3, 1e5), count=300, side=24)
    assert noise.mean((2, 3)).abs().max() < 1e-6
    spread = torch.log10(noise[:, 0].std((1, 2))).numpy()
    assert spread.max() - spread.min() == pytest.approx(1, abs=0.2)
    middle = (spread.max() + spread.min()) / 2
    assert spread.mean() == pytest.approx(middle, abs=0.06)


def test_dose_noise_is_that_of_a_radon_transform_with_poisson_counts():
    """A disk like a water phantom; its middle, where the rays that cross differ little."""
    side, views, photons, inner = 128, 360, 1e4, slice(40, 88)
    centred = np.arange(side) - (side - 1) / 2
    disk = 0.03 * (np.hypot(centred[:, None], centred) < 0.42 * side)
    angles = np.linspace(0, 180, views, endpoint=False)
    sinogram, chance = radon(disk, angles), np.random.default_rng(0)

    def noise():
        counts = chance.poisson(photons * np.exp(-sinogram)).clip(0.1)
        return iradon(-np.log(counts / photons) - sinogram, angles, filter_name="hann")[inner, inner]

    images = np.stack([noise() for _ in range(12)])
    frequency = np.arange(1, 24) / 48
    variance = np.exp(sinogram[inner]).mean() / photons
    expected = back_projection(variance, views, frequency)
    measured = radial_spectrum(images)
    assert np.corrcoef(measured, expected)[0, 1] > 0.97
    assert measured[2:17] == pytest.approx(expected[2:17], rel=0.3)
    ring_area = np.arange(1, 24)
    assert (measured * ring_area).sum() == pytest.approx((expected * ring_area).sum(), rel=0.1)


def test_sensor_noise_grows_with_the_root_of_the_signal():
    for signal in (0.0, 0.25, 0.64):
        lr = torch.full((1, 3, 300, 300), signal)
        noise = add_sensor_noise(lr, torch.tensor([0.01]), (0.05, 0.05), PLAIN, seeded()) - lr
        assert float(noise.std()) == pytest.approx(math.hypot(0.01, 0.05 * math.sqrt(signal)), rel=0.02)
        assert float(noise.mean()) == pytest.approx(0, abs=5e-4)


def test_each_band_draws_its_own_shot_noise_and_gray_bands_share_one():
    lr = torch.full((1, 3, 200, 200), 0.5)
    bands = add_sensor_noise(lr, torch.zeros(1), (0.01, 0.05), PLAIN, seeded(1)).std((2, 3))[0]
    assert bands.max() / bands.min() > 1.1
    gray = add_sensor_noise(lr, torch.zeros(1), (0.01, 0.05), GRAY, seeded(1))
    assert torch.equal(gray, gray[:, :1].expand_as(gray))
    gray = dose_noise((1e3, 1e3), side=16, gray=True)
    assert torch.equal(gray, gray[:, :1].expand_as(gray))


@pytest.mark.parametrize("noise", [{"photons": (1e3, 1e3)}, {"shot": (0.05, 0.05)}])
def test_noise_comes_after_decimation(noise):
    """Averaging 4×4 HR pixels would leave a sixteenth of the power."""
    hr, lr = torch.full((1, 3, 256, 256), 0.5), torch.full((1, 3, 64, 64), 0.5)
    degraded = Degradation(decimation="area", **noise)(hr, 4, PLAIN, seeded()).std()
    if "shot" in noise:
        alone = add_sensor_noise(lr, torch.zeros(1), (0.05, 0.05), PLAIN, seeded()).std()
    else:
        alone = add_dose_noise(lr, 4, (1e3, 1e3), (2.0, 4.0), 1500.0, PLAIN, seeded()).std()
    assert float(degraded) == pytest.approx(float(alone), rel=0.1)
