"""Images → Parquet shards: packed, split by scene, verified.

A shard holds encoded images as they came, in row groups of a few megabytes so that readers stream. Rows are ordered by
content digest, which shuffles them once and for all. Files carry their digest in their name and the manifest is
written last, so a reader never sees half a build. A test split goes to a place of its own
(:mod:`orchestrator.locked_test`), which no manifest of the other splits names.
"""

import hashlib
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator.image_sets import Skipped, SourceFile, left_out, read_image
from orchestrator.shard_reading import MANIFEST as MANIFEST
from orchestrator.shard_reading import read_manifest as read_manifest
from orchestrator.shard_reading import read_split as read_split
from orchestrator.shard_reading import split_files as split_files
from orchestrator.stages import fingerprint
from orchestrator.storage import Storage
from trainables.errors import ImageSetError
from trainables.parquet import index_digest

SPLITS = ("train", "validation", "test")
FILE_BYTES, GROUP_BYTES = 64 * 2**20, 4 * 2**20

SCHEMA = pa.schema(
    [
        ("scene_id", pa.string()),
        ("image", pa.binary()),
        ("format", pa.string()),
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("channels", pa.int8()),
        ("bit_depth", pa.int8()),
        ("sha256", pa.string()),
        ("origin", pa.string()),
    ]
)


Row = dict[str, Any]


def build_shards(
    files: Sequence[SourceFile],
    shares: dict[str, float],
    least_side: int,
    out: Storage,
    licence: str,
    locked: Storage | None = None,
) -> dict[str, Any]:
    """Packs an image set.

    Args:
        files: What to pack.
        shares: Share of scenes of ``validation`` and, where no test folder is given, of ``test``.
        least_side: Least height and width in pixels; smaller images are left out.
        out: Where shards of training and validation images and their manifest go.
        licence: Terms of the images.
        locked: Where the test split goes, with a manifest of its own; needed where there is one.

    Returns:
        The manifest of ``out``.

    Raises:
        ImageSetError: If too few usable images or scenes remain.
        ValueError: If there is a test split and no place for it.
    """
    rows, skipped = _read_all(files, least_side)
    test_folders = {file.place.uri for file in files if file.test}
    tested = "test" in shares or bool(test_folders)
    if tested and locked is None:
        raise ValueError("A test split needs a place of its own: pass `locked`.")
    splits = _split(rows, shares, skipped, files[0].place.uri)
    if test_folders and not splits["test"]:
        raise ImageSetError(f"'{min(test_folders)}' has no usable images{left_out(skipped)}.")
    rule = f"by scene, ordered by sha256 of the scene's name; shares of scenes {shares}"
    facts = {"format": 1, "split_rule": rule, "licence": licence}
    kept: dict[str, list[Row]] = {
        split: splits[split] for split in ("train", "validation") if split in {"train", *shares}
    }
    digest = _digest(kept)
    if tested and locked is not None:
        beside = {"locked": True, "beside": digest, "skipped": []}
        _publish(locked, {"test": splits["test"]}, facts | beside)
    left = [{"file": s.file, "reason": s.reason} for s in skipped]
    return _publish(out, kept, facts | {"skipped": left})


def _read_all(files: Sequence[SourceFile], least_side: int) -> tuple[list[Row], list[Skipped]]:
    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(lambda file: _read_one(file, least_side), files))
    skipped = [outcome for outcome in outcomes if isinstance(outcome, Skipped)]
    rows: dict[str, Row] = {}
    for row in (outcome for outcome in outcomes if not isinstance(outcome, Skipped)):
        if row["sha256"] in rows:
            skipped.append(Skipped(row["origin"], f"the same image as {rows[row['sha256']]['origin']}"))
        else:
            rows[row["sha256"]] = row
    return [rows[digest] for digest in sorted(rows)], skipped


def _read_one(file: SourceFile, least_side: int) -> Row | Skipped:
    read = read_image(file.place, file.facts.path, least_side)
    if isinstance(read, Skipped):
        return read
    data, image = read
    return {
        "scene_id": file.scene,
        "image": data,
        "format": image.format,
        "height": image.height,
        "width": image.width,
        "channels": image.channels,
        "bit_depth": 8,
        "sha256": hashlib.sha256(data).hexdigest(),
        "origin": f"{PurePosixPath(file.place.uri).name}/{file.facts.path}",
        "test": file.test,
    }


def _split(rows: list[Row], shares: dict[str, float], skipped: list[Skipped], where: str) -> dict[str, list[Row]]:
    own = {row["scene_id"] for row in rows if not row["test"]}
    scenes = sorted(own, key=lambda scene: hashlib.sha256(scene.encode()).hexdigest())
    needed = 1 + len(shares)
    if len(scenes) < needed:
        raise ImageSetError(
            f"'{where}' has usable images of {len(scenes)} scenes; at least {needed} scenes are needed, one for each "
            f"split{left_out(skipped)}."
        )
    assigned: dict[str, str] = {}
    for split, share in sorted(shares.items()):
        free = [scene for scene in scenes if scene not in assigned]
        still_needed = needed - 1 - len(set(assigned.values()))
        count = min(max(1, round(share * len(scenes))), len(free) - still_needed)
        assigned |= dict.fromkeys(free[:count], split)
    splits: dict[str, list[Row]] = {split: [] for split in SPLITS}
    for row in rows:
        splits["test" if row["test"] else assigned.get(row["scene_id"], "train")].append(row)
    return splits


def _publish(out: Storage, splits: dict[str, list[Row]], facts: dict[str, Any]) -> dict[str, Any]:
    """Writes files, then their manifest, then removes what an earlier build left."""
    parts = [part for split, rows in splits.items() for part in _write_split(split, rows, out)]
    manifest = facts | {
        "images": {split: len(rows) for split, rows in splits.items()},
        "scenes": {split: sorted({row["scene_id"] for row in rows}) for split, rows in splits.items()},
        "pixels": {split: sum(r["height"] * r["width"] for r in rows) for split, rows in splits.items()},
        "files": parts,
        "digest": _digest(splits),
    }
    out.child(MANIFEST).write_json(manifest)
    _sweep(out, {part["path"] for part in parts})
    return manifest


def _digest(splits: dict[str, list[Row]]) -> str:
    return fingerprint({split: [(r["sha256"], r["scene_id"]) for r in rows] for split, rows in splits.items()})


def _write_split(split: str, rows: list[Row], out: Storage) -> Iterator[dict[str, Any]]:
    for number, chunk in enumerate(_chunks(rows, FILE_BYTES)):
        data = _encode(chunk)
        digest = hashlib.sha256(data).hexdigest()
        path = f"{split}/part-{number:05d}-{digest[:8]}.parquet"
        out.child(path).write_bytes(data)
        facts = {"path": path, "split": split, "rows": len(chunk), "bytes": len(data), "sha256": digest}
        yield facts | {"index_sha256": index_digest(data)}


def _encode(rows: list[Row]) -> bytes:
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, SCHEMA, compression="none") as writer:
        for group in _chunks(rows, GROUP_BYTES):
            writer.write_table(pa.Table.from_pylist([{k: row[k] for k in SCHEMA.names} for row in group], SCHEMA))
    return bytes(sink.getvalue())


def _chunks(rows: list[Row], most_bytes: int) -> Iterator[list[Row]]:
    chunk: list[Row] = []
    size = 0
    for row in rows:
        if chunk and size + len(row["image"]) > most_bytes:
            yield chunk
            chunk, size = [], 0
        chunk.append(row)
        size += len(row["image"])
    if chunk:
        yield chunk


_PART = re.compile(r"\w+/part-\d{5}-([0-9a-f]{8})\.parquet")


def _sweep(out: Storage, keep: set[str]) -> None:
    """Removes parts of earlier builds: files of such a name whose bytes have the digest that it states."""
    for facts in list(out.files()):
        named = _PART.fullmatch(facts.path)
        if named is None or facts.path in keep:
            continue
        file = out.child(facts.path)
        if hashlib.sha256(file.read_bytes()).hexdigest().startswith(named[1]):
            file.delete()
