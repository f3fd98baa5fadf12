"""From stored values to units: rescale, window and the name of the unit (DICOM PS3.3 2024, C.11.1 and C.11.2)."""

from pydicom import Dataset

from orchestrator.dicom.element_values import DicomError, has_value, numbers, on_one_line

_UNSPECIFIED = "US"
_HOUNSFIELD = "HU"


def rescale_of(elements: Dataset) -> tuple[float, float]:
    """Slope and intercept from stored values to units such as Hounsfield's; 1 and 0 where the elements state none.

    Raises:
        DicomError: If they are no numbers, or the slope is 0.
    """
    slope, intercept = (
        numbers(elements[name], 1)[0] if has_value(elements, name) else default
        for name, default in (("RescaleSlope", 1.0), ("RescaleIntercept", 0.0))
    )
    if slope == 0:
        raise DicomError("normalisation", "its RescaleSlope is 0, which makes all values equal")
    return slope, intercept


def window_of(elements: Dataset) -> tuple[float, float]:
    """The first window (C.11.2.1.2): the values, in units, from which on pixels are shown black and white.

    Raises:
        DicomError: ``normalisation``, if there is none, or one that is not linear.
    """
    center, width = (
        numbers(elements[name])[0] if has_value(elements, name) else None for name in ("WindowCenter", "WindowWidth")
    )
    function = str(elements.get("VOILUTFunction") or "LINEAR")
    if function not in ("LINEAR", "LINEAR_EXACT"):
        raise DicomError("normalisation", f"its window is of the kind {function}; take the stored range")
    exact = function == "LINEAR_EXACT"
    if center is None or width is None or width <= (0 if exact else 1):
        raise DicomError("normalisation", "it states no window; take the stored range or name one")
    if exact:
        return center - width / 2, center + width / 2
    return center - 0.5 - (width - 1) / 2, center - 0.5 + (width - 1) / 2


def unit_of(elements: Dataset) -> str:
    """Name of the unit of rescaled values, such as ``HU``; "" where none is known.

    Without a type of its rescale, a CT image is in Hounsfield units (C.8.2.1), and a PET image in its Units (C.8.9.1).
    """
    stated = on_one_line(str(elements.get("RescaleType") or ""))
    if stated:
        return "" if stated == _UNSPECIFIED else stated
    if elements.get("Modality") == "CT" and has_value(elements, "RescaleIntercept"):
        return _HOUNSFIELD
    return on_one_line(str(elements.get("Units") or "")) if elements.get("Modality") == "PT" else ""
