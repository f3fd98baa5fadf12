"""Place of the outputs of an estimate's sampled scenes, below the archive's own outputs, and what killed ones left.

In a folder it is a workspace, which every later run and estimate removes once its process has ended. In a bucket it is
a prefix ``_parts/plan-…`` with an object that names the process. It is removed if that was a process of this machine
that has ended, or if nothing in it was written for a day.
"""

import os
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from orchestrator.archive.batch.heartbeat import process_ended, process_facts
from orchestrator.archive.places.workspace import WORKSPACES, enter_workspace, leave_workspace, sweep_workspaces
from orchestrator.foundation.buckets.s3 import objects_below
from orchestrator.foundation.storage import Storage
from trainables.errors import StorageError, reason_of

_PROCESS = "process.json"
_NAME = re.compile(r"plan-[0-9a-f]{8}")
_ABANDONED_SECONDS = 24 * 3600.0
"""Age of the newest object of another machine's estimate, from which on it counts as dead; few take an hour."""


@contextmanager
def plan_place(out: Storage) -> Iterator[Storage]:
    """A place below the outputs that is removed in the end, with all that is in it.

    Args:
        out: Place of the outputs.

    Raises:
        StorageError: If it cannot be written.
    """
    name = f"plan-{secrets.token_hex(4)}"
    with _prefix(out, name) if out.remote else _workspace(Path(out.path), name) as place:
        yield place


def remove_dead_plans(out: Storage) -> None:
    """Removes the places of estimates whose processes have ended, and dead runs' workspaces beside them."""
    if not out.remote:
        folder = Path(out.path, WORKSPACES)
        if sweep_workspaces(folder):
            with suppress(OSError):
                folder.rmdir()  # which takes an empty folder only
        return
    parts = out.child(WORKSPACES)
    written: dict[str, float] = {}
    with suppress(OSError):
        for facts in objects_below(parts.uri):
            name, below, _ = facts.path.partition("/")
            if below and _NAME.fullmatch(name):
                written[name] = max(facts.modified, written.get(name, 0.0))
        for name, newest in written.items():
            place = parts.child(name)
            if process_ended(place.child(_PROCESS)) or time.time() - newest > _ABANDONED_SECONDS:
                place.delete_folder()


@contextmanager
def _prefix(out: Storage, name: str) -> Iterator[Storage]:
    place = out.child(WORKSPACES, name)
    try:
        place.child(_PROCESS).write_json(process_facts(os.getpid()))
        yield place
    finally:
        place.delete_folder()


@contextmanager
def _workspace(out: Path, name: str) -> Iterator[Storage]:
    created = [folder for folder in (out, *out.parents) if not folder.exists()]
    folder = out / WORKSPACES
    try:
        try:
            place = enter_workspace(folder, name)
        except OSError as error:
            raise StorageError(
                f"Nothing can be written to '{folder}' ({reason_of(error)}); choose another OUTPUT."
            ) from None
        yield Storage(str(place))
    finally:
        leave_workspace(folder, name)
        with suppress(OSError):
            for parent in created:
                parent.rmdir()  # which takes an empty folder only
