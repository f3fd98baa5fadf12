"""What each part of a run is worth in PSNR, domain by domain and on average, as a Markdown table of its report."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

from orchestrator.confirm.record import Candidate
from orchestrator.foundation.vocabulary import ArmName
from orchestrator.report.schema import DomainReport, Report
from orchestrator.report.tables import find_arm, interval, signed
from orchestrator.search.trial_record import TrialOrigin

PORTFOLIO: tuple[TrialOrigin, ...] = ("default", "portfolio")
_TRIAL = re.compile(r"trial-(\d+)")


@dataclass(frozen=True, slots=True)
class Gain:
    """A gain in dB with its interval in words; a note stands in its place where there is nothing to compare."""

    mean: float | None = None
    interval: str = ""
    note: str = "–"

    def __str__(self) -> str:
        if self.mean is None:
            return self.note
        return f"{signed(self.mean)} {self.interval}".rstrip()


def parts_table(report: Report) -> str:
    """Writes a row per part and a column per domain, with the mean over the domains that have a number."""
    names = list(report.domains)
    lines = [
        f"| part | measured | {' | '.join(names)} | mean |",
        f"| :--- | :--- | {' | '.join(':---' for _ in names)} | ---: |",
    ]
    for part, measured, gain_of in _PARTS:
        gains = [gain_of(domain) for domain in report.domains.values()]
        lines.append(f"| {part} | {measured} | {' | '.join(map(str, gains))} | {_mean(gains)} |")
    answers = [_answer(domain) for domain in report.domains.values()]
    return "\n".join([*lines, f"| the answer | – | {' | '.join(answers)} | – |"]) + "\n"


def stage_minutes(report: Report) -> dict[str, float]:
    """Minutes of each stage: those of its longest domain, since the domains of a stage run at the same time."""
    minutes: dict[str, float] = {}
    for name, seconds in report.stage_seconds.items():
        stage = name.split()[0]
        minutes[stage] = max(minutes.get(stage, 0.0), seconds / 60)
    return minutes


def _mean(gains: Sequence[Gain]) -> str:
    known = [gain.mean for gain in gains if gain.mean is not None]
    if not known:
        return "–"
    return signed(fmean(known)) + ("" if len(known) == len(gains) else f" ({len(known)} of {len(gains)})")


def _on_test(domain: DomainReport, arm: ArmName, baseline: ArmName) -> Gain:
    """Arm minus baseline on the test split."""
    for d in domain.differences:
        if (d.arm, d.baseline, d.metric) == (arm, baseline, "psnr"):
            return Gain(d.mean, interval(d))
    return Gain()


def _of_portfolio(domain: DomainReport) -> Gain:
    """The portfolio's best trial minus the default fine-tune's, in the search."""
    default, first = _best(domain, ("default",)), _best(domain, PORTFOLIO)
    return Gain() if default is None or first is None else Gain(first - default)


def _of_search(domain: DomainReport) -> Gain:
    """The best trial minus the portfolio's best, in the search."""
    first, best = _best(domain, PORTFOLIO), _best(domain)
    return Gain() if first is None or best is None else Gain(best - first)


def _best(domain: DomainReport, origins: Sequence[TrialOrigin] = ()) -> float | None:
    """Best validation PSNR in dB of the finished trials of some origins, or of all."""
    trials = (trial for trial in domain.trials if not origins or trial.origin in origins)
    return max((trial.psnr for trial in trials if trial.psnr is not None), default=None)


def _of_choice(domain: DomainReport) -> Gain:
    """The answer minus the candidate with the best mean on validation, which is 0 where they are the same."""
    return _on_test(domain, "best", "best_mean") if find_arm(domain, "best_mean") else Gain(0.0, "the same")


def _of_averaging(domain: DomainReport, arm: ArmName, averaged: str) -> Gain:
    """Averaged weights minus the answer, unless the answer is averaged so itself."""
    return Gain(note="part of the answer") if _winner(domain).averaged == averaged else _on_test(domain, arm, "best")


def _winner(domain: DomainReport) -> Candidate:
    return next(candidate for candidate in domain.candidates if candidate.name == domain.winner)


def _answer(domain: DomainReport) -> str:
    """The answer in words, with the origin of its trial."""
    winner = _winner(domain)
    found = _TRIAL.search(winner.of or winner.name)
    origins = [t.origin for t in domain.trials if found and t.number == int(found[1])]
    return f"{winner.label} ({origins[0]})" if origins else winner.label


_TEST, _SEARCH = "test", "validation, the search's seed"
_PARTS: tuple[tuple[str, str, Callable[[DomainReport], Gain]], ...] = (
    ("default fine-tune − zero-shot", _TEST, lambda d: _on_test(d, "default", "zero_shot")),
    ("portfolio: its best − default fine-tune", _SEARCH, _of_portfolio),
    ("search beyond it: best trial − portfolio's best", _SEARCH, _of_search),
    ("portfolio, search and choice: answer − default fine-tune", _TEST, lambda d: _on_test(d, "best", "default")),
    ("choice of a simple answer: answer − best mean on validation", _TEST, _of_choice),
    ("averaging over seeds: averaged − answer", _TEST, lambda d: _of_averaging(d, "soup", "seeds")),
    ("averaging with the source: averaged − answer", _TEST, lambda d: _of_averaging(d, "interpolated", "source")),
    ("finish: finished model − answer", _TEST, lambda d: _on_test(d, "finished", "best")),
    ("all: finished model − default fine-tune", _TEST, lambda d: _on_test(d, "finished", "default")),
)
