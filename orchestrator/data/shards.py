"""Images → Parquet shards: packed, split by scene, verified.

A shard holds images as they came, in row groups of a few megabytes so that readers stream: 8-bit gray and RGB as they
are encoded in their files, others as packed rasters (:mod:`trainables.images.packed_raster`), which Parquet compresses
and whose meaning the manifest states. Rows are ordered by
content digest, which shuffles them once and for all. Files carry their digest in their name and the manifest is
written last, so a reader never sees half a build. A test split goes to a place of its own
(:mod:`orchestrator.data.locked_test`), which no manifest of the other splits names.
"""

import hashlib
import itertools
import os
import re
from collections.abc import Container, Iterator, Mapping, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator.data.file_rows import PACKED, Row, RowFacts
from orchestrator.data.manifest import LeftOut, Manifest, ManifestHead, PackedPart
from orchestrator.data.set_rows import read_rows
from orchestrator.data.shard_reader import MANIFEST, PICTURES
from orchestrator.data.split_notes import split_notes
from orchestrator.data.spool import Spool
from orchestrator.experiment.image_settings import DeepImages, PairReading
from orchestrator.foundation.stage_record import fingerprint
from orchestrator.foundation.storage import Storage
from orchestrator.image_sets.set_files import Skipped, SourceFile, left_out, no_usable_images
from orchestrator.image_sets.value_ranges import Sampled, format_of
from trainables.errors import ImageSetError
from trainables.images.parquet import index_digest

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
PAIR_SCHEMA = pa.schema([*SCHEMA, ("lr_image", pa.binary()), ("lr_sha256", pa.string())])
"""Columns of rows that hold the LR image beside the HR image."""


PART = re.compile(rf"({'|'.join(SPLITS)})/part-\d{{5}}-(?P<digest>[0-9a-f]{{8}})\.parquet")
"""Paths of the files that a build writes."""


def build_shards(
    files: Sequence[SourceFile],
    shares: dict[str, float],
    least_side: int,
    out: Storage,
    licence: str,
    locked: Storage | None = None,
    tested_elsewhere: Mapping[str, str] | None = None,
    deep: DeepImages | None = None,
    pairs: PairReading | None = None,
) -> Manifest:
    """Packs an image set.

    Args:
        files: Files to pack.
        shares: Share of scenes of ``validation`` and, where no test folder is given, of ``test``.
        least_side: Least height and width in pixels; smaller images are left out.
        out: Place for shards of training and validation images and their manifest.
        licence: Terms of the images.
        locked: Place for the test split, with a manifest of its own; needed where there is one.
        tested_elsewhere: Pictures, by digest, that are left out of training and validation images, and why: they are
            test images of other sets. Which scene is in which split does not depend on them.
        deep: How images of any depth are read; None for 8-bit gray and RGB.
        pairs: How LR images are read that the files have; None if they have none.

    Returns:
        The manifest of ``out``.

    Raises:
        ImageSetError: If too few usable images or scenes remain, or images of any depth differ in data type or bands,
            or do not fit the value range.
        ValueError: If there is a test split and no place for it.
    """
    check_apart(files)
    with Spool() as spool:
        return _build(files, shares, least_side, out, licence, locked, tested_elsewhere or {}, deep, pairs, spool)


def _build(
    files: Sequence[SourceFile],
    shares: dict[str, float],
    least_side: int,
    out: Storage,
    licence: str,
    locked: Storage | None,
    tested_elsewhere: Mapping[str, str],
    deep: DeepImages | None,
    pairs: PairReading | None,
    spool: Spool,
) -> Manifest:
    rows, skipped, shape = read_rows(files, least_side, spool, deep, pairs)
    test_folders = {file.place.uri for file in files if file.test}
    tested = "test" in shares or bool(test_folders)
    if tested and locked is None:
        raise ValueError("A test split needs a place of its own: pass `locked`.")
    splits = _split(rows, shares, skipped, files[0].place.uri)
    if test_folders and not splits["test"]:
        raise no_usable_images(min(test_folders), skipped)
    rule = f"by scene, ordered by sha256 of the scene's name; shares of scenes {shares}"
    where, notes = files[0].place.uri, split_notes(files, splits, shares)
    kept: dict[str, list[Row]] = {
        split: _without(splits[split], split, tested_elsewhere, skipped, where)
        for split in ("train", "validation")
        if split in {"train", *shares}
    }
    digest = digest_of_rows(kept)
    common: ManifestHead = {"format": 1, "split_rule": rule, "licence": licence, "skipped": []}
    if pairs is not None:
        common["pairs"] = pairs.to_dict()
    if deep is not None and shape is not None:
        samples = [Sampled(row["sample"], row["window"]) for row in kept["train"] if row["sample"] is not None]
        pixel_format, range_notes = format_of(deep, shape, samples, where)
        common["pixel_format"], notes = pixel_format.to_dict(), notes + range_notes
    if tested and locked is not None:
        _publish(locked, {"test": splits["test"]}, {**common, "locked": True, "beside": digest}, spool)
    left: list[LeftOut] = [{"file": s.file, "reason": s.reason} for s in skipped]
    return _publish(out, kept, {**common, "skipped": left, "notes": notes}, spool)


def check_apart(files: Sequence[SourceFile]) -> None:
    """Refuses a test folder that is the folder of images, lies in it or contains it, links resolved.

    Raises:
        ImageSetError: If it does.
    """
    own, test = ({_real(file.place) for file in files if file.test is test} for test in (False, True))
    for folder, test_folder in itertools.product(sorted(own), sorted(test)):
        if f"{folder}/".startswith(f"{test_folder}/") or f"{test_folder}/".startswith(f"{folder}/"):
            how = "are one folder" if folder == test_folder else "lie one in the other"
            raise ImageSetError(
                f"`images` and `test_images` {how}: '{folder}' and '{test_folder}'; a test image must not be trained "
                "on. Move the test images apart, or leave `test_images` out and set `test_share`."
            )


def _real(place: Storage) -> str:
    return place.uri.rstrip("/") if place.remote else os.path.realpath(place.path)


def check_scene_count(scenes: int, shares: Mapping[str, float], skipped: Sequence[Skipped], where: str) -> None:
    """Refuses a set that has not a scene for each split.

    Raises:
        ImageSetError: If it has not.
    """
    if scenes < (needed := 1 + len(shares)):
        raise ImageSetError(
            f"'{where}' has usable images of {scenes} scenes; at least {needed} scenes are needed, one for each "
            f"split{left_out(skipped)}."
        )


def _without(
    rows: list[Row], split: str, tested_elsewhere: Mapping[str, str], skipped: list[Skipped], where: str
) -> list[Row]:
    kept = [row for row in rows if row["picture"] not in tested_elsewhere]
    reasons = [(row["origin"], tested_elsewhere[row["picture"]]) for row in rows if row["picture"] in tested_elsewhere]
    if rows and not kept:
        raise ImageSetError(
            f"Of the {len(rows)} {split} images of '{where}' none is left: '{reasons[0][0]}' is {reasons[0][1]}, and "
            "so are the others. Give one of the two targets other images."
        )
    skipped += [Skipped(origin, reason) for origin, reason in reasons]
    return kept


def _split(rows: list[Row], shares: dict[str, float], skipped: list[Skipped], where: str) -> dict[str, list[Row]]:
    own = {row["scene_id"] for row in rows if not row["test"]}
    scenes = sorted(own, key=lambda scene: hashlib.sha256(scene.encode()).hexdigest())
    check_scene_count(len(scenes), shares, skipped, where)
    needed = 1 + len(shares)
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


def _publish(out: Storage, splits: dict[str, list[Row]], head: ManifestHead, spool: Spool) -> Manifest:
    """Writes files, then their manifest, then removes what an earlier build left."""
    built_before = isinstance(out.child(MANIFEST).read_json(), dict)
    parts = [part for split, rows in splits.items() for part in _write_split(split, rows, out, spool)]
    manifest: Manifest = {
        **head,
        "images": {split: len(rows) for split, rows in splits.items()},
        "scenes": {split: sorted({row["scene_id"] for row in rows}) for split, rows in splits.items()},
        "pixels": {split: sum(r["height"] * r["width"] for r in rows) for split, rows in splits.items()},
        "files": parts,
        "digest": digest_of_rows(splits),
    }
    pictures = {split: {row["picture"]: row["origin"] for row in rows} for split, rows in splits.items()}
    out.child(PICTURES).write_json({"format": 1, "digest": manifest["digest"], "pictures": pictures})
    out.child(MANIFEST).write_json(manifest)
    if built_before:
        for path in unnamed_parts(out, {part["path"] for part in parts}):
            out.child(path).delete()
    return manifest


def digest_of_rows(splits: Mapping[str, Sequence[RowFacts]]) -> str:
    """The digest in a manifest: of the images and scenes of its splits, in their order, and of pairs' LR images."""
    return fingerprint({split: [_identity(row) for row in rows] for split, rows in splits.items()})


def _identity(row: RowFacts) -> tuple[str, ...]:
    lr = row.get("lr_sha256")
    return (row["sha256"], row["scene_id"]) if lr is None else (row["sha256"], row["scene_id"], lr)


def _write_split(split: str, rows: list[Row], out: Storage, spool: Spool) -> Iterator[PackedPart]:
    for number, chunk in enumerate(_chunks(rows, FILE_BYTES)):
        data = _encode(chunk, spool)
        digest = hashlib.sha256(data).hexdigest()
        path = f"{split}/part-{number:05d}-{digest[:8]}.parquet"
        out.child(path).write_bytes(data)
        yield {
            "path": path,
            "split": split,
            "rows": len(chunk),
            "bytes": len(data),
            "sha256": digest,
            "index_sha256": index_digest(data),
        }


def _encode(rows: list[Row], spool: Spool) -> bytes:
    sink = pa.BufferOutputStream()
    compression = "zstd" if rows[0]["format"] == PACKED else "none"  # others are compressed in themselves
    schema = SCHEMA if rows[0]["lr_stored"] is None else PAIR_SCHEMA
    with pq.ParquetWriter(sink, schema, compression=compression) as writer:
        for group in _chunks(rows, GROUP_BYTES):
            writer.write_table(pa.Table.from_pylist([_columns(row, spool, schema) for row in group], schema))
    return bytes(sink.getvalue())


def _columns(row: Row, spool: Spool, schema: pa.Schema) -> dict[str, object]:
    values: dict[str, object] = {**row, "image": spool.get(row["stored"])}
    if row["lr_stored"] is not None:
        values["lr_image"] = spool.get(row["lr_stored"])
    return {name: values[name] for name in schema.names}


def _chunks(rows: list[Row], most_bytes: int) -> Iterator[list[Row]]:
    chunk: list[Row] = []
    size = 0
    for row in rows:
        own = row["stored"].size + (0 if row["lr_stored"] is None else row["lr_stored"].size)
        if chunk and size + own > most_bytes:
            yield chunk
            chunk, size = [], 0
        chunk.append(row)
        size += own
    if chunk:
        yield chunk


def unnamed_parts(out: Storage, named: Container[str]) -> list[str]:
    """Files that a build wrote and ``named`` lacks: called as parts are, with bytes of the digest that the name says.

    Args:
        out: Place of the shards.
        named: Paths that a manifest names.
    """
    found = []
    for facts in out.files():
        part = PART.fullmatch(facts.path)
        if part and facts.path not in named:
            digest = hashlib.sha256(out.child(facts.path).read_bytes()).hexdigest()
            found += [facts.path] if digest.startswith(part["digest"]) else []
    return found
