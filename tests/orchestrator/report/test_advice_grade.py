"""Advice is graded by what the study and the test split found, and where they found nothing, not at all."""

import pytest
from test_verdicts import SOURCE, candidate, difference

from orchestrator.analysis import search_worth
from orchestrator.report import advice_grade
from orchestrator.report.advice_grade import grade_advice, grade_search_worth
from orchestrator.report.schema import Trial
from search_spaces.portfolio import PORTFOLIO
from trainables.loops.settings import TransferConfiguration

POINT = {"learning_rate": 8e-4, "lambda_": 1e-4, "frozen_depth": 0}
OTHER = {"learning_rate": 2e-3, "lambda_": 0.0, "frozen_depth": 1}


def advice(regime="new degradation", band=(0, 2)):
    return {"regime": regime, "frozen_depth": list(band), "points": [POINT, OTHER]}


def trial(number, psnr, **settings):
    configuration = TransferConfiguration(**{"learning_rate": 1e-4, "lambda_": 0.0, "frozen_depth": 0, **settings})
    return Trial(
        number=number,
        origin="default" if number == 0 else "sampler",
        configuration=configuration,
        sampled_lambda=configuration.lambda_,
        status="finished" if psnr is not None else "diverged",
        psnr=psnr,
        seconds=1.0,
        curve=[],
    )


STUDY = [trial(0, 30.0), trial(1, 30.5, **POINT), trial(2, 30.4, **OTHER), trial(3, 30.7, frozen_depth=1)]


def grade(told=None, winner=None, trials=STUDY, gain=0.5, **facts):
    return grade_advice(
        told or advice(), winner or candidate(), trials, [difference("best", "zero_shot", gain, **facts)]
    )


def test_a_right_advice():
    told = grade()
    assert (told.depth_was_right, told.expected_gain, told.gain_was_right) == (True, True, True)
    assert told.regret_to_best == pytest.approx(0.2)
    assert told.regret_to_default == pytest.approx(-0.5)
    assert told.sentence == (
        "Advice 'new degradation', frozen depth 0 to 2: the winner's depth is 1, right; its best point came within "
        "0.20 dB of the study's best trial and was 0.50 dB above the default; it expected a gain and the test says "
        "+0.50 dB, better: right."
    )


def test_a_wrong_one():
    told = grade(advice("near", (3, 6)))
    assert (told.depth_was_right, told.expected_gain, told.gain_was_right) == (False, False, False)
    assert "depth is 1, wrong" in told.sentence
    assert told.sentence.endswith("it expected no gain and the test says +0.50 dB, better: wrong.")
    assert grade(advice("near"), gain=0.01).gain_was_right is True
    assert grade(gain=-0.5).gain_was_right is False


def test_what_cannot_be_graded_is_not():
    assert grade(advice("between")).gain_was_right is None
    assert grade(word="too few scenes").gain_was_right is None
    none = grade(winner=SOURCE, gain=0.0)
    assert none.depth_was_right is None
    assert "the source model won, so that cannot be graded" in none.sentence
    untried = grade(trials=STUDY[:1])
    assert (untried.regret_to_best, untried.regret_to_default) == (None, None)
    assert "its points were not tried" in untried.sentence


def test_points_that_diverged_or_moved_do_not_count():
    trials = [trial(0, 30.0), trial(1, None, **POINT), trial(2, 29.0, **{**OTHER, "learning_rate": 1.9e-3})]
    assert grade(trials=trials).regret_to_best is None


def test_without_a_finished_default_the_regret_to_it_is_not_said():
    told = grade(trials=STUDY[1:])
    assert told.regret_to_default is None
    assert "the default" not in told.sentence


@pytest.fixture
def predicted(monkeypatch):
    monkeypatch.setattr(advice_grade, "predict", lambda facts: {"verdict": "search the rate alone"})
    monkeypatch.setattr(advice_grade, "read_evidence", lambda: {"threshold": 0.02})


@pytest.mark.usefixtures("predicted")
class TestSearchWorth:
    DEFAULT = trial(0, 30.0, **PORTFOLIO[0].to_dict())
    FASTER = trial(1, 30.1, learning_rate=1e-3)

    @pytest.mark.parametrize(
        ("frozen", "found", "right"),
        [(30.11, "search the rate alone", True), (30.2, "search all settings", False)],
    )
    def test_a_study_grades_what_was_predicted(self, frozen, found, right):
        told = grade_search_worth(None, [self.DEFAULT, self.FASTER, trial(2, frozen, frozen_depth=3)])
        assert (told.found, told.right) == (found, right)
        assert told.worth == pytest.approx(frozen - 30)

    def test_trials_of_the_portfolio_are_no_gain_over_it(self):
        portfolio = [
            self.DEFAULT,
            trial(1, 30.5, **PORTFOLIO[1].to_dict()),
            trial(2, 29.0, lambda_=0.1),
            trial(3, None),
        ]
        told = grade_search_worth(None, portfolio)
        assert (told.found, told.right, told.worth) == ("the portfolio is enough", False, 0)
        assert told.sentence.endswith("wrong, the portfolio is enough.")

    def test_a_study_without_the_default_cannot_grade_it(self):
        told = grade_search_worth(None, [self.FASTER])
        assert told.right is None
        assert "not graded, because no trial was the portfolio's 0.000475" in told.sentence


def test_the_shipped_prediction_can_be_graded():
    facts = search_worth.SearchFacts(
        training_scenes=4, training_images=4, pixels=10**6, parameters=10**5, noise=0.0, blur=0.0, codec=0, pairs=0
    )
    told = grade_search_worth(facts, [trial(0, 30.0, **PORTFOLIO[0].to_dict())])
    assert told.predicted == search_worth.predict(facts)["verdict"]
    assert told.found == "the portfolio is enough"
