"""Larger copies of NumPy arrays and NIfTI volumes, written layer by layer in the data type of the original."""

import gzip
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.foundation.file_types import NIFTI_COMPRESSED, NPY, suffix_of
from orchestrator.rasters.nifti import read_start, rescale_of, shape_of
from orchestrator.rasters.units import Rescale

_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class LayerWriter:
    """An output that takes its layers in the order of its original's.

    Attributes:
        place: Gives the stored values of a layer, (rows, columns, bands), to be written to.
        rescale: Slope and intercept from stored values to units.
        notes: What of the original was left out, for people.
    """

    place: Callable[[int], NDArray[Any]]
    rescale: Rescale
    notes: tuple[str, ...] = ()

    def write(self, layer: int, values: NDArray[Any]) -> None:
        """Stores a layer, rounded and cut off as the data type asks for.

        Args:
            layer: Number of the layer, from 0.
            values: In units, of shape (rows, columns, bands).
        """
        stored, (slope, intercept) = self.place(layer), self.rescale
        dtype = stored.dtype
        exact = (values.astype(np.float64) - intercept) / slope
        if dtype.kind in "iu":
            limits = np.iinfo(dtype)
            exact = np.nan_to_num(exact, nan=0.0).round().clip(float(limits.min), float(limits.max))
        stored[...] = exact.astype(dtype)


@contextmanager
def larger_copy(original: Path, output: Path, scale: int, axis: int = 2) -> Iterator[LayerWriter]:
    """Makes an output for layers that are ``scale`` times as high and wide as those of its original.

    A volume's slices stay where they are: their pixels become smaller by the scale factor, and the first of them moves
    so that the same space is covered. All else in its header stays.

    Args:
        original: A ``.npy`` or NIfTI file that its reader has opened before.
        output: The file to write, whose name may end in .gz where the original's does.
        scale: Scale factor r.
        axis: The axis of a volume that its slices are cut across.
    """
    if suffix_of(original.name) == NPY:
        yield _npy_copy(original, output, scale)
        return
    plain = output.with_name(f"{output.name}.plain")
    with _nifti_copy(original, plain, scale, axis) as writer:
        yield writer
    if suffix_of(output.name) != NIFTI_COMPRESSED:
        plain.replace(output)
        return
    with plain.open("rb") as source, output.open("wb") as raw, gzip.GzipFile("", "wb", 6, raw, mtime=0) as packed:
        shutil.copyfileobj(source, packed, _CHUNK)
    plain.unlink()


def _npy_copy(original: Path, output: Path, scale: int) -> LayerWriter:
    values = np.lib.format.open_memmap(original, mode="r")
    shape = (values.shape[0] * scale, values.shape[1] * scale, *values.shape[2:])
    larger = np.lib.format.open_memmap(output, "w+", values.dtype, shape)
    return LayerWriter(lambda layer: larger.reshape(shape[0], shape[1], -1), (1.0, 0.0))


@contextmanager
def _nifti_copy(original: Path, output: Path, scale: int, axis: int) -> Iterator[LayerWriter]:
    header, rest = read_start(original)
    shape, rescale = shape_of(header), rescale_of(header)
    larger = [side * (1 if number in (axis, 3) else scale) for number, side in enumerate(shape)]
    notes = _fit(header, scale, axis, larger)
    with output.open("wb") as file:
        file.write(header.binaryblock)
        file.write(rest)
    dtype, offset = header.get_data_dtype(), int(header.get_data_offset())
    stored = np.memmap(output, dtype, "r+", offset, tuple(larger), "F")
    slices = np.moveaxis(stored, axis, 2)  # (width, height, slices, volumes)
    count = slices.shape[2]
    yield LayerWriter(lambda layer: slices[..., layer % count, layer // count].T[..., None], rescale, notes)
    stored.flush()


def _fit(header: Any, scale: int, axis: int, larger: list[int]) -> tuple[str, ...]:
    """Adapts a header to smaller pixels within its slices; returns notes."""
    finer, sides = np.eye(4), header.get_data_shape()
    zooms = list(header.get_zooms())
    for side in {0, 1, 2} - {axis}:
        finer[side, side], finer[side, 3] = 1 / scale, (1 - scale) / (2 * scale)
        if side < len(zooms):
            zooms[side] /= scale
    places = {kind: getattr(header, f"get_{kind}")(coded=True) for kind in ("sform", "qform")}
    header.set_data_shape(larger[: max(len(sides), 3 if axis != 2 else 0)] + list(sides[4:]))
    header.set_zooms(zooms + [1.0] * (len(header.get_data_shape()) - len(zooms)))
    for kind, (affine, code) in places.items():
        if affine is not None:
            getattr(header, f"set_{kind}")(affine @ finer, int(code))
    _, _, across = header.get_dim_info()
    if across is None or across == axis:
        return ()
    for name in ("slice_code", "slice_start", "slice_end", "slice_duration"):
        header[name] = 0
    return ("its timing of slices was dropped, since pixels were made between them",)
