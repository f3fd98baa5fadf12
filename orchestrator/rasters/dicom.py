"""DICOM images, single or multi-frame, in units."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import numpy as np
from pydicom import Dataset

from orchestrator.dicom.element_values import DicomError, on_one_line
from orchestrator.dicom.frames import Frames, is_multi_frame, open_frames
from orchestrator.dicom.slice import MOST_INFLATED, Slice, limits_of, read_slice
from orchestrator.dicom.units import rescale_of, unit_of, window_of
from orchestrator.rasters.types import Part, RasterFile
from orchestrator.rasters.units import Range, Rescale, in_units, range_of, type_in_units
from trainables.errors import UnreadableImageError
from trainables.images.raster import GRAY

_TABLE = "its values pass a table of the file (Modality LUT), which was left out: they are as stored"


@contextmanager
def open_dicom(path: Path) -> Iterator[RasterFile]:
    """Opens a DICOM file; rescaled values, padding without a value, MONOCHROME1 as it is stored.

    Raises:
        UnreadableImageError: If it holds no grayscale image of 8 to 16 bits, or is damaged.
    """
    if is_multi_frame(path):
        with open_frames(path) as frames:
            yield _of_frames(frames)
        return
    size = path.stat().st_size
    if size > MOST_INFLATED:
        raise UnreadableImageError(f"{size} bytes are more than the {MOST_INFLATED} that one slice can have")
    slice_ = read_slice(path.read_bytes())
    yield _raster_file(slice_.dataset, [_rescale(slice_.dataset)], lambda frame: slice_)


def _of_frames(frames: Frames) -> RasterFile:
    elements = [frames.elements(frame) for frame in range(frames.count)]
    file = _raster_file(elements[0], [_rescale(of_frame) for of_frame in elements], lru_cache(maxsize=1)(frames.read))
    if len({unit_of(of_frame) for of_frame in elements}) > 1:
        raise UnreadableImageError("its frames are in different units; save those of one kind as a file of their own")
    return file


def _raster_file(first: Dataset, rescales: list[Rescale], read: Callable[[int], Slice]) -> RasterFile:
    table = "ModalityLUTSequence" in first

    def found() -> Range:
        ranges = [
            range_of(slice_.values[slice_.valid], rescale)
            for slice_, rescale in ((read(frame), rescale) for frame, rescale in enumerate(rescales))
        ]
        return min(low for low, _ in ranges), max(high for _, high in ranges)

    def part(layer: int, row: int, column: int, height: int, width: int) -> Part:
        slice_, here = read(layer), np.s_[row : row + height, column : column + width]
        valid = slice_.valid[here]
        return in_units(np.where(valid, slice_.values[here], 0), rescales[layer], dtype)[..., None], valid

    stored = np.dtype(f"{'i' if first.PixelRepresentation else 'u'}{first.BitsAllocated // 8}")
    dtype = type_in_units(stored, rescales, limits_of(first), found)
    return RasterFile(
        height=int(first.Rows),
        width=int(first.Columns),
        dtype=dtype,
        bands=GRAY,
        part=part,
        units="" if table else unit_of(first),
        layers=len(rescales),
        window=None if table else _window(first),
        scene=on_one_line(str(first.get("PatientID") or "")) or None,
        notes=(_TABLE,) if table else (),
    )


def _rescale(elements: Dataset) -> Rescale:
    return (1, 0) if "ModalityLUTSequence" in elements else rescale_of(elements)


def _window(elements: Dataset) -> Range | None:
    try:
        return window_of(elements)
    except DicomError:
        return None
