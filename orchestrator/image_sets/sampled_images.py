"""One image of a file of a set, read before the set is packed: for checks, and to time work on it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from orchestrator.experiment.image_settings import DeepImages
from orchestrator.image_sets.deep_images import Chip, FileShape, LrFile, read_chips
from orchestrator.image_sets.pair_reading import check_fit
from orchestrator.image_sets.set_files import Skipped, SourceFile, plain_raster, read_image, reason_to_skip
from trainables.errors import UnreadableImageError, printable
from trainables.images.raster import Raster

SAMPLED = 24
"""Images of a folder that a sample decodes."""

_MOST_TRIED = 64
"""Chips of a file that are read until one has a value."""

_PAIRS_TRIED = 16
"""Pairs of chips of a file of which that with the highest contrast is taken, because flat ones tell nothing."""


@dataclass(frozen=True, slots=True)
class SampledImage:
    """An image of a file.

    Attributes:
        name: The file's path, printable.
        chip: The image; of a file that is cut, the first chip that has a value or, of pairs, that of highest contrast.
        shape: What the file has in common with the others, and how many images it gives; None of 8-bit gray and RGB.
    """

    name: str
    chip: Chip
    shape: FileShape | None = None

    @property
    def images(self) -> int:
        """Images that the file gives."""
        return 1 if self.shape is None else self.shape.chips


def read_sample(file: SourceFile, least_side: int, deep: DeepImages | None, scale: int = 1) -> SampledImage | Skipped:
    """Reads an image of a file, or the reason for leaving it out.

    Args:
        file: The file.
        least_side: Least height and width in pixels.
        deep: How images of any depth are read; None for 8-bit gray and RGB.
        scale: Scale factor of pairs.

    Raises:
        OSError: If the storage does not answer.
    """
    name = printable(file.facts.path)
    try:
        return _plain(file, least_side, scale) if deep is None else _deep(file, least_side, deep, scale)
    except Exception as error:
        return Skipped(name, reason_to_skip(error))


def _plain(file: SourceFile, least_side: int, scale: int) -> SampledImage | Skipped:
    read = read_image(file.place, file.facts.path, least_side)
    if isinstance(read, Skipped):
        return read
    image, lr = read[1], None
    if file.lr is not None:
        read_lr = read_image(file.lr.place, file.lr.facts.path, -(-least_side // scale))
        if isinstance(read_lr, Skipped):
            raise UnreadableImageError(f"its LR image '{read_lr.file}': {read_lr.reason}")
        lr = read_lr[1]
        check_fit((image.height, image.width), (lr.height, lr.width), scale)
    chip = Chip(plain_raster(image), "", None, None if lr is None else plain_raster(lr))
    return SampledImage(printable(file.facts.path), chip)


def _deep(file: SourceFile, least_side: int, deep: DeepImages, scale: int) -> SampledImage | Skipped:
    name = printable(file.facts.path)
    lr = None if file.lr is None else LrFile(file.lr.place, file.lr.facts.path, scale)
    shape, chips = read_chips(file.place, file.facts.path, deep, least_side, lr)
    found: list[Chip] = []
    for _, chip in zip(range(_MOST_TRIED), chips, strict=False):
        found += [] if chip.empty else [chip]
        if len(found) == (1 if lr is None else _PAIRS_TRIED):
            break
    if not found:
        return Skipped(name, f"none of its first {min(shape.chips, _MOST_TRIED)} chips has a value")
    return SampledImage(name, max(found, key=_contrast) if lr else found[0], shape)


def _contrast(chip: Chip) -> float:
    """Standard deviation of the LR values."""
    image: Raster = chip.lr or chip.raster
    known = image.values if image.valid is None else image.values[image.valid]
    return float(np.nan_to_num(known).std())


def spread(files: Sequence[SourceFile], most: int) -> list[SourceFile]:
    """At most so many files, from all over a listing."""
    return [files[i] for i in np.unique(np.linspace(0, len(files) - 1, most).round().astype(int))]
