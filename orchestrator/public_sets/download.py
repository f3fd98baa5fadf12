"""Download of one file: continued after an interruption, whole or not there at all, and verified.

Bytes go to ``NAME.part``; ``NAME.part.json`` beside it says which version of the file they belong to, so that a file
that has changed at its home in between is fetched from its beginning.
"""

import errno
import hashlib
import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from orchestrator.foundation.task_progress import CountCallback
from orchestrator.public_sets.catalogue import RemoteFile
from orchestrator.public_sets.remote import BROKEN, RemoteFacts, Stream, open_from
from trainables.errors import RunError, UsageError, reason_of

_CHUNK = 2**20
_ALGORITHMS = {"sha256": "SHA-256", "md5": "MD5"}

_ATTEMPTS = 5
"""Attempts without a further byte after which a download gives up."""

PAUSE = 1.0
"""Seconds before the second attempt; twice as many before each further one."""


@dataclass(frozen=True, slots=True)
class Downloaded:
    """A verified file.

    Attributes:
        size: Its bytes.
        sha256: Its digest.
        verified: Ground on which it counts as complete, for people.
        notes: What happened on the way, such as a fresh start.
    """

    size: int
    sha256: str
    verified: str
    notes: tuple[str, ...]


def download(
    file: RemoteFile,
    target: Path,
    report_progress: CountCallback = lambda _, __: None,
    sleep: Callable[[float], None] = time.sleep,
) -> Downloaded:
    """Fetches a file, going on from an earlier attempt's bytes.

    Args:
        file: Address and digest.
        target: The file to write; it appears when it is whole and verified.
        report_progress: Called with the bytes here and the bytes of all.
        sleep: Waits for some seconds before a further attempt.

    Raises:
        UsageError: If the disk has too little room.
        RunError: If the server gives up, the disk is full, or what came is not the published file.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = _Part(target)
    notes: list[str] = []
    failures = 0
    while True:
        before = part.size
        try:
            if _fetch(file, part, notes, report_progress):
                break
            broken = "the connection ended early"
        except BROKEN as error:
            if isinstance(error, OSError) and error.errno == errno.ENOSPC:
                raise RunError(
                    f"The disk of '{target.parent}' is full: free some room, and the same command goes on."
                ) from None
            broken = reason_of(error)
        failures = 0 if part.size > before else failures + 1
        if failures == _ATTEMPTS:
            raise RunError(
                f"The download of '{file.path}' broke off {_ATTEMPTS} times, {part.size:,} bytes are here ({broken}): "
                "the same command goes on from there."
            )
        sleep(PAUSE * 2**failures)
    return _verified(file, part, target, notes)


class _Part:
    """Bytes of a file that is not complete, and the version that they belong to."""

    def __init__(self, target: Path) -> None:
        self.file = target.with_name(target.name + ".part")
        self._state = target.with_name(target.name + ".part.json")

    @property
    def size(self) -> int:
        return self.file.stat().st_size if self.file.is_file() else 0

    def known(self, url: str) -> RemoteFacts | None:
        """Version of the bytes here; None where there are none, or of another address."""
        try:
            state = json.loads(self._state.read_text(encoding="utf-8"))
            if self.size and state["url"] == url:
                return RemoteFacts(state["size"], state["validator"])
        except (OSError, ValueError, KeyError, TypeError):
            pass
        return None

    def start(self, url: str, facts: RemoteFacts) -> None:
        """Forgets all bytes and notes the version of those to come."""
        self.file.unlink(missing_ok=True)
        state = {"url": url, "size": facts.size, "validator": facts.validator}
        self._state.write_text(json.dumps(state), encoding="utf-8")

    def discard(self) -> None:
        """Removes both files."""
        self.file.unlink(missing_ok=True)
        self._state.unlink(missing_ok=True)


def _fetch(file: RemoteFile, part: _Part, notes: list[str], report_progress: CountCallback) -> bool:
    """Fetches what is missing; returns False if the server stops before the end."""
    known, stream = part.known(file.url), None
    # Without a version, bytes of two versions could be joined; a digest would show it in the end.
    resumable = known is not None and bool(known.validator or file.digest)
    if resumable and known is not None:
        if known.size == part.size:
            return True
        stream = open_from(file.url, part.size, known.validator)
        if stream.start and (stream.facts.size, stream.facts.validator) != (known.size, known.validator):
            stream.response.close()
            stream = None
    if stream is None:
        stream = open_from(file.url, 0, "")
    with stream.response:
        if not stream.start:
            if part.size:
                notes.append(_fresh_start(file, known, stream.facts))
            part.start(file.url, stream.facts)
        return _write(stream, part, report_progress)


def _fresh_start(file: RemoteFile, known: RemoteFacts | None, facts: RemoteFacts) -> str:
    if known is not None and known != facts:
        why = "it has changed at its home"
    elif known is not None and known.validator:
        why = "its server cannot continue a download"
    else:
        why = "its server does not say which version it sends"
    return f"'{file.path}' was fetched from its beginning: {why}"


def _write(stream: Stream, part: _Part, report_progress: CountCallback) -> bool:
    size, done = stream.facts.size, stream.start
    if size is not None:
        check_room(part.file.parent, size - done)
    with part.file.open("ab" if done else "wb") as target:
        while chunk := stream.response.read(_CHUNK):
            target.write(chunk)
            done += len(chunk)
            report_progress(done, size or done)
    return size is None or done >= size


def check_room(folder: Path, needed: int) -> None:
    """Refuses to write more than the disk has room for.

    Raises:
        UsageError: If it has less.
    """
    existing = next(parent for parent in (folder, *folder.absolute().parents) if parent.is_dir())
    free = shutil.disk_usage(existing).free
    if needed > free:
        raise UsageError(
            f"'{folder}' has room for {free / 1e9:.1f} GB and {needed / 1e9:.1f} GB are still to be written: free "
            "some, or choose another folder."
        )


def _verified(file: RemoteFile, part: _Part, target: Path, notes: list[str]) -> Downloaded:
    known = part.known(file.url)
    size = known.size if known else None
    if size is not None and part.size != size:
        here = part.size
        part.discard()
        raise RunError(
            f"'{file.path}' has {here:,} bytes, and {size:,} were announced; it was removed, fetch it again."
        )
    found = _compared(file, part.file, size)
    if found is None:
        algorithm, _, expected = file.digest.partition(":")
        digest = digest_of(part.file, algorithm)
        part.discard()
        raise RunError(
            f"'{file.path}' is not the file that its home published: its {algorithm} is {digest}, expected {expected}; "
            "it was removed."
        )
    part.file.replace(target)
    part.discard()
    return replace(found, notes=tuple(notes))


def already_here(file: RemoteFile, target: Path, size: int | None) -> Downloaded | None:
    """A file that an earlier attempt has fetched whole, such as an archive whose unpacking was interrupted.

    Args:
        file: Address and digest.
        target: The file.
        size: Its bytes at its home.

    Returns:
        The file as :func:`download` returns it; None if there is none, or another one.
    """
    if not target.is_file() or target.stat().st_size != size:
        return None
    return _compared(file, target, size)


def _compared(file: RemoteFile, here: Path, size: int | None) -> Downloaded | None:
    """Facts of a file that is compared with the published digest; None if it differs."""
    algorithm, _, expected = file.digest.partition(":")
    sha256 = digest_of(here, "sha256")
    if not expected:
        verified = "nothing: no size, no checksum" if size is None else "size alone: its home publishes no checksum"
    elif expected == (sha256 if algorithm == "sha256" else digest_of(here, algorithm)):
        verified = f"{_ALGORITHMS[algorithm]} as published"
    else:
        return None
    return Downloaded(here.stat().st_size, sha256, verified, ())


def digest_of(file: Path, algorithm: str) -> str:
    """Digest of a file in hexadecimal digits."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, algorithm).hexdigest()
