"""Latest outcome of every scene in the ledgers of an archive, reduced to what a report needs."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, cast

from orchestrator.archive.ledger.ledger import read_outcomes
from orchestrator.archive.ledger.ledger_event import Event, columns_of
from orchestrator.foundation.storage import Storage
from trainables.metrics.consistency_record import ConsistencyRecord

Status = Literal["ok", "failed"]


@dataclass(frozen=True, slots=True)
class SceneOutcome:
    """Latest outcome of a scene.

    Attributes:
        name: The scene's path below the archive.
        source: Its place.
        output: Place of its output.
        run: Name of the run that it ended in.
        status: ``ok`` or ``failed``.
        error: Class of its failure; empty without one.
        message: Reason of its failure; empty without one.
        flags: What its output does not agree with its source in.
        pixels: Pixels of its output.
        worker_seconds: Seconds that workers spent on it, over all phases.
        sha256: Digest of its output; empty if it failed.
        output_bytes: Bytes of its output.
    """

    name: str
    source: str
    output: str
    run: str
    status: Status
    error: str = ""
    message: str = ""
    flags: tuple[str, ...] = ()
    pixels: int = 0
    worker_seconds: float = 0.0
    sha256: str = ""
    output_bytes: int = 0


_COLUMNS = (
    *("event", "run", "number", "order", "name", "source", "output", "status", "error", "message"),
    *("width", "height", "sha256", "output_bytes"),
)


def read_latest_outcomes(out: Storage) -> dict[str, SceneOutcome]:
    """Latest outcome of each scene in the ledgers, by the place of its output; a few hundred bytes each.

    Raises:
        StorageError: If a bucket does not answer.
    """
    return latest_outcomes(read_outcomes(out, _brief))


def _brief(event: Event) -> Event:
    brief = columns_of(event, _COLUMNS)
    brief["seconds"] = {"all": _outcome(event).worker_seconds}
    if flags := _flags(event.get("consistency")):
        brief["consistency"] = cast(ConsistencyRecord, {"flags": list(flags)})
    return brief


def latest_outcomes(events: Iterable[Event]) -> dict[str, SceneOutcome]:
    """Latest outcome of each scene by the place of its output; a skipped scene keeps its earlier one.

    Args:
        events: Events of all ledgers, in order. Columns beyond those that planning needs may hold anything, since
            people can write to a ledger: what does not fit counts as missing.
    """
    found: dict[str, SceneOutcome] = {}
    for event in events:
        if event["event"] == "scene" and event["status"] != "skipped":
            found[event["output"].replace("/./", "/")] = _outcome(event)
    return found


def _outcome(event: Event) -> SceneOutcome:
    ok = event["status"] == "ok"
    seconds = event.get("seconds")
    phases = seconds.values() if isinstance(seconds, dict) else ()
    return SceneOutcome(
        name=str(event.get("name", event["output"])),
        source=str(event.get("source", "")),
        output=event["output"],
        run=str(event.get("run", "")),
        status="ok" if ok else "failed",
        error="" if ok else str(event.get("error", "")),
        message="" if ok else str(event.get("message", "")),
        flags=_flags(event.get("consistency")),
        pixels=int(_number(event.get("width")) * _number(event.get("height"))) if ok else 0,
        worker_seconds=sum(_number(value) for value in phases),
        sha256=str(event.get("sha256", "")) if ok else "",
        output_bytes=int(_number(event.get("output_bytes"))) if ok else 0,
    )


def _flags(consistency: Any) -> tuple[str, ...]:
    flags = consistency.get("flags") if isinstance(consistency, dict) else None
    return tuple(str(flag) for flag in flags) if isinstance(flags, list) else ()


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else 0.0
