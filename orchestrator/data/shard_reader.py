"""Reads shards, and compares their content with the manifest."""

import hashlib
from collections.abc import Iterator
from typing import Any, cast

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


def split_rows(place: Storage, split: str) -> list[tuple[str, int]]:
    """Paths of a split's Parquet files, as ``place.filesystem`` takes them, and how many images each holds.

    Raises:
        UsageError: As :func:`packed_files`.
    """
    return [(file.path, file.rows) for file in packed_files(place, split)]


def packed_files(place: Storage, split: str) -> list[PackedFile]:
    """A split's Parquet files, with their entries of the manifest.

    Raises:
        UsageError: If these shards have no such split, or are a locked test split, which
            :func:`orchestrator.data.locked_test.open_test` alone reads.
        RunError: If the manifest is damaged.
    """
    manifest = _manifest_with(place, split)
    parts, scenes = parts_of(place, manifest, split), _scenes(manifest, split)
    return [packed_file(place, manifest, part, scenes) for part in parts]


def read_split(place: Storage, split: str) -> Iterator[NamedImage]:
    """Streams a split's images, decoded, one file at a time.

    Raises:
        UsageError: As :func:`packed_files`.
        RunError: If a file or an image is not as it was packed.
    """
    return read_files(place, _manifest_with(place, split), split)


def read_files(place: Storage, manifest: Manifest, split: str) -> Iterator[NamedImage]:
    """Streams the images of a split that a manifest names; its arguments and errors are those of :func:`read_rows`."""
    parts, scenes = parts_of(place, manifest, split), _scenes(manifest, split)
    return (named_image(image) for part in parts for image in read_rows(place, manifest, part, scenes))


def named_image(image: PackedImage) -> NamedImage:
    """A row of a shard as an image to score or to train on."""
    prepared, lr = image.prepared(), None if image.lr is None else image.lr.prepared()
    return NamedImage(image.origin, image.scene, prepared.pixels, prepared.valid, lr)


def read_rows(
    place: Storage, manifest: Manifest, part: PackedPart, scenes: frozenset[str] | None = None
) -> Iterator[PackedImage]:
    """Streams the rows of one file, whose size and digest are compared with the manifest before.

    Args:
        place: Place of the shards.
        manifest: Their manifest.
        part: The manifest's entry of the file.
        scenes: The scenes of its split; None to take them from the manifest.

    Raises:
        RunError: If the file is missing, another than the manifest says, or cannot be read.
    """
    packed = packed_file(place, manifest, part, scenes)
    with naming_damage(packed.path):
        data = place.child(part["path"]).read_bytes()
        check_size(packed, len(data))
        if hashlib.sha256(data).hexdigest() != part["sha256"]:
            raise damaged(packed.path, "it has changed since it was written, its SHA-256 is another")
        with pq.ParquetFile(pa.BufferReader(data)) as file:
            check_rows(packed.path, file, packed)
            for batch in file.iter_batches(BATCH, columns=columns_of(packed)):
                yield from packed_images(packed.path, batch, packed)


def parts_of(place: Storage, manifest: Manifest, split: str) -> list[PackedPart]:
    """The manifest's entries of a split's files.

    Raises:
        RunError: If the manifest is damaged: an entry lacks something, or they do not add up to the split's images.
    """
    try:
        parts, scenes = [part for part in manifest["files"] if part["split"] == split], _scenes(manifest, split)
        found = sum(packed_file(place, manifest, part, scenes).rows for part in parts)
        expected = manifest["images"][split]
    except RunError:
        raise
    except Exception as error:
        raise _damaged_manifest(place, f"of the '{split}' split, {error!r:.60} is wrong or missing") from None
    if found != expected:
        raise _damaged_manifest(place, f"its {split} files hold {found} images, its count is {expected}")
    return parts


def packed_file(
    place: Storage, manifest: Manifest, part: PackedPart, scenes: frozenset[str] | None = None
) -> PackedFile:
    """Entry of one file in a manifest.

    Args:
        place: Place of the shards.
        manifest: Their manifest.
        part: The file's entry.
        scenes: The scenes of its split, which many files share; None to take them from the manifest.

    Raises:
        RunError: If it does not say it.
    """
    try:
        path, size, rows, digest = part["path"], part["bytes"], part["rows"], part["sha256"]
        pixel_format, paired = pixel_format_of(manifest), manifest.get("pairs") is not None
        scenes = frozenset(manifest["scenes"][part["split"]]) if scenes is None else scenes
    except Exception as error:
        raise _damaged_manifest(place, f"of '{_named(part)}', {error!r:.60} is wrong or missing") from None
    if not (isinstance(path, str) and type(size) is type(rows) is int and isinstance(digest, str)):
        raise _damaged_manifest(place, f"the entry of '{_named(part)}' is {part!r:.80}")
    return PackedFile(place.child(path).path, size, rows, scenes, part.get("index_sha256"), pixel_format, paired)


def _scenes(manifest: Manifest, split: str) -> frozenset[str] | None:
    """The scenes of a split; None if the manifest does not say them, which the first file's entry then tells."""
    try:
        return frozenset(manifest["scenes"][split])
    except Exception:
        return None


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
