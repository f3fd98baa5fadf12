"""The choice of the answer on validation, in a sentence."""

from collections.abc import Sequence

from orchestrator.confirm.answer import MARGIN_DB
from orchestrator.confirm.record import Candidate, Choice


def choice_sentence(choice: Choice, candidates: Sequence[Candidate]) -> str:
    """Says which candidate had the best mean on validation, which one is the answer, and why.

    Args:
        choice: The choice.
        candidates: All candidates.
    """
    labels = {candidate.name: candidate.label for candidate in candidates}
    best, answer, behind = labels[choice.best_mean], labels[choice.answer], choice.behind
    lead = f"{behind.mean:+.3f} dB"
    margin = MARGIN_DB if choice.margin is None else choice.margin
    within = f"within {margin:g} dB of it"
    if choice.by == "margin":
        if choice.answer == choice.best_mean:
            return f"On validation {best} has the best mean, and no simpler candidate is {within}: that is the answer."
        return (
            f"On validation {best} has the best mean, {lead} over {answer}, the simplest candidate {within}: "
            "that is the answer."
        )
    tying = "ties with it" + (f", at most {margin:g} dB behind" if choice.margin is not None else "")
    if choice.answer == choice.best_mean:
        return f"On validation {answer} has the best mean, and no simpler candidate {tying}."
    interval = f"{lead} [{behind.low:+.3f}, {behind.high:+.3f}]"
    return (
        f"On validation {best} has the best mean, {interval} over {answer}, the simplest candidate that {tying}: "
        "that is the answer."
    )
