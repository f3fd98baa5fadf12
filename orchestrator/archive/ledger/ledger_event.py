"""Columns of a ledger's events, and their lines."""

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypedDict, cast

from trainables.metrics.consistency_record import ConsistencyRecord


class Event(TypedDict, total=False):
    """A line of a ledger, or some of its columns.

    What a run writes has the columns down to ``key``; an outcome those down to ``at`` too; a finished scene those of
    its output, see :class:`orchestrator.archive.scene.types.SceneOutput`.

    Attributes:
        event: ``attempt`` where a scene is about to start, ``death`` where its worker died, ``scene`` at its end;
            ``run`` for the scenes that a run found settled, which have no rows of their own.
        run: Name of the run.
        number: Of the event in its run, from 1.
        order: Of the run among all runs on these outputs; 0 of versions that did not number them.
        name: The scene's path below the archive.
        output: Place of its output.
        key: Digest of the source's version, the model and the settings.
        source: Its place.
        version: Version of its content.
        size: Its bytes.
        modified: Time of its last change in seconds since 1970.
        model: Digest of the model.
        settings: Digest of all settings that the output depends on.
        status: How it ended.
        error: Class of its failure.
        message: Reason of its failure, or of a worker's death.
        attempts: How often it was started in this run.
        at: Time of its end, in ISO 8601.
        node: The node that finished it.
        valid_percent: Share of valid image samples.
        output_bytes: Size of the output.
        skipped: In the event ``run``: number of scenes that were finished before.
        failed_before: In the event ``run``: number of scenes that failed before and were not tried again.
    """

    event: Literal["attempt", "death", "scene", "run"]
    run: str
    number: int
    order: int
    name: str
    output: str
    key: str

    source: str
    version: str
    size: int
    modified: float
    model: str
    settings: str
    status: Literal["ok", "skipped", "failed"]
    error: str
    message: str
    attempts: int
    at: str

    node: str | None
    width: int
    height: int
    bands: int
    dtype: str
    tile: list[int]
    halo: int
    normalisation: str
    band_map: str
    seconds: dict[str, float]
    valid_percent: float
    minimum: list[float | None]
    maximum: list[float | None]
    notes: list[str]
    output_bytes: int
    sha256: str
    consistency: ConsistencyRecord | None

    skipped: int
    failed_before: int


AGAIN = " (as before; --retry-failed tries again)"
"""End of the message of a scene that failed before and is not tried again."""


def columns_of(event: Event, names: Iterable[str]) -> Event:
    """The columns of these names that an event has."""
    values: Mapping[str, object] = event
    return cast(Event, {name: values[name] for name in names if name in values})


def mark(event: Event) -> tuple[int, str, int]:
    """Identity of an event among those of all runs; it says which of two is the later one."""
    return event["order"], event["run"], event["number"]


def repeats(event: Event) -> bool:
    """Returns True if an event repeats an earlier outcome: versions up to 0.4 wrote a row for each settled scene."""
    if event["event"] != "scene":
        return False
    return event["status"] == "skipped" or (event["status"] == "failed" and event["message"].endswith(AGAIN))


def encoded(events: Iterable[Event]) -> bytes:
    """JSON lines of events, in UTF-8; NaN and infinities become null."""
    return b"".join(_line(event) for event in events)


def _line(event: Event) -> bytes:
    try:
        text = json.dumps(event, ensure_ascii=False, allow_nan=False)
    except ValueError:  # JSON has neither NaN nor infinities
        text = json.dumps(_finite(event), ensure_ascii=False)
    try:
        return f"{text}\n".encode()
    except UnicodeEncodeError:  # a file name that is not UTF-8; escaped, it comes back as it was
        return f"{json.dumps(json.loads(text))}\n".encode()


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
