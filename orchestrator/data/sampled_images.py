"""One image of a file of a set, read before the set is packed: for checks, and to time work on it."""

from dataclasses import dataclass

from orchestrator.data.deep_images import Chip, FileShape, read_chips
from orchestrator.data.image_sets import Skipped, SourceFile, of_the_surroundings, read_image
from orchestrator.experiment.image_settings import DeepImages
from trainables.errors import UnreadableImageError, printable, reason_of
from trainables.images.raster import GRAY, RGB, Raster

_MOST_TRIED = 64
"""Chips of a file that are read until one has a value."""


@dataclass(frozen=True, slots=True)
class SampledImage:
    """An image of a file.

    Attributes:
        name: The file's path, printable.
        chip: The image; of a file that is cut, the first chip that has a value.
        shape: What the file has in common with the others, and how many images it gives; None of 8-bit gray and RGB.
    """

    name: str
    chip: Chip
    shape: FileShape | None = None

    @property
    def images(self) -> int:
        """Images that the file gives."""
        return 1 if self.shape is None else self.shape.chips


def read_sample(file: SourceFile, least_side: int, deep: DeepImages | None) -> SampledImage | Skipped:
    """Reads an image of a file, or the reason for leaving it out.

    Args:
        file: The file.
        least_side: Least height and width in pixels.
        deep: How images of any depth are read; None for 8-bit gray and RGB.

    Raises:
        OSError: If the storage does not answer.
    """
    name = printable(file.facts.path)
    if deep is None:
        read = read_image(file.place, file.facts.path, least_side)
        if isinstance(read, Skipped):
            return read
        bands = GRAY if read[1].channels == 1 else RGB
        return SampledImage(name, Chip(Raster(read[1].pixels, bands), "", None))
    try:
        shape, chips = read_chips(file.place, file.facts.path, deep, least_side)
        for _, chip in zip(range(_MOST_TRIED), chips, strict=False):
            if not chip.raster.empty:
                return SampledImage(name, chip, shape)
        return Skipped(name, f"none of its first {min(shape.chips, _MOST_TRIED)} chips has a value")
    except UnreadableImageError as error:
        return Skipped(name, str(error))
    except Exception as error:
        if isinstance(error, OSError) and of_the_surroundings(error):
            raise
        return Skipped(name, f"it cannot be read: {reason_of(error)}")
