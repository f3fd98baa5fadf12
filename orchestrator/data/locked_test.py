"""The locked test split: apart from all data of a search, and opened once a choice is on record.

Test images lie below a prefix of their own, ``test-locked/DOMAIN`` beside ``shards/DOMAIN``. No job of a search or a
fine-tuning and no manifest that they read names it, and :func:`open_test` reads it only where a record says after which
choice. That stops mistakes. It does not stop a program that runs with the same rights and goes looking: for that, deny
the prefix to the search's role, as docs/cluster.md shows for S3.
"""

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field

from orchestrator.data.manifest import Manifest
from orchestrator.data.shard_reader import MANIFEST, read_files, read_manifest
from orchestrator.foundation.record import Record
from orchestrator.foundation.stage_record import now
from orchestrator.foundation.storage import Storage
from trainables.errors import RunError, UsageError
from trainables.metrics.evaluation import NamedImage
from trainables.version import __version__

PREFIX = "test-locked"

_REMEDY = "delete the domain's folder below shards/, to have both built again"


_Text = Annotated[str, Field(min_length=1)]


class Opening(Record):
    """Opening of the locked test split: time, program, the choice before it, and the digest of the opened images."""

    at: _Text
    by: _Text
    after_choosing: _Text
    test: _Text


def locked_beside(shards: Storage) -> Storage | None:
    """The locked test split that was set aside from an experiment's ``shards/DOMAIN``; None where there is none."""
    home, _, domain = shards.uri.rpartition("/shards/")
    place = Storage(home).child(PREFIX, domain)
    return place if home and domain and place.child(MANIFEST).exists() else None


def locked_manifest(locked: Storage) -> Manifest:
    """Manifest of the test split: counts, scenes and digest.

    Raises:
        RunError: If it is missing, is damaged, is no test split or holds no images.
    """
    try:
        manifest = read_manifest(locked)
    except UsageError:
        raise RunError(f"The test split at '{locked.uri}' is missing; put it back, or {_REMEDY}.") from None
    if not manifest.get("digest") or "beside" not in manifest:
        raise RunError(f"The manifest at '{locked.uri}' is not that of a test split; put it back, or {_REMEDY}.")
    if manifest.get("images", {}).get("test") == 0:
        raise RunError(f"The test split at '{locked.uri}' holds no images; put it back, or {_REMEDY}.")
    return manifest


def digest_of_test(locked: Storage, shards: Storage) -> str:
    """Digest of the test split, which identifies its version.

    Raises:
        RunError: If it is missing, was set aside from other shards, or shares a scene with these.
    """
    manifest, kept = locked_manifest(locked), read_manifest(shards)
    if manifest["beside"] != kept["digest"]:
        raise RunError(f"The test split at '{locked.uri}' is not that of '{shards.uri}': {_REMEDY}.")
    tested = set(manifest.get("scenes", {}).get("test", ()))
    for split, scenes in kept.get("scenes", {}).items():
        if shared := tested.intersection(scenes):
            raise RunError(
                f"Scene '{min(shared)}' is in the test split at '{locked.uri}' and in the {split} images of "
                f"'{shards.uri}': {_REMEDY}."
            )
    return str(manifest["digest"])


def recorded_choice(record: Storage) -> str | None:
    """The recorded choice, with which an interrupted confirmation continues; None while the test split is locked."""
    opening = record.read_json()
    return str(opening["after_choosing"]) if isinstance(opening, dict) and opening.get("after_choosing") else None


def record_choice(record: Storage, locked: Storage, chosen: str, by: str = "confirmation") -> None:
    """Records, once, that a choice has been made, and so opens the test split.

    Args:
        record: Place of that record; an existing one is kept.
        locked: The test split.
        chosen: The winner.
        by: What opens it.

    Raises:
        RunError: If the test split is missing, or belongs to other shards than the record says.
    """
    digest = locked_manifest(locked)["digest"]
    opening = Opening.read(record)  # one that was cut short opened nothing
    if opening is None:
        opening = Opening(at=now(), by=f"rayscale {__version__}, {by}", after_choosing=chosen, test=digest)
        opening.write(record)
    if opening.test != digest:
        raise RunError(f"'{record.uri}' opened other test images than those at '{locked.uri}'; run again.")


def open_test(locked: Storage, record: Storage) -> Iterator[NamedImage]:
    """Streams the test images.

    Raises:
        RunError: If no choice is on record, or the test split is missing; while streaming, if a file or an image is not
            as it was packed.
    """
    if recorded_choice(record) is None:
        raise RunError(
            f"The test split at '{locked.uri}' is locked: no choice is recorded at '{record.uri}', and a confirmation "
            "records one before it opens the test split."
        )
    return read_files(locked, locked_manifest(locked), "test")


def openings(records: Storage, locked: Storage) -> list[Opening]:
    """Every opening of this test split, the first one first."""
    digest = locked_manifest(locked)["digest"]
    found = (Opening.read(records.child(facts.path)) for facts in records.files())
    ours = [opening for opening in found if opening is not None and opening.test == digest]
    return sorted(ours, key=lambda opening: opening.at)
