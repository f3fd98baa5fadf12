"""Records of trials: one whole JSON file for each, written before anybody hears of its score."""

import re
from typing import Any

from orchestrator.storage import Storage

Record = dict[str, Any]
"""``number``, ``origin``, ``configuration``, ``sampled``, ``status`` (finished, stopped or diverged), ``psnr`` (of a
finished trial), ``objective`` (what the sampler is told; none of a stopped one), ``speed`` (megapixels of output per
second, where that is searched too), ``curve``, ``seconds`` and ``finished_at``."""

_NAME = re.compile(r"\d+\.json")


def record_place(records: Storage, number: int) -> Storage:
    """Where a trial's record is."""
    return records.child(f"{number:04d}.json")


def read_records(records: Storage) -> list[Record]:
    """All whole trial records of a study, by number."""
    found = [_read(records.child(facts.path)) for facts in records.files() if _NAME.fullmatch(facts.path)]
    return sorted((record for record in found if record is not None), key=lambda record: int(record["number"]))


def best_record(records: list[Record]) -> Record | None:
    """The finished trial with the best validation score, the first of equal ones; None if none finished."""
    return max((r for r in records if r["status"] == "finished"), key=lambda record: record["psnr"], default=None)


def _read(place: Storage) -> Record | None:
    record = place.read_json()
    return record if isinstance(record, dict) else None
