"""The frames of a grayscale multi-frame DICOM image, decoded one at a time.

What the enhanced objects say of single frames stands in functional groups (PS3.3 2024, C.7.6.16): values to units in
the Pixel Value Transformation, windows in Frame VOI LUT. Older objects say it once for all frames.
"""

import os
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_file_meta_info
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.utils import as_pixel_options
from pydicom.uid import DeflatedExplicitVRLittleEndian, RLELossless

from orchestrator.dicom.element_values import DicomError, has_value
from orchestrator.dicom.grid import FRAME_GROUPS
from orchestrator.dicom.slice import (
    RLE_AT_MOST,
    Slice,
    check_description,
    frame_bytes,
    holds_frames,
    number_of_frames,
    slice_of,
)
from trainables.errors import reason_of

_GROUPS = ("PixelValueTransformationSequence", "FrameVOILUTSequence")
_PIXEL_DATA = (0x7FE0, 0x0010)
_LARGE_ELEMENT = 1 << 24
"""Bytes from which on an element before the pixels is not read."""
_LEAST_ENCODED = 8
"""Bytes of an encapsulated frame at least: the head of its item (PS3.5 A.4)."""


@dataclass(frozen=True, slots=True)
class Frames:
    """An open multi-frame image.

    Attributes:
        header: All elements before the pixels.
        count: Number of frames.
    """

    header: Dataset
    count: int
    _file: BinaryIO
    _start: int

    def elements(self, frame: int) -> Dataset:
        """The elements of a frame: those of the whole file, with its rescale and window in place of theirs."""
        of_frame = Dataset()
        of_frame.update(self.header)
        of_frame.file_meta = self.header.file_meta
        for groups in self._groups(frame):
            for name in _GROUPS:
                if has_value(groups, name):
                    of_frame.update(groups[name].value[0])
        return of_frame

    def read(self, frame: int) -> Slice:
        """Decodes a frame.

        Raises:
            DicomError: ``corrupt``, if that is not possible.
        """
        self._file.seek(self._start)
        with _quiet():
            try:
                decoder = get_decoder(self.header.file_meta.TransferSyntaxUID)
                options: dict[str, Any] = as_pixel_options(self.header)
                options |= {"pixel_keyword": "PixelData", "pixel_vr": "OW", "correct_unused_bits": False}
                raw, _ = decoder.as_array(self._file, index=frame, raw=True, **options)
            except Exception as error:  # decoders have errors of their own
                reason = f"frame {frame + 1} cannot be decoded ({reason_of(error)[:160]})"
                raise DicomError("corrupt", reason) from None
            return slice_of(self.elements(frame), raw)

    def _groups(self, frame: int) -> Iterator[Dataset]:
        """Functional groups that hold for a frame: the shared ones, then its own."""
        shared, own = (self.header.get(name) or [] for name in FRAME_GROUPS)
        yield from shared[:1]
        yield from own[frame : frame + 1]


def is_multi_frame(path: Path) -> bool:
    """Returns True if :func:`open_frames` takes a file; False too for whatever is no DICOM file.

    Files of deflated elements are never multi-frame objects here, since their header cannot be read alone.
    """
    try:
        with _quiet(), path.open("rb") as file:
            if read_file_meta_info(path).get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
                return False
            return holds_frames(_header(file))
    except Exception:  # whoever reads the slice says what is wrong
        return False


@contextmanager
def open_frames(path: Path) -> Iterator[Frames]:
    """Opens a multi-frame image of 8 to 16 bits, which :func:`is_multi_frame` recognised.

    Raises:
        DicomError: ``unreadable``, ``corrupt`` or ``unsupported``, whatever is wrong with the file.
    """
    with path.open("rb") as file:
        with _quiet():
            frames = _opened(file, path.stat().st_size)
        yield frames


def _opened(file: BinaryIO, size: int) -> Frames:
    try:
        header = _header(file)
        start = _start_of_pixels(file, header)
        check_description(header)
        frames = Frames(header, number_of_frames(header), file, start)
        _check_held(frames, size - start)
        return frames
    except DicomError:
        raise
    except InvalidDicomError:
        raise DicomError("unreadable", "no DICOM file: the mark 'DICM' at byte 128 is missing") from None
    except Exception as error:  # malformed elements end in errors of many kinds
        raise DicomError("corrupt", f"its elements do not describe an image ({reason_of(error)[:160]})") from None


def _header(file: BinaryIO) -> Dataset:
    return dcmread(file, stop_before_pixels=True, defer_size=_LARGE_ELEMENT)


def _start_of_pixels(file: BinaryIO, header: Dataset) -> int:
    """Position of the pixels' first byte, where the header was read up to their element (PS3.5, 7.1)."""
    syntax = header.file_meta.TransferSyntaxUID
    head = file.read(8)
    if len(head) < 8 or struct.unpack("<HH", head[:4]) != _PIXEL_DATA:
        raise DicomError("unsupported", "it holds no image of whole numbers, or it ends too early")
    if not syntax.is_implicit_VR:
        file.read(4)
    return file.seek(0, os.SEEK_CUR)


def _check_held(frames: Frames, held: int) -> None:
    """Refuses more frames than the bytes behind the header can be."""
    if frames.count < 1:
        raise DicomError("corrupt", f"it has {frames.count} frames")
    syntax = frames.header.file_meta.TransferSyntaxUID
    needed = frames.count * frame_bytes(frames.header)
    if syntax.is_compressed:
        needed = needed // RLE_AT_MOST if syntax == RLELossless else frames.count * _LEAST_ENCODED
    if held < needed:
        raise DicomError("corrupt", f"its {frames.count} frames need {needed} bytes, where {held} follow its elements")


@contextmanager
def _quiet() -> Iterator[None]:
    """Silences pydicom's remarks on values that are left as they are."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
