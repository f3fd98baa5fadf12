"""Upscaling of DICOM images slice by slice, in their own depth and units.

The output is a derived image (PS3.3 C.7.6.1.1.2) of the same study, in a series of its own. Its identifiers depend on
the source's, the model's and the settings alone, so that slices that are upscaled separately make one series, and the
same work gives the same bytes.
"""

import io
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np
import rasterio
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import PYDICOM_IMPLEMENTATION_UID, ExplicitVRLittleEndian
from rasterio.errors import NotGeoreferencedWarning

from orchestrator.dicom.element_values import DicomError, has_value, numbers
from orchestrator.dicom.grid import fit_to_grid
from orchestrator.dicom.padding import write_padding
from orchestrator.dicom.slice import Normalisation, Slice, read_slice
from orchestrator.dicom.units import unit_of
from orchestrator.foundation.file_types import is_tiff, kind_of
from orchestrator.foundation.storage import Storage
from trainables.errors import UsageError, reason_of
from trainables.images.hidden_colour import nearest
from trainables.inference.prepare import Prepared
from trainables.inference.radiometry import Downscaling
from trainables.inference.upscale import TILE, upscale_values
from trainables.metrics.consistency import ConsistencyMeter, ConsistencyRecord
from trainables.version import __version__

_SPACINGS = ("PixelSpacing", "ImagerPixelSpacing", "ImagePlanePixelSpacing", "NominalScannedPixelSpacing")
_MOST_ROWS, _MOST_BYTES = 2**16 - 1, 2**32 - 2
"""Limits of an image by the types of Rows, of Columns and of an element's length."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DicomSettings:
    """Settings for upscaling slices.

    Attributes:
        digest: SHA-256 of the model's weights.
        model: Name of the model in the output.
        normalisation: As of :meth:`Slice.value_range`.
        units: Unit of the two values of ``normalisation``; "" if it is not known.
        tile: Largest side of a tile in LR pixels.
        ensemble: True to average the eight flips and rotations.
        downscaling: How the output is downscaled for back-projection, see :mod:`trainables.inference.radiometry`; None
            for none.
    """

    digest: str
    model: str
    normalisation: Normalisation = "stored"
    units: str = ""
    tile: int = TILE
    ensemble: bool = False
    downscaling: Downscaling | None = "area"

    def __post_init__(self) -> None:
        if isinstance(self.normalisation, tuple) and not self.normalisation[0] < self.normalisation[1]:
            low, high = self.normalisation
            raise UsageError(f"normalisation must be two values LOW,HIGH with LOW below HIGH, found {low:g},{high:g}.")


class ValueRange(TypedDict):
    """Values that meant 0 and 1, and the rule that gave them."""

    rule: str
    low: float
    high: float


class SliceFacts(TypedDict):
    """Facts of an upscaled slice; a TIFF has no ``sop_instance_uid``, and notes say what was dropped."""

    width: int
    height: int
    bits: int
    signed: bool
    photometric: str
    normalisation: ValueRange
    valid_percent: float
    sop_instance_uid: str | None
    consistency: ConsistencyRecord
    notes: list[str]


def upscale_dicom(path: str, out_path: str, net: Prepared, settings: DicomSettings) -> SliceFacts:
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
) -> tuple[bytes, SliceFacts]:
    """Upscales the bytes of one slice to those of a DICOM or TIFF file; returns them with facts about the slice.

    Raises:
        DicomError: If they cannot be upscaled.
    """
    source = read_slice(data)
    with _one_reason():
        low, high = source.value_range(settings.normalisation)
        notes = _check_unit(source, settings)
        notes += _check_expressible(source, net.scale) if as_tiff else _prepare(source, net.scale)
    values, meter = _upscaled(source, net, settings, low, high)
    with _one_reason():
        if as_tiff:
            encoded = _tiff(source, values, net.scale)
        else:
            _derive(source, values, net.scale, settings, f"values {low:g} to {high:g} as 0 to 1")
            buffer = io.BytesIO()
            source.dataset.save_as(buffer, enforce_file_format=True)
            encoded = buffer.getvalue()
    return encoded, {
        "width": values.shape[1],
        "height": values.shape[0],
        "bits": int(source.dataset.BitsStored),
        "signed": bool(source.dataset.PixelRepresentation),
        "photometric": str(source.dataset.PhotometricInterpretation),
        "normalisation": {"rule": _rule(settings), "low": low, "high": high},
        "valid_percent": round(100 * float(source.valid.mean()), 4),
        "sop_instance_uid": None if as_tiff else str(source.dataset.SOPInstanceUID),
        "consistency": meter.result().to_dict(),
        "notes": notes,
    }


@contextmanager
def _one_reason() -> Iterator[None]:
    """Turns exceptions that a slice's elements cause into the failure of that slice.

    Raises:
        DicomError: ``corrupt``, unless it was one or a wrong setting before.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's remarks on values that are left as they are
        try:
            yield
        except (DicomError, UsageError):
            raise
        except Exception as error:
            raise DicomError("corrupt", f"its elements cannot be carried over ({reason_of(error)[:160]})") from None


def _upscaled(
    source: Slice, net: Prepared, settings: DicomSettings, low: float, high: float
) -> tuple[NDArray[Any], ConsistencyMeter]:
    """Stored values (r·H, r·W), padding exactly where the source has it, and how consistent they are."""
    filled = _without_padding(source)
    shown = ((filled.astype(np.float32) - low) / (high - low))[..., None]
    least, most = ((limit - low) / (high - low) for limit in source.limits)
    if source.inverted:
        shown, least, most = 1 - shown, 1 - most, 1 - least
    hr = upscale_values(net, shown, settings.tile, settings.ensemble, settings.downscaling, (least, most))
    if source.inverted:
        hr = 1 - hr
    values = (hr[..., 0] * (high - low) + low).round().clip(*source.limits).astype(source.values.dtype)
    meter = ConsistencyMeter(net.scale, 1)
    meter.add(filled[None], values[None], source.valid, low, high)
    if source.padding is not None:
        first, last = source.padding
        if source.valid.any():
            # No pixel of the patient may turn into padding.
            beside = last + 1 if last < source.limits[1] else first - 1
            values[(values >= first) & (values <= last)] = beside
        hole = ~source.valid.repeat(net.scale, 0).repeat(net.scale, 1)
        values[hole] = source.values.repeat(net.scale, 0).repeat(net.scale, 1)[hole]
    return values, meter


def _without_padding(source: Slice) -> NDArray[Any]:
    """Fills padding with the nearest valid value, since the network's output would ring beside it."""
    if source.valid.all() or not source.valid.any():
        return source.values
    return nearest(source.values, ~source.valid)


def _check_unit(source: Slice, settings: DicomSettings) -> list[str]:
    """Refuses a slice in another unit than the range for the network; returns a note where it states none."""
    unit = unit_of(source.dataset)
    if isinstance(settings.normalisation, str) or not settings.units or unit.lower() == settings.units.lower():
        return []
    if unit:
        raise DicomError(
            "normalisation",
            f"its values are in {unit}, and the model's range in {settings.units}; take a model for {unit}",
        )
    return [f"it states no unit, and its values were taken to be in {settings.units}, the unit of the model's range"]


def _check_expressible(source: Slice, scale: int) -> list[str]:
    """Refuses slices that a TIFF of values cannot represent; returns notes."""
    source.rescale  # noqa: B018 (raises)
    return _notes_on_counts(source.dataset, scale)


def _prepare(source: Slice, scale: int) -> list[str]:
    """Fits all but the pixels to the output's grid, before the network runs, since it may fail; returns notes."""
    dataset = source.dataset
    for name in ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID"):
        if not isinstance(dataset.get(name), str) or not dataset[name].value:
            raise DicomError("corrupt", f"it has no single {name}, which the output must refer to")
    height, width = (side * scale for side in source.values.shape)
    if max(height, width) > _MOST_ROWS or height * width * source.values.itemsize > _MOST_BYTES:
        raise DicomError("unsupported", f"{height} x {width} pixels do not fit into a DICOM image; a TIFF takes them")
    return fit_to_grid(dataset, scale) + _notes_on_counts(dataset, scale)


def _notes_on_counts(dataset: Dataset, scale: int) -> list[str]:
    """Notes on values that are counts, which a smaller pixel affects (C.8.4.7, C.8.9.1)."""
    if dataset.get("Modality") == "NM" or str(dataset.get("Units") or "") in ("CNTS", "PROPCNTS"):
        return [f"its values count events in a source pixel: sums over an area come out {scale * scale} times too high"]
    return []


def _derive(source: Slice, values: NDArray[Any], scale: int, settings: DicomSettings, normalised: str) -> None:
    """Turns the source's elements into the output's, those that follow from its pixels."""
    dataset, signed = source.dataset, values.dtype.kind == "i"
    dataset.Rows, dataset.Columns = values.shape
    for name, extreme in (("SmallestImagePixelValue", values.min()), ("LargestImagePixelValue", values.max())):
        if name in dataset:
            dataset.add_new(name, "SS" if signed else "US", int(extreme))
    write_padding(dataset, source.padding, signed)
    _name(dataset, scale, settings, normalised)
    data = np.ascontiguousarray(values).tobytes()
    dataset.PixelData = data + b"\0" * (len(data) % 2)
    dataset["PixelData"].VR = "OW" if dataset.BitsAllocated > 8 else "OB"
    dataset["PixelData"].is_undefined_length = False
    if dataset.file_meta.TransferSyntaxUID.is_compressed:
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian


def _name(dataset: Dataset, scale: int, settings: DicomSettings, normalised: str) -> None:
    """Sets new identifiers, and the source and method of the derivation."""
    reference = Dataset()
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = dataset.SOPClassUID, dataset.SOPInstanceUID
    dataset.SourceImageSequence = Sequence([reference])
    dataset.SOPInstanceUID = _uid(dataset.SOPInstanceUID, scale, settings)
    dataset.SeriesInstanceUID = _uid(dataset.get("SeriesInstanceUID", dataset.StudyInstanceUID), scale, settings)
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.file_meta.ImplementationClassUID = PYDICOM_IMPLEMENTATION_UID
    dataset.ImageType = ["DERIVED", "SECONDARY", *list(dataset.get("ImageType") or [])[2:]]
    said = f"x{scale} super-resolution by rayscale {__version__}, model {settings.model} ({settings.digest[:12]})"
    before = str(dataset.get("DerivationDescription") or "")
    dataset.DerivationDescription = "; ".join(filter(None, (before[:700], f"{said}, {normalised}")))
    dataset.SeriesDescription = f"{str(dataset.get('SeriesDescription') or '')[:50]} x{scale} SR".strip()


def _uid(source: str, scale: int, settings: DicomSettings) -> str:
    """An identifier of the UUID kind (PS3.5 B.2), which needs no registration."""
    identity = f"{source} {settings.digest} x{scale} {_rule(settings)} {settings.ensemble}"
    identity += f" back-projected {settings.downscaling}" if settings.downscaling else ""
    return f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, identity).int}"


def _rule(settings: DicomSettings) -> str:
    chosen = settings.normalisation
    return chosen if isinstance(chosen, str) else f"{chosen[0]:g},{chosen[1]:g}"


def _tiff(source: Slice, values: NDArray[Any], scale: int) -> bytes:
    """A TIFF of the stored values, with rescale as scale and offset, padding as nodata, and no data of the patient."""
    height, width = values.shape
    padding = source.padding
    profile: dict[str, Any] = {"driver": "GTiff", "height": height, "width": width, "count": 1, "dtype": values.dtype}
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
