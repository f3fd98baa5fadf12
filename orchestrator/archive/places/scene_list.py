"""Lists of scenes, whose rows are checked one by one: a bad row does not stop the others.

A list is a ``.txt`` with one scene a line, or a ``.csv`` with a column ``scene`` and, if wanted, columns ``output``
with the key below OUTPUT, and ``normalisation`` and ``band_map`` as the options of the command, for that scene alone.
"""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass

from orchestrator.foundation.file_listing import OWN_FOLDERS, is_utf8
from orchestrator.foundation.file_types import TEXT_LIST, suffix_of
from orchestrator.foundation.storage import Storage
from trainables.errors import UsageError, printable, reason_of

SCENE_COLUMN, OUTPUT_COLUMN, NORMALISATION_COLUMN, BAND_MAP_COLUMN = "scene", "output", "normalisation", "band_map"
_LARGEST_LIST = 64 * 2**20
_LONGEST_PART = 240
"""Bytes of a file's or folder's name: most file systems take 255, and the name of a STAC item is longer."""


@dataclass(frozen=True, slots=True)
class Row:
    """One scene of a list.

    Attributes:
        name: As the list names it.
        key: Key of its output, where the list states one.
        problem: Why the row cannot be used; None for all but a few.
        normalisation: Its own normalisation as the list states it; "" for that of the run.
        band_map: Its own band map, likewise.
    """

    name: str
    key: str = ""
    problem: str | None = None
    normalisation: str = ""
    band_map: str = ""

    @property
    def text(self) -> str:
        """All that the list says of the scene."""
        return self.name + self.key + self.normalisation + self.band_map


def read_list(place: Storage, size: int) -> list[Row]:
    """Reads a list; equal rows count once.

    Args:
        place: The list.
        size: Its bytes.

    Raises:
        UsageError: If it is no list at all: not text, too large, or without the column.
        OSError: If it cannot be read.
    """
    if size > _LARGEST_LIST:
        raise UsageError(
            f"The list '{place.uri}' has {size / 2**20:.0f} MB, more than {_LARGEST_LIST >> 20}; split it, and upscale "
            "the parts one after the other."
        )
    text = place.read_bytes().decode("utf-8-sig", "surrogateescape")
    if "\0" in text:
        raise UsageError(f"The list '{place.uri}' is not UTF-8 text; save it as that.")
    rows = _lines(text) if suffix_of(place.uri) == TEXT_LIST else _csv_rows(place, text)
    return list(dict.fromkeys(_checked(row) for row in rows))


def key_problem(key: str) -> str | None:
    """Reason to refuse an output's key, or None: outputs stay in OUTPUT, and out of RayScale's own folders."""
    advice = f"give it another in a column '{OUTPUT_COLUMN}'"
    shown, parts = printable(key), key.split("/")
    if key.startswith("/") or ".." in parts:
        return f"its output '{shown}' would lie outside OUTPUT; {advice}"
    if own := OWN_FOLDERS & {part.lower() for part in parts}:
        return f"its output '{shown}' would lie in '{min(own)}', a folder of RayScale's own; {advice}"
    if any(part.startswith(".") for part in parts):
        return f"its output '{shown}' would be hidden; {advice}"
    if not all(parts):
        return f"its output '{shown}' has an empty part; {advice}"
    if shown != key:
        return f"its output '{shown}' has characters that cannot be printed; {advice}"
    if any(len(part.encode()) > _LONGEST_PART for part in parts):
        return f"its output '{shown}' has a part of over {_LONGEST_PART} bytes; {advice}"
    return None


def _checked(row: Row) -> Row:
    problem = row.problem
    if problem is None and not is_utf8(row.text):
        problem = "the row is not UTF-8 text; save the list as that"
    elif problem is None and not row.text.isprintable():
        problem = "the row has characters that cannot be printed"
    own = printable(row.normalisation), printable(row.band_map)
    return Row(printable(row.name), printable(row.key), problem, *own)


def _lines(text: str) -> Iterator[Row]:
    for line in text.split("\n"):  # and not at U+2028 and its like, which may be part of a name
        if (name := line.strip()) and not name.startswith("#"):
            yield Row(name)


def _csv_rows(place: Storage, text: str) -> Iterator[Row]:
    reader = csv.reader(io.StringIO(text, newline=""))
    columns = _columns(place, reader)
    scene = columns.index(SCENE_COLUMN)
    while True:
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:  # the reader goes on with the next line
            yield Row(f"line {reader.line_num}", problem=f"the row is no CSV: {error}")
            continue
        if not any(field.strip() for field in fields):
            continue
        where = f"line {reader.line_num}"
        name = fields[scene].strip() if len(fields) > scene else ""
        if len(fields) > len(columns):
            problem = (
                f"{where} has {len(fields)} fields for {len(columns)} columns; put quotes around what holds a comma"
            )
            yield Row(name or where, problem=problem)
        elif not name:
            yield Row(where, problem="the row names no scene")
        else:
            values = {column: field.strip() for column, field in zip(columns, fields, strict=False)}
            yield Row(
                name,
                values.get(OUTPUT_COLUMN, ""),
                normalisation=values.get(NORMALISATION_COLUMN, ""),
                band_map=values.get(BAND_MAP_COLUMN, ""),
            )


def _columns(place: Storage, reader: Iterator[list[str]]) -> list[str]:
    try:
        columns = [column.strip() for column in next(reader, [])]
    except csv.Error as error:
        raise UsageError(f"The list '{place.uri}' is no CSV: {reason_of(error)}.") from None
    optional = (OUTPUT_COLUMN, NORMALISATION_COLUMN, BAND_MAP_COLUMN)
    if columns.count(SCENE_COLUMN) != 1 or any(columns.count(column) > 1 for column in optional):
        found = printable(", ".join(columns))[:200] or "none"
        raise UsageError(f"The list '{place.uri}' needs a column '{SCENE_COLUMN}', found {found}.")
    return columns
