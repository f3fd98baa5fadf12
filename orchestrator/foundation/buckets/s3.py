"""Objects in a bucket through boto3, with the settings of :mod:`orchestrator.foundation.buckets.s3_settings`.

All whole reads and writes are retried after temporary failures (500, 502, 503, 504, 429, broken connections):
:data:`ATTEMPTS` tries with growing pauses, about half a minute in all.
"""

import errno
import io
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from threading import Lock
from typing import IO, Any, Literal
from urllib.parse import urlsplit

from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
    PartialCredentialsError,
    ResponseStreamingError,
)
from botocore.exceptions import ConnectionError as BotoConnectionError

from orchestrator.foundation.buckets.s3_settings import new_client
from trainables.errors import RayScaleError, RunError, StorageError, reason_of

ATTEMPTS = 8
"""Tries of each request; pauses between them grow from half a second to ten on average."""

_DENIED = {
    *("401", "403", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "AllAccessDisabled", "InvalidToken"),
}
_MISSING = {"404", "NoSuchKey", "NoSuchBucket"}
_PASSING = {
    *("RequestTimeout", "SlowDown", "Throttling", "ThrottlingException", "InternalError", "ServiceUnavailable"),
    *("OperationAborted", "IncompleteBody", "BadDigest"),
}
_ROOM = {"QuotaExceeded", "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded", "InsufficientCapacity"}
_EXPIRED = {"ExpiredToken", "ExpiredTokenException", "RequestTimeTooSkewed", "TokenRefreshRequired"}
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_CLOSED = {errno.EROFS, errno.EACCES, errno.EPERM}
_FAILING = {
    *(errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ECONNRESET, errno.ECONNREFUSED, errno.EPIPE, errno.EAGAIN),
    *(errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENETDOWN, errno.ENETUNREACH, errno.EMFILE, errno.ENFILE),
}
"""Errors of disks and networks of a machine that may pass."""

_LONGEST_PAUSE = 20.0
LARGEST_PUT = 2 * 2**30
"""S3 takes 5 GB at once; what is larger goes in parts."""

_AT_ONCE = 16
_ABANDONED = timedelta(days=1)
"""Age at which an incomplete upload is given up, while another run may be alive."""


class ObjectError(RunError, OSError):
    """A bucket could not be read or written; the message names bucket and key.

    Attributes:
        kind: Class of the failure, as :func:`error_class` gives it.
    """

    kind = "error"


@dataclass(frozen=True, slots=True)
class ObjectFacts:
    """An object below a prefix: its key below that, its bytes, when it was last changed, and its ETag."""

    path: str
    size: int
    modified: float
    version: str


_making = Lock()
sleep = time.sleep


def client() -> Any:
    """One client for each process; it retries what a server refuses for a moment.

    Raises:
        StorageError: If the endpoint is no address of a server, or holds a password.
    """
    with _making:  # sessions of boto3 are not made for threads
        return _client()


@cache
def _client() -> Any:
    config = Config(
        connect_timeout=10,
        read_timeout=60,
        max_pool_connections=32,
        retries={"total_max_attempts": ATTEMPTS, "mode": "standard"},
        # Many S3 servers know no trailing checksums; sizes and digests are compared here anyway.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    s3 = new_client(config)
    s3.meta.events.register_last("needs-retry.s3", _retry_when_busy)
    return s3


def _retry_when_busy(response: Any, attempts: int, **_: Any) -> float | None:
    """The pause before another try of what botocore's standard mode does not know: a 429 under any other code."""
    if response is None or response[0].status_code != 429 or attempts >= ATTEMPTS:
        return None
    return _pause(attempts)


def _pause(attempts: int) -> float:
    return min(0.5 * 2.0 ** (attempts - 1), _LONGEST_PAUSE)


def forget_client() -> None:
    """Makes the next client anew, for another endpoint or other credentials."""
    _client.cache_clear()


def bucket_and_key(uri: str) -> tuple[str, str]:
    """The two parts of ``s3://bucket/key``."""
    parts = urlsplit(uri)
    return parts.netloc, uri.removeprefix(f"s3://{parts.netloc}").lstrip("/")


@contextmanager
def naming(uri: str, action: str) -> Iterator[None]:
    """Turns errors of boto3 into errors that name the object.

    Args:
        uri: The object or prefix.
        action: Action that was tried, such as "read".

    Raises:
        FileNotFoundError: If there is no such object.
        ObjectError: For every other reason.
    """
    try:
        yield
    except (ClientError, BotoCoreError, _boto3_error()) as error:
        kind, reason = error_class(error)
        if kind == "unreadable":
            raise FileNotFoundError(errno.ENOENT, reason, uri) from None
        failure = ObjectError(f"'{uri}' cannot be {action}: {reason}{_ADVICE.get(kind, '')}.")
        failure.kind = kind
        raise failure from None


def _boto3_error() -> type[Exception]:
    from boto3.exceptions import Boto3Error  # only after an error, since boto3 takes a third of a second

    return Boto3Error


_ADVICE = {
    "denied": "; check what these credentials may do",
    "transient": f", after up to {ATTEMPTS} tries; run the same command again when the server is well",
}


def read_object(uri: str) -> bytes:
    """The content of an object.

    Raises:
        FileNotFoundError: If there is none.
        ObjectError: If it cannot be read.
    """
    with naming(uri, "read"):
        return _again(lambda: bytes(open_object(uri).read()))


def read_range(uri: str, first: int, count: int) -> bytes:
    """Some bytes of an object, from ``first`` on.

    Raises:
        FileNotFoundError: If there is none.
        ObjectError: If it cannot be read.
    """
    bucket, key = bucket_and_key(uri)
    span = f"bytes={first}-{first + count - 1}"
    with naming(uri, "read"):
        return _again(lambda: bytes(client().get_object(Bucket=bucket, Key=key, Range=span)["Body"].read()))


def open_object(uri: str) -> Any:
    """The bytes of an object as a stream, to be closed.

    Raises:
        FileNotFoundError: If there is none.
        ObjectError: If it cannot be read.
    """
    bucket, key = bucket_and_key(uri)
    with naming(uri, "read"):
        return client().get_object(Bucket=bucket, Key=key)["Body"]


def write_object(uri: str, data: bytes) -> None:
    """Writes an object whole or not at all: one PUT, so that no upload in parts is ever left behind.

    Raises:
        ObjectError: If it cannot be written.
    """
    bucket, key = bucket_and_key(uri)
    with naming(uri, "written"):
        if len(data) <= LARGEST_PUT:
            client().put_object(Bucket=bucket, Key=key, Body=data)
        else:  # boto3 aborts an upload in parts that fails
            client().upload_fileobj(io.BytesIO(data), bucket, key)


def create_object(uri: str, data: bytes, replacing: str | None = None) -> bool:
    """Creates an object by a conditional PUT; False if there is another one, which stays as it is.

    Args:
        uri: The object.
        data: Its content.
        replacing: Version (ETag) of an object that is replaced; None to replace none.

    Raises:
        ObjectError: If it cannot be written.
        NotImplementedError: If the server has no conditional writes.
    """
    bucket, key = bucket_and_key(uri)
    condition = {"IfNoneMatch": "*"} if replacing is None else {"IfMatch": replacing}
    with naming(uri, "written"):
        try:
            client().put_object(Bucket=bucket, Key=key, Body=data, **condition)
        except ClientError as error:
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
            if status in (409, 412) or (status == 404 and replacing):  # 404: it is gone meanwhile
                return False
            if status in (400, 501):
                raise NotImplementedError("conditional PUT") from None
            raise
    return True


def upload_object(uri: str, file: IO[bytes]) -> None:
    """Writes an object from a file, a large one in parts side by side; an upload that fails is aborted.

    Raises:
        ObjectError: If it cannot be written.
    """
    bucket, key = bucket_and_key(uri)
    with naming(uri, "written"):
        client().upload_fileobj(file, bucket, key)


def copy_object(source: str, target: str) -> None:
    """Copies an object within the server.

    Raises:
        FileNotFoundError: If there is none.
        ObjectError: If it cannot be copied.
    """
    bucket, key = bucket_and_key(source)
    with naming(source, f"copied to '{target}'"):
        client().copy({"Bucket": bucket, "Key": key}, *bucket_and_key(target))


def delete_object(uri: str) -> None:
    """Removes an object; none is as good.

    Raises:
        ObjectError: If it cannot be removed.
    """
    bucket, key = bucket_and_key(uri)
    with naming(uri, "removed"):
        client().delete_object(Bucket=bucket, Key=key)


def delete_objects(uris: Sequence[str]) -> None:
    """Removes objects, several at once; none is as good.

    Raises:
        ObjectError: If one cannot be removed; the others are.
    """
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for _ in pool.map(delete_object, uris):
            pass


def delete_below(uri: str) -> None:
    """Removes all objects below a prefix.

    Raises:
        ObjectError: If one cannot be removed.
        ValueError: If this is a whole bucket.
    """
    bucket, prefix = bucket_and_key(uri)
    if not prefix.strip("/"):
        raise ValueError(f"'{uri}' is a whole bucket, which is never emptied")

    delete_objects([f"s3://{bucket}/{prefix}/{found.path}" for found in objects_below(uri)])


def end_uploads(uri: str, ours: Callable[[str], bool] = lambda key: True, of_any_age: bool = False) -> int:
    """Aborts unfinished multipart uploads below a prefix; returns their number.

    Killed processes leave them behind; they are invisible and billed. Nothing is done if a server cannot list them.

    Args:
        uri: The prefix.
        ours: Returns True if an upload to a key is one of ours.
        of_any_age: True to abort those too that are less than a day old and may belong to a run that is alive.
    """
    bucket, prefix = bucket_and_key(f"{uri}/")
    begun: list[dict[str, Any]] = []
    with suppress(ClientError, BotoCoreError):
        for page in client().get_paginator("list_multipart_uploads").paginate(Bucket=bucket, Prefix=prefix):
            begun += page.get("Uploads", [])
    ended = 0
    for upload in begun:
        if ours(upload["Key"]) and (of_any_age or datetime.now(UTC) - upload["Initiated"] > _ABANDONED):
            with suppress(ClientError, BotoCoreError):  # its own run has ended it meanwhile
                client().abort_multipart_upload(Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"])
                ended += 1
    return ended


def kind_of(uri: str) -> Literal["file", "folder", "nothing"]:
    """Kind of a key: an object, a prefix with objects below, or neither.

    Raises:
        ObjectError: If the server does not say.
    """
    if facts_of(uri) is not None:
        return "file"
    return "folder" if is_folder(uri) else "nothing"


def facts_of(uri: str) -> ObjectFacts | None:
    """Facts about an object, whose path is empty; None if there is none.

    Raises:
        ObjectError: If the server does not say.
    """
    bucket, key = bucket_and_key(uri)
    if not key:
        return None
    with naming(uri, "looked up"), _none_where_missing():
        found = client().head_object(Bucket=bucket, Key=key)
        return ObjectFacts("", found["ContentLength"], _seconds(found["LastModified"]), found["ETag"].strip('"'))
    return None


def is_folder(uri: str) -> bool:
    """True if this is a bucket, or objects lie below it.

    Raises:
        ObjectError: If the server does not say.
    """
    bucket, key = bucket_and_key(uri)
    with naming(uri, "listed"), _none_where_missing():
        if not key:
            client().head_bucket(Bucket=bucket)
            return True
        return bool(client().list_objects_v2(Bucket=bucket, Prefix=f"{key}/", MaxKeys=1).get("Contents"))
    return False


@contextmanager
def _none_where_missing() -> Iterator[None]:
    """Leaves the block where there is no such bucket or object."""
    try:
        yield
    except ClientError as error:
        if error_class(error)[0] != "unreadable":
            raise


def _again(read: Callable[[], bytes]) -> bytes:
    """Botocore retries requests, but not the reading of an answer whose connection breaks."""
    for attempt in range(1, ATTEMPTS):
        try:
            return read()
        except (ResponseStreamingError, IncompleteReadError):
            sleep(_pause(attempt))
    return read()


def objects_below(uri: str, start: str = "") -> Iterator[ObjectFacts]:
    """Every object below a prefix, in the server's order, marks of folders among them.

    Args:
        uri: The prefix.
        start: Beginning of the paths below it that are listed; by default all are.

    Raises:
        ObjectError: If the bucket cannot be listed.
    """
    bucket, prefix = bucket_and_key(f"{uri}/")
    with naming(uri, "listed"):
        for page in client().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix + start):
            for entry in page.get("Contents", []):
                path, etag = entry["Key"].removeprefix(prefix), entry["ETag"].strip('"')
                yield ObjectFacts(path, entry["Size"], _seconds(entry["LastModified"]), etag)


def _seconds(moment: datetime) -> float:
    """Seconds as file systems give them, nanoseconds divided once; fingerprints hold the result to the last bit."""
    whole = int(moment.replace(microsecond=0).timestamp())
    return (whole * 1_000_000 + moment.microsecond) * 1000 / 1e9


def error_class(error: BaseException) -> tuple[str, str]:
    """Class and reason of a failure of disk or network, in the ledger's words.

    Classes are ``denied``, ``archived`` (it must be restored first), ``transient``, ``disk``, ``unreadable`` (there is
    no such file) and ``error``.
    """
    if isinstance(error, ObjectError):
        return error.kind, str(error).rstrip(".")
    if isinstance(error.__context__, ClientError | BotoCoreError) and isinstance(error, _boto3_error()):
        error = error.__context__  # what boto3's transfers wrap
    if isinstance(error, ClientError):
        return _class_of_answer(error)
    if isinstance(error, NoCredentialsError | PartialCredentialsError | CredentialRetrievalError):
        return "denied", first_line(error)
    if isinstance(error, HTTPClientError | BotoConnectionError | IncompleteReadError):
        return "transient", first_line(error)
    if isinstance(error, RayScaleError):
        return "denied" if isinstance(error, StorageError) else "error", str(error)
    if isinstance(error, FileNotFoundError):
        return "unreadable", "there is no such file"
    if isinstance(error, OSError):
        return _class_of_number(error)
    return "error", reason_of(error)


def _class_of_answer(error: ClientError) -> tuple[str, str]:
    code = str(error.response.get("Error", {}).get("Code", ""))
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    if code == "InvalidObjectState":
        kind = error.response.get("Error", {}).get("StorageClass") or "an archive storage class"
        return "archived", f"it lies in {kind} and must be restored before it can be read"
    if code in _EXPIRED:
        return "transient", f"the S3 server no longer takes these credentials ({code})"
    if code in _ROOM or status == 507:
        return "disk", f"the S3 server has no room ({code or status})"
    if code in _DENIED or status in (401, 403):
        return "denied", f"the S3 server refuses access ({code})"
    if code in ("NoSuchUpload", "PreconditionFailed") or status == 412:
        return "transient", "it changed meanwhile"
    if code in _MISSING or status == 404:
        return "unreadable", "there is no such object"
    passing = code in _PASSING or status >= 500 or status == 429
    return "transient" if passing else "error", f"the S3 server answered {code or status}"


def _class_of_number(error: OSError) -> tuple[str, str]:
    if error.errno in _FULL:
        return "disk", "the disk is full"
    kind = "denied" if error.errno in _CLOSED else "transient" if error.errno in _FAILING else "error"
    return kind, error.strerror or first_line(error)


def first_line(error: BaseException) -> str:
    """First line of an error's message."""
    return next(iter(str(error).strip().splitlines()), "") or type(error).__name__
