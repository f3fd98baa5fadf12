"""Lock of the outputs: a second run on them is refused, unless both are meant to work side by side.

Side by side they share the scenes, by :mod:`orchestrator.archive.batch.claims`. Each has its own ledger and workspace.
A run that was started without ``--side-by-side`` claims nothing, and therefore works alone.
"""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path

from botocore.exceptions import BotoCoreError, ClientError

from orchestrator.archive.batch.heartbeat import Heartbeat, others_alive
from orchestrator.archive.ledger.ledger import FOLDER, Ledger
from orchestrator.foundation.buckets.s3 import error_class
from orchestrator.foundation.storage import Storage
from orchestrator.runtime.run_lock import LOCK, Holder, lock_state, locked
from trainables.errors import StorageError, UsageError


@contextmanager
def only_run(out: Storage, side_by_side: bool) -> Iterator[Callable[[], None]]:
    """Keeps other runs from the outputs until the block ends.

    Gives a function that raises where another run has taken over, because this one was cut off for minutes.

    Raises:
        UsageError: If nothing can be written there, or another run works on them and not both are side by side.
    """
    out.check_writable()
    if side_by_side:
        _refuse_alone(out)
        yield lambda: None
        return
    with ExitStack() as held:
        check = _lock(held, out)
        yield check


def _refuse_alone(out: Storage) -> None:
    """Refuses to work beside a run that claims no scenes."""
    try:
        state = lock_state(out)
    except (OSError, BotoCoreError, ClientError) as error:
        _, reason = error_class(error)
        raise StorageError(f"The lock of '{out.uri}' cannot be read ({reason}); try again.") from None
    if state is not None and state.alive:
        raise UsageError(
            f"OUTPUT '{out.uri}' is being worked on by {state.holder or 'another process'}, which was started without "
            "--side-by-side: wait until that run ends, or stop it and start both with --side-by-side, by which they "
            "share the scenes; what has finished is kept."
        )


def _lock(held: ExitStack, out: Storage) -> Callable[[], None]:
    try:
        return held.enter_context(locked(out, f"OUTPUT '{out.uri}'")).check
    except UsageError as error:
        raise UsageError(f"{error} Runs that are all started with --side-by-side share the scenes.") from None
    except (OSError, BotoCoreError, ClientError) as error:
        _, reason = error_class(error)
        raise StorageError(f"Nothing can be written to '{out.uri}' ({reason}); choose another.") from None


@contextmanager
def alive(ledger: Ledger, out: Storage, side_by_side: bool) -> Iterator[Heartbeat]:
    """Keeps a run's heartbeat until the block ends.

    Raises:
        UsageError: If another run is alive that works beside a third, and ``side_by_side`` is not given.
    """
    heartbeat = Heartbeat(ledger)
    heartbeat.beat()
    heartbeat.start()
    own = out.child(FOLDER, ledger.run)
    try:
        if side_by_side:
            _refuse_alone(out)  # again: of two that begin together, at least one sees the other
        else:
            _refuse_others(ledger, out)
        # Its driver alone holds this: workers may outlive a killed driver for a moment, and must block nobody.
        with locked(own, f"run '{ledger.run}'") if side_by_side and not out.remote else nullcontext():
            yield heartbeat
    finally:
        heartbeat.stop()


def _refuse_others(ledger: Ledger, out: Storage) -> None:
    if out.remote:
        # Of two that begin in the same minute and see each other, the one with the later name gives way.
        others = [str(other) for other in others_alive(ledger) if other.beats != 1 or other.run < ledger.run]
    else:
        others = [name for path in sorted(Path(out.path, FOLDER).glob(f"*/{LOCK}")) if (name := _holder(path))]
    if others:
        raise UsageError(
            f"OUTPUT '{out.uri}' is being worked on by {others[0]}: wait until that run ends, or give --side-by-side "
            "too, by which runs share the scenes."
        )


def _holder(lock: Path) -> str | None:
    """Holder of the lock of a run that works beside another; None if it is free."""
    with suppress(OSError):
        handle = os.open(lock, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = Holder.read(os.pread(handle, 4096, 0))
            return str(holder or "another process")
        finally:
            os.close(handle)
    return None
