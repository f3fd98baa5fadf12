"""Typed contents of JSON files: read whole and valid, or refused with what is wrong; written with the keys they have.

A field with a default may be absent from the file, and is left out of it while it has that default: so files of earlier
versions are read, and records written again byte for byte.
"""

from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainValidator, ValidationError

from orchestrator.foundation.storage import Storage
from trainables.errors import UsageError


class DamagedRecordError(Exception):
    """A file is no record of its kind; the message says why and follows the file's name, as in ``lacks 'psnr'``."""


def _time(text: str) -> str:
    datetime.fromisoformat(text)
    return text


def _any_text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("no text")
    return value


Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
"""A finite number; neither text nor a truth value."""

Count = Annotated[int, Field(strict=True, ge=0)]
"""A whole number from 0."""

Curve = list[tuple[Annotated[int, Field(strict=True)], Number]]
"""A learning curve: step and score of each evaluation."""

Time = Annotated[str, AfterValidator(_time)]
"""A time in ISO 8601."""

FileName = Annotated[str, PlainValidator(_any_text)]
"""A file's name, whose bytes need not be UTF-8: it may hold halves of surrogate pairs, which pydantic refuses."""


class Record(BaseModel):
    """Base of all records: frozen; keys that it does not know are passed over."""

    model_config = ConfigDict(frozen=True)

    @classmethod
    def parse(cls, value: object) -> Self:
        """The record of parsed JSON.

        Raises:
            DamagedRecordError: If it is no such record.
        """
        try:
            return cls.model_validate(value)
        except ValidationError as error:
            raise DamagedRecordError(_sentence(error)) from None
        except UsageError as error:
            raise DamagedRecordError(f"cannot be used: {error}".rstrip(".")) from None

    @classmethod
    def read(cls, place: Storage) -> Self | None:
        """The record in a file; None if there is none, or it is damaged."""
        try:
            return cls.parse(place.read_json())
        except DamagedRecordError:
            return None

    @classmethod
    def problem(cls, value: object) -> str:
        """Fault of parsed JSON as a record; empty if there is none."""
        try:
            cls.parse(value)
        except DamagedRecordError as error:
            return str(error)
        return ""

    def plain(self) -> dict[str, object]:
        """The record as its file has it: plain values, without what has its default."""
        return self.model_dump(exclude_defaults=True)

    def write(self, place: Storage) -> None:
        """Writes the file."""
        place.write_json(self.plain())


def _sentence(error: ValidationError) -> str:
    first: Any = error.errors(include_url=False)[0]
    path = ".".join(str(part) for part in first["loc"] if not str(part).startswith("function-"))
    if first["type"] == "missing":
        return f"lacks '{path}'"
    if not path:
        return "is no object" if first["type"].endswith("_type") else str(first["msg"])
    return f"has {path} {first['input']!r:.60}"
