"""One storage layer for a folder and for ``s3://``; every artefact is read and written here.

One endpoint setting is enough: ``AWS_ENDPOINT_URL`` (or ``AWS_ENDPOINT_URL_S3``) with the usual AWS credential chain.
boto3 reads it by itself; pyarrow's S3 filesystem does not, so it is derived here and the filesystem is handed to Ray.
"""

import json
import os
import posixpath
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, EndpointConnectionError, ParamValidationError
from pyarrow import fs

from orchestrator.file_listing import FileFacts, is_utf8, list_tree
from trainables.errors import StorageError, printable


@dataclass(frozen=True, slots=True)
class Storage:
    """A folder or a prefix of a bucket.

    Attributes:
        uri: ``s3://bucket/prefix``, or an absolute folder.
    """

    uri: str

    @classmethod
    def at(cls, uri: str) -> "Storage":
        """Makes a Storage from what a user writes; ``~`` and relative folders are resolved.

        Raises:
            StorageError: If the URI has a scheme other than ``s3``, no bucket, or is no text.
        """
        if not is_utf8(uri) or "\0" in uri:
            raise StorageError(f"The name of a location must be UTF-8 text, found '{printable(uri)}'; rename it.")
        scheme, rest = urlsplit(uri)[:2]
        if scheme == "s3":
            if not rest:
                raise StorageError(f"An S3 location looks like s3://bucket/prefix, found '{uri}'.")
            return cls(f"s3://{uri[5:].rstrip('/')}")
        if scheme and "://" in uri:
            raise StorageError(f"A location must be a folder or s3://bucket/prefix, found '{uri}'.")
        return cls(str(Path(uri).expanduser().absolute()))

    @property
    def remote(self) -> bool:
        """Whether this lies in a bucket."""
        return self.uri.startswith("s3://")

    @property
    def bucket(self) -> str:
        """The bucket's name; empty for a folder."""
        return urlsplit(self.uri).netloc if self.remote else ""

    @property
    def path(self) -> str:
        """The path that ``filesystem`` understands."""
        return self.uri.removeprefix("s3://")

    @property
    def filesystem(self) -> fs.FileSystem:
        """Pyarrow's filesystem for this place, as Ray takes it too."""
        return _s3_filesystem(self.bucket, *_endpoint()) if self.remote else fs.LocalFileSystem()

    def child(self, *parts: str) -> "Storage":
        """The place below this one."""
        return Storage(posixpath.join(self.uri, *parts))

    def resolve(self, path: str) -> "Storage":
        """What ``path`` means when it may be relative to this place."""
        absolute = "://" in path or Path(path).expanduser().is_absolute()
        return Storage.at(path) if absolute else self.child(path)

    def exists(self) -> bool:
        """Whether a file or folder is here."""
        return bool(self.filesystem.get_file_info(self.path).type != fs.FileType.NotFound)

    def read_bytes(self) -> bytes:
        """The content of the file that is here.

        Raises:
            FileNotFoundError: If there is none.
        """
        with self.filesystem.open_input_stream(self.path) as stream:
            return bytes(stream.read())

    def write_bytes(self, data: bytes) -> None:
        """Writes a file whole or not at all: a rename in a folder, one PUT in a bucket."""
        if self.remote:
            with self.filesystem.open_output_stream(self.path) as stream:
                stream.write(data)
            return
        target = Path(self.path)
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            Path(temporary).chmod(0o644)
            Path(temporary).replace(target)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise

    def read_json(self) -> Any:
        """The JSON file that is here; None if there is none or it is cut short."""
        try:
            return json.loads(self.read_bytes())
        except (FileNotFoundError, NotADirectoryError, json.JSONDecodeError, UnicodeDecodeError):
            return None

    def write_json(self, value: Any) -> None:
        """Writes ``value`` as indented JSON."""
        self.write_bytes(json.dumps(value, indent=2, ensure_ascii=False).encode())

    def files(self) -> Iterator[FileFacts]:
        """All files below this place, sorted by path; hidden ones and temporaries are left out.

        Raises:
            OSError: If the folder or bucket cannot be read.
        """
        yield from list_tree(self).files

    def delete(self) -> None:
        """Removes the file that is here."""
        self.filesystem.delete_file(self.path)

    def delete_folder(self) -> None:
        """Removes the folder that is here with all that is in it; none is as good."""
        if self.exists():
            self.filesystem.delete_dir(self.path)

    def check_readable(self) -> None:
        """Makes sure that something can be read from here.

        Raises:
            StorageError: If the folder, bucket, endpoint or credentials are missing or wrong.
        """
        if self.remote:
            _check_bucket(self.bucket)
        elif not Path(self.path).is_dir():
            raise StorageError(f"There is no folder '{self.path}'; create it or correct the path.")
        elif not os.access(self.path, os.R_OK):
            raise StorageError(f"'{self.path}' cannot be read; check its permissions.")

    def check_writable(self) -> None:
        """Makes sure that artefacts can be written here, by writing and removing a small file.

        Raises:
            StorageError: If they cannot.
        """
        if self.remote:
            _check_bucket(self.bucket)
        try:
            if self.remote:
                probe = self.child("write-check")
                probe.write_bytes(b"")
                probe.delete()
            else:
                # Checking creates nothing: the nearest folder that exists must take a file.
                nearest = next(place for place in (Path(self.path), *Path(self.path).parents) if place.exists())
                tempfile.TemporaryFile(dir=nearest).close()
        except OSError as error:
            reason = error.strerror or str(error).split("\n")[0]
            raise StorageError(f"Nothing can be written to '{self.uri}' ({reason}); choose another storage.") from None


def _endpoint() -> tuple[str, str]:
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
    parts = urlsplit(endpoint)
    if endpoint and (parts.scheme not in ("http", "https") or not parts.netloc):
        raise StorageError(f"AWS_ENDPOINT_URL must look like http://host:port, found '{endpoint}'.")
    return parts.scheme, parts.netloc


@cache
def _s3_filesystem(bucket: str, scheme: str, host: str) -> fs.FileSystem:
    region = boto3.Session().region_name
    if host:
        return fs.S3FileSystem(endpoint_override=host, scheme=scheme, region=region or "us-east-1")
    return fs.S3FileSystem(region=region or fs.resolve_s3_region(bucket))


@cache
def _check_bucket(bucket: str) -> None:
    """Asks boto3, whose errors tell a wrong key from a wrong bucket from a wrong endpoint."""
    _endpoint()
    patient = Config(connect_timeout=5, read_timeout=20, retries={"total_max_attempts": 3, "mode": "standard"})
    try:
        session = boto3.Session()
        if session.get_credentials() is None:
            raise StorageError(
                f"No S3 credentials were found for s3://{bucket}: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
                "a profile, or a role (the usual AWS credential chain)."
            )
        session.client("s3", config=patient).head_bucket(Bucket=bucket)
    except ClientError as error:
        raise StorageError(_explain(bucket, error)) from None
    except EndpointConnectionError as error:
        scheme, host = urlsplit(error.kwargs["endpoint_url"])[:2]
        raise StorageError(
            f"No S3 server answers at {scheme}://{host}; check AWS_ENDPOINT_URL and that the server is up."
        ) from None
    except ParamValidationError:
        raise StorageError(
            f"'{bucket}' cannot be the name of a bucket; an S3 location is s3://bucket/prefix."
        ) from None
    except (BotoCoreError, ValueError) as error:
        raise StorageError(f"s3://{bucket} cannot be reached: {str(error).rstrip('.')}.") from None


def _explain(bucket: str, error: ClientError) -> str:
    code = str(error.response.get("Error", {}).get("Code", ""))
    if code in ("404", "NoSuchBucket"):
        return f"There is no bucket '{bucket}' on this S3 server; create it or correct the name."
    if code in ("403", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch"):
        return f"The S3 server refuses these credentials for bucket '{bucket}' ({code}); check the keys and the bucket."
    return f"s3://{bucket} cannot be used: the S3 server answered {code or error}."
