import numpy as np
import pytest

from trainables.metrics.scene_bootstrap import bootstrap_estimate, drawn_scenes


def mean_of_scenes(rng, scenes=12):
    """Twelve scenes of five equal-minded images around 0, and the interval of their mean."""
    values = np.repeat(rng.normal(size=scenes), 5) + rng.normal(0, 0.1, 5 * scenes)
    number = np.arange(5 * scenes) // 5
    again = lambda draw: float(values[drawn_scenes(number, draw)].mean())  # noqa: E731
    return bootstrap_estimate(float(values.mean()), again, scenes, resamples=40)


def test_intervals_cover_as_often_as_they_say():
    rng = np.random.default_rng(0)
    hits = [estimate.low < 0 < estimate.high for estimate in (mean_of_scenes(rng) for _ in range(120))]
    # Resampling images instead of scenes would cover in about 60 % of cases.
    assert 0.88 <= np.mean(hits) <= 0.99


def test_whole_scenes_are_drawn_as_many_as_there_are():
    scenes = np.array([3, 3, 3, 7, 9, 9])
    drawn = scenes[drawn_scenes(scenes, np.random.default_rng(1))]
    sizes = {3: 3, 7: 1, 9: 2}
    assert sum(np.count_nonzero(drawn == scene) / size for scene, size in sizes.items()) == pytest.approx(3)


def test_bounds_and_a_single_scene():
    estimate = bootstrap_estimate(0.1, lambda rng: rng.normal(), 5, bounds=(0, 1))
    assert (estimate.low, estimate.high) == (0, 1)
    assert np.isnan(bootstrap_estimate(0.1, lambda rng: rng.normal(), 1).low)


def test_two_scenes_are_never_drawn_as_one():
    rng, scenes = np.random.default_rng(0), np.array([0, 0, 1])
    assert {len(np.unique(scenes[drawn_scenes(scenes, rng)])) for _ in range(30)} == {2}
    assert drawn_scenes(np.array([4, 4]), rng).tolist() == [0, 1]


def test_the_interval_is_student_s_around_the_estimate():
    values = iter([1.0, 2.0, 4.0])
    estimate = bootstrap_estimate(10.0, lambda rng: next(values), 5, resamples=3)
    deviation = np.sqrt(((1 - 7 / 3) ** 2 + (2 - 7 / 3) ** 2 + (4 - 7 / 3) ** 2) / 2)  # of a sample
    reach = 2.7764451 * deviation  # Student's t for four degrees of freedom
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx((10, 10 - reach, 10 + reach))


def test_two_scenes_are_enough_and_a_hundred_resamples_are_drawn():
    drawn = []
    estimate = bootstrap_estimate(0.0, lambda rng: drawn.append(1) or rng.normal(), 2)
    assert len(drawn) == 100
    assert estimate.low < 0 < estimate.high
    assert bootstrap_estimate(0.0, lambda rng: rng.normal(), 2) == estimate
    assert bootstrap_estimate(0.0, lambda rng: rng.normal(), 2, seed=1) != estimate
