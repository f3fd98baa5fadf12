"""S3 settings of this process: whatever the AWS configuration chain says, as boto3 reads it.

The chain is environment, ``~/.aws/config`` with its profiles and ``services`` sections, and roles: endpoint, region,
credentials, addressing style, proxies and CA bundle. All that reads or writes a bucket, Ray included, uses a client
that is made here, so that what passes a check also holds for the work.
"""

import os
from typing import Any
from urllib.parse import urlsplit

from botocore.config import Config
from botocore.exceptions import BotoCoreError

from trainables.errors import StorageError, without_secrets

ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
_REGIONS = ("AWS_REGION", "AWS_DEFAULT_REGION")
_PLAIN = (
    *(*ENDPOINTS, *_REGIONS),
    *("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "AWS_USE_FIPS_ENDPOINT", "AWS_USE_DUALSTACK_ENDPOINT"),
)
"""Variables that hold no secret."""

_AWS = ("amazonaws.com", "amazonaws.com.cn")


def new_client(config: Config) -> Any:
    """Makes a client of S3.

    Args:
        config: Time limits and retries; everything else is the chain's.

    Raises:
        StorageError: If the endpoint is no address of a server, or holds a password.
        BotoCoreError: If the chain contradicts itself, such as by a profile that does not exist.
        ValueError: If boto3 does not take the endpoint.
    """
    import boto3  # which takes a third of a second, for buckets alone

    check_endpoint()
    session = boto3.Session()
    s3: Any = session.client("s3", region_name=region(session), config=config)
    _check(str(s3.meta.endpoint_url), "endpoint_url in the AWS configuration")
    return s3


def region(session: Any) -> str | None:
    """The region; boto3 does not know ``AWS_REGION``, which all other SDKs of AWS read."""
    name = session.region_name or os.environ.get("AWS_REGION")
    return str(name) if name else None


def check_endpoint() -> None:
    """Checks the endpoint in the environment.

    Raises:
        StorageError: If it is no address of a server, or holds a password.
    """
    for name in ENDPOINTS:
        if endpoint := os.environ.get(name):
            _check(endpoint, name)


def for_workers() -> dict[str, str]:
    """Endpoint and region of this machine as environment variables for other machines; credentials are never given.

    Those that lie in a configuration file are among them, since other machines need not have that file.
    """
    import boto3

    found = {name: os.environ[name] for name in _PLAIN if os.environ.get(name)}
    try:
        check_endpoint()
        session = boto3.Session()
        endpoint = str(session.client("s3", region_name=region(session) or "us-east-1").meta.endpoint_url)
        _check(endpoint, "endpoint_url")
    except (BotoCoreError, ValueError, StorageError):
        return found  # who uses a bucket is told by the check of the storage
    if not found.keys() & set(ENDPOINTS) and not (urlsplit(endpoint).hostname or "").endswith(_AWS):
        found["AWS_ENDPOINT_URL_S3"] = endpoint
    if not found.keys() & set(_REGIONS) and (name := region(session)):
        found |= dict.fromkeys(_REGIONS, name)
    return found


def shown(url: str) -> str:
    """A URL for people; what was meant as one, but lacks its scheme, may hold a password as well."""
    text = without_secrets(url)
    return text if "://" in text or "@" not in text else f"***@{text.rpartition('@')[2]}"


def _check(endpoint: str, setting: str) -> None:
    parts = urlsplit(endpoint)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise StorageError(f"{setting} must look like http://host:port, found '{shown(endpoint)}'.")
    if "@" in parts.netloc:
        raise StorageError(
            f"{setting} must hold no name and password, found '{shown(endpoint)}': a job's settings show it. "
            "Write http://host:port, and give the keys by the usual AWS credential chain."
        )
