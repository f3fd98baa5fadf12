"""Objects in a bucket through boto3, which reads ``AWS_ENDPOINT_URL`` and the credential chain by itself."""

import errno
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import (
    ClientError,
    ConnectionClosedError,
    EndpointConnectionError,
    HTTPClientError,
    NoCredentialsError,
)

_DENIED = {"401", "403", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "AllAccessDisabled"}
_MISSING = {"404", "NoSuchKey", "NoSuchBucket"}
_FULL = {errno.ENOSPC, errno.EDQUOT}


@cache
def client() -> Any:
    """One client for each process; it retries what a server refuses for a moment."""
    config = Config(
        connect_timeout=10,
        read_timeout=60,
        retries={"total_max_attempts": 5, "mode": "standard"},
        # Many S3 servers know no trailing checksums; sizes and digests are compared here anyway.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    return boto3.client("s3", config=config)


def bucket_and_key(uri: str) -> tuple[str, str]:
    """The two parts of ``s3://bucket/key``."""
    parts = urlsplit(uri)
    return parts.netloc, uri.removeprefix(f"s3://{parts.netloc}").lstrip("/")


def error_class(error: Exception) -> tuple[str, str]:
    """Class and reason of a failure of disk or network, in the ledger's words.

    Classes are ``denied``, ``transient``, ``disk``, ``unreadable`` (there is no such file) and ``error``.
    """
    if isinstance(error, ClientError):
        code = str(error.response.get("Error", {}).get("Code", ""))
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        if code in _DENIED or status in (401, 403):
            return "denied", f"the S3 server refuses access ({code})"
        if code == "NoSuchUpload" or status == 412:
            return "transient", "it changed meanwhile"
        if code in _MISSING or status == 404:
            return "unreadable", "there is no such object"
        return ("transient" if status >= 500 or status == 429 else "error"), f"the S3 server answered {code or status}"
    if isinstance(error, (EndpointConnectionError, ConnectionClosedError, HTTPClientError)):
        return "transient", first_line(error)
    if isinstance(error, (PermissionError, NoCredentialsError)):
        return "denied", getattr(error, "strerror", None) or first_line(error)
    if isinstance(error, FileNotFoundError):
        return "unreadable", "there is no such file"
    if isinstance(error, OSError) and error.errno in _FULL:
        return "disk", "the disk is full"
    if isinstance(error, OSError):
        return "error", error.strerror or first_line(error)
    return "error", f"{type(error).__name__}: {first_line(error)}"


def first_line(error: BaseException) -> str:
    """What an error says, in one line."""
    return next(iter(str(error).strip().splitlines()), "") or type(error).__name__
