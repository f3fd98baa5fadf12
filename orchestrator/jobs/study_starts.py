"""Starting points of a domain's study: from the experiment, the search space, its analysis and finished searches."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from orchestrator.foundation.stage_record import RECORD
from orchestrator.foundation.storage import Storage
from orchestrator.jobs.stage_jobs import Jobs
from orchestrator.search.source_limit import held_starts
from orchestrator.search.starts import Start, found_best, inside, searched_domains, settle_starts
from search_spaces import PORTFOLIO
from trainables.loops.settings import TransferConfiguration


def study_starts(jobs: Jobs, domain: str) -> tuple[Start, ...]:
    """A study's starting points; gathered and recorded now if it has not begun yet.

    Raises:
        UsageError: If `search.starts_from` names a folder that is not an experiment with a finished search.
    """
    return settle_starts(jobs.records_place(domain), lambda: _gather(jobs, domain))


def _gather(jobs: Jobs, domain: str) -> Iterator[Start]:
    kinds = {
        "default": _default,
        "portfolio": _of_portfolio,
        "advice": _advised,
        "space": _of_space,
        "siblings": _siblings,
        "starts_from": _of_other_experiments,
    }
    shortening = jobs.shortening()
    space, depths = jobs.experiment.space(domain), jobs.experiment.frozen_depths(domain)
    held = _held if jobs.experiment.search.keep_source is not None else _none
    for kind in (held, *(kinds[kind] for kind in (*jobs.experiment.search.starts, "starts_from"))):
        for start in kind(jobs, domain):
            moved = inside(start.configuration, space.learning_rate, space.lambda_, depths)
            if not jobs.experiment.finetuning.searches_lambda:
                moved = replace(moved, lambda_=0.0)
            kept = shortening.named(shortening.inside(moved)) if shortening else None
            moved = replace(moved, kept_blocks=kept)
            yield replace(start, configuration=moved)


def _none(jobs: Jobs, domain: str) -> Iterator[Start]:
    yield from ()


def _held(jobs: Jobs, domain: str) -> Iterator[Start]:
    """Starts of a search that limits what the source may lose."""
    for configuration in held_starts(jobs.experiment.finetuning.regularizer):
        yield Start("start", configuration, "keep_source")


def _default(jobs: Jobs, domain: str) -> Iterator[Start]:
    yield Start("default", jobs.default())


def _of_portfolio(jobs: Jobs, domain: str) -> Iterator[Start]:
    for configuration in PORTFOLIO:
        yield Start("portfolio", configuration)


def _advised(jobs: Jobs, domain: str) -> Iterator[Start]:
    record = jobs.place("analysis", domain, RECORD).read_json()
    result = record.get("result") if isinstance(record, dict) else None
    advice: Any = result.get("advice") if isinstance(result, dict) else None
    for point in advice["points"] if advice else ():
        yield Start("advice", TransferConfiguration(**point), advice["regime"])


def _of_space(jobs: Jobs, domain: str) -> Iterator[Start]:
    for configuration in jobs.experiment.space(domain).starts:
        yield Start("start", configuration)


def _siblings(jobs: Jobs, domain: str) -> Iterator[Start]:
    """The best configurations of this experiment's other finished searches."""
    for other in jobs.experiment.targets:
        if other != domain and jobs.search_finished(other):
            yield from _best_of(jobs.experiment.home, other)


def _of_other_experiments(jobs: Jobs, domain: str) -> Iterator[Start]:
    for folder in jobs.experiment.search.starts_from:
        place = Storage.at(folder)
        for other in searched_domains(place):
            yield from _best_of(place, other)


def _best_of(place: Storage, domain: str) -> Iterator[Start]:
    if best := found_best(place, domain):
        yield Start("sibling", best, f"{domain} of {place.uri.rpartition('/')[2]}")
