"""Separation of sets: no test image of a target is a training or validation image of another set."""

from collections.abc import Mapping

from orchestrator.data.shard_reader import PICTURES, parts_of, read_manifest, read_rows
from orchestrator.foundation.storage import Storage
from trainables.images.picture_digest import digest_of

SEPARATION = "separation.json"
"""File below an experiment's shards: the builds of its sets that are known to be apart."""

Pictures = dict[str, dict[str, str]]
"""By split, the digest of each picture and the image's name."""


def pictures_of(shards: Storage) -> Pictures:
    """The pictures that shards hold: as their build wrote them down, or read again where it did not.

    Raises:
        RunError: If the shards are damaged.
    """
    manifest = read_manifest(shards)
    found = shards.child(PICTURES).read_json()
    if isinstance(found, dict) and found.get("digest") == manifest["digest"] and _fits(found, manifest["images"]):
        return {split: dict(found["pictures"][split]) for split in manifest["images"]}
    return {
        split: {
            digest_of(row.raster()): row.origin
            for part in parts_of(shards, manifest, split)
            for row in read_rows(shards, part)
        }
        for split in manifest["images"]
    }


def _fits(found: dict[str, object], images: Mapping[str, int]) -> bool:
    pictures = found.get("pictures")
    return isinstance(pictures, dict) and all(
        isinstance(pictures.get(split), dict) and len(pictures[split]) == count for split, count in images.items()
    )


def tested_elsewhere(name: str, tests: Mapping[str, Storage]) -> dict[str, str]:
    """Test images of other targets: digests of their pictures, with the reason for leaving out an image that shows one.

    Args:
        name: The set that must not train on them.
        tests: The locked test splits, by target.
    """
    return {
        picture: f"the same picture as a test image of '{other}'"
        for other, test in tests.items()
        if other != name
        for picture in pictures_of(test)["test"]
    }


def shared_pictures(sets: Mapping[str, Storage], tests: Mapping[str, Storage]) -> dict[str, int]:
    """Number of pictures among a set's training and validation images that are also in another target's test split.

    Args:
        sets: Shards of training and validation images, by set.
        tests: Locked test splits, by target.

    Returns:
        The number by set; sets without any are left out.
    """
    tested = {name: pictures_of(test)["test"].keys() for name, test in tests.items()}
    found: dict[str, int] = {}
    for name, shards in sets.items():
        kept = {picture for pictures in pictures_of(shards).values() for picture in pictures}
        shared = {picture for other, pictures in tested.items() if other != name for picture in kept & pictures}
        if shared:
            found[name] = len(shared)
    return found


def verify_apart(sets: Mapping[str, Storage], tests: Mapping[str, Storage]) -> list[str]:
    """Names every training or validation image that is another target's test image; empty means there is none.

    Args:
        sets: Shards of training and validation images, by set.
        tests: Locked test splits, by target.
    """
    tested = {name: pictures_of(test)["test"] for name, test in tests.items()}
    return [
        f"{origin} in {split} of '{name}' is the same picture as test image {tested[other][picture]} of '{other}'"
        for name, shards in sets.items()
        for split, pictures in pictures_of(shards).items()
        for picture, origin in pictures.items()
        for other in tested
        if other != name and picture in tested[other]
    ]
