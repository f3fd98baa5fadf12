"""The cluster bootstrap: it covers what it says, and refuses to claim from too few scenes."""

import numpy as np
import pytest

from orchestrator.foundation import statistics
from orchestrator.foundation.statistics import FEWEST_SCENES, Interval, paired_interval, wilcoxon_p


def simulated(rng, count=20):
    """Differences of mean 0 over scenes of 2 to 5 images, which share most of their value within a scene."""
    counts = rng.integers(2, 6, size=count)
    scenes = np.repeat(np.arange(count), counts)
    return rng.normal(0, 1, count)[scenes] + rng.normal(0, 0.5, len(scenes)), [f"scene{i}" for i in scenes]


@pytest.mark.parametrize("scenes_of_a_set", [6, 10, 20, 40])
def test_it_covers_95_percent(monkeypatch, scenes_of_a_set):
    monkeypatch.setattr(statistics, "RESAMPLES", 2000)
    rng, sets = np.random.default_rng(0), 1000
    intervals = [paired_interval(*simulated(rng, scenes_of_a_set)) for _ in range(sets)]
    covered = sum(interval.low <= 0 <= interval.high for interval in intervals) / sets
    # Two standard errors of the simulation itself are 0.014.
    assert 0.93 - 0.014 <= covered <= 0.97 + 0.014


def test_resampling_single_images_would_not_cover(monkeypatch):
    monkeypatch.setattr(statistics, "RESAMPLES", 800)
    rng, sets = np.random.default_rng(0), 400
    drawn = [simulated(rng)[0] for _ in range(sets)]
    naive = [paired_interval(values, [str(i) for i in range(len(values))]) for values in drawn]
    assert sum(interval.low <= 0 <= interval.high for interval in naive) / sets < 0.85


def test_the_interval_hardly_depends_on_the_seed():
    """With 10,000 resamples an end varies by 0.03 standard errors of the mean; with 500 by 0.12."""
    values = np.random.default_rng(0).normal(size=20)
    scenes = [str(i) for i in range(20)]
    intervals = [paired_interval(values, scenes, seed) for seed in range(12)]
    standard_error = values.std(ddof=1) / np.sqrt(20)
    for end in ("low", "high"):
        assert np.std([getattr(interval, end) for interval in intervals]) < 0.06 * standard_error


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


class TestWilcoxon:
    """The signed-rank test on the scenes' means."""

    def test_it_is_scipy_s_of_the_means_of_scenes(self):
        values, scenes = [0.1, 0.3, -0.2, 0.5, 0.4, 0.6, 0.7], ["a", "a", "b", "c", "d", "e", "f"]
        # The means are 0.2, -0.2, 0.5, 0.4, 0.6, 0.7; both of size 0.2 have rank 1.5, so that W = 1.5.
        assert wilcoxon_p(values, scenes) == wilcoxon_p([0.2, -0.2, 0.5, 0.4, 0.6, 0.7], list("abcdef"))
        assert 0.03 < wilcoxon_p(values, scenes) < 0.1

    @pytest.mark.parametrize(("scenes", "p"), [(1, 1.0), (2, 0.5), (5, 2 / 2**5), (6, 2 / 2**6), (8, 2 / 2**8)])
    def test_scenes_that_all_agree(self, scenes, p):
        names = [f"scene{i}" for i in range(scenes)]
        assert wilcoxon_p(np.linspace(0.1, 0.9, scenes), names) == pytest.approx(p)

    def test_no_difference_is_no_evidence_and_needs_no_warning(self):
        assert wilcoxon_p([0.0, 0.0], ["a", "b"]) == 1.0
        assert wilcoxon_p([0.0, 0.2, 0.3], ["a", "b", "c"]) == wilcoxon_p([0.2, 0.3], ["b", "c"]) == 0.5

    def test_many_images_of_one_scene_count_once(self):
        assert wilcoxon_p([1.0] * 500, [f"scene{i % 3}" for i in range(500)]) == pytest.approx(0.25)

    def test_it_errs_as_often_as_it_says(self):
        rng, sets = np.random.default_rng(3), 1500
        wrong = sum(wilcoxon_p(*simulated(rng, 10)) < 0.05 for _ in range(sets)) / sets
        # The exact level for ten scenes is 0.049; two standard errors of the simulation are 0.011.
        assert 0.049 - 0.015 <= wrong <= 0.049 + 0.015

    def test_wrong_lengths_are_refused(self):
        with pytest.raises(ValueError, match="as many scenes as differences"):
            wilcoxon_p([1.0, 2.0], ["a"])
