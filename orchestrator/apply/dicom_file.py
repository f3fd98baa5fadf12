"""Upscaling of a DICOM file, of one slice or of several frames."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from orchestrator.archive.batch.commit import whole_file
from orchestrator.dicom.element_values import DicomError
from orchestrator.dicom.frames import is_multi_frame
from orchestrator.dicom.settings import DicomFacts, DicomSettings
from orchestrator.dicom.upscale import upscale_slice
from orchestrator.dicom.upscale_frames import upscale_frames
from orchestrator.foundation.buckets.local_copy import local_copy
from orchestrator.foundation.file_types import is_tiff
from orchestrator.foundation.storage import Storage
from trainables.inference.prepare import Prepared

_CONTENT_TYPE = "application/dicom"


def upscale_dicom_file(
    source: Storage,
    target: Storage,
    net: Prepared,
    settings: DicomSettings,
    lock: AbstractContextManager[object],
    strict: bool = False,
) -> DicomFacts:
    """Upscales a DICOM file; the output appears whole or not at all.

    Args:
        source: The file.
        target: The output: DICOM, or of one slice also TIFF.
        net: The network.
        settings: Settings for upscaling.
        lock: Held while the network computes.
        strict: True to refuse an output that is flagged.

    Returns:
        Facts of the output.

    Raises:
        DicomError: If the file cannot be upscaled, or is flagged under ``strict``.
    """
    as_tiff = is_tiff(target.uri)
    with local_copy(source) as path:
        if is_multi_frame(path):
            return _upscale_frames(path, target, net, settings, lock, strict)
        data = path.read_bytes()
    with lock:
        output, facts = upscale_slice(data, net, settings, as_tiff)
    _check_flags(facts, strict)
    target.write_bytes(output)
    return facts


def _upscale_frames(
    path: Path,
    target: Storage,
    net: Prepared,
    settings: DicomSettings,
    lock: AbstractContextManager[object],
    strict: bool,
) -> DicomFacts:
    if is_tiff(target.uri):
        raise DicomError("unsupported", "it has several frames, and a TIFF takes one: name an output that ends in .dcm")
    with whole_file(target, _CONTENT_TYPE) as output:
        facts = upscale_frames(path, output, net, settings, lock)
        _check_flags(facts, strict)
    return facts


def _check_flags(facts: DicomFacts, strict: bool) -> None:
    flags = facts["consistency"]["flags"]
    if flags and strict:
        frames = [note for note in facts["notes"] if note.startswith("flagged frames")]
        raise DicomError("flagged", "; ".join([flagged(flags), *frames]))


def flagged(flags: Sequence[str]) -> str:
    """A remark on an output that does not match its source."""
    return f"its output is flagged: {', '.join(flags)}"
