"""Reads shards, and compares their content with the manifest."""

import hashlib
from collections.abc import Iterator
from typing import Any, NamedTuple, cast

import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator.data.manifest import Manifest, PackedPart
from orchestrator.foundation.storage import Storage
from trainables.errors import RunError, UsageError
from trainables.images.parquet import (
    BATCH,
    REMEDY,
    PackedFile,
    PackedImage,
    check_rows,
    check_size,
    columns_of,
    damaged,
    naming_damage,
    packed_images,
)
from trainables.images.raster import PLAIN, PixelFormat
from trainables.metrics.evaluation import NamedImage

MANIFEST, PICTURES = "manifest.json", ".pictures.json"
"""Manifest of a set of shards, and the digest of each of its pictures, by split, with the image's name."""

_TYPES = {"digest": str, "images": dict, "scenes": dict, "files": list, "skipped": list}


def read_manifest(place: Storage) -> Manifest:
    """The manifest of a set of shards.

    Raises:
        UsageError: If there is none.
        RunError: If it is damaged.
    """
    manifest = place.child(MANIFEST).read_json()
    if not isinstance(manifest, dict) or manifest.get("format") != 1:
        raise UsageError(f"There are no shards at '{place.uri}' ({MANIFEST} is missing or of another format).")
    for key, kind in _TYPES.items():
        if not isinstance(manifest.get(key, kind()), kind):
            raise _damaged_manifest(place, f"'{key}' is {manifest[key]!r:.40}")
    return cast(Manifest, manifest)


def pixel_format_of(manifest: Manifest) -> PixelFormat:
    """The meaning of the values of a set's images: 8-bit gray and RGB, or as the manifest states it.

    Raises:
        UsageError: If what it states makes no sense.
    """
    stated = manifest.get("pixel_format")
    return PLAIN if stated is None else PixelFormat.from_dict(stated)


def split_files(place: Storage, split: str) -> list[str]:
    """Paths of a split's Parquet files, as ``place.filesystem`` takes them.

    Raises:
        UsageError: As :func:`packed_files`.
    """
    return [file.path for file in packed_files(place, split)]


class Part(NamedTuple):
    """A Parquet file of a split: its entry in the manifest, and the same as readers of the file take it."""

    entry: PackedPart
    packed: PackedFile


def packed_files(place: Storage, split: str) -> list[PackedFile]:
    """A split's Parquet files, with their entries of the manifest.

    Raises:
        UsageError: If these shards have no such split, or are a locked test split, which
            :func:`orchestrator.data.locked_test.open_test` alone reads.
        RunError: If the manifest is damaged.
    """
    return [part.packed for part in parts_of(place, _manifest_with(place, split), split)]


def read_split(place: Storage, split: str) -> Iterator[NamedImage]:
    """Streams a split's images, decoded, one file at a time.

    Raises:
        UsageError: As :func:`packed_files`.
        RunError: If a file or an image is not as it was packed.
    """
    return read_files(place, _manifest_with(place, split), split)


def read_files(place: Storage, manifest: Manifest, split: str) -> Iterator[NamedImage]:
    """Streams the images of a split that a manifest names.

    Raises:
        RunError: As :func:`parts_of` and :func:`read_rows`.
    """
    parts = parts_of(place, manifest, split)
    return (named_image(image) for part in parts for image in read_rows(place, part))


def named_image(image: PackedImage) -> NamedImage:
    """A row of a shard as an image to score or to train on."""
    prepared, lr = image.prepared(), None if image.lr is None else image.lr.prepared()
    return NamedImage(image.origin, image.scene, prepared.pixels, prepared.valid, lr)


def read_rows(place: Storage, part: Part) -> Iterator[PackedImage]:
    """Streams the rows of one file, whose size and digest are compared with the manifest before.

    Args:
        place: Place of the shards.
        part: The file, from :func:`parts_of`.

    Raises:
        RunError: If the file is missing, another than the manifest says, or cannot be read.
    """
    entry, packed = part
    with naming_damage(packed.path):
        data = place.child(entry["path"]).read_bytes()
        check_size(packed, len(data))
        if hashlib.sha256(data).hexdigest() != entry["sha256"]:
            raise damaged(packed.path, "it has changed since it was written, its SHA-256 is another")
        with pq.ParquetFile(pa.BufferReader(data)) as file:
            check_rows(packed.path, file, packed)
            for batch in file.iter_batches(BATCH, columns=columns_of(packed)):
                yield from packed_images(packed.path, batch, packed)


def parts_of(place: Storage, manifest: Manifest, split: str) -> list[Part]:
    """The files of a split that a manifest names.

    Raises:
        RunError: If the manifest is damaged: an entry lacks something, or they do not add up to the split's images.
    """
    try:
        expected, scenes = manifest["images"][split], frozenset(manifest["scenes"][split])
        pixel_format, paired = pixel_format_of(manifest), manifest.get("pairs") is not None
        entries = [entry for entry in manifest["files"] if entry["split"] == split]
    except Exception as error:
        raise _damaged_manifest(place, f"of the '{split}' split, {error!r:.60} is wrong or missing") from None
    files = [_packed_file(place, entry, scenes, pixel_format, paired) for entry in entries]
    found = sum(file.rows for file in files)
    if found != expected:
        raise _damaged_manifest(place, f"its {split} files hold {found} images, its count is {expected}")
    return [Part(entry, file) for entry, file in zip(entries, files, strict=True)]


def _packed_file(
    place: Storage, entry: PackedPart, scenes: frozenset[str], pixel_format: PixelFormat, paired: bool
) -> PackedFile:
    """A file as its entry describes it; the files of a split share its scenes, of which there may be many."""
    try:
        path, size, rows, digest = entry["path"], entry["bytes"], entry["rows"], entry["sha256"]
    except KeyError as error:
        raise _damaged_manifest(place, f"of '{_named(entry)}', {error!r:.60} is wrong or missing") from None
    if not (isinstance(path, str) and type(size) is type(rows) is int and isinstance(digest, str)):
        raise _damaged_manifest(place, f"the entry of '{_named(entry)}' is {entry!r:.80}")
    return PackedFile(place.child(path).path, size, rows, scenes, entry.get("index_sha256"), pixel_format, paired)


def _named(part: Any) -> str:
    return str(part.get("path", part) if isinstance(part, dict) else part)[:80]


def _manifest_with(place: Storage, split: str) -> Manifest:
    manifest = read_manifest(place)
    if manifest.get("locked"):
        raise UsageError(f"'{place.uri}' is a locked test split: only a confirmation that has chosen opens it.")
    images = manifest.get("images", {})
    if split not in images:
        locked = " A test split is locked: only a confirmation that has chosen opens it." if split == "test" else ""
        raise UsageError(f"'{place.uri}' holds {' and '.join(images)} images, no '{split}'.{locked}")
    return manifest


def _damaged_manifest(place: Storage, what: str) -> RunError:
    return RunError(f"'{place.child(MANIFEST).uri}' is damaged: {what}. {REMEDY}")
