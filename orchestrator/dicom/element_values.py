"""Values of DICOM elements, which files hold in types and numbers that they should not have."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from pydicom import DataElement, Dataset

from trainables.images.codec import UnreadableImageError


def on_one_line(text: str) -> str:
    """Returns a text from a file in a form fit for a terminal and a log: one line, printable, short."""
    return " ".join("".join(character if character.isprintable() else " " for character in text).split())[:400]


class DicomError(UnreadableImageError):
    """One DICOM file cannot be upscaled.

    Attributes:
        kind: ``unreadable``, ``corrupt``, ``unsupported`` or ``normalisation``.
        reason: Why, in a few words on one line, whatever characters the file has put into them.
    """

    def __init__(self, kind: str, reason: str) -> None:
        reason = on_one_line(reason)
        super().__init__(kind, reason)
        self.kind, self.reason = kind, reason

    def __str__(self) -> str:
        return self.reason


def has_value(dataset: Dataset, which: Any) -> bool:
    """Returns True if an element, by keyword or tag, exists and is not empty."""
    if which not in dataset:
        return False
    value = dataset[which].value
    return value is not None and (not hasattr(value, "__len__") or len(value) > 0)


def numbers(element: DataElement, count: int | None = None) -> list[float]:
    """Returns the values of an element as finite numbers.

    Raises:
        DicomError: ``corrupt``, if one is none or there are not ``count`` of them.
    """
    return numbers_in(element.keyword, element.value, count)


def numbers_in(name: str, value: Any, count: int | None = None) -> list[float]:
    """Returns the values of an element called ``name`` as :func:`numbers` does."""
    several = [value] if isinstance(value, str | bytes) or not isinstance(value, Iterable) else value
    try:
        found = [float(value) for value in several]
    except (TypeError, ValueError):
        raise DicomError("corrupt", f"its {name} is {str(value)[:40]!r}, where numbers are due") from None
    if not np.isfinite(found).all():
        raise DicomError("corrupt", f"its {name} holds values that are not finite")
    if count is not None and len(found) != count:
        values = "value" if len(found) == 1 else "values"
        raise DicomError("corrupt", f"its {name} has {len(found)} {values}, where {count} are due")
    return found


def whole_number(dataset: Dataset, name: str) -> int:
    """Returns the one whole number that an element of an image must hold.

    Raises:
        DicomError: ``corrupt``, if it holds anything else or is missing.
    """
    if not has_value(dataset, name):
        raise DicomError("corrupt", f"its elements do not describe an image: {name} is missing")
    found = numbers(dataset[name])
    if len(found) != 1 or found[0] != round(found[0]):
        raise DicomError("corrupt", f"its elements do not describe an image: {name} is {str(dataset[name].value)[:40]}")
    return round(found[0])
