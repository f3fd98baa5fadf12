"""Files of a product: in a folder, below a prefix of a bucket, or in a ZIP or TAR archive.

Only files that are asked for are fetched or unpacked, under names of our own.
"""

import glob
import posixpath
import secrets
import shutil
import tarfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path, PurePosixPath
from typing import IO, Protocol
from xml.etree import ElementTree

from orchestrator.archive.products.types import unreadable
from orchestrator.foundation.buckets.s3 import facts_of, objects_below
from orchestrator.foundation.file_listing import FileFacts
from orchestrator.foundation.storage import Storage
from trainables.errors import reason_of

MOST_METADATA = 64 * 2**20
"""Bytes that a file of metadata may have."""

_AT_ONCE = 8 * 2**20
_TREES = "tree"
"""Folder of the files that keep their names."""


class Members(Protocol):
    """Files of a product by their names."""

    def names(self) -> list[str]:
        """Names of all files, sorted, with ``/`` between their parts."""

    def read(self, name: str) -> bytes:
        """The content of a small file.

        Raises:
            SceneError: ``unreadable``, if there is no such file, or it is too large for metadata.
        """

    def local(self, name: str, folder: Path) -> Path:
        """The file on a local disk; one that is not there yet is written into ``folder``.

        Raises:
            SceneError: ``unreadable``, if there is no such file.
        """

    def tree(self, start: str, folder: Path) -> Path:
        """The folder ``start`` of the product on a local disk, with all files below it by their names.

        One that is not there yet is written below ``folder``.
        """


class FolderMembers:
    """Files below a folder or prefix.

    Args:
        place: The folder or prefix.
        start: If stated, only files directly in it whose names start so are listed.
        anywhere: True if names may lead out of it, as references of STAC items do.
    """

    def __init__(self, place: Storage, start: str = "", anywhere: bool = False) -> None:
        self._place, self._start, self._anywhere = place, start, anywhere

    def names(self) -> list[str]:
        """Names of all files."""
        found = files_beginning(self._place, self._start) if self._start else self._place.files()
        return [facts.path for facts in found]

    def read(self, name: str) -> bytes:
        """The content of a small file."""
        place = self._child(name)
        _check_size(name, _size(place))
        try:
            return place.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            raise _missing(name) from None

    def local(self, name: str, folder: Path) -> Path:
        """The file on a local disk."""
        place = self._child(name)
        if not place.remote:
            if not Path(place.path).is_file():
                raise _missing(name)
            return Path(place.path)
        target = free_name(name, folder)
        if not target.exists():
            try:
                with place.open() as body:
                    _write(body, target)
            except FileNotFoundError:
                raise _missing(name) from None
        return target

    def tree(self, start: str, folder: Path) -> Path:
        """The folder on a local disk."""
        place = self._child(start)
        if not place.remote:
            return Path(place.path)
        for facts in place.files():
            target = _inside(folder, f"{start}/{facts.path}")
            if not target.exists():
                with place.child(facts.path).open() as body:
                    _write(body, target)
        return folder / _TREES / start

    def _child(self, name: str) -> Storage:
        if _leads_out(name) and not self._anywhere:
            raise unreadable(f"Its metadata name the file {name}, which lies outside the product.")
        return resolved(self._place, name)


class PackedMembers:
    """Files in a ZIP or TAR archive on a local disk; names of links and special files are left out."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._opened() as archive:
            self._sizes = _zip_sizes(archive) if isinstance(archive, zipfile.ZipFile) else _tar_sizes(archive)

    def names(self) -> list[str]:
        """Names of all files."""
        return sorted(self._sizes)

    def read(self, name: str) -> bytes:
        """The content of a small file."""
        _check_size(name, self._sizes.get(name, 0))
        with self._member(name) as stream:
            return stream.read()

    def local(self, name: str, folder: Path) -> Path:
        """The file, unpacked into ``folder``."""
        target = free_name(name, folder)
        if not target.exists():
            with self._member(name) as stream:
                _write(stream, target)
        return target

    def tree(self, start: str, folder: Path) -> Path:
        """The folder, unpacked below ``folder``."""
        with self._opened() as archive:
            for name in self.names():
                if name.startswith(f"{start}/") and not (target := _inside(folder, name)).exists():
                    with self._member_of(archive, name) as stream:
                        _write(stream, target)
        return folder / _TREES / start

    @contextmanager
    def _opened(self) -> Iterator[zipfile.ZipFile | tarfile.TarFile]:
        zipped = self._path.suffix.lower() == ".zip"
        try:
            archive = zipfile.ZipFile(self._path) if zipped else tarfile.open(self._path)  # noqa: SIM115
        except (OSError, zipfile.BadZipFile, tarfile.TarError) as error:
            kind = "ZIP" if zipped else "TAR"
            raise unreadable(f"It is no {kind} archive that can be opened ({reason_of(error)}).") from None
        with archive:
            yield archive

    @contextmanager
    def _member(self, name: str) -> Iterator[IO[bytes]]:
        if name not in self._sizes:
            raise _missing(name)
        with self._opened() as archive, self._member_of(archive, name) as stream:
            yield stream

    @contextmanager
    def _member_of(self, archive: zipfile.ZipFile | tarfile.TarFile, name: str) -> Iterator[IO[bytes]]:
        try:
            stream = archive.open(name) if isinstance(archive, zipfile.ZipFile) else archive.extractfile(name)
            if stream is None:
                raise _missing(name)
            with stream:
                yield stream
        except (zipfile.BadZipFile, tarfile.TarError, EOFError, NotImplementedError, RuntimeError) as error:
            raise unreadable(f"Its file {name} cannot be unpacked ({reason_of(error)}).") from None


def files_beginning(place: Storage, start: str) -> list[FileFacts]:
    """Files directly in a folder or below a prefix whose names begin so, sorted; all others are not even listed."""
    if place.remote:
        found = (facts for facts in objects_below(place.uri, start) if "/" not in facts.path)
        return sorted((FileFacts(**asdict(facts)) for facts in found), key=lambda facts: facts.path)
    paths = sorted(Path(place.path).glob(f"{glob.escape(start)}*"))
    return [FileFacts.on_disk(path.name, path.stat()) for path in paths if path.is_file()]


def resolved(folder: Storage, name: str) -> Storage:
    """The place of a file that is named from a folder or prefix; ``..`` leads up in buckets too."""
    place = folder.resolve(name)
    return Storage(f"s3://{posixpath.normpath(place.path)}") if place.remote else place


def parse_xml(data: bytes, name: str) -> ElementTree.Element:
    """Parses metadata in XML.

    Raises:
        SceneError: ``unreadable``, where they are no XML.
    """
    try:
        if b"<!DOCTYPE" in data or b"<!ENTITY" in data:
            raise unreadable(f"Its metadata {name} define entities, which no product's do.")
        return ElementTree.fromstring(data)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise unreadable(f"Its metadata {name} are no XML ({reason_of(error)}); download the product again.") from None


def _zip_sizes(archive: zipfile.ZipFile) -> Mapping[str, int]:
    return {info.filename: info.file_size for info in archive.infolist() if not info.is_dir()}


def _tar_sizes(archive: tarfile.TarFile) -> Mapping[str, int]:
    return {info.name: info.size for info in archive.getmembers() if info.isfile()}


def _missing(name: str) -> Exception:
    return unreadable(f"Its file {name} is missing; download the product again, or name other bands by --bands.")


def _leads_out(name: str) -> bool:
    path = PurePosixPath(name)
    return ".." in path.parts or path.is_absolute() or "://" in name or name.startswith("~")


def _inside(folder: Path, name: str) -> Path:
    """The place of a member below ``folder``, by its name, whose folders are made.

    Raises:
        SceneError: ``unreadable``, if the name leads out of it.
    """
    if _leads_out(name):
        raise unreadable(f"It holds the file {name}, whose name leads out of the product.")
    target = folder / _TREES / name
    target.parent.mkdir(parents=True, exist_ok=True)
    return target


def free_name(name: str, folder: Path) -> Path:
    """A place in ``folder`` for a member, whatever folders its name has."""
    return folder / name.strip("/").replace("/", "__").replace(":", "_")[-200:]


def _write(stream: IO[bytes], target: Path) -> None:
    """Writes a file whole; parts of one scene on this machine may write it at once."""
    partial = target.with_name(f"{target.name}.{secrets.token_hex(8)}")
    try:
        with partial.open("xb") as file:
            shutil.copyfileobj(stream, file, _AT_ONCE)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def _size(place: Storage) -> int:
    """Bytes of a file; 0 if there is none."""
    if place.remote:
        found = facts_of(place.uri)
        return 0 if found is None else found.size
    try:
        return Path(place.path).stat().st_size
    except OSError:
        return 0


def _check_size(name: str, size: int) -> None:
    if size > MOST_METADATA:
        raise unreadable(f"Its file {name} is larger than {MOST_METADATA >> 20} MB, which no metadata are.")
