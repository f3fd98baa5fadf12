"""Images of any depth of a folder, read for a model as images to train on, to score or to analyse."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from orchestrator.experiment.image_settings import DeepImages, ImageSet
from orchestrator.foundation.buckets.local_copy import local_copy
from orchestrator.foundation.file_listing import FileListing
from orchestrator.foundation.file_types import PICTURES, RASTER_INPUTS, suffix_of
from orchestrator.foundation.storage import Storage
from orchestrator.image_sets.deep_images import Chip, FileShape, LrFile, common_shape, read_chips
from orchestrator.image_sets.deep_reading import DeepReading
from orchestrator.image_sets.image_pairs import pair_by_name
from orchestrator.image_sets.sampled_images import SAMPLED, read_sample, spread
from orchestrator.image_sets.set_files import (
    PlacedFile,
    Skipped,
    SourceFile,
    list_files,
    list_images,
    no_usable_images,
    reason_to_skip,
)
from orchestrator.image_sets.value_ranges import Sampled
from orchestrator.rasters.pictures import is_picture
from trainables.errors import printable
from trainables.images.raster import PixelFormat
from trainables.metrics.evaluation import NamedImage


@dataclass(frozen=True, slots=True)
class FolderImages:
    """Images of a folder.

    Attributes:
        images: The images, prepared for a network.
        skipped: Files, or parts of them, that were left out.
        pixel_format: What the images' values mean.
        notes: Lines that a user should know.
        available: Images that the whole folder gives, about, of which these are some.
    """

    images: list[NamedImage]
    skipped: list[Skipped]
    pixel_format: PixelFormat
    notes: list[str]
    available: int


def list_folder(images: str, scenes: str, reading: DeepReading | None) -> tuple[list[SourceFile], FileListing]:
    """Lists a folder: images of any depth where they can be read, or else 8-bit gray and RGB alone.

    Args:
        images: Folder or prefix.
        scenes: ``file`` or ``folder``: what an image's scene is.
        reading: How images of any depth are read; None for 8-bit gray and RGB.

    Raises:
        StorageError: If it cannot be read.
        ImageSetError: If it is empty or holds no images.
    """
    listings: list[FileListing] = []
    files = list_files(
        ImageSet.model_validate({"images": images, "scenes": scenes}),
        Storage.at("."),
        report=lambda _, listing: listings.append(listing),
        endings=PICTURES if reading is None else RASTER_INPUTS,
    )
    return files, listings[0]


def with_lr(files: Sequence[SourceFile], lr: Storage, endings: frozenset[str], scale: int) -> list[SourceFile]:
    """The files with their LR images, paired by name.

    Args:
        files: HR images of one folder.
        lr: Folder or prefix of the LR images.
        endings: Of LR images.
        scale: Scale factor r.

    Raises:
        StorageError: If the folder or bucket cannot be read.
        ImageSetError: If it holds no images, or an image has no partner.
    """
    found = {facts.path: facts for facts in list_images(lr, endings).files}
    pairs = dict(pair_by_name([file.facts.path for file in files], list(found), scale))
    return [replace(file, lr=PlacedFile(lr, found[pairs[file.facts.path]])) for file in files]


def holds_deep(files: Sequence[SourceFile], reading: DeepReading | None) -> bool:
    """True if files are read by a stated range: it is for 8-bit images too, or some are none, by their headers."""
    if reading is None or reading.takes_8_bits:
        return reading is not None
    return any(suffix_of(file.facts.path) not in PICTURES for file in files) or any(
        _is_deep(file) for file in spread(files, SAMPLED)
    )


def read_folder(files: Sequence[SourceFile], reading: DeepReading, least_side: int, most: int) -> FolderImages:
    """Reads images from all over a folder; large files give a few chips each.

    Args:
        files: The listed files.
        reading: How they are read; a range to be measured is that of all images that are read.
        least_side: Least height and width in pixels.
        most: Most images; of more, a fixed random choice of files and evenly placed chips of each.

    Raises:
        ImageSetError: If none can be used, files differ in data type or bands, or do not fit the range.
        OSError: If the storage does not answer.
    """
    where = files[0].place.uri
    found: list[tuple[SourceFile, Chip]] = []
    shapes: list[tuple[str, FileShape]] = []
    skipped: list[Skipped] = []
    chips_of: list[int] = []
    for file in sorted(files, key=lambda file: hashlib.sha256(file.facts.path.encode()).hexdigest()):
        if len(found) >= most:
            break
        of_file: list[Chip] = []
        for read in read_file(file, reading.deep, least_side, -(-most // len(files))):
            if isinstance(read, Skipped):
                skipped.append(read)
            else:
                shapes, of_file = [*shapes[:1], (printable(file.facts.path), read[0])], [*of_file, read[1]]
        common_shape(shapes)
        chips_of.append(shapes[-1][1].chips if of_file else 0)
        found += [(file, chip) for chip in of_file]
    shape = common_shape(shapes)
    if shape is None:
        raise no_usable_images(where, skipped)
    del found[most:]
    samples = [Sampled(chip.sample(), chip.window) for _, chip in found]
    pixel_format, notes = reading.format_of(shape, samples, where)
    found.reverse()
    images = [named_image(*found.pop(), pixel_format) for _ in range(len(found))]  # frees a chip with each image
    return FolderImages(images, skipped, pixel_format, notes, round(sum(chips_of) / len(chips_of) * len(files)))


def format_of_files(
    files: Sequence[SourceFile], reading: DeepReading, least_side: int, scale: int = 1
) -> tuple[PixelFormat, list[str]]:
    """The meaning of a folder's values, from a sample of its files.

    Args:
        files: The listed files.
        reading: How they are read.
        least_side: Least height and width in pixels.
        scale: Scale factor of pairs.

    Returns:
        The pixel format, and lines that a user should know.

    Raises:
        ImageSetError: If none can be used, they differ in data type or bands, or do not fit the range.
        OSError: If the storage does not answer.
    """
    read = [read_sample(file, least_side, reading.deep, scale) for file in spread(files, SAMPLED)]
    found = [image for image in read if not isinstance(image, Skipped)]
    shape = common_shape([(image.name, image.shape) for image in found if image.shape])
    where = files[0].place.uri
    if shape is None:
        skipped = [image for image in read if isinstance(image, Skipped)]
        raise no_usable_images(where, skipped)
    return reading.format_of(shape, [Sampled(image.chip.sample(), image.chip.window) for image in found], where)


def read_file(
    file: SourceFile, deep: DeepImages, least_side: int, most: int | None = None, scale: int = 1
) -> Iterator[tuple[FileShape, Chip] | Skipped]:
    """Chips of a file that have values, one after the other, and what of it was left out.

    Args:
        file: The file.
        deep: How it is read.
        least_side: Least height and width in pixels.
        most: Most chips, taken from all over the file; None for all.
        scale: Scale factor of pairs.

    Raises:
        OSError: If the storage does not answer.
    """
    name, empty, seen = printable(file.facts.path), 0, 0
    lr = None if file.lr is None else LrFile(file.lr.place, file.lr.facts.path, scale)
    try:
        shape, chips = read_chips(file.place, file.facts.path, deep, least_side, lr)
        for chip in islice(chips, 0, None, 1 if most is None else -(-shape.chips // most)):
            seen += 1
            empty += chip.raster.empty
            if not chip.raster.empty:
                yield shape, chip
    except Exception as error:
        yield Skipped(name, reason_to_skip(error))
    if empty:
        yield Skipped(name, "none of its pixels has a value" if seen == 1 else f"{empty} of {seen} chips have no value")


def named_image(file: SourceFile, chip: Chip, pixel_format: PixelFormat) -> NamedImage:
    """A chip of a file as an image, or a pair, to train on or to score."""
    prepared = pixel_format.prepared(chip.raster)
    lr = None if chip.lr is None else pixel_format.prepared(chip.lr)
    name = printable(file.facts.path) + (f" ({chip.where})" if chip.where else "")
    return NamedImage(name, file.scene, prepared.pixels, prepared.valid, lr)


def _is_deep(file: SourceFile) -> bool:
    try:
        with local_copy(file.place.child(file.facts.path)) as path:
            return not is_picture(path)
    except Exception:  # reported when it is read
        return False
