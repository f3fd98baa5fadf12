"""Outputs appear whole or not at all, and what killed runs left behind goes away.

In a folder, the commit is a rename within the output's own folder; in a bucket, the completion of an upload. Work in
progress lies in a workspace, one folder for each run, which every process of the run holds a shared lock on: the kernel
drops it with the process, however that ends, so that a workspace nobody holds is a dead run's.
"""

import errno
import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError

from orchestrator.archive.objects import bucket_and_key, client
from orchestrator.storage import Storage

WORKSPACES = "_parts"
"""Folder of all workspaces, below the outputs or a scratch folder."""

_TEMPORARY = ".rayscale-commit"
_LOCK = "lock"
# Fixed, so that an object's ETag depends on its bytes alone.
_UPLOAD = TransferConfig(multipart_threshold=64 * 2**20, multipart_chunksize=64 * 2**20, max_concurrency=4)
_ABANDONED = timedelta(days=1)
"""When an upload that was begun and never completed is given up, while another run may be alive."""


def publish(made: Path, output: Storage, content_type: str) -> None:
    """Makes a finished local file an output, in one step that a kill cannot split; ``made`` is gone afterwards.

    Raises:
        OSError: If the folder cannot take it.
        botocore.exceptions.ClientError: If the bucket refuses it, or holds another size than was sent.
    """
    if output.remote:
        _upload(made, output.uri, content_type)
        made.unlink()
    else:
        _rename(made, Path(output.path))


def _upload(made: Path, uri: str, content_type: str) -> None:
    bucket, key = bucket_and_key(uri)
    client().upload_file(str(made), bucket, key, ExtraArgs={"ContentType": content_type}, Config=_UPLOAD)
    there, sent = client().head_object(Bucket=bucket, Key=key)["ContentLength"], made.stat().st_size
    if there != sent:
        raise ClientError({"Error": {"Code": f"{there} bytes of {sent}"}}, "PutObject")


def _rename(made: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    made.chmod(0o644)
    _sync(made)
    try:
        made.replace(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _copy(made, target)
    _sync(target.parent)


def _copy(made: Path, target: Path) -> None:
    """From another disk: a temporary beside the target, locked while it is written, then a rename."""
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}{_TEMPORARY}")
    try:
        with temporary.open("xb") as stream, made.open("rb") as source:
            fcntl.flock(stream, fcntl.LOCK_SH)
            shutil.copyfileobj(source, stream, 2**20)
            stream.flush()
            os.fsync(stream.fileno())
            temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    made.unlink()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@cache
def enter_workspace(folder: Path, run: str) -> Path:
    """The run's folder below ``folder``, held by this process until it ends; dead runs' folders are removed."""
    folder.mkdir(parents=True, exist_ok=True)
    sweep_workspaces(folder)
    workspace = folder / run
    while True:
        workspace.mkdir(exist_ok=True)
        try:
            # Kept open for the life of the process, which is what holds the lock.
            handle = os.open(workspace / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        except FileNotFoundError:  # swept while it was empty
            continue
        with suppress(OSError):  # a file system without locks: then nothing is ever swept on it either
            fcntl.flock(handle, fcntl.LOCK_SH)
        if (workspace / _LOCK).exists():
            return workspace
        os.close(handle)  # swept between the two steps


def sweep_workspaces(folder: Path) -> int:
    """Removes the workspaces of runs that no process holds any more; returns how many."""
    return sum(_sweep(workspace) for workspace in _folders(folder))


def _folders(folder: Path) -> Iterator[Path]:
    if folder.is_dir():
        yield from (path for path in folder.iterdir() if path.is_dir() and not path.is_symlink())


def _sweep(workspace: Path) -> bool:
    try:
        handle = os.open(workspace / _LOCK, os.O_RDWR)
    except FileNotFoundError:
        # Nobody has entered it yet, or it is no workspace.
        with suppress(OSError):
            workspace.rmdir()
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(workspace, ignore_errors=True)
    except OSError:
        return False
    finally:
        os.close(handle)
    return True


def leave_workspace(folder: Path, run: str) -> None:
    """Removes a run's workspace when all its work has ended."""
    shutil.rmtree(folder / run, ignore_errors=True)
    with suppress(OSError):
        folder.rmdir()


def sweep_commits(out: Storage) -> int:
    """Removes temporaries of commits that were killed in a folder; returns how many."""
    swept = 0
    for temporary in Path(out.path).rglob(f".*{_TEMPORARY}"):
        with suppress(OSError), temporary.open("rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            temporary.unlink()
            swept += 1
    return swept


def abort_uploads(out: Storage, alone: bool) -> int:
    """Ends uploads below a prefix that were begun and never completed; returns how many.

    They are invisible and are billed. Where another run may be alive, only those that are a day old.
    """
    bucket, prefix = bucket_and_key(f"{out.uri}/")
    try:
        pages = client().get_paginator("list_multipart_uploads").paginate(Bucket=bucket, Prefix=prefix)
        begun: list[dict[str, Any]] = [upload for page in pages for upload in page.get("Uploads", [])]
    except ClientError:  # not every S3 server can list them
        return 0
    old = [upload for upload in begun if alone or datetime.now(UTC) - upload["Initiated"] > _ABANDONED]
    for upload in old:
        with suppress(ClientError):  # its own run has ended it meanwhile
            client().abort_multipart_upload(Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"])
    return len(old)
