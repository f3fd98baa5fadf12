"""Upscaling of multi-frame DICOM images, enhanced and older ones, frame by frame in flat memory.

The output is one file with as many frames. Functional groups keep what they say of each frame: its spacing and position
are fitted to the output's grid, as those of single slices are, and each names its source frame.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmread

from orchestrator.dicom.derived import derive, one_reason, pixel_data_vr, prepare
from orchestrator.dicom.element_values import DicomError
from orchestrator.dicom.frames import Frames, open_frames
from orchestrator.dicom.settings import DicomFacts, DicomSettings, rule_of
from orchestrator.dicom.slice import Slice
from orchestrator.dicom.stored_values import check_unit, upscaled
from trainables.inference.prepare import Prepared
from trainables.metrics.consistency import ConsistencyMeter

_NAMED = 5


@dataclass(slots=True)
class _Total:
    """Sums over all frames: consistency, extremes, valid pixels, ranges, flags by frame and notes."""

    meter: ConsistencyMeter
    extremes: list[int] = field(default_factory=list)
    ranges: dict[tuple[float, float], None] = field(default_factory=dict)
    valid: float = 0.0
    flagged: dict[int, tuple[str, ...]] = field(default_factory=dict)
    notes: dict[str, None] = field(default_factory=dict)
    padding: tuple[int, int] | None = None


def upscale_frames(
    path: Path, out_path: Path, net: Prepared, settings: DicomSettings, lock: AbstractContextManager[object]
) -> DicomFacts:
    """Upscales every frame of a multi-frame image.

    Args:
        path: A local DICOM file that :func:`orchestrator.dicom.frames.is_multi_frame` recognised.
        out_path: Path of the output; pixels wait in a temporary file beside it.
        net: The network, from :func:`trainables.inference.prepare.prepared`; float32 serves 16 bits best.
        settings: Settings for upscaling.
        lock: Held while the network computes.

    Returns:
        Facts of the output.

    Raises:
        DicomError: If the file cannot be upscaled; the reason names the frame where it lies in one.
    """
    with open_frames(path) as frames, tempfile.TemporaryFile(dir=out_path.parent) as pixels:
        with one_reason():
            dataset = dcmread(path, stop_before_pixels=True)
            shape, value_bytes = (int(dataset.Rows), int(dataset.Columns)), int(dataset.BitsAllocated) // 8
            notes = prepare(dataset, shape, net.scale, value_bytes, frames.count)
        total = _Total(ConsistencyMeter(net.scale, 1))
        for number in range(frames.count):
            with _naming(number), lock:
                pixels.write(np.ascontiguousarray(_frame(frames, number, net, settings, total)).data)
        with one_reason():
            _write(dataset, pixels, out_path, net.scale, settings, total)
    return _facts(dataset, frames.count, settings, total, [*notes, *total.notes])


def _frame(frames: Frames, number: int, net: Prepared, settings: DicomSettings, total: _Total) -> NDArray[Any]:
    """Stored values of an upscaled frame, whose facts are added to the total."""
    source: Slice = frames.read(number)
    with one_reason():
        low, high = source.value_range(settings.normalisation)
        total.notes |= dict.fromkeys(check_unit(source, settings))
    values, meter = upscaled(source, net, settings, low, high)
    if flags := meter.result().flags:
        total.flagged[number + 1] = flags
    total.meter.merge(meter)
    total.ranges[low, high] = None
    total.valid += float(source.valid.mean())
    total.extremes = [min([*total.extremes, int(values.min())]), max([*total.extremes, int(values.max())])]
    total.padding = source.padding
    return values


@contextmanager
def _naming(number: int) -> Iterator[None]:
    """Names the frame in the reason of a failure."""
    try:
        yield
    except DicomError as error:
        named = f"frame {number + 1}"
        reason = error.reason if error.reason.startswith(named) else f"{named}: {error.reason}"
        raise DicomError(error.kind, reason) from None


def _write(
    dataset: Dataset, pixels: BinaryIO, out_path: Path, scale: int, settings: DicomSettings, total: _Total
) -> None:
    if len(total.ranges) == 1:
        low, high = next(iter(total.ranges))
        normalised = f"values {low:g} to {high:g} as 0 to 1"
    else:
        normalised = f"values of each frame as 0 to 1 by the rule {rule_of(settings)}"
    shape = (int(dataset.Rows) * scale, int(dataset.Columns) * scale)
    least, most = total.extremes
    derive(dataset, shape, (least, most), total.padding, scale, settings, normalised)
    if pixels.seek(0, os.SEEK_END) % 2:
        pixels.write(b"\0")
    pixels.seek(0)
    dataset.add_new("PixelData", pixel_data_vr(dataset), pixels)
    dataset.save_as(out_path, enforce_file_format=True)


def _facts(dataset: Dataset, count: int, settings: DicomSettings, total: _Total, notes: list[str]) -> DicomFacts:
    consistency = total.meter.result().to_dict()
    flags = dict.fromkeys([*consistency["flags"], *(flag for flags in total.flagged.values() for flag in flags)])
    consistency["flags"] = list(flags)
    if total.flagged:
        named = [f"{number} ({', '.join(flags)})" for number, flags in list(total.flagged.items())[:_NAMED]]
        more = f" and {len(total.flagged) - _NAMED} more" if len(total.flagged) > _NAMED else ""
        notes = [*notes, f"flagged frames: {', '.join(named)}{more}"]
    return {
        "width": int(dataset.Columns),
        "height": int(dataset.Rows),
        "bits": int(dataset.BitsStored),
        "signed": bool(dataset.PixelRepresentation),
        "photometric": str(dataset.PhotometricInterpretation),
        "normalisation": {
            "rule": rule_of(settings),
            "low": min(low for low, _ in total.ranges),
            "high": max(high for _, high in total.ranges),
        },
        "valid_percent": round(100 * total.valid / count, 4),
        "sop_instance_uid": str(dataset.SOPInstanceUID),
        "consistency": consistency,
        "notes": notes,
        "frames": count,
    }
