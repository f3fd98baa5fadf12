"""A DICOM data set's elements fitted to r times as many rows and columns, sequences of any depth included."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from pydicom import DataElement, Dataset
from pydicom.datadict import dictionary_VR, keyword_for_tag, private_dictionary_description
from pydicom.tag import BaseTag, Tag
from pydicom.valuerep import DSfloat

from orchestrator.dicom.attribute_table import (
    UNITS,
    decision,
    looks_counted,
    may_be_numbers,
    of_other_images,
    private_looks_counted,
)
from orchestrator.dicom.element_values import DicomError, has_value, numbers, numbers_in, on_one_line

_INTEGER_LIMITS = {
    "US": (0, 2**16 - 1),
    "SS": (-(2**15), 2**15 - 1),
    "UL": (0, 2**32 - 1),
    "SL": (-(2**31), 2**31 - 1),
    "IS": (-(2**31), 2**31 - 1),
}
_POSITIONS = {
    "ImagePositionPatient": ("ImageOrientationPatient", "PixelSpacing"),
    "ImagePosition": ("ImageOrientation", "PixelSpacing"),
    "ImagePositionVolume": ("ImageOrientationVolume", "PixelSpacing"),
    "RTImagePosition": ("RTImageOrientation", "ImagePlanePixelSpacing"),
}
"""Attributes of the first pixel's centre, with those of the directions of its row and column, and their spacing."""

Geometry = dict[str, object]
"""Values of the attributes of spacing and orientation, by keyword, as the file has them."""

FRAME_GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
"""Functional groups of an enhanced multi-frame image: those of all frames, and an item for each (C.7.6.16)."""

_GEOMETRY_GROUPS = ("PixelMeasuresSequence", "PlaneOrientationSequence", "PlaneOrientationVolumeSequence")
"""Groups of the spacings and orientations by which a frame's position moves."""

_RT_ORIENTATION = (1.0, 0.0, 0.0, 0.0, -1.0, 0.0)
"""Default orientation of an RT Image: rows run along x and columns down y of the receptor (PS3.3 C.8.8.2)."""


def fit_to_grid(dataset: Dataset, scale: int) -> list[str]:
    """Fits all elements but the pixels and those derived from their values, by the rules of ``attribute_table``.

    Args:
        dataset: Changed in place.
        scale: r.

    Returns:
        Notes on what was dropped and on what may still count the source's pixels.

    Raises:
        DicomError: If the image has something that cannot be fitted: ``unsupported``, or ``corrupt`` for values that
            are none.
    """
    notes = _Notes()
    _fit(dataset, scale, notes, inherited={})
    return notes.lines()


class _Notes:
    """Elements that were dropped, left as they are or not moved, each once."""

    def __init__(self) -> None:
        self.dropped: dict[str, None] = {}
        self.dropped_private: dict[str, None] = {}
        self.unknown: dict[str, None] = {}
        self.unknown_private: dict[str, None] = {}
        self.unmoved: dict[str, str] = {}

    def lines(self) -> list[str]:
        lines = [f"its {what} were dropped: they are drawn on the source's pixels" for what in self.dropped]
        if self.dropped_private:
            lines.append(f"private elements that count the source's pixels were dropped: {_some(self.dropped_private)}")
        if self.unknown_private:
            lines.append(f"private elements of unknown meaning were left as they are: {_some(self.unknown_private)}")
        if self.unknown:
            lines.append(f"elements that may count the source's pixels were left as they are: {_some(self.unknown)}")
        lines += [f"{name} was left as it is, since {why}" for name, why in self.unmoved.items()]
        return [on_one_line(line) for line in lines]


def _some(names: dict[str, None]) -> str:
    first = list(names)[:5]
    return ", ".join(first) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _fit(dataset: Dataset, scale: int, notes: _Notes, inherited: Geometry) -> None:
    """Fits one item; ``inherited`` are spacings and orientations of the items around it."""
    known = inherited | _geometry(dataset)
    _move(dataset, scale, notes, known)
    _fit_frames(dataset, scale, notes, known)
    for tag in sorted(dataset.keys()):
        if tag.is_private:
            _judge_private(dataset, tag, notes)
        elif keyword_for_tag(tag) not in FRAME_GROUPS:
            _fit_element(dataset, tag, scale, notes, known)


def _geometry(dataset: Dataset) -> Geometry:
    """The spacings and orientations that an item states."""
    return {name: dataset[name].value for pair in _POSITIONS.values() for name in pair if has_value(dataset, name)}


def _fit_frames(dataset: Dataset, scale: int, notes: _Notes, known: Geometry) -> None:
    """Fits functional groups: a frame's position by its own spacing and orientation, or by those of all frames."""
    shared, own = (list(dataset.get(name) or []) for name in FRAME_GROUPS)
    for groups in shared:
        known = known | _geometry_of_groups(groups)
    of_frames = [known | _geometry_of_groups(groups) for groups in own]
    alike = bool(of_frames) and all(geometry == of_frames[0] for geometry in of_frames)
    for groups in shared:
        _fit(groups, scale, notes, of_frames[0] if alike else known)
    for groups, geometry in zip(own, of_frames, strict=True):
        _fit(groups, scale, notes, geometry)


def _geometry_of_groups(groups: Dataset) -> Geometry:
    found: Geometry = {}
    for name in _GEOMETRY_GROUPS:
        for item in groups.get(name) or []:
            found |= _geometry(item)
    return found


def _fit_element(dataset: Dataset, tag: BaseTag, scale: int, notes: _Notes, known: Geometry) -> None:
    keyword = keyword_for_tag(tag)
    decided = decision(keyword, tag.group)
    action = decided.action if decided is not None else "unknown"
    if decided is not None and action == "drop":
        del dataset[tag]
        if tag.group >= 0x1000:
            notes.dropped[decided.why] = None
    elif decided is not None and action == "refuse":
        if has_value(dataset, tag):
            raise DicomError("unsupported", f"its {keyword} {decided.why}")
    elif action in ("times", "first", "last", "over", "by_units"):
        if has_value(dataset, tag):
            _scale(dataset[tag], _by_units(dataset, keyword) if action == "by_units" else action, scale)
    elif action in ("keep", "unknown") and _vr(dataset, tag) == "SQ":
        if not of_other_images(keyword):
            for item in dataset[tag].value or []:
                _fit(item, scale, notes, known)
    elif action == "unknown" and tag.element and (not keyword or looks_counted(keyword, _vr(dataset, tag))):
        notes.unknown[keyword or str(tag)] = None


def _by_units(dataset: Dataset, keyword: str) -> str:
    """Scaling by the units beside a drawing; those of a volume are in millimetres."""
    if "ReferencedFrameOfReferenceUID" in dataset:
        return "keep"
    units = next((dataset.get(name) for name in UNITS[keyword] if dataset.get(name)), "PIXEL")
    if units not in ("PIXEL", "DISPLAY"):
        raise DicomError("unsupported", f"its {keyword} is in units of {units}, where PIXEL or DISPLAY is expected")
    return "times" if units == "PIXEL" else "keep"


def _scale(element: DataElement, action: str, scale: int) -> None:
    """Scales the values of an element in its own type.

    Raises:
        DicomError: If they are no numbers, not as many as they must be, or outgrow their type.
    """
    if action == "keep":
        return
    integer = element.VR in _INTEGER_LIMITS
    pair = element.keyword.endswith("Spacing") or element.keyword == "DetectorBinning"
    values = numbers(element, 2 if pair else None)
    if action == "over":
        scaled = [value / scale for value in values]
    elif action == "first":
        scaled = [(value - 1) * scale + 1 for value in values]
    elif action == "last":
        scaled = [(value + 1) * scale - 1 for value in values]
    else:
        scaled = [value * scale for value in values]
    if integer:
        low, high = _INTEGER_LIMITS[element.VR]
        if not all(low <= value <= high for value in scaled):
            raise DicomError("unsupported", f"its {element.keyword} times {scale} does not fit into its type")
    of_type: list[Any]
    if integer:
        of_type = [round(value) for value in scaled]
    else:
        of_type = [DSfloat(value, auto_format=True) for value in scaled] if element.VR == "DS" else scaled
    element.value = of_type if len(of_type) > 1 else of_type[0]


def _move(dataset: Dataset, scale: int, notes: _Notes, known: Geometry) -> None:
    """Moves places of the first pixel's centre, which lies nearer the corner than the source's, by (r - 1)/2r of it."""
    share = (scale - 1) / (2 * scale)
    for name, (orientation, spacing) in _POSITIONS.items():
        if not has_value(dataset, name):
            continue
        flat = name == "RTImagePosition"
        position = numbers(dataset[name], 2 if flat else 3)
        directions = known.get(orientation, _RT_ORIENTATION if flat else None)
        lacking = [what for what, found in ((orientation, directions), (spacing, known.get(spacing))) if found is None]
        if lacking:
            notes.unmoved[name] = f"it has no {' and no '.join(lacking)}"
            continue
        along_row, along_column = np.array(numbers_in(orientation, directions, 6)).reshape(2, 3)
        between_rows, between_columns = numbers_in(spacing, known[spacing], 2)
        step = (between_columns * along_row + between_rows * along_column)[: len(position)]
        dataset[name].value = [
            DSfloat(coordinate, auto_format=True) for coordinate in (position - share * step).tolist()
        ]
    for axis in "XY":
        physical, delta = f"ReferencePixelPhysicalValue{axis}", f"PhysicalDelta{axis}"
        if all(has_value(dataset, keyword) for keyword in (physical, delta, f"ReferencePixel{axis}0")):
            at, pixel_spacing = numbers(dataset[physical], 1)[0], numbers(dataset[delta], 1)[0]
            # The pixel with the number r·x0 begins where x0 does, so that its centre lies before that of x0.
            dataset[physical].value = at - share * pixel_spacing


def _vr(dataset: Dataset, tag: BaseTag) -> str:
    stated = dataset.get_item(tag).VR  # without decoding, which may fail on what nobody needs
    if stated is not None and stated != "UN":
        return str(stated)
    return dictionary_VR(tag) if keyword_for_tag(tag) else "UN"


def _judge_private(dataset: Dataset, tag: BaseTag, notes: _Notes) -> None:
    """Drops a private element whose name is about pixels, or that contains such; keeps the others, with notes."""
    if tag.is_private_creator:
        return
    block = Tag(tag.group, tag.element >> 8)
    creator = str(dataset[block].value).strip() if has_value(dataset, block) else ""
    try:
        name = private_dictionary_description(tag, creator)
    except KeyError:
        name = ""
    if private_looks_counted(name) or any(map(_counts_pixels, _items(dataset, tag))):
        del dataset[tag]
        notes.dropped_private[name.strip("[]") or f"{tag} of {creator or 'nobody'}"] = None
    elif not name and may_be_numbers(_vr(dataset, tag)):
        notes.unknown_private[creator or str(tag)] = None


def _items(dataset: Dataset, tag: BaseTag) -> Iterator[Dataset]:
    if _vr(dataset, tag) == "SQ":
        yield from dataset[tag].value or []


def _counts_pixels(dataset: Dataset) -> bool:
    for tag in dataset.keys():  # noqa: SIM118 (iterating would decode elements)
        keyword = keyword_for_tag(tag)
        decided = None if tag.is_private else decision(keyword, tag.group)
        if decided is not None and decided.action != "keep":
            return True
        if any(map(_counts_pixels, _items(dataset, tag))):
            return True
    return False
