"""Atomic commits of outputs, and removal of the leftovers of killed commits.

In a folder, the commit is a rename within the output's own folder; in a bucket, the completion of an upload.
"""

import errno
import fcntl
import os
import re
import secrets
import shutil
import stat
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath

from botocore.exceptions import ClientError

from orchestrator.archive.places.listing import SIDECAR
from orchestrator.archive.places.output_path import OUTSIDE, misplaced
from orchestrator.archive.scene.types import SceneError
from orchestrator.foundation.buckets.s3 import bucket_and_key, client, end_uploads
from orchestrator.foundation.storage import Storage
from orchestrator.foundation.sync import sync

_TEMPORARY = ".rayscale-commit"
_OUR_TEMPORARY = re.compile(r"\.(.+\.)?[0-9a-f]{8}" + re.escape(_TEMPORARY))
_PART = 64 * 2**20
"""Bytes of a part of an upload: fixed, so that an object's ETag depends on its bytes alone."""


def publish(
    local: Path, output: Storage, content_type: str, out: Storage | None = None, mode: int | None = None
) -> None:
    """Makes a finished local file an output, in one step that a kill cannot split; ``local`` is gone afterwards.

    Args:
        local: The file, complete.
        output: Its place as an output.
        content_type: Content type in a bucket.
        out: The place that it must lie below, if any.
        mode: Permissions of a file, before the umask of this process, which applies too; what ``local`` has by default.

    Raises:
        SceneError: If it would lie outside ``out`` or among RayScale's own files.
        OSError: If the folder cannot take it.
        botocore.exceptions.ClientError: If the bucket refuses it, or holds another size than was sent.
    """
    reason = None if out is None else misplaced(output.uri, out.uri)
    if reason is not None:
        raise SceneError(OUTSIDE, reason)
    if output.remote:
        _upload(local, output.uri, content_type)
        local.unlink()
    else:
        _rename(local, Path(output.path), mode)


@contextmanager
def whole_file(output: Storage, content_type: str) -> Iterator[Path]:
    """A local path to write an output to, which becomes the output once the block has ended without an error.

    Args:
        output: Its place; the local file has its name.
        content_type: Content type in a bucket.
    """
    with tempfile.TemporaryDirectory(prefix="rayscale-") as folder:
        local = Path(folder, PurePosixPath(output.path).name)
        yield local
        publish(local, output, content_type)


def output_mode() -> int:
    """Permissions that the umask of this process lets through for files."""
    try:
        fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        return 0o666 & ~int(fields["Umask"], 8)
    except (OSError, KeyError, ValueError):  # no Linux: it can only be read by setting it
        umask = os.umask(0o077)
        os.umask(umask)
        return 0o666 & ~umask


def _upload(local: Path, uri: str, content_type: str) -> None:
    from boto3.s3.transfer import TransferConfig

    bucket, key = bucket_and_key(uri)
    config = TransferConfig(multipart_threshold=_PART, multipart_chunksize=_PART, max_concurrency=4)
    # What it cannot complete it aborts; what a kill leaves is found by `abort_uploads`.
    client().upload_file(str(local), bucket, key, ExtraArgs={"ContentType": content_type}, Config=config)
    stored, sent = client().head_object(Bucket=bucket, Key=key)["ContentLength"], local.stat().st_size
    if stored != sent:
        raise ClientError({"Error": {"Code": f"{stored} bytes of {sent}"}}, "PutObject")


def _rename(local: Path, target: Path, mode: int | None) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if mode is not None:
        local.chmod(local.stat().st_mode & mode)
    sync(local)
    try:
        local.replace(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _copy(local, target)
    sync(target.parent)


def _copy(local: Path, target: Path) -> None:
    """Copies from another disk: a temporary beside the target, locked while it is written, then a rename."""
    temporary = target.with_name(f".{secrets.token_hex(4)}{_TEMPORARY}")
    try:
        with temporary.open("xb") as stream, local.open("rb") as source:
            fcntl.flock(stream, fcntl.LOCK_SH)
            with suppress(PermissionError):  # a file system without modes
                os.fchmod(stream.fileno(), stat.S_IMODE(local.stat().st_mode))
            shutil.copyfileobj(source, stream, 2**20)
            stream.flush()
            os.fsync(stream.fileno())
            temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    local.unlink()


def sweep_commits(out: Storage) -> int:
    """Removes temporaries of commits that were killed in a folder; returns how many.

    Only regular files of our own user whose whole name is one that :func:`publish` makes, and which no process holds.
    """
    swept = 0
    for temporary in Path(out.path).rglob(f".*{_TEMPORARY}"):
        if _OUR_TEMPORARY.fullmatch(temporary.name) is None:
            continue
        with suppress(OSError):
            handle = os.open(temporary, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                facts = os.fstat(handle)
                if stat.S_ISREG(facts.st_mode) and facts.st_uid == os.geteuid():
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    temporary.unlink()
                    swept += 1
            finally:
                os.close(handle)
    return swept


def abort_uploads(out: Storage, alone: bool, outputs: Collection[str]) -> int:
    """Ends uploads of our own below a prefix that were begun and never completed; returns how many.

    They are invisible and are billed. Where another run may be alive, only those that are a day old.

    Args:
        out: The prefix.
        alone: True if no other run may be alive.
        outputs: Places of all outputs that a ledger here knows; uploads to other keys are not ours.
    """
    ours = {bucket_and_key(output + ending)[1] for output in outputs for ending in ("", SIDECAR)}
    return end_uploads(out.uri, ours.__contains__, of_any_age=alone)
