"""What the numbers say in sentences: bad news is never left out, and no sentence claims what its interval does not."""

import pytest

from orchestrator.confirm.record import Candidate, Difference
from orchestrator.report.schema import Arm, CurvePoint, Interpolation
from orchestrator.report.verdicts import flags, forgetting, optimism, remarks, still_rises, strongest_classical, verdict
from trainables.loops.settings import TransferConfiguration

FOUND = TransferConfiguration(learning_rate=1e-3, lambda_=1e-4, frozen_depth=1)


def arm(name, psnr=30.0, **facts):
    return Arm(name=name, label=name.replace("_", "-"), psnr=psnr, ssim=0.9, psnr_by_seed=[psnr], **facts)


def difference(arm, baseline, mean, half=0.05, word=None, scenes=8):
    word = word or ("better" if mean > half else "worse" if mean < -half else "tie")
    ends = {"mean": mean, "low": mean - half, "high": mean + half}
    return Difference(arm=arm, baseline=baseline, metric="psnr", scenes=scenes, verdict=word, **ends)


def candidate(name="trial-3", configuration=FOUND, search=31.0, fresh=(30.8, 30.9)):
    return Candidate(
        name=name, label=name, configuration=configuration, validation_psnr=list(fresh), search_psnr=search
    )


SOURCE = candidate("zero_shot", None, None, (30.0,))
ARMS = [arm(name) for name in ("bicubic", "tv", "zero_shot", "scratch", "default", "best")]
GOOD = [
    difference("best", "bicubic", 1.0),
    difference("best", "zero_shot", 0.5),
    difference("best", "default", 0.2),
    difference("zero_shot", "bicubic", 0.5),
]


def changed(*others):
    """The good differences with some replaced, others added."""
    return [*others, *GOOD]


def test_nothing_is_flagged_where_all_is_well():
    assert flags(candidate(), ARMS, GOOD) == []
    assert verdict(candidate(), GOOD) == (
        "fine-tuning wins over zero-shot on test, +0.50 dB [+0.45, +0.55]; tuning wins over the default fine-tune, "
        "+0.20 dB [+0.15, +0.25]."
    )


@pytest.mark.parametrize(
    ("worse", "said"),
    [
        (("zero_shot", "bicubic"), "The source model as it is is worse than bicubic here, -0.83 dB [-0.88, -0.78]."),
        (("best", "zero_shot"), "Negative transfer: the configuration that won on validation harms on test, -0.83 dB"),
        (("default", "zero_shot"), "Negative transfer: the default fine-tune is worse than the source model as it is"),
        (("best", "tv"), "Tv, without a network, does better than the answer, by +0.83 dB [+0.78, +0.88]."),
        (("best", "bicubic"), "Bicubic, without a network, does better than the answer"),
        (("best", "scratch"), "Scratch, without the source model, does better than the answer"),
    ],
)
def test_bad_news_is_flagged(worse, said):
    found = flags(candidate(), ARMS, changed(difference(*worse, -0.83)))
    assert len(found) == 1
    assert found[0].startswith(said)


@pytest.mark.parametrize("harm", [("zero_shot", "bicubic"), ("default", "zero_shot")])
def test_a_tie_is_no_harm(harm):
    for word in ("tie", "too few scenes", "no difference that matters"):
        assert flags(candidate(), ARMS, changed(difference(*harm, -0.03, word=word))) == []


@pytest.mark.parametrize(
    ("rival", "word", "said"),
    [
        ("feature", "worse", "Feature does better than the answer, by +0.09 dB [+0.04, +0.14]."),
        ("feature", "tie", "Feature is ahead of the answer, by +0.09 dB [+0.04, +0.14], which may be chance."),
        ("tv", "too few scenes", "Tv, without a network, is ahead of the answer, by +0.09 dB [+0.04, +0.14], in 8 s"),
        ("model", "worse", "Model, the best's own arm with λ 0 and depth 0, does better than the answer, by +0.09 dB"),
    ],
)
def test_every_arm_ahead_of_the_answer_is_named(rival, word, said):
    arms = [*ARMS, *(arm(rival) for _ in [0] if rival != "tv")]
    ahead = changed(difference("best", rival, -0.09, word=word))
    (found,) = flags(candidate(), arms, ahead, 0.02)
    assert found.startswith(said)
    assert verdict(candidate(), ahead, arms, 0.02).endswith(f"Ahead of it on test: {rival}.")
    assert flags(candidate(), arms, ahead, 0.1) == []
    assert "Ahead" not in verdict(candidate(), ahead, arms, 0.1)


def test_averaged_weights_ahead_of_the_answer_are_named_too():
    ahead = changed(difference("interpolated", "best", 0.09))
    (found,) = flags(candidate(), [*ARMS, arm("interpolated")], ahead, 0.02)
    assert found == "Interpolated does better than the answer, by +0.09 dB [+0.04, +0.14]."


def test_a_finished_model_ahead_of_the_answer_is_no_warning():
    ahead = changed(difference("finished", "best", 0.09), difference("best", "finished", -0.09, word="worse"))
    arms = [*ARMS, arm("finished")]
    assert flags(candidate(), arms, ahead, 0.02) == []
    assert "Ahead" not in verdict(candidate(), ahead, arms, 0.02)


def test_few_validation_scenes_are_flagged_as_few_test_scenes_are():
    assert flags(candidate(), ARMS, GOOD, 0.02, 6) == []
    assert flags(candidate(), ARMS, GOOD, 0.02, 4) == [
        "The choice rests on 4 validation scenes, too few to tell configurations apart."
    ]


def test_a_curve_that_still_rises_is_named_with_its_gain():
    def curve(*values):
        return [CurvePoint(step=100 * (i + 1), value=value) for i, value in enumerate(values)]

    assert still_rises(curve(30.0, 30.5, 30.6, 30.75), 0.02) == (
        "The winner's validation curve still rises: +0.15 dB over the last quarter of its 400 steps; more steps may "
        "gain more than other settings."
    )
    assert "+0.10 dB" in still_rises(curve(30.0, 30.2), 0.02)  # half of the last half
    assert still_rises(curve(30.0, 30.5, 30.6, 30.61), 0.02) is None
    assert still_rises(curve(30.0), 0.02) is None
    assert still_rises([], 0.02) is None


def test_rare_harm_that_is_not_excluded_says_what_it_would_have_to_be():
    word = "too few scenes to exclude rare harm"
    rare = changed(difference("best", "zero_shot", 0.5, word=word))
    assert verdict(candidate(), rare).startswith(
        "fine-tuning is ahead of zero-shot, +0.50 dB [+0.45, +0.55], but 8 test scenes are too few to exclude rare harm"
    )
    (said,) = remarks(ARMS, rare, None, None)
    assert said == (
        "8 scenes may hold none of a kind that makes 25% of all: if such scenes lost 1.50 dB each, the gain over "
        "zero-shot would be gone."
    )


def test_a_default_that_won_is_flagged_once():
    won = candidate("default")
    losing = [difference("best", "zero_shot", -0.2), difference("default", "zero_shot", -0.2)]
    assert len(flags(won, ARMS, changed(*losing))) == 1


@pytest.mark.parametrize(
    ("mean", "word", "said"),
    [
        (0.01, "tie", "fine-tuning ties with zero-shot on test"),
        (-0.2, "worse", "negative transfer: fine-tuning harms on test"),
        (0.3, "too few scenes", "but 4 test scenes are too few to say more"),
    ],
)
def test_a_verdict_claims_what_its_interval_says(mean, word, said):
    told = verdict(candidate(), changed(difference("best", "zero_shot", mean, word=word, scenes=4)))
    assert said in told


def test_no_fine_tuning_is_an_answer():
    assert verdict(SOURCE, GOOD).startswith("no fine-tuning tried was clearly better on validation than the source")


def test_optimism_compares_gains_because_test_images_are_others():
    told = optimism(candidate(), [candidate(), SOURCE], GOOD)
    assert (told.search_psnr, told.confirmed_psnr) == (31.0, pytest.approx(30.85))
    gains = (told.search_gain, told.confirmed_gain, told.test_gain)
    assert gains == (pytest.approx(1.0), pytest.approx(0.85), 0.5)
    said = remarks(ARMS, GOOD, told, None)
    assert said == [
        "Winner's optimism: 31.00 dB on validation in the search, 30.85 with fresh seeds (+0.15); gain over zero-shot "
        "+1.00 there, +0.85 confirmed, +0.50 on test."
    ]
    assert optimism(SOURCE, [SOURCE], GOOD) is None
    assert optimism(candidate(search=None), [candidate(), SOURCE], GOOD) is None


def test_the_strongest_classical_baseline_is_chosen_on_validation_not_on_test():
    arms = [arm("tv", 29.0, validation_psnr=28.0), arm("example", 28.0, validation_psnr=28.5), arm("best")]
    assert strongest_classical(arms).name == "example"
    assert strongest_classical(ARMS) is None
    (said,) = remarks(arms, [difference("best", "example", 2.0)], None, None)
    assert said.startswith("Best − example, the strongest classical baseline on validation: +2.00 dB")


def test_what_is_forgotten_stands_beside_averaged_weights():
    kept = {"zero_shot": 29.0, "best": 27.5, "interpolated": 28.6}
    arms = [arm(name, source_psnr=value) for name, value in kept.items()] + [arm("scratch")]
    assert forgetting(arms[1], arms) == pytest.approx(-1.5)
    assert forgetting(arms[-1], arms) is None
    averaged = Interpolation(share=0.5, validation=[(0.5, 31.0), (1.0, 30.9)], model="models/x/interpolated")
    (said,) = remarks(arms, [difference("interpolated", "best", -0.02)], None, averaged)
    assert said == (
        "Averaged with the source, 0.5 of the tuned weights: -0.02 dB [-0.07, +0.03] to best; on source images -0.40 "
        "dB instead of -1.50."
    )
    nothing = Interpolation(share=1.0, validation=[(1.0, 30.9)], model=None)
    assert remarks(arms, [], None, nothing) == [
        "Forgotten: -1.50 dB on source images; averaging weights gained nothing on validation."
    ]
