"""Upscaling of files that keep their kind and depth: DICOM, NIfTI volumes and .npy arrays.

Imported for such files alone: pydicom, nibabel and rasterio take more time than a small picture.
"""

from collections.abc import Callable
from threading import Lock
from typing import TYPE_CHECKING

from orchestrator.apply.array_file import ArrayFileSettings, upscale_array_file
from orchestrator.apply.dicom_file import flagged, upscale_dicom_file
from orchestrator.apply.file_outcome import Outcome, failed
from orchestrator.apply.images_to_upscale import Work
from orchestrator.archive.scene.model_facts import facts_of
from orchestrator.dicom.settings import DicomSettings
from orchestrator.dicom.slice import Normalisation
from orchestrator.foundation.model_store import FoundModel
from trainables.inference.downscaling import downscaling_of
from trainables.inference.prepare import Prepared
from trainables.network.model_card import ModelCard, decimation_of

if TYPE_CHECKING:
    from orchestrator.apply.upscale import Settings


def deep_upscaler(found: FoundModel, net: Prepared, settings: "Settings", lock: Lock) -> Callable[[Work], Outcome]:
    """A function that upscales one file of more than 8 bits.

    Args:
        found: The model.
        net: Its network, ready to compute.
        settings: Settings for upscaling.
        lock: Held while the network computes.
    """
    units = str(found.card.get("units") or "")
    downscaling = downscaling_of(settings.back_project, decimation_of(found.card))
    stated = settings.value_range if isinstance(settings.value_range, tuple) else None
    dicom = DicomSettings(
        digest=found.card["sha256"],
        model=found.where,
        normalisation=stated or _range_of_card(found.card),
        units="" if stated else units,
        tile=settings.tile,
        ensemble=settings.ensemble,
        downscaling=downscaling,
    )
    arrays = ArrayFileSettings(
        value_range=settings.value_range,
        units=units,
        slice_axis=settings.slice_axis,
        tile=settings.tile,
        ensemble=settings.ensemble,
        downscaling=downscaling,
    )
    facts = facts_of(found, net.precision)

    def upscale_file(work: Work) -> Outcome:
        try:
            if work.kind == "array":
                pixels, notes = upscale_array_file(work.source, work.target, net, facts, arrays, lock)
            else:
                pixels, notes = _upscale_dicom(net, dicom, work, lock, settings.strict)
        except Exception as error:  # an error of one file must not end the run
            return failed(work, error)
        return Outcome(work.name, note="; ".join(notes) or None, pixels=pixels)

    return upscale_file


def _range_of_card(card: ModelCard) -> Normalisation:
    stated = (card.get("value_range") or {}).get("dicom")
    return (float(stated[0]), float(stated[1])) if stated else "stored"


def _upscale_dicom(
    net: Prepared, settings: DicomSettings, work: Work, lock: Lock, strict: bool
) -> tuple[int, list[str]]:
    """Pixels of the output, and notes for people."""
    facts = upscale_dicom_file(work.source, work.target, net, settings, lock, strict)
    flags = facts["consistency"]["flags"]
    pixels = facts["frames"] * facts["width"] * facts["height"]
    return pixels, facts["notes"] + ([flagged(flags)] if flags else [])
