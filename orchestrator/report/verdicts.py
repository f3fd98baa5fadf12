"""The results of one domain in sentences, bad news first."""

from collections.abc import Iterator, Sequence
from statistics import fmean

from orchestrator.confirm.record import Candidate, Difference
from orchestrator.foundation.statistics import FEWEST_SCENES
from orchestrator.foundation.vocabulary import AHEAD, CLASSICAL, ArmName
from orchestrator.report.schema import Arm, CurvePoint, Interpolation, Optimism


def verdict(
    winner: Candidate, differences: Sequence[Difference], arms: Sequence[Arm] = (), smallest_effect: float = 0.0
) -> str:
    """The domain's answer in a sentence: the gains from fine-tuning and from tuning its settings, and what is ahead.

    Args:
        winner: The confirmed candidate.
        differences: Differences on the test split.
        arms: All arms, for the names of those that are ahead of the answer.
        smallest_effect: Smallest difference of PSNR in dB that matters.
    """
    ahead = [arm.label for arm, _ in _ahead(arms, differences, smallest_effect)]
    return _answer(winner, differences) + (f" Ahead of it on test: {', '.join(ahead)}." if ahead else "")


def _answer(winner: Candidate, differences: Sequence[Difference]) -> str:
    zero, bicubic = _of(differences, "best", "zero_shot"), _of(differences, "best", "bicubic")
    default = _of(differences, "best", "default")
    assert zero is not None
    assert bicubic is not None
    if winner.configuration is None:
        return (
            "no fine-tuning tried was clearly better on validation than the source model as it is: use that "
            f"({in_db(bicubic)} over bicubic on test)."
        )
    said = {
        "better": f"fine-tuning wins over zero-shot on test, {in_db(zero)}",
        "no difference that matters": f"fine-tuning makes no difference that matters on test, {in_db(zero)}",
        "tie": f"fine-tuning ties with zero-shot on test, {in_db(zero)}",
        "worse": f"negative transfer: fine-tuning harms on test, {in_db(zero)} against zero-shot",
        "too few scenes": f"{in_db(zero)} against zero-shot, but {zero.scenes} test scenes are too few to say more",
        "too few scenes to exclude rare harm": f"fine-tuning is ahead of zero-shot, {in_db(zero)}, but {zero.scenes} "
        "test scenes are too few to exclude rare harm",
    }[zero.verdict]
    if default is None:
        return f"{said}."
    if winner.name == "default":
        return f"{said}; the default fine-tune was the best configuration found."
    tuned = {
        "better": "tuning wins over the default fine-tune",
        "no difference that matters": "tuning makes no difference that matters to the default fine-tune",
        "tie": "tuning ties with the default fine-tune",
        "worse": "tuning loses to the default fine-tune",
        "too few scenes": "against the default fine-tune",
        "too few scenes to exclude rare harm": "tuning is ahead of the default fine-tune in these scenes",
    }[default.verdict]
    return f"{said}; {tuned}, {in_db(default)}."


def flags(
    winner: Candidate,
    arms: Sequence[Arm],
    differences: Sequence[Difference],
    smallest_effect: float = 0.0,
    validation_scenes: int | None = None,
) -> list[str]:
    """Warnings about results that speak against the answer, or against transfer at all; empty if there are none.

    Args:
        winner: The confirmed candidate.
        arms: All arms.
        differences: Differences on the test split.
        smallest_effect: Smallest difference of PSNR in dB that matters.
        validation_scenes: Scenes whose validation images the choice rests on; None if unknown.
    """
    few = []
    if validation_scenes is not None and validation_scenes < FEWEST_SCENES:
        scenes = "1 validation scene" if validation_scenes == 1 else f"{validation_scenes} validation scenes"
        few = [f"The choice rests on {scenes}, too few to tell configurations apart."]
    return [*_harm(winner, differences), *_rivals(arms, differences, smallest_effect), *few]


def _harm(winner: Candidate, differences: Sequence[Difference]) -> Iterator[str]:
    source = _of(differences, "zero_shot", "bicubic")
    if source and source.verdict == "worse":
        yield f"The source model as it is is worse than bicubic here, {in_db(source)}."
    best = _of(differences, "best", "zero_shot")
    if winner.configuration and best and best.verdict == "worse":
        yield f"Negative transfer: the configuration that won on validation harms on test, {in_db(best)}."
    default = _of(differences, "default", "zero_shot")
    if default and default.verdict == "worse" and winner.name != "default":
        yield f"Negative transfer: the default fine-tune is worse than the source model as it is, {in_db(default)}."


def _rivals(arms: Sequence[Arm], differences: Sequence[Difference], smallest_effect: float) -> Iterator[str]:
    """A sentence on every arm that is ahead of the answer; on zero-shot, if that is sure, negative transfer says it."""
    for arm, d in _ahead(arms, differences, smallest_effect):
        if d.verdict == "worse" and arm.name == "zero_shot":
            continue
        name, by = arm.label[:1].upper() + arm.label[1:], f"by {_reversed(d)}"
        doubt = {"tie": ", which may be chance", "too few scenes": f", in {d.scenes} scenes"}.get(d.verdict, "")
        without = {"scratch": ", without the source model,", "model": ", the best's own arm with λ 0 and depth 0,"}
        network = ", without a network," if arm.name in CLASSICAL else without.get(arm.name, "")
        yield f"{name}{network} {'does better than' if not doubt else 'is ahead of'} the answer, {by}{doubt}."


def _ahead(
    arms: Sequence[Arm], differences: Sequence[Difference], smallest_effect: float
) -> Iterator[tuple[Arm, Difference]]:
    """Arms whose test PSNR is higher than the answer's by a difference that matters, with best minus arm.

    The finished model is not one of them: it is the answer, trained for longer, and meant to be ahead.
    """
    for arm in arms:
        if arm.name == "finished":
            continue
        d, backwards = _of(differences, "best", arm.name), _of(differences, arm.name, "best")
        d = d or (_turned(backwards) if backwards else None)
        if d and d.mean < 0 and -d.mean >= smallest_effect:
            yield arm, d


def _turned(d: Difference) -> Difference:
    """Baseline minus arm."""
    turned = {"mean": -d.mean, "low": -d.high, "high": -d.low, "verdict": "worse" if d.verdict in AHEAD else d.verdict}
    return d.model_copy(update={"arm": d.baseline, "baseline": d.arm, **turned})


def optimism(winner: Candidate, candidates: Sequence[Candidate], differences: Sequence[Difference]) -> Optimism | None:
    """The winner's score in the search beside that of fresh seeds; None if the source model won or was no trial."""
    zero = next((c for c in candidates if c.configuration is None), None)
    gain = _of(differences, "best", "zero_shot")
    if winner.search_psnr is None or winner.configuration is None or zero is None or gain is None:
        return None
    confirmed, plain = fmean(winner.scores), fmean(zero.scores)
    return Optimism(
        search_psnr=winner.search_psnr,
        confirmed_psnr=confirmed,
        search_gain=winner.search_psnr - plain,
        confirmed_gain=confirmed - plain,
        test_gain=gain.mean,
    )


def remarks(
    arms: Sequence[Arm],
    differences: Sequence[Difference],
    optimism: Optimism | None,
    interpolation: Interpolation | None,
) -> list[str]:
    """Further results in sentences: averaging or forgetting, doubts, the strongest classical baseline, optimism."""
    return list(_remarks({arm.name: arm for arm in arms}, differences, optimism, interpolation))


def _remarks(
    arms: dict[str, Arm], differences: Sequence[Difference], luck: Optimism | None, averaged: Interpolation | None
) -> Iterator[str]:
    kept = _of(differences, "interpolated", "best")
    if averaged and kept:
        before, after = _forgotten(arms, "best"), _forgotten(arms, "interpolated")
        lost = f"; on source images {after:+.2f} dB instead of {before:+.2f}" if before is not None else ""
        yield f"Averaged with the source, {averaged.share:g} of the tuned weights: {in_db(kept)} to best{lost}."
    elif (before := _forgotten(arms, "best")) and before < 0:
        yield f"Forgotten: {before:+.2f} dB on source images; averaging weights gained nothing on validation."
    baselines: tuple[ArmName, ...] = ("zero_shot", "default")
    for baseline in baselines:
        d = _of(differences, "best", baseline)
        if d and d.verdict == "too few scenes to exclude rare harm":
            yield (
                f"{d.scenes} scenes may hold none of a kind that makes {d.interval.unseen_share:.0%} of all: if such "
                f"scenes lost {d.interval.break_even:.2f} dB each, the gain over {arms[baseline].label} would be gone."
            )
    classical = strongest_classical(list(arms.values()))
    against = _of(differences, "best", classical.name) if classical else None
    if classical and against:
        yield f"Best − {classical.label}, the strongest classical baseline on validation: {in_db(against)}."
    if luck:
        yield (
            f"Winner's optimism: {luck.search_psnr:.2f} dB on validation in the search, {luck.confirmed_psnr:.2f} with "
            f"fresh seeds ({luck.search_psnr - luck.confirmed_psnr:+.2f}); gain over zero-shot {luck.search_gain:+.2f} "
            f"there, {luck.confirmed_gain:+.2f} confirmed, {luck.test_gain:+.2f} on test."
        )


def still_rises(curve: Sequence[CurvePoint], smallest_effect: float) -> str | None:
    """A sentence on a learning curve that rises in the last quarter of its steps by more than what matters.

    Args:
        curve: Validation PSNR in dB by step, from the first evaluation to the end.
        smallest_effect: Smallest difference of PSNR in dB that matters.
    """
    if len(curve) < 2 or curve[0].step > (begin := 0.75 * curve[-1].step):
        return None
    after = next(i for i, point in enumerate(curve) if point.step >= begin and i)
    left, right = curve[after - 1], curve[after]
    start = left.value + (right.value - left.value) * (begin - left.step) / (right.step - left.step)
    if (gained := curve[-1].value - start) <= smallest_effect:
        return None
    return (
        f"The winner's validation curve still rises: {gained:+.2f} dB over the last quarter of its {curve[-1].step} "
        "steps; more steps may gain more than other settings."
    )


def strongest_classical(arms: Sequence[Arm]) -> Arm | None:
    """The classical baseline with the best score on validation images; None if none was scored there."""
    tried = [arm for arm in arms if arm.name in CLASSICAL and arm.validation_psnr is not None]
    return max(tried, key=lambda arm: arm.validation_psnr or 0.0, default=None)


def forgetting(arm: Arm, arms: Sequence[Arm]) -> float | None:
    """PSNR in dB on source images relative to the source model's; a negative value means forgetting."""
    return _forgotten({scored.name: scored for scored in arms}, arm.name)


def _forgotten(arms: dict[str, Arm], name: str) -> float | None:
    arm, source = arms.get(name), arms.get("zero_shot")
    if arm is None or source is None or arm.source_psnr is None or source.source_psnr is None:
        return None
    return arm.source_psnr - source.source_psnr


def _of(differences: Sequence[Difference], arm: str, baseline: str) -> Difference | None:
    return next((d for d in differences if (d.arm, d.baseline, d.metric) == (arm, baseline, "psnr")), None)


def in_db(d: Difference) -> str:
    """A difference with its interval, as sentences have it."""
    return f"{d.mean:+.2f} dB [{d.low:+.2f}, {d.high:+.2f}]"


def _reversed(d: Difference) -> str:
    return f"{-d.mean:+.2f} dB [{-d.high:+.2f}, {-d.low:+.2f}]"
