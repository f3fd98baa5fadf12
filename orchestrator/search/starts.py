"""First configurations of a study: the default fine-tune, the portfolio, advice, the space's own, and siblings'.

Advice and finished searches change over time. A study's starts are therefore gathered once, when it begins, and written
beside its records: a resumed or extended study has the same ones.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from orchestrator.foundation.record import DamagedRecordError
from orchestrator.foundation.stage_record import read_result
from orchestrator.foundation.storage import Storage
from orchestrator.search.result import SearchResult
from trainables.errors import UsageError
from trainables.loops.objective import effective_lambda
from trainables.loops.settings import TransferConfiguration

Origin = Literal["default", "portfolio", "advice", "start", "sibling"]

_FILE = "starts.json"


@dataclass(frozen=True, slots=True)
class Start:
    """One of a study's first configurations.

    Attributes:
        origin: Its kind; ``start`` is the search space's own.
        configuration: The configuration to try.
        of: Source of the configuration: a regime of advice, or another search; otherwise empty.
    """

    origin: Origin
    configuration: TransferConfiguration
    of: str = ""


def settle_starts(records: Storage, gather: Callable[[], Iterable[Start]]) -> tuple[Start, ...]:
    """The starts of a study: those written beside its records, or else those gathered and written now.

    Of starts with the same configuration only the first is kept. A damaged file is treated as missing.
    """
    known = _whole(records.child(_FILE).read_json())
    if known is None:
        distinct: dict[TransferConfiguration, Start] = {}
        for start in gather():
            distinct.setdefault(start.configuration, start)
        records.child(_FILE).write_json([_plain(start) for start in distinct.values()])
        return tuple(distinct.values())
    return known


def inside(
    configuration: TransferConfiguration,
    learning_rate: tuple[float, float],
    lambda_: tuple[float, float],
    frozen_depth: tuple[int, int],
) -> TransferConfiguration:
    """A configuration of another space clamped to this one; λ below the floor of its range becomes 0."""
    return replace(
        configuration,
        learning_rate=min(max(configuration.learning_rate, learning_rate[0]), learning_rate[1]),
        lambda_=effective_lambda(min(configuration.lambda_, lambda_[1]), lambda_[0]),
        frozen_depth=min(max(configuration.frozen_depth, frozen_depth[0]), frozen_depth[1]),
    )


def searched_domains(experiment: Storage) -> list[str]:
    """Domains of an experiment's folder whose search has finished.

    Raises:
        UsageError: If it is no experiment's folder, or holds no finished search.
    """
    if not experiment.child("experiment.json").exists():
        raise UsageError(
            f"search.starts_from names '{experiment.uri}', which holds no experiment (no experiment.json); name an "
            "experiment's folder, such as runs/demo."
        )
    written = experiment.child("experiment.json").read_json()
    settings = written.get("settings") if isinstance(written, dict) else None
    targets = settings.get("targets") if isinstance(settings, dict) else None
    if not isinstance(targets, dict):
        raise UsageError(
            f"search.starts_from names '{experiment.uri}', whose experiment.json is damaged; restore it, or take the "
            "folder out."
        )
    domains = [domain for domain in targets if found_best(experiment, domain) is not None]
    if not domains:
        raise UsageError(
            f"search.starts_from names '{experiment.uri}', where no search has finished yet; run `rayscale search` "
            "there first, or take it out."
        )
    return domains


def found_best(experiment: Storage, domain: str) -> TransferConfiguration | None:
    """The best configuration by validation of a domain's finished search; None if there is none."""
    try:
        best = read_result(experiment.child("search", domain), SearchResult).best
    except DamagedRecordError:
        return None
    return best.configuration if best else None


def _plain(start: Start) -> dict[str, object]:
    return {"origin": start.origin, "configuration": start.configuration.to_dict(), "of": start.of}


def _whole(value: Any) -> tuple[Start, ...] | None:
    try:
        starts = tuple(Start(e["origin"], TransferConfiguration(**e["configuration"]), e["of"]) for e in value)
    except Exception:
        return None
    known = all(start.origin in get_args(Origin) and isinstance(start.of, str) for start in starts)
    return starts if known and isinstance(value, list) else None
