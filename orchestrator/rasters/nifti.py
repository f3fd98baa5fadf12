"""NIfTI volumes, slice by slice."""

import gzip
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from math import prod
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header
from numpy.typing import NDArray

from orchestrator.rasters.arrays import part_of, range_by_parts
from orchestrator.rasters.types import Part, RasterFile
from orchestrator.rasters.units import Rescale, type_in_units
from trainables.errors import UnreadableImageError, UsageError
from trainables.images.raster import GRAY

_GZIP = b"\x1f\x8b"
_HEADERS: dict[int, Any] = {348: Nifti1Header, 540: Nifti2Header}  # nibabel's methods have no types
"""Classes of headers by a header's own length, its first number."""
_MAGIC = {b"n+1\0", b"n+2\0"}
_MOST_INFLATED, _INFLATES_AT_MOST = 1 << 34, 1032
"""Bytes of an uncompressed volume on disk, and how many of them a byte of deflate can become (zlib's notes)."""
_CHUNK = 1 << 20


@contextmanager
def open_nifti(path: Path, axis: int = 2) -> Iterator[RasterFile]:
    """Opens a volume of 3 axes, or several of them along a fourth, as slices across ``axis``.

    A slice's columns run along the first of the two other axes, its rows along the second one. A compressed volume is
    unpacked into a temporary file.

    Raises:
        UnreadableImageError: If it holds no real numbers, further axes, or fewer bytes than it says.
        UsageError: If ``axis`` is none of 0, 1 and 2.
    """
    if axis not in (0, 1, 2):
        raise UsageError(f"axis must be 0, 1 or 2, the axis of a volume that its slices are cut across, found {axis}.")
    with ExitStack() as stack:
        file: BinaryIO = stack.enter_context(path.open("rb"))
        packed = file.read(2) == _GZIP
        file.seek(0)
        source: BinaryIO = cast(BinaryIO, stack.enter_context(gzip.GzipFile(fileobj=file))) if packed else file
        header = _header(source)
        shape, offset = shape_of(header), int(header.get_data_offset())
        dtype = _checked_type(header)
        needed, size = offset + prod(shape) * dtype.itemsize, path.stat().st_size
        if packed:
            file = stack.enter_context(_unpacked(source, needed, size))
        elif size < needed:
            raise UnreadableImageError(f"the volume is cut short: {size} bytes of {needed}; copy it again")
        values = np.memmap(file, dtype, "r", offset, shape, "F")
        yield _slices(values, axis, rescale_of(header))


def _slices(values: NDArray[Any], axis: int, rescale: Rescale) -> RasterFile:
    limits: tuple[float, float] = (0.0, 0.0)
    if values.dtype.kind in "iu":
        limits = float(np.iinfo(values.dtype).min), float(np.iinfo(values.dtype).max)
    dtype = type_in_units(values.dtype, [rescale], limits, lambda: range_by_parts(values, rescale))
    across = np.moveaxis(values, axis, 2)  # (width, height, slices, volumes)
    width, height, count, volumes = across.shape

    def part(layer: int, row: int, column: int, rows: int, columns: int) -> Part:
        stored = across[column : column + columns, row : row + rows, layer % count, layer // count]
        return part_of(stored.T[..., None], rescale, dtype)

    return RasterFile(height=height, width=width, dtype=dtype, bands=GRAY, part=part, layers=count * volumes)


def _header(source: BinaryIO) -> Any:
    try:
        start = source.read(540)
    except (OSError, EOFError, zlib.error):
        raise UnreadableImageError("its compressed data are damaged; copy it again") from None
    for order in ("little", "big"):
        length = int.from_bytes(start[:4], cast(Any, order))
        if length in _HEADERS and len(start) >= length:
            header = _HEADERS[length](start[:length], check=False)
            if header["magic"].tobytes() in _MAGIC:
                return header
    raise UnreadableImageError("it is no NIfTI file that holds its own values (.nii or .nii.gz)")


def read_start(path: Path) -> tuple[Any, bytes]:
    """The header of a volume, and the bytes between it and the values: extensions.

    Raises:
        UnreadableImageError: If there is no such header.
    """
    with path.open("rb") as file:
        packed = file.read(2) == _GZIP
    with gzip.open(path) if packed else path.open("rb") as source:
        header = _header(cast(BinaryIO, source))
        source.seek(header.sizeof_hdr)
        return header, source.read(int(header.get_data_offset()) - header.sizeof_hdr)


def shape_of(header: Any) -> tuple[int, int, int, int]:
    """Sides of a volume and number of volumes.

    Raises:
        UnreadableImageError: If it has further axes.
    """
    shape = [int(side) for side in header.get_data_shape()]
    while len(shape) > 4 and shape[-1] == 1:
        shape.pop()
    if not 2 <= len(shape) <= 4 or min(shape) < 1:
        raise UnreadableImageError(f"its shape is {shape}; expected a slice, a volume, or volumes along a fourth axis")
    shape += [1] * (4 - len(shape))
    return shape[0], shape[1], shape[2], shape[3]


def _checked_type(header: Any) -> np.dtype[Any]:
    dtype: np.dtype[Any] = header.get_data_dtype()
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        what = "colours (RGB)" if dtype.names else dtype.name
        raise UnreadableImageError(f"its values are {what}, expected real numbers of at most 64 bits")
    return dtype


def rescale_of(header: Any) -> Rescale:
    """Slope and intercept from stored values to units."""
    slope, intercept = header.get_slope_inter()
    return (1.0, 0.0) if slope is None else (float(slope), float(intercept or 0))


@contextmanager
def _unpacked(source: BinaryIO, needed: int, size: int) -> Iterator[BinaryIO]:
    """The first ``needed`` bytes of a compressed file, in a temporary one."""
    if needed > min(_MOST_INFLATED, _INFLATES_AT_MOST * size + 1024):
        raise UnreadableImageError(
            f"it says that it holds {needed} bytes, which {size} compressed bytes cannot be, or which are more than "
            f"{_MOST_INFLATED >> 30} GiB; copy it again, or cut it into volumes"
        )
    with tempfile.TemporaryFile(prefix="rayscale-") as file:
        if shutil.disk_usage(tempfile.gettempdir()).free < needed:
            raise UnreadableImageError(f"too little disk is free to unpack its {needed} bytes")
        source.seek(0)
        try:
            left = needed
            while left and (chunk := source.read(min(left, _CHUNK))):
                file.write(chunk)
                left -= len(chunk)
            source.read(_CHUNK)  # reaches the checksum
        except (OSError, EOFError, zlib.error):
            raise UnreadableImageError("its compressed data are damaged or cut short; copy it again") from None
        if left:
            raise UnreadableImageError(f"the volume is cut short: {needed - left} bytes of {needed}; copy it again")
        file.flush()
        yield cast(BinaryIO, file)
