"""Whether shards are what their manifest says."""

import hashlib
import io
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pyarrow.parquet as pq

from orchestrator.shard_reading import read_manifest
from orchestrator.storage import Storage
from trainables.errors import RunError


def verify_shards(place: Storage, *others: Storage) -> list[str]:
    """Reads every file and image again and names what does not match its manifest; empty means all is well.

    Args:
        place: The shards.
        others: Further shards of the same images, such as their locked test split, with which no scene may be shared.
    """
    problems: list[str] = []
    scenes: dict[str, set[str]] = defaultdict(set)
    for shards in (place, *others):
        for part in read_manifest(shards)["files"]:
            problems += _verify_part(shards, part, scenes[part["split"]])
    for first, second in (("train", "validation"), ("train", "test"), ("validation", "test")):
        shared = scenes[first] & scenes[second]
        problems += [f"scene '{scene}' is in both {first} and {second}" for scene in sorted(shared)]
    return problems


def _verify_part(place: Storage, part: dict[str, Any], scenes: set[str]) -> Iterator[str]:
    """Names what is wrong with one file and adds its scenes to ``scenes``."""
    try:
        data = place.child(part["path"]).read_bytes()
    except FileNotFoundError:
        yield f"{part['path']} is missing"
        return
    if hashlib.sha256(data).hexdigest() != part["sha256"]:
        yield f"{part['path']} has changed since it was written"
        return
    for row in pq.read_table(io.BytesIO(data)).to_pylist():
        scenes.add(row["scene_id"])
        if hashlib.sha256(row["image"]).hexdigest() != row["sha256"]:
            yield f"{row['origin']} in {part['path']} has changed"


def check_sound(place: Storage, *others: Storage) -> None:
    """Refuses shards that do not match their manifest; arguments are those of :func:`verify_shards`.

    Raises:
        RunError: If a file is missing or has changed.
    """
    if problems := verify_shards(place, *others):
        raise RunError(f"The shards at '{place.uri}' are damaged: {'; '.join(problems[:3])}. Build them again.")
