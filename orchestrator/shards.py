"""Images → Parquet shards: packed, split by scene, verified.

A shard holds encoded images as they came, in row groups of a few megabytes so that readers stream. Rows are ordered by
content digest, which shuffles them once and for all. Files carry their digest in their name and the manifest is
written last, so a reader never sees half a build.
"""

import hashlib
import io
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator.image_sets import Skipped, SourceFile, left_out, read_image
from orchestrator.stages import fingerprint
from orchestrator.storage import Storage
from trainables.errors import ImageSetError, RunError, UsageError
from trainables.evaluation import NamedImage
from trainables.images import decode

MANIFEST = "manifest.json"
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
    files: Sequence[SourceFile], shares: dict[str, float], least_side: int, out: Storage, licence: str
) -> dict[str, Any]:
    """Packs an image set.

    Args:
        files: What to pack.
        shares: Share of scenes of ``validation`` and, where no test folder is given, of ``test``.
        least_side: Least height and width in pixels; smaller images are left out.
        out: Where shards and manifest go.
        licence: Terms of the images.

    Returns:
        The manifest.

    Raises:
        ImageSetError: If too few usable images or scenes remain.
    """
    rows, skipped = _read_all(files, least_side)
    test_folders = {file.place.uri for file in files if file.test}
    wanted = [split for split in SPLITS if split in {"train", *shares} or (split == "test" and test_folders)]
    splits = _split(rows, shares, skipped, files[0].place.uri)
    if test_folders and not splits["test"]:
        raise ImageSetError(f"'{min(test_folders)}' has no usable images{left_out(skipped)}.")
    parts = [part for split in wanted for part in _write_split(split, splits[split], out)]
    manifest = {
        "format": 1,
        "split_rule": f"by scene, ordered by sha256 of the scene's name; shares of scenes {shares}",
        "licence": licence,
        "images": {split: len(splits[split]) for split in wanted},
        "scenes": {split: sorted({row["scene_id"] for row in splits[split]}) for split in wanted},
        "pixels": {split: sum(r["height"] * r["width"] for r in splits[split]) for split in wanted},
        "skipped": [{"file": s.file, "reason": s.reason} for s in skipped],
        "files": parts,
        "digest": fingerprint({s: [(r["sha256"], r["scene_id"]) for r in splits[s]] for s in wanted}),
    }
    out.child(MANIFEST).write_json(manifest)
    _sweep(out, {part["path"] for part in parts})
    return manifest


def read_manifest(place: Storage) -> dict[str, Any]:
    """The manifest of a set of shards.

    Raises:
        UsageError: If there is none.
    """
    manifest = place.child(MANIFEST).read_json()
    if not isinstance(manifest, dict) or manifest.get("format") != 1:
        raise UsageError(f"There are no shards at '{place.uri}' ({MANIFEST} is missing or of another format).")
    return manifest


def split_files(place: Storage, split: str) -> list[str]:
    """Paths of a split's Parquet files, as ``place.filesystem`` takes them."""
    return [place.child(f["path"]).path for f in read_manifest(place)["files"] if f["split"] == split]


def read_split(place: Storage, split: str) -> Iterator[NamedImage]:
    """Streams a split's images, decoded, one row group at a time."""
    for path in split_files(place, split):
        with place.filesystem.open_input_file(path) as stream:
            for batch in pq.ParquetFile(stream).iter_batches(batch_size=16):
                for row in batch.to_pylist():
                    yield NamedImage(row["origin"], row["scene_id"], decode(row["image"]).pixels)


def verify_shards(place: Storage) -> list[str]:
    """Reads every file and image again and names what does not match the manifest; empty means all is well."""
    manifest, problems = read_manifest(place), []
    scenes: dict[str, set[str]] = defaultdict(set)
    for part in manifest["files"]:
        try:
            data = place.child(part["path"]).read_bytes()
        except FileNotFoundError:
            problems.append(f"{part['path']} is missing")
            continue
        if hashlib.sha256(data).hexdigest() != part["sha256"]:
            problems.append(f"{part['path']} has changed since it was written")
            continue
        for row in pq.read_table(io.BytesIO(data)).to_pylist():
            scenes[part["split"]].add(row["scene_id"])
            if hashlib.sha256(row["image"]).hexdigest() != row["sha256"]:
                problems.append(f"{row['origin']} in {part['path']} has changed")
    for first, second in (("train", "validation"), ("train", "test"), ("validation", "test")):
        shared = scenes[first] & scenes[second]
        problems += [f"scene '{scene}' is in both {first} and {second}" for scene in sorted(shared)]
    return problems


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


def _write_split(split: str, rows: list[Row], out: Storage) -> Iterator[dict[str, Any]]:
    for number, chunk in enumerate(_chunks(rows, FILE_BYTES)):
        data = _encode(chunk)
        digest = hashlib.sha256(data).hexdigest()
        path = f"{split}/part-{number:05d}-{digest[:8]}.parquet"
        out.child(path).write_bytes(data)
        yield {"path": path, "split": split, "rows": len(chunk), "bytes": len(data), "sha256": digest}


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


def _sweep(out: Storage, keep: set[str]) -> None:
    for facts in list(out.files()):
        if facts.path.endswith(".parquet") and facts.path not in keep:
            out.child(facts.path).delete()


def check_sound(place: Storage) -> None:
    """Refuses shards that do not match their manifest.

    Raises:
        RunError: If a file is missing or has changed.
    """
    if problems := verify_shards(place):
        raise RunError(f"The shards at '{place.uri}' are damaged: {'; '.join(problems[:3])}. Build them again.")
