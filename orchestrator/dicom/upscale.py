"""Upscaling of DICOM images slice by slice, in their own depth and units."""

import io
import warnings
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.errors import NotGeoreferencedWarning

from orchestrator.dicom.derived import derive, notes_on_counts, one_reason, pixel_data_vr, prepare
from orchestrator.dicom.element_values import DicomError, has_value, numbers
from orchestrator.dicom.settings import DicomFacts, DicomSettings, rule_of
from orchestrator.dicom.slice import Slice, read_slice
from orchestrator.dicom.stored_values import check_unit, upscaled
from orchestrator.foundation.file_types import is_tiff, kind_of
from orchestrator.foundation.storage import Storage
from trainables.errors import UsageError
from trainables.inference.prepare import Prepared

_SPACINGS = ("PixelSpacing", "ImagerPixelSpacing", "ImagePlanePixelSpacing", "NominalScannedPixelSpacing")


def upscale_dicom(path: str, out_path: str, net: Prepared, settings: DicomSettings) -> DicomFacts:
    """Upscales one slice.

    Args:
        path: DICOM file, local or ``s3://``.
        out_path: Path of the output, written whole or not at all: ``.dcm``, or ``.tif`` for the stored values alone.
        net: The network, from :func:`trainables.inference.prepare.prepared`; float32 serves 16 bits best.
        settings: Settings for upscaling.

    Returns:
        Facts of the output.

    Raises:
        DicomError: If the file cannot be upscaled.
        UsageError: If ``out_path`` ends otherwise.
    """
    as_tiff = is_tiff(out_path)
    if not as_tiff and kind_of(out_path) != "dicom":
        raise UsageError(f"The output of a DICOM file must end in .dcm or .tif, found '{out_path}'.")
    data, facts = upscale_slice(Storage.at(path).read_bytes(), net, settings, as_tiff)
    Storage.at(out_path).write_bytes(data)
    return facts


def upscale_slice(
    data: bytes, net: Prepared, settings: DicomSettings, as_tiff: bool = False
) -> tuple[bytes, DicomFacts]:
    """Upscales the bytes of one slice to those of a DICOM or TIFF file; returns them with facts about the slice.

    Raises:
        DicomError: If they cannot be upscaled.
    """
    source = read_slice(data)
    with one_reason():
        low, high = source.value_range(settings.normalisation)
        notes = check_unit(source, settings)
        notes += _check_expressible(source, net.scale) if as_tiff else _prepared(source, net.scale)
    values, meter = upscaled(source, net, settings, low, high)
    with one_reason():
        if as_tiff:
            encoded = _tiff(source, values, net.scale)
        else:
            encoded = _dicom(source, values, net.scale, settings, f"values {low:g} to {high:g} as 0 to 1")
    return encoded, {
        "width": values.shape[1],
        "height": values.shape[0],
        "bits": int(source.dataset.BitsStored),
        "signed": bool(source.dataset.PixelRepresentation),
        "photometric": str(source.dataset.PhotometricInterpretation),
        "normalisation": {"rule": rule_of(settings), "low": low, "high": high},
        "valid_percent": round(100 * float(source.valid.mean()), 4),
        "sop_instance_uid": None if as_tiff else str(source.dataset.SOPInstanceUID),
        "consistency": meter.result().to_dict(),
        "notes": notes,
        "frames": 1,
    }


def _check_expressible(source: Slice, scale: int) -> list[str]:
    """Refuses slices that a TIFF of values cannot represent; returns notes."""
    source.rescale  # noqa: B018 (raises)
    return notes_on_counts(source.dataset, scale)


def _prepared(source: Slice, scale: int) -> list[str]:
    height, width = source.values.shape
    return prepare(source.dataset, (height, width), scale, source.values.itemsize)


def _dicom(source: Slice, values: NDArray[Any], scale: int, settings: DicomSettings, normalised: str) -> bytes:
    """A DICOM file of the stored values, with the source's elements."""
    dataset, extremes = source.dataset, (int(values.min()), int(values.max()))
    derive(dataset, values.shape, extremes, source.padding, scale, settings, normalised)
    data = np.ascontiguousarray(values).tobytes()
    dataset.PixelData = data + b"\0" * (len(data) % 2)
    dataset["PixelData"].VR = pixel_data_vr(dataset)
    dataset["PixelData"].is_undefined_length = False
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _tiff(source: Slice, values: NDArray[Any], scale: int) -> bytes:
    """A TIFF of the stored values, with rescale as scale and offset, padding as nodata, and no data of the patient."""
    height, width = values.shape
    padding = source.padding
    profile: dict[str, object] = {
        "driver": "GTiff",
        "height": height,
        "width": width,
        "count": 1,
        "dtype": values.dtype,
    }
    profile |= {"compress": "deflate", "predictor": 2, "zlevel": 6}
    if padding is not None and padding[0] == padding[1]:
        profile["nodata"] = padding[0]
    with warnings.catch_warnings(), rasterio.MemoryFile() as memory:
        warnings.simplefilter("ignore", NotGeoreferencedWarning)  # which a slice is not
        with memory.open(**profile) as target:
            target.write(values, 1)
            slope, intercept = source.rescale
            target.scales, target.offsets = (slope,), (intercept,)
            named = next((name for name in _SPACINGS if has_value(source.dataset, name)), None)
            spacing = numbers(source.dataset[named], 2) if named else [0.0]
            if min(spacing) > 0:
                rows, columns = (10 * scale / side for side in spacing)
                target.update_tags(
                    TIFFTAG_XRESOLUTION=columns, TIFFTAG_YRESOLUTION=rows, TIFFTAG_RESOLUTIONUNIT="3 (pixels/cm)"
                )
        return bytes(memory.read())


__all__ = ["DicomError", "DicomSettings", "upscale_dicom", "upscale_slice"]
