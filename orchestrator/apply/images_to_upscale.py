"""Images to upscale at a place, each with the place of its output."""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from orchestrator.apply.existing_outputs import replaced_input
from orchestrator.foundation.file_listing import FileListing, list_tree, nothing_found
from orchestrator.foundation.file_types import (
    ARRAYS,
    DICOM,
    FILE_OUTPUTS,
    INPUTS,
    NPY,
    PICTURE_OUTPUTS,
    PICTURES,
    PNG,
    TIFF,
    Kind,
    kind_of,
    suffix_of,
)
from orchestrator.foundation.sidecars import ENDINGS, by_small_letters, files_beside, lost_beside
from orchestrator.foundation.storage import Storage
from trainables.errors import ImageSetError, UsageError, reason_of


@dataclass(frozen=True, slots=True)
class Work:
    """An image to upscale: its name for messages, kind, source, target, and a message on what would be lost."""

    name: str
    kind: Kind
    source: Storage
    target: Storage
    lost: str | None = None

    @property
    def deep(self) -> bool:
        """True of files that keep their kind and depth."""
        return self.kind in ("dicom", "array")


def works_of(
    source: str, target: str, listing: FileListing | None, include: Collection[str], exclude: Collection[str]
) -> tuple[list[Work], FileListing]:
    """All images with the places of their outputs, and the listing with other files.

    Raises:
        UsageError: If there is no image, or an output would replace an input.
    """
    place, out = Storage.at(source), Storage.at(target)
    if place.remote:
        place.check_readable()
    if place.check_found() == "file":
        works, listing = [_work_of_file(place, out)], FileListing()
        beside = by_small_letters(files_beside(place))
    else:
        place.check_readable()
        listing = listing or list_tree(place, INPUTS, include, exclude, outputs=out)
        works = _works_of_folder(place, out, listing)
        beside = by_small_letters([place.child(facts.path).path for facts in list_tree(place, ENDINGS).files])
    if replaced_input((work.source, work.target) for work in works) or _below(out, place):
        raise UsageError(f"OUTPUT '{out.uri}' must lie outside INPUT '{place.uri}', whose images it would mix with.")
    _parent(works[0].target).check_writable()
    return [_with_what_lies_beside(work, beside) for work in works], listing


def _work_of_file(place: Storage, out: Storage) -> Work:
    name, suffix = PurePosixPath(place.uri).name, suffix_of(out.uri)
    kind = kind_of(name, "png")
    if kind not in ("picture", "dicom", "array"):
        raise ImageSetError(f"'{place.uri}' is no image ({', '.join(sorted(INPUTS))}).")
    if kind == "dicom":
        if suffix in (DICOM, *TIFF):
            return Work(name, kind, place, out)
        if suffix in PICTURES:
            raise UsageError(f"OUTPUT '{out.uri}' must end in .dcm or .tif, or be a folder: '{name}' is DICOM.")
        return Work(name, kind, place, out.child(name))
    if kind == "array":
        own = frozenset({NPY}) if suffix_of(name) == NPY else ARRAYS - {NPY}
        if suffix in own:
            return Work(name, kind, place, out)
        if suffix in FILE_OUTPUTS:
            raise UsageError(f"OUTPUT '{out.uri}' must end in {' or '.join(sorted(own))}, or be a folder.")
        return Work(name, kind, place, out.child(name))
    if suffix in PICTURE_OUTPUTS:
        return Work(name, kind, place, out)
    if suffix in PICTURES | ARRAYS:
        raise UsageError(f"OUTPUT '{out.uri}' must end in .png or .jpg, or be a folder.")
    return Work(name, kind, place, out.child(f"{PurePosixPath(name).stem}{PNG}"))


def _works_of_folder(place: Storage, out: Storage, listing: FileListing) -> list[Work]:
    if suffix_of(out.uri) in PICTURES | ARRAYS:
        raise UsageError(f"OUTPUT '{out.uri}' must be a folder, because INPUT '{place.uri}' is one.")
    paths = [facts.path for facts in listing.files]
    if not paths:
        raise ImageSetError(nothing_found(place, listing, INPUTS))
    kinds = {path: kind_of(path, "png") for path in paths}
    plain = {
        path: path if kind in ("dicom", "array") else str(PurePosixPath(path).with_suffix(PNG))
        for path, kind in kinds.items()
    }
    of_a_name = Counter(name.lower() for path, name in plain.items() if kinds[path] == "picture")
    # Where photo.jpg and photo.png lie together, both keep their whole name.
    names = {path: f"{path}{PNG}" if of_a_name[name.lower()] > 1 else name for path, name in plain.items()}
    count = Counter(names.values())
    while more := {path: f"{name}{PNG}" for path, name in names.items() if count[name] > 1 and plain[path] == name}:
        names |= more  # and where photo.jpg.png lies there too, it gets one more ending
        count = Counter(names.values())
    return [Work(path, kinds[path], place.child(path), out.child(names[path])) for path in paths]


def _with_what_lies_beside(work: Work, beside: dict[str, str]) -> Work:
    def read(path: str) -> bytes:
        return replace(work.source, uri=work.source.uri.removesuffix(work.source.path) + path).read_bytes()

    try:
        return replace(work, lost=None if work.deep else lost_beside(work.source.path, beside, read))
    except Exception as error:
        return replace(work, lost=f"what lies beside it cannot be read: {reason_of(error)}")


def missing(works: list[Work], target: str) -> list[Work]:
    """Those whose output does not exist yet."""
    if len(works) == 1:
        return [work for work in works if not work.target.exists()]
    out = Storage.at(target)
    existing = {out.child(facts.path).uri for facts in out.files()}
    return [work for work in works if work.target.uri not in existing]


def _below(inner: Storage, outer: Storage) -> bool:
    if inner.remote or outer.remote:
        return f"{inner.uri}/".startswith(f"{outer.uri}/")
    return Path(inner.path).resolve().is_relative_to(Path(outer.path).resolve())


def _parent(file: Storage) -> Storage:
    return Storage(file.uri.rpartition("/")[0])
