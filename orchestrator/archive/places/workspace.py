"""Folders for a run's work in progress, and the removal of those of killed runs.

A workspace is a folder ``rayscale-RUN``, which only its owner can enter and which holds a marker that names the run.
Every process of the run holds a shared lock on the marker, which the kernel releases when the process ends: a marker
without a lock belongs to a dead run. Only folders of that name with that marker, of the same user and no links, are
removed.
"""

import fcntl
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from trainables.errors import StorageError

WORKSPACES = "_parts"
"""Folder of all workspaces below the outputs."""

MARKER = "rayscale-workspace.txt"
_PREFIX = "rayscale-"
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FILE = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_EARLIER = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{6}")
"""Workspaces of versions that wrote no marker."""

_held: dict[Path, int] = {}
"""Open markers of this process, which hold its locks."""


@cache
def enter_workspace(folder: Path, run: str) -> Path:
    """The run's workspace below ``folder``, held by this process until it ends; dead runs' workspaces are removed.

    Raises:
        StorageError: If something else is at its place: a link, another user's folder or a folder that is not ours.
        OSError: If it cannot be made.
    """
    if folder.name == WORKSPACES and folder.is_symlink():
        raise StorageError(
            f"'{folder}' is a link, which work in progress must not follow; remove it, or use --scratch."
        )
    folder.mkdir(parents=True, exist_ok=True)
    workspace = folder / f"{_PREFIX}{run}"
    marker = None
    while marker is None:  # a sweep may take it between two steps, while it is still empty of locks
        with suppress(FileExistsError):
            workspace.mkdir(0o700)
        with _opened(workspace) as handle:
            marker = _hold(handle, workspace, run)
    _held[workspace] = marker
    sweep_workspaces(folder)
    return workspace


def leave_workspace(folder: Path, run: str) -> None:
    """Removes a run's workspace when all its work has ended; below the outputs, the empty folder of workspaces too."""
    _sweep_folder(folder, f"{_PREFIX}{run}", locked=False)
    held = _held.pop(folder / f"{_PREFIX}{run}", None)
    if held is not None:
        os.close(held)
    if folder.name == WORKSPACES and not folder.is_symlink():
        with suppress(OSError):
            folder.rmdir()


def sweep_workspaces(folder: Path) -> int:
    """Removes the workspaces of runs that no process holds any more; returns how many."""
    names: list[str] = []
    with suppress(OSError):
        names = [path.name for path in folder.iterdir() if path.name.startswith(_PREFIX)]
    return sum(_sweep_folder(folder, name, locked=True) for name in names)


def earlier_workspaces(folder: Path) -> list[str]:
    """Names of workspaces of an earlier version, which carry no marker and are the user's to remove."""
    if not folder.is_dir() or folder.is_symlink():
        return []
    return sorted(path.name for path in folder.iterdir() if _EARLIER.fullmatch(path.name) and path.is_dir())


@contextmanager
def _opened(workspace: Path) -> Iterator[int]:
    try:
        handle = os.open(workspace, _FOLDER | os.O_NOFOLLOW)
    except OSError as error:
        raise StorageError(
            f"The workspace '{workspace}' cannot be entered ({error.strerror}); remove what is there, or use --scratch."
        ) from None
    try:
        yield handle
    finally:
        os.close(handle)


def _hold(handle: int, workspace: Path, run: str) -> int | None:
    """The run's marker, locked; None where a sweep has just taken it."""
    if not _is_ours(handle, workspace.parent):
        raise StorageError(f"The workspace '{workspace}' belongs to another user; remove it, or use --scratch.")
    with suppress(OSError):  # a file system without modes is as private as it can be
        os.fchmod(handle, 0o700)
    names = os.listdir(handle)
    if names and MARKER not in names:
        raise StorageError(f"'{workspace}' holds files that are not RayScale's; remove it, or use --scratch.")
    try:
        marker = os.open(MARKER, _FILE | os.O_CREAT, 0o600, dir_fd=handle)
    except OSError as error:
        raise StorageError(f"The workspace '{workspace}' cannot be used ({error.strerror}); remove it.") from None
    with suppress(OSError):  # a file system without locks: then nothing is ever swept on it either
        fcntl.flock(marker, fcntl.LOCK_SH)
    text = _text(run)
    if text.startswith(os.pread(marker, len(text) + 1, 0)):
        os.pwrite(marker, text, 0)  # whichever process of the run comes first
    if not _is_marker(marker, run):
        swept = os.fstat(marker).st_nlink == 0
        os.close(marker)
        if swept:
            return None
        raise StorageError(f"'{workspace}' holds files that are not this run's; remove it, or use --scratch.")
    return marker


def _sweep_folder(folder: Path, name: str, locked: bool) -> bool:
    """Removes one workspace; with ``locked`` only if no process holds it."""
    run = name.removeprefix(_PREFIX)
    with (
        suppress(OSError),
        _closing(os.open(folder, _FOLDER)) as place,
        _closing(os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=place)) as handle,
        _closing(os.open(MARKER, _FILE, dir_fd=handle)) as marker,
    ):
        if locked:
            fcntl.flock(marker, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _is_marker(marker, run) and _is_ours(handle, folder):
            _remove(place, name, handle)
            return True
    return False


def _remove(place: int, name: str, handle: int) -> None:
    """Removes a workspace through its open folder, so that nothing else can be put in its place meanwhile."""
    for entry in os.listdir(handle):
        if entry == MARKER:
            continue
        if stat.S_ISDIR(os.stat(entry, dir_fd=handle, follow_symlinks=False).st_mode):
            shutil.rmtree(entry, dir_fd=handle, ignore_errors=True)
        else:
            os.unlink(entry, dir_fd=handle)
    os.unlink(MARKER, dir_fd=handle)  # last: what a kill leaves of it is swept the next time
    if os.path.samestat(os.stat(name, dir_fd=place, follow_symlinks=False), os.fstat(handle)):
        os.rmdir(name, dir_fd=place)


@contextmanager
def _closing(handle: int) -> Iterator[int]:
    try:
        yield handle
    finally:
        os.close(handle)


def _text(run: str) -> bytes:
    return f"Workspace of the RayScale run {run}. It is removed once no process of the run is left.\n".encode()


def _is_marker(marker: int, run: str) -> bool:
    facts, text = os.fstat(marker), _text(run)
    return stat.S_ISREG(facts.st_mode) and facts.st_nlink == 1 and os.pread(marker, len(text) + 1, 0) == text


def _is_ours(handle: int, folder: Path) -> bool:
    """Returns True if a folder has the owner of new files in ``folder`` (not us where root is mapped to nobody)."""
    owner = os.fstat(handle).st_uid
    if owner == os.geteuid():
        return True
    with suppress(OSError), tempfile.TemporaryDirectory(prefix=".rayscale-", dir=folder) as probe:
        return Path(probe).lstat().st_uid == owner
    return False
