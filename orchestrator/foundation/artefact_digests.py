"""Digests of a finished stage's files, and checks that the files still match them.

A stage's record lists each file with its size and SHA-256. Sizes are always compared. Digests are compared of the
smallest files first, up to :data:`CHECKED_BYTES` a stage, so that a run does not read all of its large shards; the rest
is compared when it is read, and by ``rayscale verify``.
"""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Annotated

from pyarrow import fs
from pydantic import AfterValidator

from orchestrator.foundation.record import Count, Record
from orchestrator.foundation.storage import Storage
from trainables.errors import reason_of

CHECKED_BYTES = 256 * 2**20
"""Bytes of a stage's files whose digests are compared by default, half a second's work from a local disk."""

Damage = dict[str, str]
"""Damage of each file, by its path below the experiment's folder."""


def _inside(path: str) -> str:
    if path.startswith("/") or {"", ".."} & set(path.split("/")):
        raise ValueError("no path below the experiment's folder")
    return path


class FileDigest(Record):
    """Size and digest of a file.

    Attributes:
        path: Below the experiment's folder.
        bytes: Its size.
        sha256: In hexadecimal digits.
    """

    path: Annotated[str, AfterValidator(_inside)]
    bytes: Count
    sha256: str


def listed(home: Storage, places: Iterable[Storage], known: Mapping[str, FileDigest]) -> list[FileDigest]:
    """The files that are at these places.

    Args:
        home: The experiment's folder.
        places: Files, and folders with all that is in them, below it; one that does not exist has no files.
        known: Files that have just been compared, by path below ``home``.
    """
    files = []
    for place in places:
        base = place.uri.removeprefix(home.uri).strip("/")
        kind = place.filesystem.get_file_info(place.path).type
        paths = [base] if kind == fs.FileType.File else [f"{base}/{facts.path}" for facts in place.files()]
        for path in paths:
            files.append(known.get(path) or _digest(path, home.child(path).read_bytes()))
    return files


def damage_of(home: Storage, files: list[FileDigest], most_bytes: float = CHECKED_BYTES, unseen: str = "") -> Damage:
    """Compares files with what :func:`listed` said of them.

    Args:
        home: The experiment's folder.
        files: The list.
        most_bytes: Most bytes that may be read to compare digests.
        unseen: A folder below ``home`` that is not read; empty for none.
    """
    files = [file for file in files if not (unseen and file.path.startswith(f"{unseen}/"))]
    if not files:
        return {}
    damage: Damage = {}
    found = home.filesystem.get_file_info([home.child(file.path).path for file in files])
    for file, info in zip(files, found, strict=True):
        if info.type != fs.FileType.File:
            damage[file.path] = "is missing"
        elif info.size != file.bytes:
            damage[file.path] = f"has {info.size} bytes, and was written with {file.bytes}"
    read = 0
    for file in sorted(files, key=lambda file: file.bytes):
        read += file.bytes
        if read > most_bytes:
            break
        if file.path not in damage and (reason := _compared(home.child(file.path), file.sha256)):
            damage[file.path] = reason
    return damage


def sentence(damage: Damage, most: int = 3) -> str:
    """The damage in one line, such as ``report/best.yaml is missing; and 2 more``."""
    parts = [f"{path} {reason}".strip() for path, reason in list(damage.items())[:most]]
    return "; ".join([*parts, f"and {len(damage) - most} more"] if len(damage) > most else parts)


def _compared(place: Storage, sha256: str) -> str:
    try:
        data = place.read_bytes()
    except Exception as error:
        return f"cannot be read ({reason_of(error)})"
    return "" if hashlib.sha256(data).hexdigest() == sha256 else "has changed since it was written"


def _digest(path: str, data: bytes) -> FileDigest:
    return FileDigest(path=path, bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
