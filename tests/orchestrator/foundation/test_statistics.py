"""The intervals cover what they say, scenes and seeds together, and verdicts claim no more than they can."""

from math import inf

import numpy as np
import pytest

from orchestrator.foundation.statistics import (
    FEWEST_SCENES,
    Interval,
    SeedSpread,
    paired_interval,
    scene_values,
    seed_spread,
)


def simulated(rng, count=20):
    """Differences of mean 0 over scenes of 2 to 5 images, which share most of their value within a scene."""
    counts = rng.integers(2, 6, size=count)
    scenes = np.repeat(np.arange(count), counts)
    return rng.normal(0, 1, count)[scenes] + rng.normal(0, 0.5, len(scenes)), [f"scene{i}" for i in scenes]


def named(count):
    return [f"scene{i}" for i in range(count)]


def missed(intervals):
    """Shares of intervals that lie above 0, and below it."""
    return sum(each.low > 0 for each in intervals) / len(intervals), sum(each.high < 0 for each in intervals) / len(
        intervals
    )


@pytest.mark.parametrize("scenes_of_a_set", [6, 10, 20, 40])
def test_it_covers_95_percent(scenes_of_a_set):
    rng = np.random.default_rng(0)
    covered = 1 - sum(missed([paired_interval(*simulated(rng, scenes_of_a_set)) for _ in range(1000)]))
    # Two standard errors of the simulation itself are 0.014.
    assert 0.93 - 0.014 <= covered <= 0.97 + 0.014


@pytest.mark.parametrize("scenes", [8, 12, 40])
def test_it_covers_skewed_differences(scenes):
    """Few scenes lose much: the plain interval of Student would claim too much in 9 to 11 % of cases."""
    rng = np.random.default_rng(1)
    above, below = missed([paired_interval(1 - rng.exponential(size=scenes), named(scenes)) for _ in range(1500)])
    assert 0.93 - 0.012 <= 1 - above - below <= 0.97 + 0.012
    assert above < 0.06


@pytest.mark.parametrize(("scenes", "most"), [(8, 0.0), (20, 0.0), (24, 0.1), (40, 0.05)])
def test_rare_harm_is_seldom_missed_by_a_claim(scenes, most):
    """One scene in ten loses so much that the mean is 0; a split without one of them looks like a sure gain."""
    rng, claimed = np.random.default_rng(2), 0
    for _ in range(800):
        values = np.where(rng.random(scenes) < 0.1, -0.9, 0.1) + rng.normal(0, 0.02, scenes)
        claimed += paired_interval(values, named(scenes)).verdict == "better"
    assert claimed / 800 <= most + 0.02 * (most > 0)


def test_images_taken_for_scenes_would_not_cover():
    rng = np.random.default_rng(0)
    drawn = [simulated(rng)[0] for _ in range(400)]
    naive = [paired_interval(values, named(len(values))) for values in drawn]
    assert 1 - sum(missed(naive)) < 0.85


def seeded(rng, scenes, seeds=3):
    """Differences of each seed and scene, of mean 0; the seed shifts all scenes."""
    shared, own = rng.normal(0, 1, scenes), rng.normal(0, 0.3, (seeds, scenes))
    return shared + own + rng.normal(0, 0.5, (seeds, 1))


def test_seeds_are_in_the_interval():
    rng, with_seeds, without = np.random.default_rng(4), [], []
    for _ in range(1000):
        runs = seeded(rng, 20)
        spread = seed_spread(runs.mean(axis=1), [0.0])
        with_seeds.append(paired_interval(runs.mean(axis=0), named(20), spread))
        without.append(paired_interval(runs.mean(axis=0), named(20)))
    assert 0.93 - 0.014 <= 1 - sum(missed(with_seeds)) <= 0.97 + 0.014
    assert 1 - sum(missed(without)) < 0.88
    assert all(
        wide.low <= narrow.low and narrow.high <= wide.high for wide, narrow in zip(with_seeds, without, strict=True)
    )


def test_the_spread_of_seeds():
    one_arm = seed_spread([30.0, 31.0, 32.0], [30.0])
    assert (one_arm.variance, one_arm.freedom, one_arm.sd) == (pytest.approx(1 / 3), pytest.approx(2), 1.0)
    assert seed_spread([30.0, 31.0, 32.0], [29.0, 30.0, 31.0]) == SeedSpread()  # the same seeds, always ahead by 1
    unequal = seed_spread([30.0, 31.0, 32.0], [29.0, 31.0])  # a seed diverged
    assert unequal.variance == pytest.approx(1 / 3 + 1)
    assert unequal.freedom == pytest.approx((4 / 3) ** 2 / (1 / 18 + 1))
    assert seed_spread([30.0], [29.0]) == SeedSpread()
    assert seed_spread([30.0, inf], [29.0]) == SeedSpread()


def test_mean_is_over_images_and_the_interval_holds_it():
    values, scenes = [1.0, 1.0, 1.0, 4.0], ["a", "a", "a", "b"]
    interval = paired_interval(values, scenes)
    assert interval.mean == pytest.approx(1.75)
    assert interval.scenes == 2
    assert interval.low < interval.mean < interval.high
    assert scene_values(values, scenes).mean() == pytest.approx(1.75)
    assert scene_values([1.0, 2.0, 4.0, 5.0], ["b", "b", "a", "a"]) == pytest.approx([4.5, 1.5])


def test_of_symmetric_values_it_is_student_s_and_half_an_unseen_scene():
    interval = paired_interval([-3.0, -1.0, 1.0, 3.0], list("abcd"))
    reach = 3.1824463 * np.sqrt(20 / 3) / 2 + 3 / 9
    assert (interval.low, interval.high) == (pytest.approx(-reach), pytest.approx(reach))


def test_order_of_images_does_not_matter_and_the_sides_can_be_exchanged():
    values, scenes = simulated(np.random.default_rng(2))
    first = paired_interval(values, scenes)
    backwards, mirrored = paired_interval(values[::-1], scenes[::-1]), paired_interval(-values, scenes)
    assert (backwards.low, backwards.high) == pytest.approx((first.low, first.high))
    assert (-mirrored.high, -mirrored.low) == pytest.approx((first.low, first.high))


def test_an_image_reproduced_exactly_leaves_the_interval_open():
    interval = paired_interval([0.1] * 7 + [inf], named(8))
    assert (interval.low, interval.high, interval.verdict) == (-inf, inf, "tie")


@pytest.mark.parametrize("value", [0.1, -2.7])
def test_equal_differences_have_an_interval_without_width(value):
    interval = paired_interval([value] * 30, named(30))
    assert interval.low == interval.mean == interval.high
    assert interval.verdict == ("better" if value > 0 else "worse")


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(0.1, 0.3, "better"), (-0.3, -0.1, "worse"), (-0.1, 0.3, "tie"), (0.0, 0.3, "tie"), (-0.3, 0.0, "tie")],
)
def test_verdict_follows_the_interval(low, high, verdict):
    assert Interval((low + high) / 2, low, high, 22).verdict == verdict
    assert Interval((low + high) / 2, low, high, FEWEST_SCENES - 1).verdict == "too few scenes"


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (-0.02, 0.02, "no difference that matters"),
        (-0.02, 0.03, "tie"),
        (0.001, 0.03, "no difference that matters"),
        (0.001, 0.05, "better"),
        (-0.03, -0.001, "no difference that matters"),
        (-0.05, -0.001, "worse"),
        (0.0, 0.0, "no difference that matters"),
    ],
)
def test_small_differences_do_not_matter(low, high, verdict):
    assert Interval((low + high) / 2, low, high, 30).judged(0.02) == verdict


@pytest.mark.parametrize(
    ("scenes", "mean", "verdict"),
    [
        (21, 0.2, "too few scenes to exclude rare harm"),
        (22, 0.2, "better"),
        (8, 1.6, "too few scenes to exclude rare harm"),
        (8, 1.8, "better"),  # a quarter of all scenes would have to lose 5.4 dB each
    ],
)
def test_a_gain_is_better_only_where_no_plausible_rare_harm_cancels_it(scenes, mean, verdict):
    interval = Interval(mean, mean / 2, mean * 1.5, scenes)
    assert interval.verdict == verdict
    assert Interval(-mean, -mean * 1.5, -mean / 2, scenes).verdict == "worse"


def test_what_a_rare_kind_would_have_to_lose():
    interval = Interval(1.0, 0.5, 1.5, 8)
    assert interval.unseen_share == pytest.approx(0.25, abs=0.001)
    share = interval.unseen_share
    assert (1 - share) * interval.mean - share * interval.break_even == pytest.approx(0)
    assert Interval(1.0, 0.5, 1.5, 22).break_even == inf


@pytest.mark.parametrize("scenes", [1, 3, 20])
def test_no_difference_at_all_is_a_tie_with_any_number_of_scenes(scenes):
    interval = paired_interval([0.0] * scenes, named(scenes))
    assert interval == Interval(0.0, 0.0, 0.0, scenes)
    assert interval.verdict == "tie"


def test_many_images_of_few_scenes_are_still_few():
    assert paired_interval([1.0] * 500, [f"scene{i % 5}" for i in range(500)]).verdict == "too few scenes"


@pytest.mark.parametrize(("differences", "scenes"), [([], []), ([1.0], []), ([1.0, 2.0], ["a"])])
def test_wrong_lengths_are_refused(differences, scenes):
    with pytest.raises(ValueError, match="as many scenes as differences"):
        paired_interval(differences, scenes)
