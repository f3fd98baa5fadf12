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

from botocore.exceptions import BotoCoreError, ClientError

from orchestrator.foundation.s3 import bucket_and_key, client
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
        holder, age, version = _Lease(RunLock(place, Holder.here())).read()
        known_dead = holder is not None and holder.dead
        return None if version is None else LockState(holder, age < _DEAD_AFTER_SECONDS and not known_dead)
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


class _Lease:
    """The lock's object in a bucket."""

    def __init__(self, lock: RunLock) -> None:
        self._lock, self._client = lock, client()
        self._bucket, self._key = bucket_and_key(lock.place.child(LOCK).uri)

    def take(self, what: str) -> None:
        holder, age, version = self.read()
        if version is not None:
            alive = age < _DEAD_AFTER_SECONDS and not (holder and holder.dead)
            if alive:
                wait = max(1.0, _DEAD_AFTER_SECONDS - age)
                raise UsageError(_refusal(what, holder, f" If that machine is gone, try again in {wait:.0f} s."))
        self._put({"IfNoneMatch": "*"} if version is None else {"IfMatch": version}, what)
        holder, _, _ = self.read()  # a server without conditional writes lets two runs write: the last one holds it
        if not self._is_ours(holder):
            raise UsageError(_refusal(what, holder))

    def beat_until(self, ended: threading.Event) -> None:
        while not ended.wait(BEAT_SECONDS):
            with suppress(ClientError, BotoCoreError, OSError):  # the next beat may come through
                holder, _, version = self.read()
                if version is not None and not self._is_ours(holder):
                    self._lock.lose()
                    return
                self._put({}, "")

    def give_back(self) -> None:
        with suppress(ClientError, BotoCoreError, OSError):
            holder, _, _ = self.read()
            if self._is_ours(holder):
                self._client.delete_object(Bucket=self._bucket, Key=self._key)

    def read(self) -> tuple[Holder | None, float, str | None]:
        """The holder, the seconds since it last wrote by the server's own clock, and the object's version."""
        try:
            answer = self._client.get_object(Bucket=self._bucket, Key=self._key)
        except ClientError as error:
            if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") == 404:
                return None, 0.0, None
            raise
        date = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
        now = parsedate_to_datetime(date) if date else datetime.now(UTC)
        age = (now - answer["LastModified"]).total_seconds()
        return Holder.read(answer["Body"].read()), age, answer["ETag"]

    def _is_ours(self, holder: Holder | None) -> bool:
        return holder is not None and holder.mark == self._lock.holder.mark

    def _put(self, condition: dict[str, object], what: str) -> None:
        request = {"Bucket": self._bucket, "Key": self._key, "Body": self._lock.holder.write()}
        try:
            self._client.put_object(**request, **condition)
        except ClientError as error:
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
            if status in (409, 412):  # another run was quicker, or boto3 sent this again for want of an answer
                if self._is_ours(holder := self.read()[0]):
                    return
                raise UsageError(_refusal(what, holder)) from None
            if not condition or status not in (400, 501):
                raise
            self._client.put_object(**request)  # a server without conditional writes


def _refusal(what: str, holder: Holder | None, hint: str = "") -> str:
    who = holder or "another process"
    return f"{what} is being worked on by {who}: wait until that run ends, or stop it, and run this again.{hint}"
