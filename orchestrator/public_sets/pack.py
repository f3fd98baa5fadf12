"""Packs the HR images of a fetched data set into shards."""

from pathlib import Path

from orchestrator.data.manifest import Manifest
from orchestrator.data.shards import build_shards
from orchestrator.experiment.image_settings import ImageSet
from orchestrator.foundation.storage import Storage
from orchestrator.image_sets.set_files import list_files
from orchestrator.public_sets.catalogue import PublicSet
from trainables.errors import UsageError

SHARDS = "shards"
"""Folder of the shards below that of the set."""

_LEAST_SIDE = 192
"""Height and width that a training patch of 48 LR pixels needs at x4."""

_VALIDATION = 0.1


def check_packable(public_set: PublicSet) -> None:
    """Refuses a set without a folder of HR images.

    Raises:
        UsageError: If it has none.
    """
    if not public_set.hr:
        raise UsageError(
            f"'{public_set.name}' has no folder of HR images to pack: leave --shards out, and name its folders in an "
            "experiment."
        )


def pack(public_set: PublicSet, folder: Path) -> Manifest:
    """Packs all HR images, a tenth of them for validation, into shards below the set's folder.

    Raises:
        UsageError: If the set has no HR images.
        ImageSetError: If too few can be used.
    """
    check_packable(public_set)
    root = Storage.at(str(folder))
    images = ImageSet(images=public_set.hr, validation_share=_VALIDATION, licence=public_set.licence)
    files = list_files(images, root)
    return build_shards(files, {"validation": _VALIDATION}, _LEAST_SIDE, root.child(SHARDS), public_set.licence)
