"""What makes a run resumable: each stage leaves a record with the fingerprint of all that went into it."""

import hashlib
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from orchestrator.storage import Storage
from trainables.version import __version__

RECORD = "stage.json"


def fingerprint(*parts: Any) -> str:
    """Digest of plain values: equal inputs, equal digest."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def now() -> str:
    """The time as a record states it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def finished(place: Storage, inputs: str) -> dict[str, Any] | None:
    """The record of a stage that has finished with exactly these inputs, or None."""
    record = place.child(RECORD).read_json()
    return record if isinstance(record, dict) and record.get("inputs") == inputs else None


def run_stage(
    name: str, place: Storage, inputs: str, work: Callable[[], dict[str, Any]], say: Callable[[str], None]
) -> dict[str, Any]:
    """Runs a stage unless it stands finished, and says which of the two.

    Args:
        name: What the stage is called on the terminal.
        place: Its folder of artefacts; the record is written there last.
        inputs: Fingerprint of everything that determines the result.
        work: Does the stage and returns what later stages need to know of it, as plain values.
        say: Prints one line.

    Returns:
        The stage's record: ``inputs``, ``seconds``, ``finished_at``, ``rayscale`` and ``result``.
    """
    done = finished(place, inputs)
    if done is not None:
        say(f"{name}: finished {done['finished_at']}, skipped")
        return done
    started_before = place.child(RECORD).exists()
    say(f"{name}: its inputs changed, running again" if started_before else f"{name}: running")
    start = time.monotonic()
    record = finish_stage(name, place, inputs, start, work())
    say(f"{name}: done in {record['seconds']:.0f} s")
    return record


def finish_stage(name: str, place: Storage, inputs: str, start: float, result: dict[str, Any]) -> dict[str, Any]:
    """Writes the record of a stage that began at ``start`` on the monotonic clock, and returns it."""
    record = {
        "stage": name,
        "inputs": inputs,
        "rayscale": __version__,
        "finished_at": now(),
        "seconds": round(time.monotonic() - start, 1),
        "result": result,
    }
    place.child(RECORD).write_json(record)
    return record
