"""Reads images of any depth and number of bands for a set: whole, or cut into chips in bounded memory."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from orchestrator.experiment.image_settings import DeepImages
from orchestrator.foundation.buckets.local_copy import local_copy
from orchestrator.foundation.file_types import raster_format_of
from orchestrator.foundation.storage import Storage
from orchestrator.image_sets.pair_reading import check_fit
from orchestrator.rasters.open_raster_file import open_raster_file
from orchestrator.rasters.types import RasterFile
from trainables.errors import ImageSetError, UnreadableImageError
from trainables.images.raster import Raster

_COMPANIONS = (".msk", ".aux.xml")
"""Endings, behind a scene's own name, of files that say which of its pixels have a value."""

SAMPLED_VALUES = 128
"""Values of each chip that are kept to judge or measure a value range."""


@dataclass(frozen=True, slots=True, eq=False)
class Chip:
    """A part of a file that becomes an image of its own.

    Attributes:
        raster: Its values, with the bands that the set uses.
        where: Its place in the file, "" if it is all of it.
        window: The least and greatest value that the file states as its window; None where it states none.
        lr: Of a pair, the part of the LR image that shows the same.
    """

    raster: Raster
    where: str
    window: tuple[float, float] | None
    lr: Raster | None = None

    @property
    def empty(self) -> bool:
        """True if no pixel has a value, or no pixel of the LR image."""
        return self.raster.empty or (self.lr is not None and self.lr.empty)

    def sample(self) -> NDArray[np.float32]:
        """At most :data:`SAMPLED_VALUES` of its values, from all over it, pixels without a value left out."""
        values, valid = self.raster.values, self.raster.valid
        known = values.reshape(-1) if valid is None else values[valid].reshape(-1)
        finite = known[np.isfinite(known)]
        places = np.linspace(0, max(len(finite) - 1, 0), min(SAMPLED_VALUES, len(finite))).astype(int)
        return np.asarray(finite[places], np.float32)


@dataclass(frozen=True, slots=True)
class FileShape:
    """Properties that all files of a set must share, and the number of images that one becomes."""

    dtype: str
    bands: tuple[str, ...]
    units: str
    chips: int
    dicom: bool = False

    @property
    def text(self) -> str:
        """In words."""
        return f"{self.dtype}, {len(self.bands)} band{'s' * (len(self.bands) > 1)} ({', '.join(self.bands)})"


class LrFile(NamedTuple):
    """The file of a pair's LR image, and the scale factor."""

    place: Storage
    path: str
    scale: int


def read_chips(
    place: Storage, path: str, settings: DeepImages, least_side: int, lr: LrFile | None = None
) -> tuple[FileShape, Iterator[Chip]]:
    """Opens one file of a set.

    Args:
        place: The folder or prefix that the file is in.
        path: Its path below that.
        settings: Bands, side of chips and axis of slices.
        least_side: Least height and width in pixels.
        lr: File of the LR image, which is cut into as many chips; None if the file is no part of a pair.

    Returns:
        Its shape, and its chips, chips without any value included; the file is closed behind the last one.

    Raises:
        UnreadableImageError: If it cannot be used, here or at a chip.
        OSError: If the storage does not answer.
    """
    opened = _read(place, path, settings, least_side, lr)
    shape = next(opened)
    assert isinstance(shape, FileShape)
    return shape, (chip for chip in opened if isinstance(chip, Chip))


@dataclass(frozen=True, slots=True)
class _Side:
    """An open file, the positions of the bands that are used, and how many HR pixels its pixels are high and wide."""

    file: RasterFile
    chosen: list[int]
    unit: int

    def strip(self, layer: int, top: int, bottom: int) -> Raster:
        """Rows of a layer; its place is given in HR pixels."""
        return self.file.read(layer, top // self.unit, 0, (bottom - top) // self.unit, self.file.width)

    def part(self, strip: Raster, left: int, right: int, names: tuple[str, ...]) -> Raster:
        """Columns of a strip, copied: a chip that is kept must not keep its strip."""
        part = strip.window(0, left // self.unit, strip.height, (right - left) // self.unit)
        valid = None if part.valid is None else part.valid.copy()
        return Raster(part.values[..., self.chosen], names, valid, part.units)


@contextmanager
def _opened(place: Storage, path: str, settings: DeepImages) -> Iterator[RasterFile]:
    companions = _COMPANIONS if raster_format_of(path) == "scene" else ()
    with local_copy(place.child(path), companions) as local, open_raster_file(local, settings.slice_axis) as file:
        yield file


def _read(
    place: Storage, path: str, settings: DeepImages, least_side: int, lr: LrFile | None
) -> Iterator[FileShape | Chip]:
    with ExitStack() as stack:
        file = stack.enter_context(_opened(place, path, settings))
        if min(file.height, file.width) < least_side:
            raise UnreadableImageError(
                f"{file.width}×{file.height} pixels, smaller than the {least_side}×{least_side} needed"
            )
        names = tuple(settings.bands or file.bands)
        sides, unit = [_Side(file, _chosen_bands(file.bands, settings.bands), 1)], 1
        if lr is not None:
            other, unit = stack.enter_context(_opened(lr.place, lr.path, settings)), lr.scale
            sides.append(_Side(other, _lr_bands(file, other, settings, names, unit), unit))
        rows, columns = (
            [unit * cut for cut in _cuts(side // unit, settings.chip / unit, -(-least_side // unit))]
            for side in (file.height, file.width)
        )
        count = file.layers * (len(rows) - 1) * (len(columns) - 1)
        yield FileShape(file.dtype, names, file.units, count, raster_format_of(path) == "dicom")
        yield from _chips(sides, names, rows, columns)


def _lr_bands(file: RasterFile, lr: RasterFile, settings: DeepImages, names: tuple[str, ...], scale: int) -> list[int]:
    """Positions of the bands that are used of an LR file.

    Raises:
        UnreadableImageError: If it does not fit its HR file.
    """
    check_fit((file.height, file.width), (lr.height, lr.width), scale)
    chosen = _chosen_bands(lr.bands, settings.bands)
    if lr.dtype != file.dtype or len(chosen) != len(names) or lr.layers != file.layers:
        raise UnreadableImageError(
            f"{file.dtype}, {len(names)} bands and {file.layers} layers, but its LR image has {lr.dtype}, "
            f"{len(chosen)} bands and {lr.layers} layers"
        )
    return chosen


def _chips(sides: list[_Side], names: tuple[str, ...], rows: list[int], columns: list[int]) -> Iterator[Chip]:
    whole, file = len(rows) == len(columns) == 2, sides[0].file
    for layer in range(file.layers):
        # A row of chips at a time: files are stored in strips or tiles as wide as that.
        for top, bottom in pairwise(rows):
            strips = [side.strip(layer, top, bottom) for side in sides]
            for left, right in pairwise(columns):
                parts = [side.part(strip, left, right, names) for side, strip in zip(sides, strips, strict=True)]
                where = [f"slice {layer}"] if file.layers > 1 else []
                where += [] if whole else [f"row {top}, column {left}"]
                yield Chip(parts[0], ", ".join(where), file.window, *parts[1:])


def _cuts(side: int, chip: float, least_side: int) -> list[int]:
    """Ends of equal parts of a side, each of about a chip's side and none below the least."""
    parts = max(1, min(round(side / chip), side // least_side))
    return [round(side * part / parts) for part in range(parts + 1)]


def _chosen_bands(found: tuple[str, ...], wanted: tuple[str, ...] | None) -> list[int]:
    """Positions of the bands that are used; unnamed bands take the wanted names where their number fits.

    Raises:
        UnreadableImageError: If a band is missing.
    """
    if wanted is None:
        return list(range(len(found)))
    unnamed = all(name == f"band{number}" for number, name in enumerate(found, 1))
    if len(found) == len(wanted) and unnamed:
        return list(range(len(found)))
    missing = [name for name in wanted if name not in found]
    if missing:
        raise UnreadableImageError(f"it has no band '{missing[0]}': its bands are {', '.join(found)}")
    return [found.index(name) for name in wanted]


def common_shape(shapes: Sequence[tuple[str, FileShape]]) -> FileShape | None:
    """The data type, bands and units that all files share, given with their names; None without any.

    Raises:
        ImageSetError: If they differ.
    """
    if not shapes:
        return None
    first, shape = shapes[0]
    for name, other in shapes:
        if (other.dtype, other.bands) != (shape.dtype, shape.bands):
            raise ImageSetError(
                f"'{first}' is {shape.text} and '{name}' {other.text}: the images of a domain must have one data type "
                "and the same bands. Choose common `bands`, or make two targets of them."
            )
    return shape
