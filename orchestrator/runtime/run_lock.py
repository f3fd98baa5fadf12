"""Lock of a place for one run at a time: a second run is refused with the name of the first; a dead run blocks nobody.

In a folder the kernel holds the lock (``flock`` on a hidden file) and releases it when the process ends, however that
happens. In a bucket the lock is an object that is created by a conditional PUT and written again every 20 s. Another
run takes it over after three minutes without a write, or if the process that wrote it ran on this machine and has
ended.
"""

import fcntl
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

from orchestrator.foundation.buckets import s3
from orchestrator.foundation.storage import Storage
from orchestrator.runtime.process_identity import kernel, start_of
from trainables.errors import RunError, UsageError

LOCK = ".rayscale-lock"
"""Name of the hidden file or object in the locked place."""

BEAT_SECONDS = 20.0
_DEAD_AFTER_SECONDS = 180.0
_HELD: set[str] = set()
"""Places that this process has locked; locking one again does nothing."""


@dataclass(frozen=True, slots=True)
class Holder:
    """The process that holds a lock.

    Attributes:
        host: Name of its machine.
        process: Its number there.
        since: Time at which it took the lock, in UTC.
        kernel: Id of its machine's boot and PID namespace, within which the number is comparable.
        started: The process's start on its machine's clock, since numbers are reused.
        mark: Random id of this lock.
    """

    host: str
    process: int
    since: str
    kernel: str
    started: str
    mark: str

    @classmethod
    def here(cls) -> "Holder":
        """This process, as the holder from now on."""
        since = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        process = os.getpid()
        return cls(socket.gethostname(), process, since, kernel(), start_of(process), secrets.token_hex(8))

    @classmethod
    def read(cls, data: bytes) -> "Holder | None":
        """The holder that a lock names; None if it is damaged or still being written."""
        try:
            values = json.loads(data)
            return cls(**{name: type_(values[name]) for name, type_ in cls.__annotations__.items()})
        except (ValueError, TypeError, KeyError):
            return None

    @property
    def dead(self) -> bool:
        """True if it was a process of this machine and has ended."""
        return bool(self.kernel) and self.kernel == kernel() and start_of(self.process) != self.started

    def __str__(self) -> str:
        return f"process {self.process} on {self.host}, since {self.since}"

    def write(self) -> bytes:
        """The content of a lock."""
        return json.dumps(asdict(self)).encode()


class RunLock:
    """A lock that is held.

    Attributes:
        place: The locked place.
        holder: This process.
    """

    def __init__(self, place: Storage, holder: Holder) -> None:
        self.place, self.holder = place, holder
        self._taken_over = threading.Event()

    def check(self) -> None:
        """Checks that this run still holds the lock.

        Raises:
            RunError: If another run has taken it over, because this one was suspended or cut off for minutes.
        """
        if self._taken_over.is_set():
            raise RunError(
                f"Another run has taken over '{self.place.uri}', because this one gave no sign of life for "
                f"{_DEAD_AFTER_SECONDS:.0f} s. What had finished is kept."
            )

    def lose(self) -> None:
        """Notes that another run has taken the lock over."""
        self._taken_over.set()


@dataclass(frozen=True, slots=True)
class LockState:
    """A lock that lies in a place.

    Attributes:
        holder: The process that wrote it; None if the lock is damaged.
        alive: Whether that process still works there, as far as can be seen from here.
    """

    holder: Holder | None
    alive: bool


def lock_state(place: Storage) -> LockState | None:
    """The lock of a place; None if no run holds it and none has died there. The lock itself is not touched."""
    if place.remote:
        found = _stored(place)
        return None if found is None else LockState(found.holder, found.alive)
    try:
        handle = os.open(place.child(LOCK).path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        holder = Holder.read(os.pread(handle, 4096, 0))
        if holder is not None and holder.kernel == kernel() != "":
            return LockState(holder, not holder.dead)
        return LockState(holder, _is_locked(handle))
    finally:
        os.close(handle)


def _is_locked(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:  # held, or a file system without locks
        return True
    fcntl.flock(handle, fcntl.LOCK_UN)
    return False


@contextmanager
def locked(place: Storage, what: str) -> Iterator[RunLock]:
    """Holds the lock of a place until the block ends; does nothing if this process holds it already.

    Args:
        place: A folder, which is created if missing, or a prefix of a bucket.
        what: Name of the place for a user, such as ``experiment 'demo'``.

    Raises:
        UsageError: If another process that is alive holds it.
    """
    lock = RunLock(place, Holder.here())
    if place.uri in _HELD:
        yield lock
        return
    with _in_bucket(lock, what) if place.remote else _in_folder(lock, what):
        _HELD.add(place.uri)
        try:
            yield lock
        finally:
            _HELD.discard(place.uri)


@contextmanager
def _in_folder(lock: RunLock, what: str) -> Iterator[None]:
    path = Path(lock.place.child(LOCK).path)
    created = [folder for folder in (path.parent, *path.parent.parents) if not folder.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = _take_file(path, what)
    try:
        os.ftruncate(handle, 0)
        os.pwrite(handle, lock.holder.write(), 0)
        yield
    finally:
        # Removed while it is locked: a process that has opened it meanwhile sees that it is gone, and creates another.
        with suppress(OSError):
            path.unlink()
        os.close(handle)
        with suppress(OSError):  # folders that were created for the lock alone
            for folder in created:
                folder.rmdir()


def _take_file(path: Path, what: str) -> int:
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = Holder.read(_content(handle))
            os.close(handle)
            raise UsageError(_refusal(what, holder)) from None
        except OSError:  # a file system without locks must not end the run
            return handle
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(handle), os.stat(path)):  # noqa: PTH116
                return handle
        os.close(handle)  # its holder removed it between opening and locking


def _content(handle: int) -> bytes:
    """Reads the holder's record, which is written a moment after the lock is taken."""
    for _ in range(20):
        if data := os.pread(handle, 4096, 0):
            return data
        time.sleep(0.01)
    return b""


@contextmanager
def _in_bucket(lock: RunLock, what: str) -> Iterator[None]:
    lease = _Lease(lock)
    lease.take(what)
    ended = threading.Event()
    thread = threading.Thread(target=lease.beat_until, args=(ended,), daemon=True, name="rayscale-lock")
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(timeout=10)
        lease.give_back()


@dataclass(frozen=True, slots=True)
class _Stored:
    """A lock's object as it lies in a bucket: its holder, and the seconds since it was written, by the server's clock.

    ``version`` is its ETag.
    """

    holder: Holder | None
    age: float
    version: str

    @property
    def alive(self) -> bool:
        known_dead = self.holder is not None and self.holder.dead
        return self.age < _DEAD_AFTER_SECONDS and not known_dead


def _stored(place: Storage) -> _Stored | None:
    """The lock's object of a place; None if there is none.

    Raises:
        ObjectError: If it cannot be read.
    """
    uri = place.child(LOCK).uri
    bucket, key = s3.bucket_and_key(uri)
    try:
        with s3.naming(uri, "read"):
            answer = s3.client().get_object(Bucket=bucket, Key=key)
            data = answer["Body"].read()
    except FileNotFoundError:
        return None
    date = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
    now = parsedate_to_datetime(date) if date else datetime.now(UTC)
    return _Stored(Holder.read(data), (now - answer["LastModified"]).total_seconds(), answer["ETag"])


class _Lease:
    """The lock of a place in a bucket, written again while its run is alive."""

    def __init__(self, lock: RunLock) -> None:
        self._lock, self._uri = lock, lock.place.child(LOCK).uri

    def take(self, what: str) -> None:
        found = _stored(self._lock.place)
        if found is not None and found.alive:
            wait = max(1.0, _DEAD_AFTER_SECONDS - found.age)
            raise UsageError(_refusal(what, found.holder, f" If that machine is gone, try again in {wait:.0f} s."))
        try:
            s3.create_object(self._uri, self._lock.holder.write(), found.version if found else None)
        except NotImplementedError:  # no conditional writes: of two runs, the last one to write holds it
            self._write()
        # Refused or not, whom it names holds it: a PUT whose answer was lost is refused when it is sent again.
        found = _stored(self._lock.place)
        if not self._names_us(found):
            raise UsageError(_refusal(what, found.holder if found else None))

    def beat_until(self, ended: threading.Event) -> None:
        while not ended.wait(BEAT_SECONDS):
            with suppress(OSError):  # the next beat may come through
                found = _stored(self._lock.place)
                if found is not None and not self._names_us(found):
                    self._lock.lose()
                    return
                self._write()

    def give_back(self) -> None:
        with suppress(OSError):
            if self._names_us(_stored(self._lock.place)):
                s3.delete_object(self._uri)

    def _names_us(self, found: _Stored | None) -> bool:
        return found is not None and found.holder is not None and found.holder.mark == self._lock.holder.mark

    def _write(self) -> None:
        s3.write_object(self._uri, self._lock.holder.write())


def _refusal(what: str, holder: Holder | None, hint: str = "") -> str:
    who = holder or "another process"
    return f"{what} is being worked on by {who}: wait until that run ends, or stop it, and run this again.{hint}"
