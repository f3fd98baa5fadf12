"""Records of trials: one whole JSON file for each, written before anybody hears of its score."""

import re
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, StrictInt, ValidationInfo, field_validator

from orchestrator.foundation.configuration import Configuration
from orchestrator.foundation.record import Curve, DamagedRecordError, Number, Record, Time
from orchestrator.foundation.storage import Storage
from trainables.errors import reason_of

TrialOrigin = Literal["default", "advice", "start", "sibling", "sampler"]
"""Where a trial's configuration comes from; ``start`` is the search space's own."""

Status = Literal["finished", "stopped", "diverged"]

Point = dict[str, Annotated[int, Field(strict=True, lt=10**9)] | Number]
"""What a sampler suggests, by setting."""

_NAME = re.compile(r"\d{1,9}\.json")
_Value = TypeVar("_Value")


class TrialRecord(Record):
    """One trial of a study.

    Attributes:
        number: From 0; the file is called by it.
        origin: Where its configuration comes from.
        configuration: What was trained.
        sampled: The sampler's point, by setting.
        status: How it ended.
        psnr: Validation PSNR in dB at the end of a finished trial.
        objective: The score that the sampler learns from; None of a stopped trial.
        speed: Megapixels of output per second, where that is searched too.
        curve: Step and score in dB of each evaluation.
        seconds: Wall-clock time.
        cpu_seconds: Processor time.
        finished_at: When it ended.
    """

    number: StrictInt
    origin: TrialOrigin
    configuration: Configuration
    sampled: Point
    status: Status
    psnr: Number | None
    objective: Number | None
    speed: Annotated[Number, Field(gt=0)] | None = None
    curve: Curve
    seconds: Annotated[Number, Field(ge=0)]
    cpu_seconds: Number | None = None
    finished_at: Time

    @field_validator("psnr", "objective", "curve")
    @classmethod
    def _fits_status(cls, value: _Value, info: ValidationInfo) -> _Value:
        status = info.data.get("status")
        expected = {
            "psnr": {status == "finished"},
            "objective": {status != "stopped"},
            "curve": {True} if status != "diverged" else {True, False},
        }
        present = bool(value) if info.field_name == "curve" else value is not None
        if status and present not in expected[str(info.field_name)]:
            raise ValueError(f"does not fit a {status} trial")
        return value


def record_place(records: Storage, number: int) -> Storage:
    """The file of a trial's record."""
    return records.child(f"{number:04d}.json")


def parse_record(value: object, number: int) -> TrialRecord:
    """The record of parsed JSON.

    Args:
        value: What the file holds.
        number: The trial's number, which its file is called by.

    Raises:
        DamagedRecordError: If it is no such record; the message is such as ``lacks 'psnr'``.
    """
    record = TrialRecord.parse(value)
    if record.number != number:
        raise DamagedRecordError(f"is of trial {record.number}, not of {number}")
    return record


def read_record(place: Storage, number: int) -> TrialRecord | None:
    """The record of a trial; None if there is none, or one that :func:`damaged_records` names."""
    try:
        return parse_record(place.read_json(), number)
    except DamagedRecordError:
        return None


def read_records(
    records: Storage, report: Callable[[str, str], None] = lambda file, problem: None
) -> list[TrialRecord]:
    """All whole trial records of a study, by number.

    Args:
        records: The study's folder.
        report: Called with the name of each file that is no such record, and what is wrong with it.
    """
    found: dict[int, TrialRecord] = {}
    for facts in records.files():
        if not _NAME.fullmatch(facts.path):
            continue
        number = int(facts.path.removesuffix(".json"))
        try:
            record = _whole_record(records.child(facts.path), number)
        except DamagedRecordError as error:
            report(facts.path, str(error))
            continue
        if number in found:
            report(facts.path, f"is a second record of trial {number}")
        else:
            found[number] = record
    return [found[number] for number in sorted(found)]


def damaged_records(records: Storage) -> dict[str, str]:
    """Files of a study that should be trial records and are not, with what is wrong with each."""
    damaged: dict[str, str] = {}
    read_records(records, damaged.__setitem__)
    return damaged


def best_record(records: Sequence[TrialRecord]) -> TrialRecord | None:
    """The finished trial with the best validation score, the first of equal ones; None if none finished."""
    finished = [(record.psnr, record) for record in records if record.psnr is not None]
    return max(finished, key=lambda entry: entry[0], default=(None, None))[1]


def _whole_record(place: Storage, number: int) -> TrialRecord:
    try:
        value: Any = place.read_json()
    except Exception as error:
        raise DamagedRecordError(f"cannot be read ({reason_of(error)})") from None
    if value is None:
        raise DamagedRecordError("is empty, cut short or no JSON")
    return parse_record(value, number)
