import numpy as np
import pytest

from trainables.domain_shift.noise_level import noise_level
from trainables.errors import UsageError


def noisy(sigma, side=161):
    rows, columns = np.mgrid[:side, :side]
    picture = 120 + 60 * np.sin(rows / 19) + 30 * np.cos(columns / 13) + 50 * (columns > 80)
    return picture + np.random.default_rng(0).normal(0, sigma, picture.shape)


@pytest.mark.parametrize("sigma", [1.0, 5.0, 20.0])
def test_known_noise_on_a_smooth_picture_with_an_edge(sigma):
    assert noise_level(noisy(sigma)) == pytest.approx(sigma, rel=0.06)


def test_8_bit_values_of_moderate_noise():
    assert noise_level(noisy(5).round()) == pytest.approx(5, rel=0.08)


def test_none_on_ramps_and_blank_images():
    assert noise_level(np.add.outer(np.arange(40.0), 3 * np.arange(50.0))) == pytest.approx(0)
    assert noise_level(np.full((9, 9), 5.0)) == 0


def test_outliers_hardly_count():
    plane = noisy(5)
    plane[::17, ::13] = 255
    assert noise_level(plane) == pytest.approx(5, rel=0.12)


def test_too_small():
    with pytest.raises(UsageError, match=r"at least 2×2 pixels, found \(1, 9\)"):
        noise_level(np.zeros((1, 9)))
