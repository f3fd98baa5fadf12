"""Records of trials: a JSON file for each, written before the trial reports its score."""

import re
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, StrictInt, ValidationInfo, field_validator

from orchestrator.foundation.configuration import Configuration
from orchestrator.foundation.record import Curve, DamagedRecordError, Number, Record, Time
from orchestrator.foundation.storage import Storage
from orchestrator.training.certificate import Certificate
from trainables.errors import reason_of

TrialOrigin = Literal["default", "portfolio", "advice", "start", "sibling", "sampler"]
"""Origin of a trial's configuration; ``start`` is the search space's own."""

Status = Literal["finished", "stopped", "diverged"]

Point = dict[str, Annotated[int, Field(strict=True, lt=10**9)] | Number]
"""Point of the search space as sampled, by setting."""

_NAME = re.compile(r"\d{1,9}\.json")
_Value = TypeVar("_Value")


class SourceKept(Record):
    """PSNR in dB on held-out source images at the end of a trial whose search limits what the source may lose.

    Attributes:
        psnr: PSNR of the fine-tuned network.
        loss: PSNR of the source model minus that; negative if the source has gained.
        allowed: The limit, ``search.keep_source``.
    """

    psnr: Number
    loss: Number
    allowed: Annotated[Number, Field(ge=0)]

    @property
    def excess(self) -> float:
        """Loss above the limit in dB; 0 or less if the trial is feasible."""
        return self.loss - self.allowed


class TrialRecord(Record):
    """One trial of a study.

    Attributes:
        number: Number from 0, and name of the file.
        origin: Origin of the configuration.
        configuration: The trained configuration.
        sampled: The sampled point, by setting.
        status: State at its end.
        psnr: Validation PSNR in dB at the end of a finished trial.
        objective: The score that the sampler learns from; None for a stopped trial.
        speed: Megapixels of output per second, if that is an objective too.
        curve: Step and score in dB of each evaluation.
        seconds: Wall-clock time.
        cpu_seconds: Processor time.
        finished_at: Time of its end.
        source: What a finished trial has kept of the source; None where the search sets no limit.
        certificate: Digests of what its training received; None in records of earlier versions.
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
    source: SourceKept | None = None
    certificate: Certificate | None = None

    @property
    def feasible(self) -> bool:
        """False if the trial has lost more of the source than its search allows."""
        return self.source is None or self.source.excess <= 0

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
        value: Content of the file.
        number: The trial's number, as in the file's name.

    Raises:
        DamagedRecordError: If it is no valid record of that trial, with a message such as ``lacks 'psnr'``.
    """
    record = TrialRecord.parse(value)
    if record.number != number:
        raise DamagedRecordError(f"is of trial {record.number}, not of {number}")
    return record


def read_record(place: Storage, number: int) -> TrialRecord | None:
    """The record of a trial; None if there is none or it is damaged."""
    try:
        return parse_record(place.read_json(), number)
    except DamagedRecordError:
        return None


def read_records(
    records: Storage, report: Callable[[str, str], None] = lambda file, problem: None
) -> list[TrialRecord]:
    """All valid trial records of a study, by number.

    Args:
        records: The study's folder.
        report: Called with the name of each damaged record, and a description of the damage.
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
    """Damaged trial records of a study by the name of the file, with descriptions of the damage."""
    damaged: dict[str, str] = {}
    read_records(records, damaged.__setitem__)
    return damaged


def best_record(records: Sequence[TrialRecord]) -> TrialRecord | None:
    """The finished and feasible trial with the best validation score, the first of equal ones; None if none is."""
    return best_of_any([record for record in records if record.feasible])


def best_of_any(records: Sequence[TrialRecord]) -> TrialRecord | None:
    """The finished trial with the best validation score, whatever it has lost of the source; None if none finished."""
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
