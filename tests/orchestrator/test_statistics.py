"""The cluster bootstrap: it covers what it says, and refuses to claim from too few scenes."""

import numpy as np
import pytest

from orchestrator import statistics
from orchestrator.statistics import FEWEST_SCENES, Interval, paired_interval


def simulated(rng, count=20):
    """Differences of mean 0 over scenes of 2 to 5 images, which share most of their value within a scene."""
    counts = rng.integers(2, 6, size=count)
    scenes = np.repeat(np.arange(count), counts)
    return rng.normal(0, 1, count)[scenes] + rng.normal(0, 0.5, len(scenes)), [f"scene{i}" for i in scenes]


@pytest.mark.parametrize("scenes_of_a_set", [6, 10, 20, 40])
def test_it_covers_95_percent(monkeypatch, scenes_of_a_set):
    monkeypatch.setattr(statistics, "_RESAMPLES", 2000)
    rng, sets = np.random.default_rng(0), 1000
    intervals = [paired_interval(*simulated(rng, scenes_of_a_set)) for _ in range(sets)]
    covered = sum(interval.low <= 0 <= interval.high for interval in intervals) / sets
    # Two standard errors of the simulation itself are 0.014.
    assert 0.93 - 0.014 <= covered <= 0.97 + 0.014


def test_resampling_single_images_would_not_cover(monkeypatch):
    monkeypatch.setattr(statistics, "_RESAMPLES", 800)
    rng, sets = np.random.default_rng(0), 400
    drawn = [simulated(rng)[0] for _ in range(sets)]
    naive = [paired_interval(values, [str(i) for i in range(len(values))]) for values in drawn]
    assert sum(interval.low <= 0 <= interval.high for interval in naive) / sets < 0.85


def test_mean_is_over_images_and_the_interval_holds_it():
    interval = paired_interval([1.0, 1.0, 1.0, 4.0], ["a", "a", "a", "b"])
    assert interval.mean == pytest.approx(1.75)
    assert interval.scenes == 2
    assert interval.low <= interval.mean <= interval.high
    assert (interval.low, interval.high) == (1.0, 4.0)


def test_same_seed_same_interval_and_order_of_images_does_not_matter():
    values, scenes = simulated(np.random.default_rng(2))
    first = paired_interval(values, scenes, seed=3)
    assert first == paired_interval(values, scenes, seed=3)
    assert first != paired_interval(values, scenes, seed=4)
    backwards = paired_interval(values[::-1], scenes[::-1], seed=3)
    assert (backwards.low, backwards.high) == pytest.approx((first.low, first.high))


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(0.1, 0.3, "better"), (-0.3, -0.1, "worse"), (-0.1, 0.3, "tie"), (0.0, 0.3, "tie"), (-0.3, 0.0, "tie")],
)
def test_verdict_follows_the_interval(low, high, verdict):
    assert Interval((low + high) / 2, low, high, FEWEST_SCENES).verdict == verdict
    assert Interval((low + high) / 2, low, high, FEWEST_SCENES - 1).verdict == "too few scenes"


def test_positive_differences_favour_the_first_arm():
    scenes = [f"scene{i}" for i in range(8)]
    gains = np.linspace(0.2, 0.4, 8)
    assert paired_interval(gains, scenes).verdict == "better"
    assert paired_interval(-gains, scenes).verdict == "worse"
    assert paired_interval(gains - gains.mean(), scenes).verdict == "tie"


@pytest.mark.parametrize("scenes", [1, 3, 20])
def test_no_difference_at_all_is_a_tie_with_any_number_of_scenes(scenes):
    interval = paired_interval([0.0] * scenes, [f"scene{i}" for i in range(scenes)])
    assert interval == Interval(0.0, 0.0, 0.0, scenes)
    assert interval.verdict == "tie"


def test_many_images_of_few_scenes_are_still_few():
    assert paired_interval([1.0] * 500, [f"scene{i % 5}" for i in range(500)]).verdict == "too few scenes"


@pytest.mark.parametrize(("differences", "scenes"), [([], []), ([1.0], []), ([1.0, 2.0], ["a"])])
def test_wrong_lengths_are_refused(differences, scenes):
    with pytest.raises(ValueError, match="as many scenes as differences"):
        paired_interval(differences, scenes)
