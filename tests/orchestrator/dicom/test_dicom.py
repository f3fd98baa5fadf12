"""DICOM slices: what comes out in which units, where it lies, and what is refused."""

import io
import pickle

import dicom_files
import numpy as np
import pydicom
import pytest
import rasterio
import tiny_models
import torch
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

from orchestrator.dicom.slice import read_slice
from orchestrator.dicom.upscale import DicomError, DicomSettings, upscale_dicom, upscale_slice
from trainables.errors import UsageError
from trainables.inference.prepare import prepared
from trainables.network.network import SuperResolutionNet, interpolate, preset

SETTINGS = DicomSettings(digest="ab" * 32, model="tiny")


@pytest.fixture(scope="module")
def net():
    return prepared(tiny_models.net(2), precision="float32")


@pytest.fixture(scope="module")
def plain():
    """An untrained network, which is bicubic interpolation."""
    return prepared(SuperResolutionNet(preset("tiny", 2)), precision="float32")


def upscaled(data, net, **settings):
    """The output, by default without back-projection, so that an untrained network is bicubic interpolation."""
    settings = {"downscaling": None} | settings
    out, facts = upscale_slice(data, net, DicomSettings(digest="ab" * 32, model="tiny", **settings))
    return pydicom.dcmread(io.BytesIO(out)), facts


def bicubic(values):
    continued = torch.from_numpy(np.pad(values.astype(np.float64), 4, mode="reflect"))
    return interpolate(continued[None, None], 2)[0, 0, 8:-8, 8:-8].numpy()


@pytest.mark.parametrize(
    ("dtype", "stored", "low", "high"),
    [
        (np.uint16, 12, 0, 4095),
        (np.int16, 16, -3000, 3000),
        (np.int16, 12, -2048, 2047),
        (np.uint8, 8, 0, 255),
        (np.uint16, 16, 100, 65000),
    ],
)
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_depth_sign_and_units_are_kept(plain, dtype, stored, low, high, photometric):
    values = dicom_files.anatomy(39, 41, low, high).round().astype(dtype)
    source = dicom_files.dataset(values, stored, PhotometricInterpretation=photometric)
    made, facts = upscaled(dicom_files.encoded(source), plain)
    kept = ("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PhotometricInterpretation")
    for name in (*kept, "RescaleSlope", "RescaleIntercept", "RescaleType", "WindowCenter", "WindowWidth", "PatientID"):
        assert made[name].value == source[name].value
    assert (made.Rows, made.Columns, made.pixel_array.dtype) == (78, 82, dtype)
    limits = (-(2 ** (stored - 1)), 2 ** (stored - 1) - 1) if np.dtype(dtype).kind == "i" else (0, 2**stored - 1)
    # Over 65,535 levels, single precision is right to within a hundredth of a level or so.
    assert np.abs(made.pixel_array - bicubic(values).clip(*limits)).max() < 0.52
    assert facts["normalisation"] == {"rule": "stored", "low": limits[0], "high": limits[1]}
    assert set(facts["consistency"]["flags"]) <= {"bias"}  # of bicubic interpolation at 65,000


def test_the_output_lies_where_the_source_does(net):
    made, _ = upscaled(dicom_files.ct(ImagerPixelSpacing=[0.3, 0.3], NominalScannedPixelSpacing=[1, 1]), net)
    assert list(made.PixelSpacing) == [0.25, 0.125]
    assert list(made.ImagerPixelSpacing) == [0.15, 0.15]
    # The outer corner stays: half a pixel up and left of the first pixel's centre, before and after.
    first, last = np.array(made.ImagePositionPatient, float), np.array([-10, 20, 30.0])
    assert first - [0.125 / 2, 0.25 / 2, 0] == pytest.approx(last - [0.25 / 2, 0.5 / 2, 0])


def test_a_turned_slice_moves_along_its_own_axes(net):
    turned = dicom_files.ct(ImageOrientationPatient=[0, 1, 0, 0, 0, -1], ImagePositionPatient=[1, 2, 3])
    made, _ = upscaled(turned, net)
    assert [float(each) for each in made.ImagePositionPatient] == pytest.approx([1, 2 - 0.25 / 4, 3 + 0.5 / 4])


def test_what_the_output_says_of_its_origin(net):
    data = dicom_files.ct(
        DerivationDescription="resampled",
        SeriesDescription="Thorax",
        SmallestImagePixelValue=7,
        LargestImagePixelValue=9,
        InstanceCreationDate="20200101",
        BurnedInAnnotation="YES",
        ShutterLeftVerticalEdge=10,
        VerticesOfThePolygonalShutter=[1, 2, 3, 4],
    )
    made, facts = upscaled(data, net)
    assert list(made.ImageType) == ["DERIVED", "SECONDARY", "AXIAL"]
    said = made.DerivationDescription
    assert said.startswith("resampled; x2 super-resolution by rayscale ")
    assert said.endswith("model tiny (abababababab), values 0 to 4095 as 0 to 1")
    assert made.SeriesDescription == "Thorax x2 SR"
    assert made.SourceImageSequence[0].ReferencedSOPInstanceUID == "1.2.3.4.5"
    assert made.SOPInstanceUID == made.file_meta.MediaStorageSOPInstanceUID == facts["sop_instance_uid"]
    assert made.StudyInstanceUID == "1.2.3"
    assert made.BurnedInAnnotation == "YES"
    assert "InstanceCreationDate" not in made
    values = made.pixel_array
    assert (made.SmallestImagePixelValue, made.LargestImagePixelValue) == (values.min(), values.max())
    assert (made.ShutterLeftVerticalEdge, list(made.VerticesOfThePolygonalShutter)) == (20, [2, 4, 6, 8])


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_block_means_are_the_stored_values_within_half_a_unit(net, photometric):
    values = dicom_files.anatomy(40, 40, 0, 4095).round().astype(np.uint16)
    values[:10], values[10:15] = 0, 4095
    data = dicom_files.encoded(dicom_files.dataset(values, 12, PhotometricInterpretation=photometric))
    found = [upscaled(data, net, downscaling=kind)[0].pixel_array.astype(float) for kind in ("area", None)]
    errors = [abs(hr.reshape(40, 2, 40, 2).mean((1, 3)) - values).max() for hr in found]
    assert errors[0] <= 0.5 < errors[1]


def test_identifiers_depend_on_source_model_and_settings_alone(net):
    first, second = dicom_files.ct(), dicom_files.ct(SOPInstanceUID="1.2.3.4.6")
    assert upscale_slice(first, net, SETTINGS) == upscale_slice(first, net, SETTINGS)
    one, other = (upscaled(data, net, downscaling="area")[0] for data in (first, second))
    assert one.SeriesInstanceUID == other.SeriesInstanceUID
    assert one.SOPInstanceUID != other.SOPInstanceUID
    changed = [
        pydicom.dcmread(io.BytesIO(upscale_slice(first, net, settings)[0]))
        for settings in (
            DicomSettings(digest="cd" * 32, model="tiny"),
            DicomSettings(digest="ab" * 32, model="tiny", normalisation="window"),
            DicomSettings(digest="ab" * 32, model="tiny", ensemble=True),
            DicomSettings(digest="ab" * 32, model="tiny", downscaling=None),
        )
    ]
    uids = {each.SOPInstanceUID for each in (one, *changed)} | {each.SeriesInstanceUID for each in (one, *changed)}
    assert len(uids) == 10
    assert all(pydicom.uid.UID(uid).is_valid for uid in uids)


def test_padding_keeps_its_exact_footprint_and_rings_into_nothing(plain):
    values = dicom_files.anatomy(40, 40, -1000, 1000).round().astype(np.int16)
    padded = values.copy()
    rows, columns = np.ogrid[:40, :40]
    outside = (rows - 20) ** 2 + (columns - 20) ** 2 > 300
    padded[outside] = -2000
    source = dicom_files.dataset(padded, 16)
    source.add_new("PixelPaddingValue", "SS", -2000)
    made, facts = upscaled(dicom_files.encoded(source), plain)
    found = made.pixel_array == -2000
    np.testing.assert_array_equal(found, outside.repeat(2, 0).repeat(2, 1))
    assert facts["valid_percent"] == pytest.approx(100 * (1 - outside.mean()), abs=1e-3)
    assert made.pixel_array[~found].min() > values.min() - 100


def test_no_valid_pixel_turns_into_padding(plain):
    values = dicom_files.anatomy(30, 30, 98, 102).round().astype(np.uint16)
    values[values == 100] = 99
    values[:3, :3] = 100
    source = dicom_files.dataset(values, 12)
    source.add_new("PixelPaddingValue", "US", 100)
    made, _ = upscaled(dicom_files.encoded(source), plain)
    assert (made.pixel_array == 100).sum() == 36
    empty = dicom_files.dataset(np.full((20, 20), 100, np.uint16), 12)
    empty.add_new("PixelPaddingValue", "US", 100)
    assert (upscaled(dicom_files.encoded(empty), plain)[0].pixel_array == 100).all()


def test_window_and_named_range_are_in_rescaled_units(net):
    data = dicom_files.ct()
    window, facts = upscaled(data, net, normalisation="window")
    # (40 ± 199.5 - 0.5 + 1000) / 2: the window's ends as stored values
    assert facts["normalisation"] == {"rule": "window", "low": 420.0, "high": 619.5}
    named, other = upscaled(data, net, normalisation=(-160.0, 239.0))
    assert other["normalisation"] == {"rule": "-160,239", "low": 420.0, "high": 619.5}
    np.testing.assert_array_equal(window.pixel_array, named.pixel_array)
    assert (window.pixel_array != upscaled(data, net)[0].pixel_array).any()


def test_values_outside_the_window_are_interpolated_not_cut_off(plain):
    values = dicom_files.anatomy().round().astype(np.uint16)
    made, _ = upscaled(dicom_files.ct(), plain, normalisation="window")
    assert np.abs(made.pixel_array - bicubic(values).clip(0, 4095)).max() < 0.52


@pytest.mark.parametrize("normalisation", ["window", (0.0, 100.0)])
def test_no_window(net, normalisation):
    for missing in ({"WindowCenter": None}, {"WindowWidth": 1}, {"ModalityLUTSequence": [pydicom.Dataset()]}):
        data = dicom_files.ct(**missing)
        assert upscaled(data, net)[1]["bits"] == 12
        if normalisation == "window" or "ModalityLUTSequence" in missing:
            with pytest.raises(DicomError, match="take the stored range") as caught:
                upscaled(data, net, normalisation=normalisation)
            assert caught.value.kind == "normalisation"


def test_overlays_are_dropped_with_a_note_even_those_in_the_pixels_upper_bits(plain):
    values = dicom_files.anatomy().round().astype(np.uint16)
    drawn = values.copy()
    drawn[5:9] |= 1 << 12
    source = dicom_files.dataset(drawn, 12)
    source.add_new(0x60000010, "US", 40)
    source.add_new(0x60000102, "US", 12)
    made, facts = upscaled(dicom_files.encoded(source), plain)
    assert np.abs(made.pixel_array - bicubic(values).clip(0, 4095)).max() < 0.52
    assert facts["notes"] == ["its overlays were dropped: they are drawn on the source's pixels"]
    assert not [element for element in made if element.tag.group == 0x6000]


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, RLELossless])
def test_compressed_sources_become_plain(plain, syntax):
    source = dicom_files.dataset(dicom_files.anatomy().round().astype(np.uint16), 12)
    expected, _ = upscaled(dicom_files.encoded(source), plain)
    if syntax == RLELossless:
        source.compress(syntax, generate_instance_uid=False)
    else:
        compress_jpeg2000(source)
    made, _ = upscaled(dicom_files.encoded(source), plain)
    assert not made.file_meta.TransferSyntaxUID.is_compressed
    np.testing.assert_array_equal(made.pixel_array, expected.pixel_array)


def compress_jpeg2000(source):
    from PIL import Image
    from pydicom.encaps import encapsulate

    buffer = io.BytesIO()
    Image.fromarray(source.pixel_array).save(buffer, "JPEG2000", irreversible=False, no_jp2=True)
    source.PixelData = encapsulate([buffer.getvalue()])
    source["PixelData"].VR, source["PixelData"].is_undefined_length = "OB", True
    source.file_meta.TransferSyntaxUID = JPEG2000Lossless


def test_tiff_out_has_values_units_and_no_patient(tmp_path, net):
    (tmp_path / "a.dcm").write_bytes(dicom_files.ct())
    facts = upscale_dicom(str(tmp_path / "a.dcm"), str(tmp_path / "a.tif"), net, SETTINGS)
    upscale_dicom(str(tmp_path / "a.dcm"), str(tmp_path / "b.dcm"), net, SETTINGS)
    with pytest.warns(rasterio.errors.NotGeoreferencedWarning):
        made = rasterio.open(tmp_path / "a.tif")
    with made:
        np.testing.assert_array_equal(made.read(1), pydicom.dcmread(tmp_path / "b.dcm").pixel_array)
        assert (made.scales, made.offsets, made.dtypes) == ((2,), (-1000,), ("uint16",))
        assert float(made.tags()["TIFFTAG_XRESOLUTION"]) == 80  # pixels a centimetre, 0.125 mm apart
    assert facts["sop_instance_uid"] is None
    assert b"Nobody" not in (tmp_path / "a.tif").read_bytes()


@pytest.mark.parametrize(
    ("elements", "kind", "words"),
    [
        ({"PhotometricInterpretation": "RGB"}, "unsupported", "RGB with 1 samples a pixel is not MONOCHROME1"),
        ({"SamplesPerPixel": 3}, "unsupported", "3 samples"),
        ({"NumberOfFrames": 7}, "unsupported", r"multi-frame object \(7 frames\)"),
        ({"SharedFunctionalGroupsSequence": [pydicom.Dataset()]}, "unsupported", "multi-frame object"),
        ({"Modality": "SEG"}, "unsupported", "labels"),
        ({"BitsAllocated": 32}, "unsupported", "12 bits up to bit 11 of 32"),
        ({"HighBit": 15}, "unsupported", "12 bits up to bit 15 of 16"),
        ({"PixelData": None}, "unsupported", r"no image of whole numbers \(modality CT\)"),
        ({"BitsStored": None}, "corrupt", "do not describe an image"),
        ({"PixelData": b"1234"}, "corrupt", "cannot be decoded"),
    ],
)
def test_what_is_refused(net, elements, kind, words):
    with pytest.raises(DicomError, match=words) as caught:
        upscaled(dicom_files.ct(**elements), net)
    assert caught.value.kind == kind
    again = pickle.loads(pickle.dumps(caught.value))
    assert (again.kind, str(again)) == (kind, str(caught.value))


def test_syntaxes_that_cannot_be_decoded_are_named_with_what_is_missing(net):
    source = dicom_files.dataset(np.zeros((20, 20), np.uint16), 12)
    compress_jpeg2000(source)
    source.file_meta.TransferSyntaxUID = JPEGLSLossless
    from pydicom.pixels import get_decoder

    if not get_decoder(JPEGLSLossless).is_available:
        with pytest.raises(DicomError, match=r"JPEG-LS.* needs a decoder that is not installed: .*pyjpegls") as caught:
            read_slice(dicom_files.encoded(source))
        assert caught.value.kind == "unsupported"
    source.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.100"  # MPEG-2
    with pytest.raises(DicomError, match=r"MPEG2.* is no syntax of single images"):
        read_slice(dicom_files.encoded(source))


def test_files_that_are_none_or_cut_short(tmp_path, net):
    whole = dicom_files.ct()
    for data, kind in ((b"", "unreadable"), (b"x" * 500, "unreadable"), (whole[:-100], "corrupt"), (whole[:400], None)):
        with pytest.raises(DicomError) as caught:
            read_slice(data)
        assert kind is None or caught.value.kind == kind
    (tmp_path / "a.dcm").write_bytes(whole[:-100])
    with pytest.raises(DicomError):
        upscale_dicom(str(tmp_path / "a.dcm"), str(tmp_path / "b.dcm"), net, SETTINGS)
    assert not (tmp_path / "b.dcm").exists()


def test_wrong_settings(tmp_path, net):
    with pytest.raises(UsageError, match=r"must end in \.dcm or \.tif, found 'b\.png'"):
        upscale_dicom("a.dcm", "b.png", net, SETTINGS)
    with pytest.raises(UsageError, match="LOW below HIGH, found 3,3"):
        DicomSettings(digest="", model="", normalisation=(3.0, 3.0))
