"""Every attribute of the DICOM dictionary that may count pixels is decided on."""

import re

import pytest
from pydicom.datadict import DicomDictionary, RepeatersDictionary, keyword_dict

from orchestrator.dicom import attribute_table as dicom_table
from orchestrator.dicom.attribute_table import (
    DECISIONS,
    decision,
    looks_counted,
    of_other_images,
    private_looks_counted,
)

# Written apart from the product's own pattern, and wider.
NAMES = re.compile(
    "Pixel|Voxel|Spacing|Row|Column|Region|Origin|Shutter|Collimator|Overlay|Matrix|Resolution|Grid|Offset|Position"
    "|Size|Dimension|Width|Height|Field|Magnif|Zoom|Display|Point|Coordinate|Location|Vertical|Horizontal|Edge|Center"
    "|Radius|Vertices|Contour|Extent|Area|Mask|Shift|Crop|Tile|Transl|Transformation|Graphic|Bounding|Anchor|Corner"
    "|Aspect|Vector|Delta|Icon|Histogram|Diameter|Perimeter|Curve|Axis|Axes|Binning"
)
NUMBERS = {"DS", "IS", "US", "SS", "UL", "SL", "UV", "SV", "FL", "FD", "OB", "OW", "OF", "OD", "OL", "OV"}


def counted():
    for tag, (vr, _, _, _, keyword) in DicomDictionary.items():
        if NUMBERS & set(vr.split(" or ")) and NAMES.search(keyword):
            yield tag, keyword
    for mask, (vr, _, _, _, keyword) in RepeatersDictionary.items():
        if NUMBERS & set(vr.split(" or ")) and NAMES.search(keyword):
            yield int(mask.replace("x", "0"), 16), keyword


def test_the_whole_dictionary_is_decided_on():
    found = list(counted())
    assert len(found) > 600
    open_ones = [f"{tag:08x} {keyword}" for tag, keyword in found if decision(keyword, tag >> 16) is None]
    assert open_ones == []


def test_the_table_has_no_word_of_its_own_and_none_twice():
    assert [keyword for keyword in DECISIONS if keyword not in keyword_dict] == []
    names = " ".join(getattr(dicom_table, name) for name in ("_TIMES", "_FIRST", "_LAST", "_OVER", "_MOVED", "_OWN"))
    for reasons in (dicom_table._DROP, dicom_table._REFUSE, dicom_table._KEEP):
        names += " " + " ".join(reasons.values())
    assert len(names.split()) + len(dicom_table.UNITS) == len(DECISIONS)


@pytest.mark.parametrize("tag", [0x60000010, 0x601E0050, 0x60FF3000, 0x50003000, 0x7F000010, 0x10000010, 0x10101234])
def test_what_is_drawn_on_the_source_is_dropped(tag):
    assert decision("", tag >> 16).action == "drop"


def test_the_pixels_themselves_are_not():
    assert decision("PixelData", 0x7FE0).action == "own"


def test_a_later_dictionary_is_asked_by_name():
    assert looks_counted("LesionPixelDiameter", "FD")
    assert looks_counted("LargestPixelOfLesion", "US or SS")
    assert not looks_counted("LesionPixelDiameter", "LO")
    assert not looks_counted("SeriesNumber", "IS")
    assert not looks_counted("ThrowCount", "IS")
    assert decision("LesionPixelDiameter", 0x0018) is None


@pytest.mark.parametrize(
    ("name", "dropped"),
    [
        ("[Pixel Spacing]", True),
        ("[CSA Image Header Info]", True),
        ("Overlay Origin", True),
        ("BandwidthPerPixelPhaseEncode", True),
        ("Image Rows", True),
        ("[Effective echo spacing]", False),
        ("[SUV Scale Factor]", False),
        ("[Diffusion direction X]", False),
        ("Original SOP Instance UID", False),
        ("Threshold", False),
        ("Number of Macro Rows in Detector", False),
        ("Cell spacing", False),
        ("", False),
    ],
)
def test_private_names(name, dropped):
    assert private_looks_counted(name) is dropped


def test_which_sequences_are_about_other_images():
    for name in ("SourceImageSequence", "ReferencedImageSequence", "OriginalAttributesSequence", "VOILUTSequence"):
        assert of_other_images(name)
    for name in ("SequenceOfUltrasoundRegions", "DetectorInformationSequence", "FrameDisplayShutterSequence"):
        assert not of_other_images(name)
