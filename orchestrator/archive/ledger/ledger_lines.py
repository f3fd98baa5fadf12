"""Parsing of ledger lines: events with the columns that planning needs; invalid lines are skipped and counted.

People and programs can write to the folder of a ledger, so that no content of a line may end a run.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import BinaryIO, NoReturn, cast

from orchestrator.archive.ledger.ledger_event import Event
from orchestrator.foundation.buckets.s3 import error_class
from orchestrator.foundation.storage import Storage
from trainables.errors import StorageError, reason_of

LAST_ORDER = 10**15
"""The greatest number of a run."""

_READS_AT_ONCE = 16
LONGEST = 8 * 2**20
"""Bytes of a line, above which it is odd: a scene of 60,000 bands needs half of that."""

_TEXT = ("event", "output", "key", "run")
_OF_A_RUN = ("event", "run")
_EVENTS = frozenset({"attempt", "death", "scene", "run"})
_SURROUNDINGS = frozenset({"transient", "error"})


@dataclass(frozen=True, slots=True)
class OddLines:
    """Lines of one ledger that are skipped.

    Attributes:
        file: Its place.
        line: Number of its first odd line, from 1; 0 for the whole file.
        reason: Reason for skipping them.
        count: Number of such lines.
    """

    file: str
    line: int
    reason: str
    count: int = 1

    def __str__(self) -> str:
        where = f"{self.file}, line {self.line}" if self.line else self.file
        more = f" (and {self.count - 1} more odd lines)" if self.count > 1 else ""
        return f"{where}: {self.reason}{more}"


@dataclass(frozen=True, slots=True)
class FileLines:
    """Content of one ledger.

    Attributes:
        file: Its place.
        events: Those of its events that were kept, in the order of its lines.
        lines: Number of its events.
        size: Bytes of its lines.
        odd: Lines that are skipped; None if there are none.
    """

    file: Storage
    events: list[Event]
    lines: int
    size: int
    odd: OddLines | None


def read_lines(files: Iterable[Storage], keep: Callable[[Iterable[Event]], list[Event]] = list) -> Iterator[FileLines]:
    """Reads ledgers, several at once, in their order.

    The last line of a file is not odd if it is cut short, as a kill or a full disk leaves it: it is passed over.

    Args:
        files: Places of the ledgers.
        keep: Takes the events of one file as they are read, and gives what is to stay in memory; all by default.

    Raises:
        StorageError: If a bucket does not answer.
    """
    with ThreadPoolExecutor(_READS_AT_ONCE) as pool:
        yield from pool.map(lambda file: _FileReader(file).read(keep), files)


class _FileReader:
    """Reads one ledger line by line."""

    def __init__(self, file: Storage) -> None:
        self._file = file
        self._lines = self._size = self._count = 0
        self._first: tuple[int, str] | None = None

    def read(self, keep: Callable[[Iterable[Event]], list[Event]]) -> FileLines:
        kept = keep(self._events())
        odd = None if self._first is None else OddLines(self._file.uri, *self._first, self._count)
        return FileLines(self._file, kept, self._lines, self._size, odd)

    def _pass_over(self, number: int, reason: str) -> None:
        self._count += 1
        self._first = self._first or (number, reason)

    def _events(self) -> Iterator[Event]:
        file = self._file
        try:
            with file.open() as stream:
                for number, line, complete in split_lines(stream):
                    event = self._event(number, line, complete)
                    if event is not None:
                        self._lines, self._size = self._lines + 1, self._size + len(line) + 1
                        yield event
        except Exception as error:
            kind, reason = error_class(error)
            reason = reason.removeprefix(f"'{file.uri}' cannot be read: ")
            if file.remote and kind in _SURROUNDINGS:
                raise StorageError(f"The ledger '{file.uri}' cannot be read ({reason}); try again.") from None
            if not (file.remote and kind == "unreadable"):  # merged since it was listed
                self._pass_over(0, f"it cannot be read ({reason if file.remote else reason_of(error)})")

    def _event(self, number: int, line: bytes, complete: bool) -> Event | None:
        try:
            return parse_line(line)
        except _CutShortError as error:
            if complete:
                self._pass_over(number, str(error))
        except (RecursionError, MemoryError):
            self._pass_over(number, "it is nested too deeply")
        except ValueError as error:
            self._pass_over(number, str(error))
        return None


class _CutShortError(ValueError):
    """A line is no JSON, which it may be because its end is missing."""


def split_lines(stream: BinaryIO) -> Iterator[tuple[int, bytes, bool]]:
    """Number and bytes of each line, and whether it ends; of a line that is too long, only the start."""
    number, rest = 0, b""
    while data := stream.read(2**20):
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            number += 1
            if line.strip():
                yield number, line, True
        if len(rest) > LONGEST:
            rest = rest[: LONGEST + 1]
    if rest.strip():
        yield number + 1, rest, len(rest) > LONGEST


def parse_line(line: bytes) -> Event:
    """The event of one line.

    Raises:
        ValueError: If it is none; the message says why.
        RecursionError: If it is nested too deeply.
    """
    if len(line) > LONGEST:
        raise ValueError(f"it is longer than {LONGEST / 2**20:.0f} MB")
    try:
        event = json.loads(line.decode())
    except UnicodeDecodeError:
        raise _CutShortError("it is not UTF-8") from None
    except json.JSONDecodeError:
        raise _CutShortError("it is no JSON") from None
    except ValueError:
        raise ValueError("it holds a number of too many digits") from None
    if not isinstance(event, dict):
        raise ValueError("it is no JSON object")
    for column in _OF_A_RUN if event.get("event") == "run" else _TEXT:
        if not isinstance(event.get(column), str):
            _refuse(event, column, "text")
    if event["event"] not in _EVENTS:
        raise ValueError("its 'event' is none of attempt, death, scene and run")
    _check_number(event, "number", 1)
    event.setdefault("order", 0)
    _check_number(event, "order", 0)
    if event["event"] == "scene":
        _check_outcome(event)
    return cast(Event, event)


def _check_outcome(event: dict[str, object]) -> None:
    status = event.get("status")
    if status == "ok":
        _check_number(event, "output_bytes", 0)
    elif status == "failed":
        for column in ("error", "message"):
            if not isinstance(event.get(column), str):
                _refuse(event, column, "text")
    elif status != "skipped":
        raise ValueError("its 'status' is none of ok, skipped and failed")


def _check_number(event: dict[str, object], column: str, least: int) -> None:
    value = event.get(column)
    if type(value) is not int or not least <= value <= LAST_ORDER:  # a bool is an int
        _refuse(event, column, f"a whole number from {least}")


def _refuse(event: dict[str, object], column: str, expected: str) -> NoReturn:
    found = type(event[column]).__name__ if column in event else "none"
    raise ValueError(f"its '{column}' must be {expected}, found {found}")
