"""Packs the HR images of a fetched data set into shards."""

from pathlib import Path

from orchestrator.data.manifest import Manifest
from orchestrator.data.shards import build_shards
from orchestrator.experiment.image_settings import DeepImages, ImageSet
from orchestrator.foundation.file_types import PICTURES, RASTER_INPUTS
from orchestrator.foundation.storage import Storage
from orchestrator.image_sets.set_files import list_files
from orchestrator.public_sets.catalogue import HRFolder, PublicSet
from trainables.errors import UsageError

SHARDS = "shards"
"""Folder of the shards below that of the set."""

_LEAST_SIDE = 192
"""Height and width that a training patch of 48 LR pixels needs at x4."""

_VALIDATION = 0.1
_SLICES = DeepImages(value_range="percentile", bands=None, chip=256, slice_axis=2)
"""Reading of volumes: whole slices, whose range is measured on the training split, since MRI has no units."""


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


def pack(public_set: PublicSet, folder: Path) -> dict[str, Manifest]:
    """Packs the HR images that are there, a tenth of them for validation, into shards below the set's folder.

    Returns:
        The manifest of each folder of shards, by its path below the set's folder.

    Raises:
        UsageError: If the set has no HR images, or none of their folders is there.
        ImageSetError: If too few can be used.
    """
    check_packable(public_set)
    found = [images for images in public_set.hr if (folder / images.path).is_dir()]
    if not found:
        expected = ", ".join(images.path for images in public_set.hr)
        raise UsageError(f"'{folder}' has no folder of HR images to pack; expected {expected}.")
    places = {f"{SHARDS}/{images.name}".rstrip("/"): images for images in found}
    return {place: _pack(public_set, images, folder, place) for place, images in places.items()}


def _pack(public_set: PublicSet, images: HRFolder, folder: Path, place: str) -> Manifest:
    root = Storage.at(str(folder))
    section = ImageSet(images=images.path, validation_share=_VALIDATION, licence=public_set.licence)
    return build_shards(
        list_files(section, root, endings=RASTER_INPUTS if images.volumes else PICTURES),
        {"validation": _VALIDATION},
        _LEAST_SIDE,
        root.child(place),
        public_set.licence,
        deep=_SLICES if images.volumes else None,
    )
