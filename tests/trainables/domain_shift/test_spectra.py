import numpy as np
import pytest

from trainables.domain_shift.spectra import spectral_slope
from trainables.errors import UsageError


def power_law_noise(exponent, side=128, seed=0):
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.fftfreq(side))
    frequency[0, 0] = 1
    white = np.fft.fft2(np.random.default_rng(seed).normal(size=(side, side)))
    return np.fft.ifft2(white * frequency ** (-exponent / 2)).real


@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.0, 3.0])
def test_slope_of_noise_with_a_known_spectrum(exponent):
    slopes = [spectral_slope(power_law_noise(exponent, seed=seed)) for seed in range(6)]
    assert np.mean(slopes) == pytest.approx(exponent, abs=0.1)


def test_scale_and_brightness_do_not_matter():
    plane = power_law_noise(1.5)
    assert spectral_slope(40 * plane + 90) == pytest.approx(spectral_slope(plane))


def test_the_middle_of_an_oblong_image_counts():
    plane = power_law_noise(1.5)
    assert spectral_slope(plane[:, 32:96]) == spectral_slope(plane[32:96, 32:96])


def test_images_without_a_spectrum_are_refused():
    with pytest.raises(UsageError, match=r"at least 16 pixels, found \(8, 40\)"):
        spectral_slope(np.zeros((8, 40)))
    with pytest.raises(UsageError, match="the same everywhere"):
        spectral_slope(np.full((32, 32), 7.0))
