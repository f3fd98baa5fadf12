"""Elements of an upscaled image that follow from its pixels, and its identity as a derived image.

An output is a derived image (PS3.3 2024, C.7.6.1.1.2) of the same study, in a series of its own. Its identifiers depend
on the source's, the model's and the settings alone, so that slices that are upscaled separately make one series, and
the same work gives the same bytes.
"""

import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pydicom import Dataset
from pydicom.sequence import Sequence
from pydicom.sr.codedict import codes
from pydicom.uid import PYDICOM_IMPLEMENTATION_UID, ExplicitVRLittleEndian

from orchestrator.dicom.element_values import DicomError
from orchestrator.dicom.grid import FRAME_GROUPS, fit_to_grid
from orchestrator.dicom.padding import write_padding
from orchestrator.dicom.settings import DicomSettings, rule_of
from trainables.errors import UsageError, reason_of
from trainables.version import __version__

_MOST_ROWS, _MOST_BYTES = 2**16 - 1, 2**32 - 2
"""Limits of an image by the types of Rows, of Columns and of an element's length."""
_OF_A_CONCATENATION = ("ConcatenationUID", "SOPInstanceUIDOfConcatenationSource")


def prepare(dataset: Dataset, shape: tuple[int, int], scale: int, value_bytes: int, frames: int = 1) -> list[str]:
    """Fits all but the pixels to the output's grid, before the network runs, since it may fail.

    Args:
        dataset: The source's elements; changed in place.
        shape: Rows and columns of the source.
        scale: Scale factor r.
        value_bytes: Bytes of a stored value.
        frames: Number of frames.

    Returns:
        Notes for people.

    Raises:
        DicomError: If an element cannot be fitted, or the output is too large for a DICOM image.
    """
    for name in ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID"):
        if not isinstance(dataset.get(name), str) or not dataset[name].value:
            raise DicomError("corrupt", f"it has no single {name}, which the output must refer to")
    height, width = (side * scale for side in shape)
    if max(height, width) > _MOST_ROWS or frames * height * width * value_bytes > _MOST_BYTES:
        size = f"{height} x {width} pixels" if frames == 1 else f"{frames} frames of {height} x {width} pixels"
        way_out = "; a TIFF takes them" if frames == 1 else ""
        raise DicomError("unsupported", f"{size} do not fit into a DICOM image{way_out}")
    return fit_to_grid(dataset, scale) + notes_on_counts(dataset, scale)


def notes_on_counts(dataset: Dataset, scale: int) -> list[str]:
    """Notes on values that are counts, which a smaller pixel affects (C.8.4.7, C.8.9.1)."""
    if dataset.get("Modality") == "NM" or str(dataset.get("Units") or "") in ("CNTS", "PROPCNTS"):
        return [f"its values count events in a source pixel: sums over an area come out {scale * scale} times too high"]
    return []


def derive(
    dataset: Dataset,
    shape: tuple[int, ...],
    extremes: tuple[int, int],
    padding: tuple[int, int] | None,
    scale: int,
    settings: DicomSettings,
    normalised: str,
) -> None:
    """Turns the source's elements, which :func:`prepare` fitted, into the output's, but for its pixels.

    Args:
        dataset: The elements; changed in place.
        shape: Rows and columns of the output.
        extremes: Its least and greatest stored value.
        padding: Least and greatest value that means padding.
        scale: Scale factor r.
        settings: Settings of the upscaling.
        normalised: The values that meant 0 and 1, in words.
    """
    signed = bool(dataset.PixelRepresentation)
    dataset.Rows, dataset.Columns = shape
    for name, extreme in zip(("SmallestImagePixelValue", "LargestImagePixelValue"), extremes, strict=True):
        if name in dataset:
            dataset.add_new(name, "SS" if signed else "US", extreme)
    write_padding(dataset, padding, signed)
    if any(name in dataset for name in FRAME_GROUPS):
        _derive_frames(dataset)
    _name(dataset, scale, settings, normalised)
    if dataset.file_meta.TransferSyntaxUID.is_compressed:
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian


def pixel_data_vr(dataset: Dataset) -> str:
    """Value representation of uncompressed pixels (PS3.5, 8.1.1)."""
    return "OW" if dataset.BitsAllocated > 8 else "OB"


def _name(dataset: Dataset, scale: int, settings: DicomSettings, normalised: str) -> None:
    """Sets new identifiers, and the source and method of the derivation."""
    enhanced = any(group in dataset for group in FRAME_GROUPS)
    dataset.SourceImageSequence = Sequence([_reference(dataset)])
    dataset.SOPInstanceUID = _uid(dataset.SOPInstanceUID, scale, settings)
    dataset.SeriesInstanceUID = _uid(dataset.get("SeriesInstanceUID", dataset.StudyInstanceUID), scale, settings)
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    for name in _OF_A_CONCATENATION:
        if dataset.get(name):
            setattr(dataset, name, _uid(dataset[name].value, scale, settings))
    dataset.file_meta.ImplementationClassUID = PYDICOM_IMPLEMENTATION_UID
    # Enhanced images have no other second value than PRIMARY (C.8.16.1.2).
    dataset.ImageType = ["DERIVED", "PRIMARY" if enhanced else "SECONDARY", *list(dataset.get("ImageType") or [])[2:]]
    said = f"x{scale} super-resolution by rayscale {__version__}, model {settings.model} ({settings.digest[:12]})"
    before = str(dataset.get("DerivationDescription") or "")
    dataset.DerivationDescription = "; ".join(filter(None, (before[:700], f"{said}, {normalised}")))
    dataset.SeriesDescription = f"{str(dataset.get('SeriesDescription') or '')[:50]} x{scale} SR".strip()


def _derive_frames(dataset: Dataset) -> None:
    """States in the functional groups that each frame is derived from its source frame (C.7.6.16.2.6)."""
    shared, frames = (list(dataset.get(name) or []) for name in FRAME_GROUPS)
    earlier = [derivation for groups in shared for derivation in groups.get("DerivationImageSequence") or []]
    for groups in shared:
        if "DerivationImageSequence" in groups:
            del groups.DerivationImageSequence
    for number, groups in enumerate(frames, 1):
        source = _reference(dataset)
        source.ReferencedFrameNumber = number
        source.PurposeOfReferenceCodeSequence = Sequence([_code(codes.DCM.SourceImageForImageProcessingOperation)])
        derivation = Dataset()
        derivation.DerivationCodeSequence = Sequence([_code(codes.DCM.SpatialResampling)])
        derivation.SourceImageSequence = Sequence([source])
        before = groups.get("DerivationImageSequence") or []
        groups.DerivationImageSequence = Sequence([*earlier, *before, derivation])
    for groups in (*shared, *frames):
        for kind in (item for element in groups if element.VR == "SQ" for item in element.value):
            if kind.get("FrameType"):
                kind.FrameType = ["DERIVED", *list(kind.FrameType)[1:]]


def _reference(dataset: Dataset) -> Dataset:
    reference = Dataset()
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = dataset.SOPClassUID, dataset.SOPInstanceUID
    return reference


def _code(code: Any) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code.value, code.scheme_designator, code.meaning
    return item


def _uid(source: str, scale: int, settings: DicomSettings) -> str:
    """An identifier of the UUID kind (PS3.5 B.2), which needs no registration."""
    identity = f"{source} {settings.digest} x{scale} {rule_of(settings)} {settings.ensemble}"
    identity += f" back-projected {settings.downscaling}" if settings.downscaling else ""
    return f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, identity).int}"


@contextmanager
def one_reason() -> Iterator[None]:
    """Turns exceptions that an image's elements cause into the failure of that image.

    Raises:
        DicomError: ``corrupt``, unless it was one, a wrong setting or a fault of a disk before.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's remarks on values that are left as they are
        try:
            yield
        except (DicomError, UsageError, OSError):
            raise
        except Exception as error:
            raise DicomError("corrupt", f"its elements cannot be carried over ({reason_of(error)[:160]})") from None
