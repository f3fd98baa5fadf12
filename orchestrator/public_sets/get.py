"""Fetches a data set: what would be fetched, then the files, unpacked and recorded."""

import fnmatch
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypedDict, cast

from orchestrator.foundation.task_progress import CountCallback
from orchestrator.public_sets.catalogue import PublicSet, RemoteFile
from orchestrator.public_sets.download import already_here, check_room, download
from orchestrator.public_sets.remote import RemoteFacts, ask
from orchestrator.public_sets.unpack import unpack
from trainables.errors import RunError, UsageError

RECORD = "rayscale-download.json"
"""Record of the files that were fetched into a folder."""


class FetchedFile(TypedDict):
    """A file that was fetched: its address, its size, its digest and the ground on which it counts as complete."""

    path: str
    url: str
    size: int
    sha256: str
    verified: str
    unpacked_files: int
    fetched: str


@dataclass(frozen=True, slots=True)
class PlannedFile:
    """A file with what its server says of it, and whether it has been fetched already."""

    file: RemoteFile
    facts: RemoteFacts
    done: bool


@dataclass(frozen=True, slots=True)
class DownloadPlan:
    """Files of a data set that would be fetched into a folder."""

    public_set: PublicSet
    folder: Path
    files: tuple[PlannedFile, ...]

    @property
    def missing(self) -> list[PlannedFile]:
        """Files that are still to be fetched."""
        return [planned for planned in self.files if not planned.done]

    @property
    def size(self) -> int:
        """Bytes still to be fetched, as far as servers state them."""
        return sum(planned.facts.size or 0 for planned in self.missing)


def plan_download(public_set: PublicSet, out: str, only: Sequence[str] = ()) -> DownloadPlan:
    """Asks the home of a data set what there is to fetch.

    Args:
        public_set: The data set.
        out: Folder for it.
        only: Patterns of the files to fetch; all by default.

    Raises:
        UsageError: If it can be got by hand only, no file matches, or the disk has too little room.
        RunError: If a server does not have a file or cannot be reached.
    """
    if public_set.manual:
        raise UsageError(
            f"'{public_set.name}' cannot be fetched by a command: {public_set.manual}. Its page is {public_set.home}."
        )
    if "://" in out:
        raise UsageError(f"OUT must be a folder, found '{out}'.")
    folder = Path(out)
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"OUT must be a folder, and '{out}' is a file.")
    chosen = [file for file in public_set.files if not only or _matches(file, only)]
    if not chosen:
        names = ", ".join(Path(file.path).name for file in public_set.files[:8])
        raise UsageError(f"No file of '{public_set.name}' matches {', '.join(only)}; it has {names} and others.")
    fetched = read_record(folder)
    files = []
    for file in chosen:
        done = _is_done(folder, file, fetched.get(file.path))
        facts = RemoteFacts(fetched[file.path]["size"], "") if done else ask(file.url)
        files.append(PlannedFile(file, facts, done))
    plan = DownloadPlan(public_set, folder, tuple(files))
    check_room(folder, plan.size)
    return plan


def fetch(
    plan: DownloadPlan,
    log: Callable[[str], None],
    report_progress: CountCallback = lambda _, __: None,
) -> list[FetchedFile]:
    """Fetches the missing files of a plan, each recorded when it is verified and unpacked.

    Args:
        plan: Result of :func:`plan_download`.
        log: Logs one line.
        report_progress: Called with the bytes of a file here and all.

    Returns:
        The record of all files of the folder.

    Raises:
        UsageError: If the disk has too little room, or another file is in the place of one.
        RunError: If a file cannot be fetched, verified or unpacked; those before it are recorded.
    """
    plan.folder.mkdir(parents=True, exist_ok=True)
    for planned in plan.missing:
        file, target = planned.file, plan.folder / planned.file.path
        found = already_here(file, target, planned.facts.size)
        if found is None:
            if target.exists():
                raise UsageError(f"'{target}' is there and is another file than its home has: move it away first.")
            found = download(file, target, report_progress)
        for note in found.notes:
            log(note)
        log(f"{file.path}: {found.size:,} bytes, SHA-256 {found.sha256}; verified by {found.verified}")
        count = 0
        if file.unpacked:
            count = unpack(target, target.parent)
            target.unlink()
            log(f"{file.path}: {count} files unpacked, archive removed")
        _add_to_record(
            plan.folder,
            {
                "path": file.path,
                "url": file.url,
                "size": found.size,
                "sha256": found.sha256,
                "verified": found.verified,
                "unpacked_files": count,
                "fetched": datetime.now(UTC).isoformat(timespec="seconds"),
            },
        )
    return list(read_record(plan.folder).values())


def read_record(folder: Path) -> dict[str, FetchedFile]:
    """Files that were fetched into a folder, by their path; none where there is no record.

    Raises:
        RunError: If the record is damaged.
    """
    try:
        content = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        return {entry["path"]: cast(FetchedFile, entry) for entry in content["files"]}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError):
        raise RunError(
            f"'{folder / RECORD}' is damaged: remove it, and files that are whole are verified again."
        ) from None


def _add_to_record(folder: Path, entry: FetchedFile) -> None:
    files = [*(read_record(folder) | {entry["path"]: entry}).values()]
    partial = folder / (RECORD + ".part")
    partial.write_text(json.dumps({"files": files}, indent=2), encoding="utf-8")
    partial.replace(folder / RECORD)


def _is_done(folder: Path, file: RemoteFile, entry: FetchedFile | None) -> bool:
    """Returns True if a file was fetched from this address and, unless it was unpacked, still has its size."""
    if entry is None or entry["url"] != file.url:
        return False
    target = folder / file.path
    return file.unpacked or (target.is_file() and target.stat().st_size == entry["size"])


def _matches(file: RemoteFile, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for name in (file.path, Path(file.path).name) for pattern in patterns)
