"""Upscaling of the stored values of a DICOM image, in their own depth, with padding and units."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.dicom.element_values import DicomError
from orchestrator.dicom.settings import DicomSettings
from orchestrator.dicom.slice import Slice
from orchestrator.dicom.units import unit_of
from trainables.images.hidden_colour import nearest, put_back
from trainables.inference.prepare import Prepared
from trainables.inference.upscale import upscale_values
from trainables.metrics.consistency import ConsistencyMeter


def upscaled(
    source: Slice, net: Prepared, settings: DicomSettings, low: float, high: float
) -> tuple[NDArray[Any], ConsistencyMeter]:
    """Upscales the stored values of an image.

    Args:
        source: The image, (H, W).
        net: The network.
        settings: Settings for upscaling.
        low: Stored value that means 0 to the network.
        high: Stored value that means 1.

    Returns:
        (r·H, r·W) stored values, padding exactly where the source has it, and how consistent they are.
    """
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
        put_back(values, source.values, ~source.valid, net.scale)
    return values, meter


def _without_padding(source: Slice) -> NDArray[Any]:
    """Fills padding with the nearest valid value, since the network's output would ring beside it."""
    if source.valid.all() or not source.valid.any():
        return source.values
    return nearest(source.values, ~source.valid)


def check_unit(source: Slice, settings: DicomSettings) -> list[str]:
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
