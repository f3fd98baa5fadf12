"""The results of one domain in sentences, bad news first."""

from collections.abc import Iterator, Sequence
from statistics import fmean

from orchestrator.confirm.record import Candidate, Difference
from orchestrator.foundation.vocabulary import CLASSICAL, ArmName
from orchestrator.report.schema import Arm, Interpolation, Optimism


def verdict(winner: Candidate, differences: Sequence[Difference]) -> str:
    """The domain's answer in a sentence: the gains from fine-tuning and from tuning its settings."""
    zero, bicubic = _of(differences, "best", "zero_shot"), _of(differences, "best", "bicubic")
    default = _of(differences, "best", "default")
    assert zero is not None
    assert bicubic is not None
    if winner.configuration is None:
        return (
            "no fine-tuning tried did better on validation than the source model as it is: use that "
            f"({_said(bicubic)} over bicubic on test)."
        )
    said = {
        "better": f"fine-tuning wins over zero-shot on test, {_said(zero)}",
        "tie": f"fine-tuning ties with zero-shot on test, {_said(zero)}",
        "worse": f"negative transfer: fine-tuning harms on test, {_said(zero)} against zero-shot",
        "too few scenes": f"{_said(zero)} against zero-shot, but {zero.scenes} test scenes are too few to say more",
    }[zero.verdict]
    if default is None:
        return f"{said}."
    if winner.name == "default":
        return f"{said}; the default fine-tune was the best configuration found."
    tuned = {
        "better": "tuning wins over the default fine-tune",
        "tie": "tuning ties with the default fine-tune",
        "worse": "tuning loses to the default fine-tune",
        "too few scenes": "against the default fine-tune",
    }[default.verdict]
    return f"{said}; {tuned}, {_said(default)}."


def flags(winner: Candidate, arms: Sequence[Arm], differences: Sequence[Difference]) -> list[str]:
    """Warnings about results that speak against the answer, or against transfer at all; empty if there are none."""
    return list(_flags(winner, arms, differences))


def _flags(winner: Candidate, arms: Sequence[Arm], differences: Sequence[Difference]) -> Iterator[str]:
    labels = {arm.name: arm.label for arm in arms}
    source = _of(differences, "zero_shot", "bicubic")
    if source and source.verdict == "worse":
        yield f"The source model as it is is worse than bicubic here, {_said(source)}."
    best = _of(differences, "best", "zero_shot")
    if winner.configuration and best and best.verdict == "worse":
        yield f"Negative transfer: the configuration that won on validation harms on test, {_said(best)}."
    default = _of(differences, "default", "zero_shot")
    if default and default.verdict == "worse" and winner.name != "default":
        yield f"Negative transfer: the default fine-tune is worse than the source model as it is, {_said(default)}."
    rivals: tuple[ArmName, ...] = (*CLASSICAL, "scratch")
    for baseline in rivals:
        d = _of(differences, "best", baseline)
        if d and d.verdict == "worse":
            without = "without the source model" if baseline == "scratch" else "without a network"
            yield f"{labels[baseline].capitalize()}, {without}, does better than the answer, by {_reversed(d)}."


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
    """Further results in sentences: the strongest classical baseline, optimism, averaged weights and forgetting."""
    return list(_remarks({arm.name: arm for arm in arms}, differences, optimism, interpolation))


def _remarks(
    arms: dict[str, Arm], differences: Sequence[Difference], luck: Optimism | None, averaged: Interpolation | None
) -> Iterator[str]:
    classical = strongest_classical(list(arms.values()))
    against = _of(differences, "best", classical.name) if classical else None
    if classical and against:
        yield f"Best − {classical.label}, the strongest classical baseline on validation: {_said(against)}."
    if luck:
        yield (
            f"Winner's optimism: {luck.search_psnr:.2f} dB on validation in the search, {luck.confirmed_psnr:.2f} with "
            f"fresh seeds ({luck.search_psnr - luck.confirmed_psnr:+.2f}); gain over zero-shot {luck.search_gain:+.2f} "
            f"there, {luck.confirmed_gain:+.2f} confirmed, {luck.test_gain:+.2f} on test."
        )
    kept = _of(differences, "interpolated", "best")
    if averaged and kept:
        before, after = _forgotten(arms, "best"), _forgotten(arms, "interpolated")
        lost = f"; on source images {after:+.2f} dB instead of {before:+.2f}" if before is not None else ""
        yield f"Averaged with the source, {averaged.share:g} of the tuned weights: {_said(kept)} to best{lost}."
    elif (before := _forgotten(arms, "best")) and before < 0:
        yield f"Forgotten: {before:+.2f} dB on source images; averaging weights gained nothing on validation."


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


def _said(d: Difference) -> str:
    return f"{d.mean:+.2f} dB [{d.low:+.2f}, {d.high:+.2f}]"


def _reversed(d: Difference) -> str:
    return f"{-d.mean:+.2f} dB [{-d.high:+.2f}, {-d.low:+.2f}]"
