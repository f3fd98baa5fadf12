"""One storage layer for a folder and for ``s3://``; every artefact is read and written here.

Whole files go through :mod:`orchestrator.foundation.buckets.s3`, in a bucket; the file system is for Ray, and for
streaming shards. Both use one client, whose settings are those of the AWS configuration chain.
"""

import json
import os
import posixpath
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal
from urllib.parse import urlsplit

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, EndpointConnectionError, ParamValidationError

from orchestrator.foundation.buckets.s3 import (
    delete_below,
    delete_object,
    kind_of,
    naming,
    open_object,
    read_object,
    write_object,
)
from orchestrator.foundation.buckets.s3_settings import check_endpoint, new_client, shown
from orchestrator.foundation.file_listing import FileFacts, is_utf8, list_tree
from trainables.errors import StorageError, printable, reason_of

if TYPE_CHECKING:
    from pyarrow import fs


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
        if not uri.strip():
            raise StorageError("A location is empty, where a folder, a file or s3://bucket/prefix is meant.")
        if not is_utf8(uri) or "\0" in uri:
            raise StorageError(f"The name of a location must be UTF-8 text, found '{printable(uri)}'; rename it.")
        scheme, rest = urlsplit(uri)[:2]
        if scheme == "s3":
            if not rest:
                raise StorageError(f"An S3 location looks like s3://bucket/prefix, found '{uri}'.")
            if "@" in urlsplit(uri).netloc:
                raise StorageError(
                    f"An S3 location holds no keys, since it is written to records and logs, found '{shown(uri)}'; "
                    "write s3://bucket/prefix, and give the keys by the usual AWS credential chain."
                )
            return cls(f"s3://{uri[5:].rstrip('/')}")
        if scheme in ("gs", "gcs"):
            raise StorageError(
                f"Google Cloud Storage is reached by its S3 interface, found '{shown(uri)}': write s3://{rest}"
                f"{urlsplit(uri).path} with AWS_ENDPOINT_URL=https://storage.googleapis.com and an HMAC key of the "
                "service account as the AWS keys."
            )
        if scheme in ("abfs", "abfss", "az", "wasb", "wasbs"):
            raise StorageError(
                f"Azure Blob Storage has no S3 interface: mount the container as a folder on every node (blobfuse2), "
                f"or put an S3 gateway before it, found '{shown(uri)}'."
            )
        if scheme and "://" in uri:
            raise StorageError(f"A location must be a folder or s3://bucket/prefix, found '{shown(uri)}'.")
        return cls(str(Path(uri).expanduser().absolute()))

    @property
    def remote(self) -> bool:
        """True if this lies in a bucket."""
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
    def filesystem(self) -> "fs.FileSystem":
        """Pyarrow's filesystem for this place, as Ray takes it too.

        Raises:
            StorageError: If the endpoint of a bucket is no address of a server, or holds a password.
        """
        from pyarrow import fs

        if not self.remote:
            return fs.LocalFileSystem()
        from orchestrator.foundation.buckets.bucket_filesystem import bucket_filesystem

        check_endpoint()
        return bucket_filesystem()

    def child(self, *parts: str) -> "Storage":
        """The place below this one."""
        return Storage(posixpath.join(self.uri, *parts))

    def resolve(self, path: str) -> "Storage":
        """Resolves ``path``, which may be relative to this place."""
        absolute = "://" in path or Path(path).expanduser().is_absolute()
        return Storage.at(path) if absolute else self.child(path)

    def kind(self) -> Literal["file", "folder", "nothing"]:
        """Kind of this place: file, folder or nothing; links are followed, and what is neither is nothing.

        Raises:
            OSError: If a bucket does not say.
        """
        if self.remote:
            return kind_of(self.uri)
        path = Path(self.path)
        return "file" if path.is_file() else "folder" if path.is_dir() else "nothing"

    def check_found(self) -> Literal["file", "folder"]:
        """Returns ``file`` or ``folder``.

        Raises:
            StorageError: If there is nothing, or a device, pipe or socket, which are never opened.
        """
        kind = self.kind()
        if kind != "nothing":
            return kind
        if not self.remote and Path(self.path).exists():
            raise StorageError(f"'{self.uri}' is a device, pipe or socket; name a file or folder.")
        raise StorageError(f"There is no file or folder '{self.uri}'; correct the path.")

    def exists(self) -> bool:
        """Returns True if a file or folder exists here."""
        return self.kind() != "nothing" if self.remote else Path(self.path).exists()

    def read_bytes(self) -> bytes:
        """The content of the file that is here.

        Raises:
            FileNotFoundError: If there is none.
            OSError: If it cannot be read; for a bucket, the message names the object.
        """
        return read_object(self.uri) if self.remote else Path(self.path).read_bytes()

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """The bytes of the file that is here as a stream, which the block reads.

        Raises:
            FileNotFoundError: If there is none.
            OSError: If it cannot be read to its end; for a bucket, the message names the object.
        """
        with naming(self.uri, "read"), open_object(self.uri) if self.remote else Path(self.path).open("rb") as stream:
            yield stream

    def write_bytes(self, data: bytes) -> None:
        """Writes a file whole or not at all, with the mode that the user's umask gives: a rename, or one PUT.

        Raises:
            OSError: If it cannot be written; an earlier content is kept.
        """
        if self.remote:
            write_object(self.uri, data)
            return
        target = Path(self.path)
        target.parent.mkdir(parents=True, exist_ok=True)
        # Of a length of its own, since the target's name may be as long as names can be.
        temporary = target.with_name(f".{secrets.token_hex(8)}.rayscale-write")
        try:
            with temporary.open("xb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise

    def read_json(self) -> Any:
        """The JSON file that is here; None if there is none, or it is cut short or no JSON."""
        try:
            return json.loads(self.read_bytes())
        except (FileNotFoundError, NotADirectoryError, ValueError, RecursionError):
            return None

    def write_json(self, value: Any) -> None:
        """Writes ``value`` as indented JSON in UTF-8; half of a surrogate pair becomes an escape."""
        self.write_bytes(json.dumps(value, indent=2, ensure_ascii=False).encode("utf-8", "backslashreplace"))

    def files(self) -> Iterator[FileFacts]:
        """All files below this place, sorted by path; hidden ones and temporaries are left out.

        Raises:
            OSError: If the folder or bucket cannot be read.
        """
        yield from list_tree(self).files

    def delete(self) -> None:
        """Removes the file that is here.

        Raises:
            FileNotFoundError: If a folder has none.
        """
        if self.remote:
            delete_object(self.uri)
        else:
            Path(self.path).unlink()

    def delete_folder(self) -> None:
        """Removes the folder that is here with all that is in it, links but not what they lead to; none is as good."""
        if self.remote:
            delete_below(self.uri)
        elif Path(self.path).is_symlink():
            Path(self.path).unlink()
        elif Path(self.path).exists():
            shutil.rmtree(self.path)

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
            reason = reason_of(error).rstrip(".")
            raise StorageError(f"Nothing can be written to '{self.uri}' ({reason}); choose another storage.") from None


@cache
def _check_bucket(bucket: str) -> None:
    """Asks boto3, whose errors distinguish a wrong key from a wrong bucket from a wrong endpoint."""
    import boto3

    patient = Config(connect_timeout=5, read_timeout=20, retries={"total_max_attempts": 3, "mode": "standard"})
    try:
        client = new_client(patient)
        if boto3.Session().get_credentials() is None:
            raise StorageError(
                f"No S3 credentials were found for s3://{bucket}: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
                "a profile, or a role (the usual AWS credential chain)."
            )
        client.head_bucket(Bucket=bucket)
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
