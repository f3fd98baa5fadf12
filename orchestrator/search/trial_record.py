"""Records of trials: one whole JSON file for each, written before anybody hears of its score."""

import math
import re
from collections.abc import Callable
from datetime import datetime
from typing import Any

from orchestrator.foundation.storage import Storage
from trainables.errors import reason_of
from trainables.loops.finetune import TransferConfiguration

Record = dict[str, Any]
"""``number``, ``origin``, ``configuration``, ``sampled``, ``status`` (finished, stopped or diverged), ``psnr`` (of a
finished trial), ``objective`` (what the sampler is told; none of a stopped one), ``speed`` (megapixels of output per
second, where that is searched too), ``curve``, ``seconds`` and ``finished_at``."""

_NAME = re.compile(r"\d{1,9}\.json")
_STATES = ("finished", "stopped", "diverged")


def record_place(records: Storage, number: int) -> Storage:
    """Where a trial's record is."""
    return records.child(f"{number:04d}.json")


def read_record(place: Storage, number: int) -> Record | None:
    """The record of a trial; None if there is none, or one that :func:`damaged_records` names."""
    record = place.read_json()
    return record if record is not None and not record_problem(record, number) else None


def read_records(records: Storage, report: Callable[[str, str], None] = lambda file, problem: None) -> list[Record]:
    """All whole trial records of a study, by number.

    Args:
        records: The study's folder.
        report: Called with the name of each file that is no such record, and what is wrong with it.
    """
    found: dict[int, Record] = {}
    for facts in records.files():
        if not _NAME.fullmatch(facts.path):
            continue
        number = int(facts.path.removesuffix(".json"))
        try:
            record = records.child(facts.path).read_json()
            problem = "is empty, cut short or no JSON" if record is None else record_problem(record, number)
        except Exception as error:
            problem = f"cannot be read ({reason_of(error)})"
        if not problem and number in found:
            problem = f"is a second record of trial {number}"
        if problem:
            report(facts.path, problem)
        else:
            found[number] = record
    return [found[number] for number in sorted(found)]


def record_problem(record: Any, number: int) -> str:
    """What is wrong with a trial's record, such as ``lacks 'psnr'``; empty if nothing is.

    Args:
        record: What the file holds.
        number: The trial's number, which its file is called by.
    """
    if not isinstance(record, dict):
        return "is no object"
    needed = ("number", "origin", "configuration", "sampled", "status", "objective", "curve", "seconds", "finished_at")
    if missing := [name for name in (*needed, "psnr") if name not in record]:
        return f"lacks '{missing[0]}'"
    if type(record["number"]) is not int or record["number"] != number:
        return f"is of trial {record['number']!r:.40}, not of {number}"
    if record["status"] not in _STATES:
        return f"has status {record['status']!r:.40}"
    checks = {
        "origin": isinstance(record["origin"], str),
        "configuration": _is_configuration(record["configuration"]),
        "sampled": isinstance(record["sampled"], dict) and all(map(is_number, record["sampled"].values())),
        "psnr": is_number(record["psnr"]) if record["status"] == "finished" else record["psnr"] is None,
        "objective": record["objective"] is None if record["status"] == "stopped" else is_number(record["objective"]),
        "curve": is_curve(record["curve"]) and (bool(record["curve"]) or record["status"] == "diverged"),
        "seconds": is_number(record["seconds"]) and record["seconds"] >= 0,
        "finished_at": is_time(record["finished_at"]),
        "speed": record.get("speed") is None or (is_number(record["speed"]) and record["speed"] > 0),
    }
    wrong = next((name for name, fits in checks.items() if not fits), None)
    return f"has {wrong} {record[wrong]!r:.60}" if wrong else ""


def damaged_records(records: Storage) -> dict[str, str]:
    """Files of a study that should be trial records and are not, with what is wrong with each."""
    damaged: dict[str, str] = {}
    read_records(records, damaged.__setitem__)
    return damaged


def best_record(records: list[Record]) -> Record | None:
    """The finished trial with the best validation score, the first of equal ones; None if none finished."""
    return max((r for r in records if r["status"] == "finished"), key=lambda record: record["psnr"], default=None)


def is_number(value: Any) -> bool:
    """Whether a value of a record is a finite number."""
    return type(value) in (int, float) and abs(value) < 1e300 and math.isfinite(value)


def is_curve(value: Any) -> bool:
    """Whether a value of a record is a learning curve: [step, score in dB] pairs."""
    return isinstance(value, list | tuple) and all(
        isinstance(point, list | tuple) and len(point) == 2 and type(point[0]) is int and is_number(point[1])
        for point in value
    )


def is_time(value: Any) -> bool:
    """Whether a value of a record is a time in ISO 8601."""
    try:
        datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return False
    return True


def _is_configuration(value: Any) -> bool:
    try:
        configuration = TransferConfiguration(**value)
    except Exception:
        return False
    whole = (configuration.frozen_depth, 1 if configuration.kept_blocks is None else configuration.kept_blocks)
    numbers = (configuration.learning_rate, configuration.lambda_)
    return all(map(is_number, numbers)) and all(type(n) is int and 0 <= n < 10**6 for n in whole)
