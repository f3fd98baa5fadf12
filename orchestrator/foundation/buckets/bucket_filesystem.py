"""Buckets as a pyarrow file system, for Ray and for streaming shards, through the client that everything else uses.

Pyarrow's own S3 client reads less of the AWS configuration (no endpoint, proxy, CA bundle or assumed role of a profile)
and has another idea of retries, so a bucket that a check reached might fail in the work.
"""

import io
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa
from pyarrow import fs

from orchestrator.foundation.buckets import s3
from orchestrator.foundation.buckets.s3 import ObjectFacts

_AT_ONCE = 16
_IN_MEMORY = 64 * 2**20
_READ_AHEAD = 8 * 2**20


def bucket_filesystem() -> fs.FileSystem:
    """All buckets that this process can reach, by paths such as ``bucket/key``; it can be pickled and holds no keys."""
    return fs.PyFileSystem(BucketHandler())


class BucketHandler(fs.FileSystemHandler):  # type: ignore[misc]  # pyarrow is not typed
    """Methods of a file system, as pyarrow calls them.

    A folder exists where an object lies below it. A file is written whole when its stream is closed.
    """

    def __eq__(self, other: object) -> bool:
        """All are the same."""
        return isinstance(other, BucketHandler)

    def __ne__(self, other: object) -> bool:
        """All are the same."""
        return not self == other

    __hash__ = None  # type: ignore[assignment]

    def get_type_name(self) -> str:
        """Name of this kind."""
        return "s3"

    def normalize_path(self, path: str) -> str:
        """The path as it is."""
        return path

    def get_file_info(self, paths: list[str]) -> list[fs.FileInfo]:
        """Kind, size and time of each path."""
        if len(paths) == 1:
            return [_info(paths[0])]
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            return list(pool.map(_info, paths))

    def get_file_info_selector(self, selector: fs.FileSelector) -> list[fs.FileInfo]:
        """The files and folders in a folder, or below it."""
        base = selector.base_dir.rstrip("/")
        found = [facts for facts in s3.objects_below(_uri(base)) if facts.path.strip("/")]
        if not found and _info(base).type != fs.FileType.Directory:
            if not selector.allow_not_found:
                raise FileNotFoundError(f"there is no folder '{_uri(base)}'")
            return []
        files = [_file(f"{base}/{facts.path}", facts) for facts in found if not facts.path.endswith("/")]
        folders = [fs.FileInfo(f"{base}/{path}", fs.FileType.Directory) for path in _folders(found)]
        infos = folders + files
        return infos if selector.recursive else [info for info in infos if "/" not in info.path[len(base) + 1 :]]

    def create_dir(self, path: str, recursive: bool) -> None:
        """Does nothing: a folder exists by what lies in it."""

    def delete_dir(self, path: str) -> None:
        """Removes all below a folder."""
        s3.delete_below(_uri(path))

    def delete_dir_contents(self, path: str, missing_dir_ok: bool = False) -> None:
        """Removes all below a folder."""
        s3.delete_below(_uri(path))

    def delete_root_dir_contents(self) -> None:
        """Refuses to remove every bucket."""
        raise PermissionError("buckets are never emptied")

    def delete_file(self, path: str) -> None:
        """Removes an object."""
        s3.delete_object(_uri(path))

    def move(self, src: str, dest: str) -> None:
        """Copies an object within the server and removes it at its old place."""
        self.copy_file(src, dest)
        self.delete_file(src)

    def copy_file(self, src: str, dest: str) -> None:
        """Copies an object within the server."""
        s3.copy_object(_uri(src), _uri(dest))

    def open_input_stream(self, path: str) -> pa.NativeFile:
        """An object to be read from its beginning on."""
        return pa.PythonFile(io.BufferedReader(_opened(path), _READ_AHEAD), mode="r")

    def open_input_file(self, path: str) -> pa.NativeFile:
        """An object to be read anywhere; each read is a request."""
        return pa.PythonFile(_opened(path), mode="r")

    def open_output_stream(self, path: str, metadata: Any) -> pa.NativeFile:
        """An object to be written."""
        return pa.PythonFile(_ObjectWriter(_uri(path)), mode="w")

    def open_append_stream(self, path: str, metadata: Any) -> pa.NativeFile:
        """Refuses: an object is written whole."""
        raise NotImplementedError(f"'{_uri(path)}' lies in a bucket, where nothing can be appended")


class _ObjectReader(io.RawIOBase):
    """An object's bytes by ranges."""

    def __init__(self, uri: str, size: int) -> None:
        self._uri, self._size, self._at = uri, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        left = max(self._size - self._at, 0)
        count = left if size is None or size < 0 else min(size, left)
        data = s3.read_range(self._uri, self._at, count) if count else b""
        self._at += len(data)
        return data

    def readinto(self, buffer: Any) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


class _ObjectWriter(io.RawIOBase):
    """Collects an object's bytes, on disk where they are many, and uploads them when it is closed."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._spool = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115 - closed with this

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        return self._spool.write(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._spool.seek(offset, whence)

    def close(self) -> None:
        if self.closed:
            return
        try:
            self._spool.seek(0)
            s3.upload_object(self._uri, self._spool)
        finally:
            self._spool.close()
            super().close()


def _uri(path: str) -> str:
    return f"s3://{path.strip('/')}"


def _opened(path: str) -> _ObjectReader:
    facts = s3.facts_of(_uri(path))
    if facts is None:
        raise FileNotFoundError(f"there is no object '{_uri(path)}'")
    return _ObjectReader(_uri(path), facts.size)


def _info(path: str) -> fs.FileInfo:
    if "/" in path.strip("/") and (facts := s3.facts_of(_uri(path))) is not None:
        return _file(path, facts)
    folder = s3.is_folder(_uri(path))
    return fs.FileInfo(path, fs.FileType.Directory if folder else fs.FileType.NotFound)


def _file(path: str, facts: ObjectFacts) -> fs.FileInfo:
    return fs.FileInfo(path, fs.FileType.File, size=facts.size, mtime_ns=round(facts.modified * 1e6) * 1000)


def _folders(found: Iterable[ObjectFacts]) -> list[str]:
    """The folders in which objects lie, the outer ones too."""
    folders: set[str] = set()
    for facts in found:
        folder = facts.path.rpartition("/")[0]
        while folder and folder not in folders:
            folders.add(folder)
            folder = folder.rpartition("/")[0]
    return sorted(folders)
