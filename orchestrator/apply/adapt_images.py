"""LR images that a model is adapted to: 8-bit gray and RGB, or images of any depth by a stated value range."""

import hashlib
from collections.abc import Sequence

from orchestrator.foundation.file_listing import FileListing
from orchestrator.foundation.statistics import FEWEST_SCENES
from orchestrator.image_sets.deep_reading import DeepReading
from orchestrator.image_sets.image_folder import FolderImages, holds_deep, list_folder, read_folder
from orchestrator.image_sets.set_files import Skipped, SourceFile, left_out, read_image
from trainables.errors import ImageSetError
from trainables.images.raster import PLAIN
from trainables.loops.cross_scale import least_side
from trainables.metrics.evaluation import NamedImage

MOST_IMAGES = 500
"""Most LR images that are used; of more, a fixed random choice."""

_HELD_OUT_SHARE = 0.2


def read_lr_images(
    images: str, scenes: str, reading: DeepReading | None, scale: int
) -> tuple[FolderImages, FileListing]:
    """Reads at most :data:`MOST_IMAGES` LR images of a folder, or chips of them.

    Args:
        images: Folder or prefix.
        scenes: ``file`` or ``folder``: what an image's scene is.
        reading: How images of any depth are read; None for 8-bit gray and RGB.
        scale: Scale factor r.

    Raises:
        ImageSetError: If there are none, or those of any depth are not of one kind or do not fit the range.
    """
    files, listing = list_folder(images, scenes, reading)
    if reading is not None and holds_deep(files, reading):
        found = read_folder(files, reading, least_side(scale), MOST_IMAGES)
    else:
        found = _read_plain(files, scale)
    found.skipped[:0] = [Skipped(entry.path, entry.reason) for entry in listing.refused]
    return found, listing


def split_scenes(usable: Sequence[NamedImage], skipped: Sequence[Skipped]) -> tuple[list[NamedImage], list[NamedImage]]:
    """Images to train on, and images to hold out: a fifth of the scenes, more if that is too few for a verdict.

    Raises:
        ImageSetError: If there are fewer than two scenes.
    """
    scenes = sorted({image.scene for image in usable}, key=_digest)
    if len(scenes) < 2:
        raise ImageSetError(
            f"There are usable LR images of {len(scenes)} scenes; adapting needs 2, one of them to compare "
            f"on{left_out(skipped)}."
        )
    wanted = max(FEWEST_SCENES, round(_HELD_OUT_SHARE * len(scenes)))
    held = set(scenes[: max(1, min(len(scenes) // 3, wanted))])
    train = [image for image in usable if image.scene not in held]
    return train, [image for image in usable if image.scene in held]


def _read_plain(files: Sequence[SourceFile], scale: int) -> FolderImages:
    usable: list[NamedImage] = []
    skipped: list[Skipped] = []
    for file in sorted(files, key=lambda file: _digest(file.facts.path)):
        read = read_image(file.place, file.facts.path, least_side(scale))
        if isinstance(read, Skipped):
            skipped.append(read)
        elif len(usable) < MOST_IMAGES:
            usable.append(NamedImage(file.facts.path, file.scene, read[1].pixels))
    return FolderImages(usable, skipped, PLAIN, [], len(files) - len(skipped))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
