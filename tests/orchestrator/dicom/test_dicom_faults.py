"""Damaged, wrong and hostile DICOM files: each a named failure of its own, in little time and memory."""

import io
import struct
import tracemalloc
import zlib

import dicom_files
import numpy as np
import pydicom
import pytest
import tiny_models
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    MediaStorageDirectoryStorage,
    RLELossless,
)

from orchestrator.apply.upscale import Settings, upscale_images
from orchestrator.dicom.slice import read_slice
from orchestrator.dicom.upscale import DicomError, DicomSettings, upscale_slice
from trainables.inference.prepare import prepared
from trainables.network.network import SuperResolutionNet, preset


@pytest.fixture(scope="module")
def plain():
    return prepared(SuperResolutionNet(preset("tiny", 2)), precision="float32")


def failure(data, net, as_tiff=False, **settings):
    with pytest.raises(DicomError) as caught:
        upscale_slice(data, net, DicomSettings(digest="ab" * 32, model="tiny", **settings), as_tiff)
    assert caught.value.kind in ("unreadable", "corrupt", "unsupported", "normalisation")
    assert str(caught.value)
    assert "\n" not in str(caught.value)
    return caught.value


def with_element(tag, vr, value, made=None):
    made = made or dicom_files.dataset(dicom_files.anatomy().round().astype(np.uint16), 12)
    made.add_new(tag, vr, value)
    return dicom_files.encoded(made)


@pytest.mark.parametrize(
    ("tag", "vr", "value", "words"),
    [
        (0x00280030, "DS", "0.5", "its PixelSpacing has 1 value, where 2 are due"),
        (0x00280010, "US", [40, 40], "Rows is"),
        (0x00280011, "US", 0, "40 rows and 0 columns"),
        (0x00280010, "US", None, "Rows is missing"),
        (0x00280010, "LO", "forty", "its Rows is 'forty', where numbers are due"),
        (0x00280010, "US", 41, "3840 bytes, where 41 x 48 pixels are 3936"),
        (0x00280002, "US", [1, 1], "SamplesPerPixel is"),
        (0x00280004, "CS", ["MONOCHROME2", "MONOCHROME1"], "is not MONOCHROME1 or MONOCHROME2"),
        (0x00280100, "US", 8, "12 bits up to bit 11 of 8"),
        (0x00280101, "US", 17, "17 bits up to bit 11 of 16"),
        (0x00280101, "FD", 12.5, "BitsStored is 12.5"),
        (0x00280103, "US", 2, "its PixelRepresentation is 2, where 0 or 1 is due"),
        (0x00280008, "LO", "seven", "its NumberOfFrames is 'seven', where numbers are due"),
        (0x00080018, "UI", "", "it has no single SOPInstanceUID"),
        (0x00080018, "UI", ["1.2", "1.3"], "it has no single SOPInstanceUID"),
        (0x0020000D, "UI", "", "it has no single StudyInstanceUID"),
        (0x00480006, "UL", 4000, "its TotalPixelMatrixColumns makes it a part of a larger image"),
    ],
)
def test_elements_of_the_wrong_kind(plain, tag, vr, value, words):
    assert words in str(failure(with_element(tag, vr, value), plain))


@pytest.mark.parametrize("name", ["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "Rows", "SamplesPerPixel"])
def test_missing_elements(plain, name):
    made = dicom_files.dataset(dicom_files.anatomy().round().astype(np.uint16), 12)
    delattr(made, name)
    assert name in str(failure(dicom_files.encoded(made), plain))


def test_a_series_without_an_identifier_gets_one_from_its_study(plain):
    made = dicom_files.dataset(dicom_files.anatomy().round().astype(np.uint16), 12, SeriesInstanceUID=None)
    data, _ = upscale_slice(dicom_files.encoded(made), plain, DicomSettings(digest="ab" * 32, model="tiny"))
    assert pydicom.dcmread(io.BytesIO(data)).SeriesInstanceUID.is_valid


@pytest.mark.parametrize("where", ["pydicom.Dataset.save_as", "orchestrator.dicom.derived.fit_to_grid"])
def test_any_error_in_carrying_elements_over_is_named(plain, monkeypatch, where):
    def fail(*_, **__):
        raise KeyError("of no kind that anyone expects\nwith a second line")

    data = dicom_files.ct()
    monkeypatch.setattr(where, fail)
    assert "its elements cannot be carried over (KeyError: 'of no kind" in str(failure(data, plain))


@pytest.mark.parametrize("where", ["_check", "padding_range", "padded", "dcmread", "pixel_array"])
def test_any_error_in_reading_is_named(monkeypatch, where):
    def fail(*_, **__):
        raise RecursionError("of no kind that anyone expects")

    data = dicom_files.ct()
    monkeypatch.setattr(f"orchestrator.dicom.slice.{where}", fail)
    with pytest.raises(DicomError, match="of no kind that anyone expects") as caught:
        read_slice(data)
    assert caught.value.kind == "corrupt"


@pytest.mark.parametrize("slope", ["0", "nan", "steep", "1\\2"])
def test_a_rescale_that_is_none_matters_where_it_is_used(plain, slope):
    made = dicom_files.dataset(dicom_files.anatomy().round().astype(np.uint16), 12)
    del made.RescaleSlope
    data = with_element(0x00281053, "LO" if slope != "0" else "DS", slope, made)
    written, _ = upscale_slice(data, plain, DicomSettings(digest="ab" * 32, model="tiny"))
    kept = pydicom.dcmread(io.BytesIO(written))["RescaleSlope"]
    assert kept.value == pydicom.dcmread(io.BytesIO(data)).RescaleSlope
    assert "RescaleSlope" in str(failure(data, plain, normalisation="window"))
    assert "RescaleSlope" in str(failure(data, plain, normalisation=(0.0, 5.0)))
    assert "RescaleSlope" in str(failure(data, plain, as_tiff=True))


@pytest.mark.parametrize(
    ("elements", "expected"),
    [
        ({"WindowCenter": 40, "WindowWidth": 0}, "it states no window"),
        ({"WindowCenter": 40, "WindowWidth": 1}, "it states no window"),
        ({"WindowCenter": 40, "WindowWidth": -5, "VOILUTFunction": "LINEAR_EXACT"}, "it states no window"),
        ({"WindowCenter": 40, "WindowWidth": 400, "VOILUTFunction": "SIGMOID"}, "its window is of the kind SIGMOID"),
    ],
)
def test_windows_that_are_none(plain, elements, expected):
    assert expected in str(failure(dicom_files.ct(**elements), plain, normalisation="window"))


def test_an_exact_window(plain):
    data = dicom_files.ct(WindowCenter=0, WindowWidth=1, VOILUTFunction="LINEAR_EXACT")
    assert read_slice(data).value_range("window") == (499.75, 500.25)


def huge(syntax, data):
    made = dicom_files.dataset(np.zeros((4, 4), np.uint16), 16)
    made.Rows = made.Columns = 65535
    made.file_meta.TransferSyntaxUID = syntax
    made.PixelData = data
    if syntax.is_encapsulated:
        made["PixelData"].VR, made["PixelData"].is_undefined_length = "OB", True
    return dicom_files.encoded(made)


@pytest.mark.parametrize("side", [65535, 11000])
@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, RLELossless])
def test_huge_sizes_without_the_data_take_no_memory(plain, syntax, side):
    data = b"\0" * 640 if syntax == ImplicitVRLittleEndian else encapsulate([b"\1" + b"\0" * 63 + b"\x81\0" * 40])
    made = pydicom.dcmread(io.BytesIO(huge(syntax, data)))
    made.Rows = made.Columns = side
    encoded = dicom_files.encoded(made)
    tracemalloc.start()
    failure(encoded, plain)
    assert tracemalloc.get_traced_memory()[1] < 20_000_000
    tracemalloc.stop()


def test_an_output_that_dicom_cannot_hold_is_refused_before_the_work(plain):
    made = dicom_files.dataset(np.zeros((1, 33000), np.uint16), 12)
    assert "2 x 66000 pixels do not fit into a DICOM image" in str(failure(dicom_files.encoded(made), plain))


def test_a_deflated_bomb_and_a_deflated_slice(plain, monkeypatch):
    made = dicom_files.dataset(dicom_files.anatomy().round().astype(np.uint16), 12)
    made.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    good = dicom_files.encoded(made)
    data, _ = upscale_slice(good, plain, DicomSettings(digest="ab" * 32, model="tiny"))
    assert pydicom.dcmread(io.BytesIO(data)).Rows == 80
    monkeypatch.setattr("orchestrator.dicom.slice.MOST_INFLATED", 50_000_000)
    deflater = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    element = struct.pack("<HH2sHI", 0x0009, 0x1001, b"OB", 0, 200_000_000)
    bomb = deflater.compress(element) + deflater.compress(bytes(200_000_000)) + deflater.flush()
    start = len(good) - len(elements_of(good))
    tracemalloc.start()
    assert "deflated elements become more than" in str(failure(good[:start] + bomb, plain))
    assert tracemalloc.get_traced_memory()[1] < 60_000_000
    tracemalloc.stop()


def elements_of(data):
    length = struct.unpack("<I", data[140:144])[0]
    return data[144 + length :]


def test_fragments_cut_short(plain):
    source = dicom_files.dataset(dicom_files.anatomy().round().astype(np.uint16), 12)
    source.compress(RLELossless, generate_instance_uid=False)
    whole = dicom_files.encoded(source)
    for cut in (10, 100, 1000):
        assert "or it ends too early" in str(failure(whole[:-cut], plain))
    source.PixelData = encapsulate([b"\xff\x4f\xff\x51"])
    source["PixelData"].is_undefined_length = True
    for syntax in (JPEG2000Lossless, RLELossless):
        source.file_meta.TransferSyntaxUID = syntax
        assert failure(dicom_files.encoded(source), plain).kind == "corrupt"


def test_files_without_preamble_or_meta_header(plain):
    made = dicom_files.dataset(dicom_files.anatomy().round().astype(np.uint16), 12)
    made.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    implicit, whole = dicom_files.encoded(made), dicom_files.ct()
    for data in (elements_of(implicit), implicit[132:], elements_of(whole), whole[132:], whole[128:]):
        assert failure(data, plain).kind == "unreadable"
    without_meta = b"\0" * 128 + b"DICM" + elements_of(whole)
    assert "TransferSyntaxUID" in str(failure(without_meta, plain))


@pytest.mark.parametrize("syntax", ["1.2.3", "", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1"]])
def test_a_syntax_that_is_none(syntax):
    made = dicom_files.dataset(dicom_files.anatomy().round().astype(np.uint16), 12)
    data = dicom_files.encoded(made)
    good = b"\x02\x00\x10\x00UI\x14\x001.2.840.10008.1.2.1\0"
    assert good in data
    other = "\\".join(syntax) if isinstance(syntax, list) else syntax
    other += "\0" * (len(other) % 2)
    bad = b"\x02\x00\x10\x00UI" + struct.pack("<H", len(other)) + other.encode()
    length = struct.unpack("<I", data[140:144])[0] + len(bad) - len(good)
    with pytest.raises(DicomError):
        read_slice(data[:140] + struct.pack("<I", length) + data[144:].replace(good, bad))


def test_a_big_endian_file_says_what_to_do(plain):
    made = dicom_files.dataset(dicom_files.anatomy().round().astype(">u2"), 12)
    made.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    assert "convert it to little endian first" in str(failure(dicom_files.encoded(made), plain))


@pytest.mark.parametrize(
    "sop", ["1.2.840.10008.5.1.4.1.1.88.11", "1.2.840.10008.5.1.4.1.1.11.1", "1.2.840.10008.1.3.10"]
)
def test_objects_without_pixels(plain, sop):
    made = dicom_files.dataset(np.zeros((4, 4), np.uint16), 12, PixelData=None, Modality="SR")
    made.SOPClassUID = made.file_meta.MediaStorageSOPClassUID = sop
    assert "it holds no image of whole numbers (modality SR)" in str(failure(dicom_files.encoded(made), plain))


def test_a_directory_of_files_is_named_as_one(plain):
    made = dicom_files.dataset(np.zeros((4, 4), np.uint16), 12, PixelData=None, Modality=None)
    made.SOPClassUID = made.file_meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    assert "(Media Storage Directory Storage)" in str(failure(dicom_files.encoded(made), plain))


def test_what_the_file_says_is_quoted_on_one_printable_line(plain):
    made = dicom_files.dataset(np.zeros((4, 4), np.uint16), 12, PixelData=None, Modality="S\x1b[31mR\nfailed: 0")
    reason = str(failure(dicom_files.encoded(made), plain))
    assert reason == "it holds no image of whole numbers (modality S [31mR failed: 0), or it ends too early"
    made.Modality = "M" * 5000
    assert len(str(failure(dicom_files.encoded(made), plain))) <= 400


def test_counts_of_events_are_noted(plain):
    for elements in ({"Modality": "NM"}, {"Modality": "PT", "Units": "CNTS"}):
        _, facts = upscale_slice(dicom_files.ct(**elements), plain, DicomSettings(digest="ab" * 32, model="tiny"))
        assert facts["notes"] == [
            "its values count events in a source pixel: sums over an area come out 4 times too high"
        ]
    _, facts = upscale_slice(
        dicom_files.ct(Modality="PT", Units="BQML"), plain, DicomSettings(digest="ab" * 32, model="tiny")
    )
    assert facts["notes"] == []


def test_any_error_of_one_slice_leaves_the_others(tmp_path, monkeypatch):
    tiny_models.packaged(tmp_path, monkeypatch)
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.dcm").write_bytes(with_element(0x00280030, "DS", "0.5"))
    (folder / "b.dcm").write_bytes(dicom_files.ct())
    (folder / "c.dcm").write_bytes(dicom_files.ct(30))
    monkeypatch.setattr(
        "orchestrator.apply.dicom_file.upscale_slice",
        failing(when=lambda data: len(data) < 4000),
    )
    result = upscale_images("base-x2", str(folder), str(tmp_path / "out"), Settings(threads=1), lambda *_: None)
    assert result["written"] == 1
    assert result["failed"] == [
        {"file": "a.dcm", "reason": "its PixelSpacing has 1 value, where 2 are due"},
        {"file": "c.dcm", "reason": "KeyError: 'of no kind that anyone expects'"},
    ]


def failing(when):
    real = upscale_slice

    def fail(data, *rest):
        if when(data):
            raise KeyError("of no kind that anyone expects")
        return real(data, *rest)

    return fail
