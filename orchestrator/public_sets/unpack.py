"""Unpacks archives of data sets: regular files below the folder alone, of bounded size, each whole or not there.

An archive comes from a foreign server. Names that lead out of the folder, links and special files are refused before
anything is written, and so is an archive that would grow beyond any image's compression.
"""

import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from orchestrator.public_sets.download import check_room
from trainables.errors import RunError, printable, reason_of

_MOST_FILES = 1_000_000
_MOST_GROWTH = 20
"""Largest size of the content over that of the archive; images grow by 2 or 3."""

_ALWAYS_ALLOWED = 10**8
"""Bytes of content that any archive may have."""

_UNREADABLE = (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)


@dataclass(frozen=True, slots=True)
class _Member:
    name: str
    size: int
    open: Callable[[], IO[bytes] | None]


def unpack(archive: Path, folder: Path) -> int:
    """Unpacks a ZIP or TAR archive; files that are there with the same size are kept, so that it can be repeated.

    Args:
        archive: The archive.
        folder: Folder to unpack into.

    Returns:
        Number of files.

    Raises:
        RunError: If it is damaged, or holds what must not be unpacked.
        UsageError: If the disk has too little room.
    """
    try:
        with _members(archive) as members:
            _check(archive, members)
            missing = [member for member in members if not _is_here(folder, member)]
            check_room(folder, sum(member.size for member in missing))
            for member in missing:
                _write(archive, folder, member)
            return len(members)
    except _UNREADABLE as error:
        raise RunError(f"'{archive}' is damaged, or no ZIP or TAR archive: {reason_of(error)}.") from None


@contextmanager
def _members(archive: Path) -> Iterator[list[_Member]]:
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as content:
            yield [_of_zip(archive, content, info) for info in content.infolist() if not info.is_dir()]
    else:
        with tarfile.open(archive) as content:
            yield [_of_tar(archive, content, info) for info in content if not info.isdir()]


def _of_zip(archive: Path, content: zipfile.ZipFile, info: zipfile.ZipInfo) -> _Member:
    mode = info.external_attr >> 16
    if mode and stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        raise _refused(archive, info.filename, "is a link or a special file")
    if info.flag_bits & 1:
        raise _refused(archive, info.filename, "is encrypted")
    return _Member(info.filename, info.file_size, lambda: content.open(info))


def _of_tar(archive: Path, content: tarfile.TarFile, info: tarfile.TarInfo) -> _Member:
    if not info.isreg():
        raise _refused(archive, info.name, "is a link or a special file")
    return _Member(info.name, info.size, lambda: content.extractfile(info))


def _check(archive: Path, members: list[_Member]) -> None:
    for member in members:
        parts = PurePosixPath(member.name).parts
        if not parts or member.name.startswith("/") or ".." in parts or "\\" in member.name or "\0" in member.name:
            raise _refused(archive, member.name, "leads out of the folder")
    total, most = sum(member.size for member in members), archive.stat().st_size * _MOST_GROWTH + _ALWAYS_ALLOWED
    if len(members) > _MOST_FILES or total > most:
        raise RunError(
            f"'{archive}' would unpack to {len(members):,} files of {total / 1e9:.1f} GB, which no archive of images "
            "does; nothing was unpacked."
        )


def _is_here(folder: Path, member: _Member) -> bool:
    target = folder / member.name
    return target.is_file() and not target.is_symlink() and target.stat().st_size == member.size


def _write(archive: Path, folder: Path, member: _Member) -> None:
    target = folder / member.name
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.parent.resolve().is_relative_to(folder.resolve()) or target.is_symlink():
        raise _refused(archive, member.name, "would be written through a link that is in the folder")
    if target.exists():
        raise _refused(archive, member.name, "is there already with another content; choose an empty folder")
    partial = target.with_name(target.name + ".part")
    source = member.open()
    if source is None:
        raise _refused(archive, member.name, "has no content")
    with source, partial.open("wb") as copy:
        shutil.copyfileobj(source, copy, 2**20)
    written = partial.stat().st_size
    if written != member.size:
        partial.unlink()
        raise RunError(
            f"'{archive}' is damaged: '{printable(member.name)}' has {written:,} bytes, not {member.size:,}."
        )
    partial.replace(target)


def _refused(archive: Path, name: str, why: str) -> RunError:
    return RunError(f"'{archive}' was not unpacked: '{printable(name)}' {why}.")
