"""What DICOM elements in pixels, and per pixel, become in an image of r times as many."""

import dicom_files
import numpy as np
import pytest
from pydicom import Dataset
from pydicom.datadict import DicomDictionary, dictionary_VM, dictionary_VR, tag_for_keyword
from pydicom.sequence import Sequence

from orchestrator.dicom.attribute_table import DECISIONS
from orchestrator.dicom.element_values import DicomError
from orchestrator.dicom.grid import fit_to_grid

VALUES = np.zeros((40, 48), np.uint16)


def fitted(scale=2, **elements):
    made = dicom_files.dataset(VALUES, 12, **elements)
    return made, fit_to_grid(made, scale)


def item(**elements):
    made = Dataset()
    for name, value in elements.items():
        setattr(made, name, value)
    return made


def plain(value):
    return [float(each) for each in value] if hasattr(value, "__iter__") else float(value)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_ultrasound_regions(scale):
    region = item(
        **{"RegionLocationMinX0": 8, "RegionLocationMinY0": 4, "RegionLocationMaxX1": 39, "RegionLocationMaxY1": 27},
        **{"PhysicalDeltaX": 0.06, "PhysicalDeltaY": -0.12, "PhysicalUnitsXDirection": 3, "RegionFlags": 2},
        **{"ReferencePixelX0": 16, "ReferencePixelY0": -5, "ReferencePixelPhysicalValueX": 1.5},
        **{"DopplerSampleVolumeXPosition": 20, "TMLinePositionY1": 26, "TableOfPixelValues": [1, 2]},
    )
    made, notes = fitted(scale, SequenceOfUltrasoundRegions=Sequence([region]))
    found = made.SequenceOfUltrasoundRegions[0]
    assert notes == []
    corners = [found[f"RegionLocation{each}"].value for each in ("MinX0", "MinY0", "MaxX1", "MaxY1")]
    assert corners == [8 * scale, 4 * scale, 40 * scale - 1, 28 * scale - 1]  # the last pixel's last part, inclusive
    assert (found.PhysicalDeltaX, found.PhysicalDeltaY) == pytest.approx((0.06 / scale, -0.12 / scale))
    assert (found.ReferencePixelX0, found.ReferencePixelY0) == (16 * scale, -5 * scale)
    assert (found.DopplerSampleVolumeXPosition, found.TMLinePositionY1) == (20 * scale, 26 * scale)
    assert (found.PhysicalUnitsXDirection, found.RegionFlags, list(found.TableOfPixelValues)) == (3, 2, [1, 2])
    # The centre of a source pixel has the same physical place in both.
    column = 21
    before = 1.5 + (column - 16) * 0.06
    after = found.ReferencePixelPhysicalValueX + found.PhysicalDeltaX * (
        scale * (column + 0.5) - 0.5 - found.ReferencePixelX0
    )
    assert after == pytest.approx(before)
    assert "ReferencePixelPhysicalValueY" not in found


@pytest.mark.parametrize("orientation", [None, [1, 0, 0, 0, -1, 0], [0, 1, 0, 1, 0, 0]])
def test_rt_image(orientation):
    elements = {"ImagePlanePixelSpacing": [0.8, 0.4], "RTImagePosition": [-31.6, 25.2], "RTImageSID": 1500}
    if orientation:
        elements["RTImageOrientation"] = orientation
    made, notes = fitted(**elements)
    assert notes == []
    assert plain(made.ImagePlanePixelSpacing) == [0.4, 0.2]
    # A quarter of a source pixel towards the corner: columns 0.4 apart along the row, rows 0.8 apart down the column.
    expected = [-31.6 - 0.2, 25.2 - 0.1] if orientation == [0, 1, 0, 1, 0, 0] else [-31.6 - 0.1, 25.2 + 0.2]
    assert plain(made.RTImagePosition) == pytest.approx(expected)
    assert made.RTImageSID == 1500


def test_every_spacing_and_every_count_is_scaled():
    """One value after the other, by the types that the dictionary gives them."""
    for keyword, decided in DECISIONS.items():
        if decided.action not in ("times", "over", "first", "last"):
            continue
        many = {"1": 1, "2": 2, "2-4": 4}.get(dictionary_VM(keyword), 6)
        value = [float(each) if dictionary_VR(keyword) in ("DS", "FL", "FD") else each for each in range(8, 8 + many)]
        made = Dataset()
        setattr(made, keyword, value if many > 1 else value[0])
        fit_to_grid(made, 4)
        expected = {
            "times": [4 * each for each in value],
            "over": [each / 4 for each in value],
            "first": [4 * each - 3 for each in value],
            "last": [4 * each + 3 for each in value],
        }[decided.action]
        found = made[keyword].value
        assert (plain(found) if many > 1 else [float(found)]) == expected, keyword


def test_every_kept_number_is_kept():
    for keyword, decided in DECISIONS.items():
        if decided.action == "keep" and dictionary_VR(keyword) in ("DS", "IS", "US", "SS", "UL", "SL", "FL", "FD"):
            made = Dataset()
            setattr(made, keyword, 6)
            assert fit_to_grid(made, 2) == []
            assert made[keyword].value == 6, keyword


def test_every_refused_attribute_is_refused_in_a_sentence_where_it_has_a_value():
    for keyword, decided in DECISIONS.items():
        if decided.action != "refuse":
            continue
        made = Dataset()
        vr = dictionary_VR(keyword)
        setattr(made, keyword, None if vr != "SQ" else Sequence([]))
        fit_to_grid(made, 2)
        setattr(made, keyword, Sequence([Dataset()]) if vr == "SQ" else b"12" if vr[0] == "O" else 7)
        with pytest.raises(DicomError, match=f"its {keyword} (makes|maps|names)") as caught:
            fit_to_grid(made, 2)
        assert caught.value.kind == "unsupported"


def test_positions_of_detectors_move_by_the_image_s_spacing():
    detector = item(ImagePositionPatient=[1, 2, 3], ImageOrientationPatient=[0, 1, 0, 0, 0, -1])
    made, _ = fitted(DetectorInformationSequence=Sequence([detector]))
    moved = made.DetectorInformationSequence[0].ImagePositionPatient
    assert plain(moved) == pytest.approx([1, 2 - 0.25 / 4, 3 + 0.5 / 4])


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        ("PixelSpacing", "it has no PixelSpacing"),
        ("ImageOrientationPatient", "it has no ImageOrientationPatient"),
    ],
)
def test_a_position_that_cannot_be_moved_is_noted(missing, words):
    for value in (None, "empty"):
        made = dicom_files.dataset(VALUES, 12)
        if value is None:
            delattr(made, missing)
        else:
            setattr(made, missing, None)
        assert fit_to_grid(made, 2) == [f"ImagePositionPatient was left as it is, since {words}"]
        assert plain(made.ImagePositionPatient) == [-10, 20, 30]


def test_sequences_of_this_image_are_fitted_at_any_depth_and_those_of_others_are_not():
    def nested():
        return item(ShutterLeftVerticalEdge=3, PixelSpacing=[1, 1], IconImageSequence=Sequence([Dataset()]))

    outer = item(FrameDisplayShutterSequence=Sequence([nested()]))
    made, _ = fitted(
        XAXRFFrameCharacteristicsSequence=Sequence([outer]),
        SourceImageSequence=Sequence([nested()]),
        OriginalAttributesSequence=Sequence([item(ModifiedAttributesSequence=Sequence([nested()]))]),
    )
    inner = made.XAXRFFrameCharacteristicsSequence[0].FrameDisplayShutterSequence[0]
    assert (inner.ShutterLeftVerticalEdge, plain(inner.PixelSpacing), "IconImageSequence" in inner) == (
        6,
        [0.5] * 2,
        False,
    )
    for other in (made.SourceImageSequence[0], made.OriginalAttributesSequence[0].ModifiedAttributesSequence[0]):
        assert (other.ShutterLeftVerticalEdge, plain(other.PixelSpacing)) == (3, [1, 1])


def test_drawings_by_their_units():
    def drawn(**units):
        return fitted(GraphicAnnotationSequence=Sequence([item(GraphicData=[1.5, 2, 3, 4], **units)]))[0]

    def data(made):
        return plain(made.GraphicAnnotationSequence[0].GraphicData)

    assert data(drawn(GraphicAnnotationUnits="PIXEL")) == data(drawn()) == [3, 4, 6, 8]
    assert data(drawn(GraphicAnnotationUnits="DISPLAY")) == [1.5, 2, 3, 4]
    assert data(drawn(ReferencedFrameOfReferenceUID="1.2.3")) == [1.5, 2, 3, 4]
    with pytest.raises(DicomError, match="in units of MATRIX, where PIXEL or DISPLAY is expected"):
        drawn(GraphicAnnotationUnits="MATRIX")


def test_private_elements():
    made = dicom_files.dataset(VALUES, 12)
    known = made.private_block(0x0019, "SIEMENS MR HEADER", create=True)
    known.add_new(0x28, "FD", 12.5)  # BandwidthPerPixelPhaseEncode
    known.add_new(0x0C, "IS", "1000")  # B_value
    unknown = made.private_block(0x0099, "NOBODY KNOWS", create=True)
    unknown.add_new(0x01, "DS", "0.5")
    unknown.add_new(0x02, "SQ", Sequence([item(Rows=40)]))
    unknown.add_new(0x03, "LO", "a text")
    made.add_new(0x00990001, "US", 7)
    made.private_block(0x0013, "WORDS", create=True).add_new(0x10, "LO", "a text")
    notes = fit_to_grid(made, 2)
    assert made[0x0019, 0x100C].value == 1000
    assert made[0x0099, 0x1001].value == "0.5"
    assert (0x0019, 0x1028) not in made
    assert (0x0099, 0x1002) not in made
    assert notes == [
        "private elements that count the source's pixels were dropped: "
        "BandwidthPerPixelPhaseEncode, (0099,1002) of NOBODY KNOWS",
        "private elements of unknown meaning were left as they are: (0099,0001), NOBODY KNOWS",
    ]


def test_a_note_quotes_what_the_file_says_on_one_printable_line():
    made = dicom_files.dataset(VALUES, 12)
    made.private_block(0x0099, "NO\x1b[2JBODY", create=True).add_new(0x01, "DS", "0.5")
    assert fit_to_grid(made, 2) == ["private elements of unknown meaning were left as they are: NO [2JBODY"]


def test_elements_that_the_dictionary_does_not_know_are_noted(monkeypatch):
    made = dicom_files.dataset(VALUES, 12)
    made.add_new(0x00180BBA, "US", 3)
    made.add_new(0x00180000, "UL", 3)
    monkeypatch.setitem(DicomDictionary, 0x00180BBC, ("US", "1", "Later Pixel Radius", "", "LaterPixelRadius"))
    made.add_new(0x00180BBC, "US", 3)
    assert fit_to_grid(made, 2) == [
        "elements that may count the source's pixels were left as they are: (0018,0BBA), LaterPixelRadius"
    ]


def test_overlays_curves_and_their_like_are_dropped_with_a_note():
    made = dicom_files.dataset(VALUES, 12)
    for tag in (0x60000010, 0x60FE0010, 0x50000005, 0x7F000011):
        made.add_new(tag, "US", 40)
    notes = fit_to_grid(made, 2)
    assert sorted(notes) == [
        f"its {what} were dropped: they are drawn on the source's pixels"
        for what in ("curves", "overlays", "variable pixel data")
    ]
    assert not [tag for tag in made.keys() if tag.group >= 0x5000 and tag.group != 0x7FE0]  # noqa: SIM118


@pytest.mark.parametrize(
    ("name", "vr", "value", "words"),
    [
        ("PixelSpacing", "DS", "0.5", "its PixelSpacing has 1 value, where 2 are due"),
        ("PixelSpacing", "DS", ["1", "2", "3"], "its PixelSpacing has 3 values, where 2 are due"),
        ("PixelSpacing", "LO", ["wide", "narrow"], "where numbers are due"),
        ("ImagerPixelSpacing", "FD", [float("nan"), 1.0], "values that are not finite"),
        ("ImagePositionPatient", "DS", ["1", "2"], "its ImagePositionPatient has 2 values, where 3 are due"),
        ("ImageOrientationPatient", "DS", ["1", "0", "0"], "its ImageOrientationPatient has 3 values, where 6 are due"),
        ("ShutterLeftVerticalEdge", "LO", "left", "its ShutterLeftVerticalEdge is 'left', where numbers are due"),
        ("ExposureControlSensingRegionLeftVerticalEdge", "SS", 30000, "times 2 does not fit into its type"),
    ],
)
def test_values_that_cannot_be_scaled(name, vr, value, words):
    made = dicom_files.dataset(VALUES, 12)
    made.add_new(tag_for_keyword(name), vr, value)
    with pytest.raises(DicomError, match=words):
        fit_to_grid(made, 2)


def test_empty_values_stay_empty():
    empty = {"ImagerPixelSpacing": "", "ShutterLeftVerticalEdge": "", "SequenceOfUltrasoundRegions": Sequence([])}
    made, notes = fitted(**empty)
    assert notes == []
    assert not made.ImagerPixelSpacing
