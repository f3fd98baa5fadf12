import numpy as np
import pytest
from scipy.linalg import sqrtm

from trainables.domain_shift.distances import (
    frechet_distance,
    gaussian_frechet,
    median_bandwidth,
    probe_errors,
    proxy_a_distance,
    squared_mmd,
)
from trainables.errors import UsageError


def normal(count, features=4, shift=0.0, seed=0):
    return np.random.default_rng(seed).normal(shift, 1, (count, features))


def scenes(count, of=4):
    return np.arange(count) // of


def mmd(first, second):
    return squared_mmd(first, second, scenes(len(first)), scenes(len(second)), median_bandwidth(first, second))


def probe(first, second):
    return proxy_a_distance(*probe_errors(first, second, scenes(len(first)), scenes(len(second))))


def test_frechet_of_known_gaussians():
    a, b, mean = np.diag([1.0, 4.0, 9.0]), np.diag([4.0, 4.0, 1.0]), np.array([3.0, 0.0, 4.0])
    # Commuting covariances: the sum of squared differences of standard deviations, here 1 + 0 + 4.
    assert gaussian_frechet(np.zeros(3), a, mean, b) == pytest.approx(25 + 5)
    assert gaussian_frechet(mean, a, mean, a) == pytest.approx(0, abs=1e-9)


def test_frechet_of_covariances_that_do_not_commute():
    rng = np.random.default_rng(0)
    a, b = (matrix @ matrix.T for matrix in rng.normal(size=(2, 5, 5)))
    expected = np.trace(a + b - 2 * sqrtm(a @ b).real)
    assert gaussian_frechet(np.zeros(5), a, np.zeros(5), b) == pytest.approx(expected)
    assert gaussian_frechet(np.zeros(5), b, np.zeros(5), a) == pytest.approx(expected)


def test_frechet_of_samples_comes_near_the_distributions():
    assert frechet_distance(normal(4000), normal(4000, shift=1, seed=1)) == pytest.approx(4, rel=0.1)


def test_small_samples_bias_frechet_upwards():
    few, many = (frechet_distance(normal(n, 16), normal(n, 16, seed=1)) for n in (40, 1000))
    assert few > 5 * many > 0


def test_mmd_is_unbiased_and_grows_with_the_shift():
    same = [mmd(normal(80, seed=seed), normal(80, seed=seed + 100)) for seed in range(40)]
    assert abs(np.mean(same)) < 3 * np.std(same) / np.sqrt(len(same))
    shifted = [mmd(normal(80), normal(80, shift=shift, seed=1)) for shift in (0.3, 0.6, 1.2, 5)]
    assert np.std(same) < shifted[0] < shifted[1] < shifted[2] < shifted[3] < 2


def test_mmd_of_equal_scenes_does_not_take_their_likeness_for_a_distance():
    def clustered(seed):
        rng = np.random.default_rng(seed)
        return np.repeat(rng.normal(size=(20, 4)), 4, axis=0) + rng.normal(0, 0.01, (80, 4))

    values = [mmd(clustered(seed), clustered(seed + 100)) for seed in range(40)]
    assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(len(values))


def test_proxy_a_distance_runs_from_0_to_2():
    assert probe(normal(200), normal(200, seed=1)) < 0.4
    assert probe(normal(200), normal(200, shift=5, seed=1)) == 2


def test_a_probe_cannot_win_by_remembering_scenes():
    rng = np.random.default_rng(0)
    marks = rng.normal(size=(2, 20, 60)).repeat(8, axis=1)  # what tells scenes apart, not sets
    first, second = marks + rng.normal(0, 0.01, marks.shape)
    number = np.arange(160) // 8
    assert proxy_a_distance(*probe_errors(first, second, number, number)) < 0.8
    each_its_own = np.arange(160)
    assert proxy_a_distance(*probe_errors(first, second, each_its_own, each_its_own)) > 1.5


def test_wrong_sets_are_refused():
    with pytest.raises(UsageError, match=r"found \(5, 4\) and \(5, 3\)"):
        frechet_distance(normal(5), normal(5, 3))
    with pytest.raises(UsageError, match="At least two vectors in each set are needed, found 5 and 1"):
        frechet_distance(normal(5), normal(1))
    one = np.zeros(5, int)
    with pytest.raises(UsageError, match="at least two scenes in each set, found one"):
        squared_mmd(normal(5), normal(5), one, one, 1.0)
    with pytest.raises(UsageError, match="at least two scenes in each set, found 1"):
        probe_errors(normal(5), normal(5), one, np.arange(5))
