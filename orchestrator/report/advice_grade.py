"""Grades the advice of domain analysis, and the predicted worth of the search, by the results."""

import math
from collections.abc import Sequence

from orchestrator.analysis.record import AdviceRecord
from orchestrator.analysis.search_worth import Quantity, SearchFacts, predict, read_evidence, verdict_of
from orchestrator.confirm.record import Candidate, Difference
from orchestrator.foundation.vocabulary import AHEAD
from orchestrator.report.schema import AdviceGrade, SearchWorthGrade, Trial
from search_spaces.portfolio import PORTFOLIO

_EXPECTED: dict[str, bool] = {
    "near": False,
    "few images": False,
    "new content": True,
    "new degradation": True,
}
"""Regimes that predict a gain from fine-tuning, or none; other regimes predict nothing."""


def grade_advice(
    advice: AdviceRecord, winner: Candidate, trials: Sequence[Trial], differences: Sequence[Difference]
) -> AdviceGrade:
    """Compares advice with the results.

    Args:
        advice: Advice of the target's analysis.
        winner: The confirmed candidate.
        trials: Trials of the domain's study.
        differences: Differences on the test split.
    """
    low, high = advice["frozen_depth"]
    depth = winner.configuration.frozen_depth if winner.configuration else None
    depth_right = None if depth is None else low <= depth <= high
    to_best, to_default = _regrets(advice["points"], trials)
    expected = _EXPECTED.get(advice["regime"])
    gain = next(d for d in differences if (d.arm, d.baseline, d.metric) == ("best", "zero_shot", "psnr"))
    ungraded = expected is None or gain.verdict == "too few scenes"
    gain_right = None if ungraded else expected == (gain.verdict in AHEAD)
    sentences = [
        f"Advice '{advice['regime']}', frozen depth {low} to {high}: "
        + ("the source model won" if depth is None else f"the winner's depth is {depth}")
        + {None: ", so that cannot be graded", True: ", right", False: ", wrong"}[depth_right],
        "its points were not tried"
        if to_best is None
        else f"its best point came within {to_best:.2f} dB of the study's best trial"
        + ("" if to_default is None else f" and was {abs(to_default):.2f} dB {_beside(to_default)} the default"),
        {None: "it expected nothing of the gain", False: "it expected no gain", True: "it expected a gain"}[expected]
        + f" and the test says {gain.mean:+.2f} dB, {gain.verdict}"
        + {None: "", True: ": right", False: ": wrong"}[gain_right],
    ]
    return AdviceGrade(
        regime=advice["regime"],
        frozen_depth=(low, high),
        depth_was_right=depth_right,
        regret_to_best=to_best,
        regret_to_default=to_default,
        expected_gain=expected,
        gain_was_right=gain_right,
        sentence="; ".join(sentences) + ".",
    )


def _regrets(points: Sequence[dict[str, float]], trials: Sequence[Trial]) -> tuple[float | None, float | None]:
    """Distance in dB of the best advised point to the best trial and to the default fine-tune, if they finished."""
    scored = [(trial, trial.psnr) for trial in trials if trial.status == "finished" and trial.psnr is not None]
    advised = [psnr for trial, psnr in scored if any(_same(point, trial) for point in points)]
    default = [psnr for trial, psnr in scored if trial.origin == "default"]
    if not advised:
        return None, None
    best = max(psnr for _, psnr in scored)
    return best - max(advised), max(default) - max(advised) if default else None


def _same(point: dict[str, float], trial: Trial) -> bool:
    found = trial.configuration
    close = all(
        math.isclose(advised, other, rel_tol=1e-6)
        for advised, other in ((point["learning_rate"], found.learning_rate), (point["lambda_"], found.lambda_))
    )
    return close and point["frozen_depth"] == found.frozen_depth


def _beside(regret: float) -> str:
    return "below" if regret > 0 else "above"


def grade_search_worth(facts: SearchFacts, trials: Sequence[Trial]) -> SearchWorthGrade:
    """Compares the predicted worth of a search with what its trials found.

    Trials are compared on the validation images that choose among them, so that what was found is too high by the
    luck of the best one.

    Args:
        facts: Of the study.
        trials: Its trials.
    """
    predicted, known = predict(facts), read_evidence()
    scored = [(trial, trial.psnr) for trial in trials if trial.status == "finished" and trial.psnr is not None]
    plain = [psnr for t, psnr in scored if t.configuration.lambda_ == 0 and t.configuration.frozen_depth == 0]
    first = [psnr for trial, psnr in scored if any(_same(point.to_dict(), trial) for point in PORTFOLIO)]
    default = [psnr for trial, psnr in scored if _same(PORTFOLIO[0].to_dict(), trial)]
    said = f"Before the search: {predicted['verdict']}"
    if not default:
        without = f"{said}; not graded, because no trial was the portfolio's {PORTFOLIO[0].learning_rate:g}."
        return SearchWorthGrade(predicted=predicted["verdict"], found=None, worth=None, right=None, sentence=without)
    best = max(psnr for _, psnr in scored)
    worth: dict[Quantity, float] = {
        "beyond": best - max(first),
        "rate": max(plain) - max(default),
        "rest": best - max(plain),
    }
    found = verdict_of(worth, known["threshold"])
    right = found == predicted["verdict"]
    sentence = (
        f"{said}. Its trials found {worth['beyond']:+.2f} dB over the portfolio on validation, the luck of choosing "
        f"included ({worth['rate']:+.2f} dB for the learning rate, {worth['rest']:+.2f} dB for λ and depth beyond it): "
        f"{'right' if right else f'wrong, {found}'}."
    )
    return SearchWorthGrade(
        predicted=predicted["verdict"], found=found, worth=worth["beyond"], right=right, sentence=sentence
    )
