"""The answer is the simplest candidate that is as good as the best mean, and the choice says what was better."""

import numpy as np
import pytest

from orchestrator.confirm.answer import MARGIN_DB, Contender, choose
from orchestrator.confirm.record import Candidate
from trainables.loops.settings import TransferConfiguration

SCENES = 8


def contender(name, gain, rate=1e-4, noise=0.0, scenes=SCENES, seeds=(0.0, 0.0), **facts):
    """A contender that is better than the source by ``gain`` dB on every scene, give or take ``noise``."""
    settings = {key: facts.pop(key) for key in ("lambda_", "frozen_depth") if key in facts}
    configuration = None
    if name != "zero_shot":
        plain = {"learning_rate": rate, "lambda_": 0.0, "frozen_depth": 0}
        configuration = TransferConfiguration(**plain | settings)
    wobble = noise * (-1.0) ** np.arange(scenes)
    runs = [
        [(f"{i}.png", f"scene-{i}", 30.0 + i + gain + seed + w) for i, w in enumerate(wobble.tolist())]
        for seed in seeds
    ]
    candidate = Candidate(
        name=name, label=name, configuration=configuration, validation_psnr=[], search_psnr=None, **facts
    )
    return Contender(candidate, tuple(f"{name}-{i}" for i in range(len(runs))), tuple(runs))


SOURCE = contender("zero_shot", 0.0, seeds=(0.0,))


def test_a_clear_best_mean_is_the_answer():
    choice = choose([contender("trial-1", 0.5, 5e-4), contender("default", 0.3), SOURCE])
    assert (choice.answer, choice.best_mean, choice.by, choice.scenes) == ("trial-1", "trial-1", "interval", SCENES)
    assert [standing.name for standing in choice.standings] == ["zero_shot", "default", "trial-1"]
    assert [standing.mean for standing in choice.standings] == [pytest.approx(0.5), pytest.approx(0.2), 0.0]


def test_a_tie_goes_to_the_simpler_one_and_the_record_says_by_how_much_the_best_mean_leads():
    best = contender("trial-1", 0.5, 5e-4, noise=0.2)
    choice = choose([best, contender("default", 0.49), SOURCE])
    assert (choice.answer, choice.best_mean, choice.margin) == ("default", "trial-1", MARGIN_DB)
    assert choice.behind.mean == pytest.approx(0.01)
    assert choice.behind.low <= 0 < choice.behind.high


def test_a_wide_interval_does_not_make_a_poor_candidate_the_answer():
    """Interval of the source model: about [−0.2, 0.6]; of the default: a tie as well, and close."""
    best = contender("trial-1", 0.2, 5e-4, noise=0.5)
    choice = choose([best, contender("default", 0.19), SOURCE])
    assert choice.standings[0].low < 0 < choice.standings[0].mean
    assert choice.answer == "default"


def test_a_small_loss_on_every_scene_is_no_tie():
    choice = choose([contender("trial-1", 0.2, 5e-4), contender("default", 0.19), SOURCE])
    assert choice.answer == "trial-1"


def of(name, over, of, gain, **facts):
    return contender(name, gain, averaged=over, of=of, seeds=(0.0,), **facts)


ORDER = [
    SOURCE,
    contender("default", 0.0),
    of("default-soup", "seeds", "default", 0.0),
    of("interpolated", "source", "default", 0.0),
    contender("trial-1", 0.0, 5e-4, lambda_=5e-5),
    of("trial-1-soup", "seeds", "trial-1", 0.0, rate=5e-4),
    contender("trial-2", 0.0, 5e-4, frozen_depth=2),
    contender("trial-3", 0.0, 5e-4, lambda_=1e-3),
    contender("feature-0", 0.0, 1e-3, generator="fresh"),
    of("feature-0-soup", "seeds", "feature-0", 0.0, generator="fresh"),
]


def test_the_order_from_simple_to_complex():
    names = [contender.name for contender in ORDER]
    assert [standing.name for standing in choose(ORDER[::-1]).standings] == names
    assert choose(ORDER[::-1]).best_mean == "zero_shot", "of equal means the simplest is the best"
    for number in range(len(ORDER)):
        assert choose(ORDER[number:]).answer == names[number]


def test_of_equally_simple_ones_the_better_mean_comes_first():
    slow, fast = contender("trial-1", 0.40, 2e-4), contender("trial-2", 0.41, 9e-4, noise=0.2)
    assert choose([slow, fast, SOURCE]).answer == "trial-2"


def test_every_kind_of_candidate_can_be_the_answer():
    for best in ORDER[1:]:
        ahead = Contender(best.candidate, best.runs, contender(best.name, 1.0).images[:1])
        assert choose([*(c for c in ORDER if c is not best), ahead]).answer == best.name


def test_a_diverged_seed_excludes_a_candidate():
    best = contender("trial-1", 9.0, 5e-4)
    diverged = Contender(best.candidate, best.runs, (best.images[0], None))
    assert diverged.means == [pytest.approx(42.5), None]
    choice = choose([diverged, contender("default", 0.3), SOURCE])
    assert choice.answer == "default"
    assert "trial-1" not in [standing.name for standing in choice.standings]


@pytest.mark.parametrize(("behind", "answer"), [(MARGIN_DB * 0.9, "default"), (MARGIN_DB * 1.1, "trial-1")])
def test_with_few_scenes_the_simplest_within_a_margin_of_the_best_mean_is_the_answer(behind, answer):
    """Intervals over so few scenes would hold zero for almost anything."""
    few = {"scenes": 4, "noise": 0.5}
    contenders = [contender("trial-1", 0.5, 5e-4, **few), contender("default", 0.5 - behind, scenes=4)]
    choice = choose([*contenders, contender("zero_shot", 0.0, scenes=4, seeds=(0.0,))])
    assert (choice.answer, choice.best_mean, choice.by, choice.scenes) == (answer, "trial-1", "margin", 4)


def test_images_are_paired_and_averaged_over_seeds():
    """Scenes differ by 7 dB, seeds by 2 dB; the difference of 0.1 dB is seen because both are averaged out."""
    choice = choose(
        [contender("trial-1", 0.1, 5e-4, seeds=(-1.0, 1.0)), contender("default", 0.0, seeds=(1, -1)), SOURCE]
    )
    assert choice.answer == "trial-1"
    assert choice.standings[1].low == pytest.approx(0.1)
