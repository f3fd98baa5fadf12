"""Opens an image file of any format that is learned from."""

import stat
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

from orchestrator.foundation.file_types import RASTER_INPUTS, raster_format_of
from orchestrator.rasters.dicom import open_dicom
from orchestrator.rasters.errors import one_reason
from orchestrator.rasters.nifti import open_nifti
from orchestrator.rasters.npy import open_npy
from orchestrator.rasters.pictures import is_picture, open_picture
from orchestrator.rasters.scenes import open_scene
from orchestrator.rasters.types import RasterFile
from trainables.errors import UnreadableImageError


@contextmanager
def open_raster_file(path: Path, axis: int = 2, checked: bool = False) -> Iterator[RasterFile]:
    """Opens a local file by its name and first bytes.

    Large scenes, volumes and multi-frame images are read by parts; pictures and single DICOM slices are decoded here.
    Companions of a scene, such as a mask, are read from beside it.

    Args:
        path: The file, whose name ends in one of :data:`RASTER_INPUTS`.
        axis: The axis of a volume that its slices are cut across: 0, 1 or 2.
        checked: True if the same bytes were read before and are known to be complete.

    Raises:
        UnreadableImageError: With a short reason, if it is no image that can be used.
        UsageError: If ``axis`` is wrong.
    """
    with ExitStack() as stack:
        with one_reason():
            _check_regular(path)
            file = stack.enter_context(_reader(path, axis, checked))
        yield file


def _reader(path: Path, axis: int, checked: bool) -> AbstractContextManager[RasterFile]:
    format_ = raster_format_of(path.name)
    if format_ == "dicom":
        return open_dicom(path)
    if format_ == "nifti":
        return open_nifti(path, axis)
    if format_ == "npy":
        return open_npy(path)
    if format_ is None:
        raise UnreadableImageError(f"its name ends in none of {', '.join(sorted(RASTER_INPUTS))}")
    return open_picture(path, checked) if is_picture(path) else open_scene(path)


def _check_regular(path: Path) -> None:
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise UnreadableImageError("it is no file, but a folder, a pipe or a device")
    if not found.st_size:
        raise UnreadableImageError("the file is empty")
