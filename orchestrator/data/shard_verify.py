"""Verification that shards match their manifest and that their splits are disjoint."""

import hashlib
import io
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import combinations
from typing import cast

import pyarrow.parquet as pq

from orchestrator.data.file_rows import PackedRow, RowFacts
from orchestrator.data.manifest import PackedPart
from orchestrator.data.shard_reader import pixel_format_of, read_manifest
from orchestrator.data.shards import SPLITS, digest_of_rows, unnamed_parts
from orchestrator.foundation.storage import Storage
from trainables.errors import RunError, reason_of
from trainables.images.parquet import COLUMNS, PAIR_COLUMNS, decode_row
from trainables.images.picture_digest import digest_of
from trainables.images.raster import PixelFormat

_THREADS = 4


@dataclass(slots=True)
class _Split:
    """Contents found in a split's files: scenes and pictures, by digest with a name."""

    scenes: set[str] = field(default_factory=set)
    pictures: dict[str, str] = field(default_factory=dict)


def verify_shards(place: Storage, *others: Storage) -> list[str]:
    """Reads every file and image again and names what does not match its manifest; empty means all is well.

    Images are decoded too: no picture may be in two splits, however it is encoded, turned or mirrored.

    Args:
        place: The shards.
        others: Further shards of the same images, such as their locked test split, with which no scene may be shared.
    """
    return _verify((place, *others), pictures=True)


def check_sound(place: Storage, *others: Storage) -> None:
    """Refuses shards that do not match their manifest; arguments are those of :func:`verify_shards`.

    Pictures are not compared again: this is for shards whose build has done that.

    Raises:
        RunError: If a file is missing or has changed.
    """
    if problems := _verify((place, *others), pictures=False):
        raise RunError(f"The shards at '{place.uri}' are damaged: {'; '.join(problems[:3])}. Build them again.")


def _verify(places: tuple[Storage, ...], pictures: bool) -> list[str]:
    problems: list[str] = []
    unfit: list[str] = []
    splits: dict[str, _Split] = defaultdict(_Split)
    with ThreadPoolExecutor(_THREADS) as pool:
        for place in places:
            problems += _verify_manifest(place, splits, unfit, pool if pictures else None)
    for first, second in combinations(SPLITS, 2):
        shared = splits[first].scenes & splits[second].scenes
        problems += [f"scene '{scene}' is in both {first} and {second}" for scene in sorted(shared)]
        for picture in sorted(splits[first].pictures.keys() & splits[second].pictures.keys()):
            first_name, second_name = splits[first].pictures[picture], splits[second].pictures[picture]
            problems.append(f"{first_name} in {first} is the same picture as {second_name} in {second}")
    return problems or unfit  # a digest that does not fit says nothing of why


def _verify_manifest(
    place: Storage, splits: dict[str, _Split], unfit: list[str], pool: ThreadPoolExecutor | None
) -> list[str]:
    """Problems of one manifest's files; a digest that does not fit goes to ``unfit``."""
    manifest = read_manifest(place)
    problems: list[str] = []
    rows: dict[str, list[RowFacts]] = {split: [] for split in manifest.get("images", {})}
    try:
        pixel_format, paired = pixel_format_of(manifest), manifest.get("pairs") is not None
        for part in manifest["files"]:
            own = splits[part["split"]], rows[part["split"]]
            problems += _verify_part(place, part, *own, pixel_format, paired, pool)
        named = {part["path"] for part in manifest["files"]}
        problems += [f"{path} is not in the manifest; no reader uses it" for path in unnamed_parts(place, named)]
        for split, count in manifest["images"].items():
            if not problems and len(rows[split]) != count:
                problems.append(f"{split} holds {len(rows[split])} images, the manifest says {count}")
        if digest_of_rows(rows) != manifest["digest"]:
            unfit.append(f"the digest in the manifest of '{place.uri}' is not that of its images and scenes")
    except Exception as error:
        problems.append(f"the manifest of '{place.uri}' is damaged ({reason_of(error)})")
    return problems


def _verify_part(
    place: Storage,
    part: PackedPart,
    split: _Split,
    rows: list[RowFacts],
    pixel_format: PixelFormat,
    paired: bool,
    pool: ThreadPoolExecutor | None,
) -> Iterator[str]:
    """Yields problems of one file and adds its content to ``split`` and ``rows``."""
    path = part["path"]
    try:
        data = place.child(path).read_bytes()
    except FileNotFoundError:
        yield f"{path} is missing"
        return
    except Exception as error:
        yield f"{path} cannot be read ({reason_of(error)})"
        return
    if hashlib.sha256(data).hexdigest() != part["sha256"]:
        yield f"{path} has changed since it was written"
        return
    try:
        columns = [*COLUMNS, *(PAIR_COLUMNS if paired else ())]
        found = pq.read_table(io.BytesIO(data), columns=columns).to_pylist()
        if missing := set(columns) - set(pq.read_schema(io.BytesIO(data)).names):
            yield f"{path} has no column '{min(missing)}'"
            return
    except Exception as error:
        yield f"{path} cannot be read ({reason_of(error)})"
        return
    if len(found) != part["rows"]:
        yield f"{path} holds {len(found)} images, the manifest says {part['rows']}"
    rows += [
        cast(RowFacts, {name: value for name, value in row.items() if not name.endswith("image")}) for row in found
    ]
    for row in found:
        split.scenes.add(row["scene_id"])
        if hashlib.sha256(row["image"]).hexdigest() != row["sha256"]:
            yield f"{row['origin']} in {path} has changed"
        if paired and hashlib.sha256(row["lr_image"]).hexdigest() != row["lr_sha256"]:
            yield f"the LR image of {row['origin']} in {path} has changed"
    if pool is not None:
        for row, (picture, reason) in zip(
            found, pool.map(partial(_picture, pixel_format=pixel_format), found), strict=True
        ):
            if reason:
                yield f"{row['origin']} in {path} cannot be decoded ({reason})"
            else:
                split.pictures[picture] = row["origin"]


def _picture(row: PackedRow, pixel_format: PixelFormat) -> tuple[str, str]:
    """Digest of an image's picture, or the reason for having none."""
    try:
        if "lr_image" in row:
            decode_row(row["lr_image"], pixel_format)
        return digest_of(decode_row(row["image"], pixel_format)), ""
    except Exception as error:
        return "", reason_of(error)
