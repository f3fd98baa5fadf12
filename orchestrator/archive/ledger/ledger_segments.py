"""Compaction of ledgers: rows that later ones make superfluous are dropped, and small files become few segments.

A segment is written whole before the files that it replaces are removed. A kill in between leaves events twice, which
readers take once, by order, run and number.
"""

import re
import secrets
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.archive.ledger.ledger_event import Event, encoded, mark, repeats
from orchestrator.archive.ledger.ledger_lines import FileLines, parse_line, split_lines
from orchestrator.foundation.storage import Storage
from orchestrator.foundation.sync import sync

SEGMENT_BYTES = 32 * 2**20
"""Bytes at which a segment is full; so much is in memory while it is written."""
SMALL_BYTES = SEGMENT_BYTES // 2
"""Bytes below which a file is small."""
MERGED_FROM = 16
"""Small files that are worth merging."""
_WORTH_LINES = 1000
"""Lines of a file of which more than half are superfluous, which is then worth merging alone."""

_OURS = re.compile(r"(\d{8}T\d{6}Z-[0-9a-f]{6}(/\d{8})?|merged-\d+-[0-9a-f]{8})\.jsonl")
"""Names that runs and merges give their files; others are never removed."""


def compacted(events: Iterable[Event]) -> list[Event]:
    """Events without those that tell nothing more: repetitions, and what an outcome of the same scene follows."""
    kept: dict[int, Event] = {}
    unended: dict[str, list[int]] = {}
    for place, event in enumerate(events):
        if repeats(event):
            continue
        if event["event"] == "scene":
            for earlier in unended.pop(event["output"], ()):
                if mark(kept[earlier]) < mark(event):
                    del kept[earlier]
        elif event["event"] != "run":
            unended.setdefault(event["output"], []).append(place)
        kept[place] = event
    return list(kept.values())


def merge(folder: Storage, files: list[FileLines], events: list[Event], order: int) -> None:
    """Merges small ledgers and those that are mostly superfluous; does nothing where there are few of them.

    No other run may work on the same outputs. A merge that fails leaves every file as it is.

    Args:
        folder: The folder of all ledgers.
        files: All ledgers, as they were read.
        events: The compacted events of all of them.
        order: Number of the run that merges.
    """
    chosen = _chosen(folder, files)
    if not chosen:
        return
    unended = {mark(event) for event in compacted(events) if event["event"] in ("attempt", "death")}
    with suppress(OSError):
        segments = _Segments(folder, order)
        for row in _rows(chosen, unended):
            segments.add(row)
        segments.close()
        for file in chosen:
            file.file.delete()


def _chosen(folder: Storage, files: list[FileLines]) -> list[FileLines]:
    ours = [file for file in files if file.odd is None and file.lines and _OURS.fullmatch(_name(folder, file))]
    wasteful = [file for file in ours if file.lines >= _WORTH_LINES and 2 * len(file.events) < file.lines]
    small = [file for file in ours if file.size < SMALL_BYTES]
    if len(small) >= MERGED_FROM:
        return small + [file for file in wasteful if file not in small]
    return wasteful


def _name(folder: Storage, file: FileLines) -> str:
    return file.file.uri.removeprefix(f"{folder.uri}/")


def _rows(files: list[FileLines], unended: set[tuple[int, str, int]]) -> Iterator[bytes]:
    """Lines that are kept, each once, and the counts that stand for repetitions."""
    seen: set[tuple[int, str, int]] = set()
    counts: dict[tuple[int, str], Event] = {}
    for file in files:
        for line in _lines(file.file):
            event = parse_line(line)
            place = mark(event)
            if place in seen or (event["event"] in ("attempt", "death") and place not in unended):
                continue
            seen.add(place)
            if repeats(event):
                _count(counts, event)
            else:
                yield line + b"\n"
    yield from (encoded([event]) for event in counts.values())


def _count(counts: dict[tuple[int, str], Event], event: Event) -> None:
    """Counts a repetition; the count takes the number of the last one, so that it stands where that stood."""
    place = (event["order"], event["run"])
    new: Event = {"event": "run", "run": event["run"], "number": 1, "order": event["order"]}
    count = counts.setdefault(place, new | {"skipped": 0, "failed_before": 0})
    count["number"] = max(count["number"], event["number"])
    if event["status"] == "skipped":
        count["skipped"] += 1
    else:
        count["failed_before"] += 1


def _lines(file: Storage) -> Iterator[bytes]:
    with file.open() as stream:
        for _, line, complete in split_lines(stream):
            if not complete:
                with suppress(ValueError):  # a kill may have cut it short
                    parse_line(line)
                    yield line
            else:
                yield line


@dataclass
class _Segments:
    """Segments in the making."""

    folder: Storage
    order: int
    _rows: list[bytes] = field(default_factory=list)
    _size: int = 0

    def add(self, row: bytes) -> None:
        self._rows.append(row)
        self._size += len(row)
        if self._size >= SEGMENT_BYTES:
            self.close()

    def close(self) -> None:
        if self._rows:
            name = f"merged-{self.order:06}-{secrets.token_hex(4)}.jsonl"
            self.folder.child(name).write_bytes(b"".join(self._rows))
            if not self.folder.remote:
                sync(Path(self.folder.path))
        self._rows, self._size = [], 0
