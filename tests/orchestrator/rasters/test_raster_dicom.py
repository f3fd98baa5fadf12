import numpy as np
import pytest
from dicom_files import anatomy, dataset, encoded
from pydicom import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels import get_encoder
from pydicom.uid import DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

from orchestrator.rasters.open_raster_file import open_raster_file
from trainables.errors import UnreadableImageError


def written(tmp_path, made):
    path = tmp_path / "a.dcm"
    path.write_bytes(encoded(made))
    return path


def whole(path, layer=0):
    with open_raster_file(path) as file:
        return file, file.read(layer, 0, 0, file.height, file.width)


def stored(dtype=np.uint16, low=0, high=4095):
    return anatomy(low=low, high=high).round().astype(dtype)


def test_values_are_in_units(tmp_path):
    values = stored()
    file, raster = whole(written(tmp_path, dataset(values, 12, RescaleSlope=1, RescaleIntercept=-1024)))
    assert (file.dtype, file.bands, file.units, file.layers, file.scene) == ("int16", ("gray",), "HU", 1, "n1")
    assert file.window == (40 - 0.5 - 199.5, 40 - 0.5 + 199.5)
    assert np.array_equal(raster.values[..., 0], values.astype(int) - 1024)
    assert (raster.units, raster.valid) == ("HU", None)
    with open_raster_file(tmp_path / "a.dcm") as file:
        assert np.array_equal(file.read(0, 3, 5, 20, 11).values[..., 0], values[3:23, 5:16].astype(int) - 1024)


@pytest.mark.parametrize(
    ("values", "bits", "slope", "intercept", "dtype"),
    [
        (stored(), 12, 1, 0, "uint16"),
        (stored(np.int16, -1000, 3000), 16, 1, 0, "int16"),
        (stored(np.uint8, 0, 255), 8, 1, 0, "uint8"),
        (stored(np.uint8, 0, 255), 8, 2, -100, "int16"),
        (stored(), 16, 1, -1024, "int16"),  # 16 bits, of which the values need 12
        (stored(high=65535), 16, 1, -1024, "float32"),
        (stored(), 12, 0.5, 0, "float32"),
        (stored(), 12, 1, 0.25, "float32"),
    ],
)
def test_the_data_type_holds_the_units(tmp_path, values, bits, slope, intercept, dtype):
    file, raster = whole(written(tmp_path, dataset(values, bits, RescaleSlope=slope, RescaleIntercept=intercept)))
    assert file.dtype == raster.values.dtype.name == dtype
    assert np.array_equal(raster.values[..., 0], (values * float(slope) + intercept).astype(dtype))


def test_padding_has_no_value(tmp_path):
    values = stored(np.int16, -900, 3000)
    values[:5] = -2000
    made = dataset(values, 16, RescaleSlope=1, RescaleIntercept=0, PixelPaddingValue=-2000)
    _, raster = whole(written(tmp_path, made))
    assert np.array_equal(raster.valid, values != -2000)
    assert np.array_equal(raster.values[5:, :, 0], values[5:])


def test_what_is_said_of_units_and_windows(tmp_path):
    values = stored()
    for elements, units in (
        ({"RescaleType": None}, "HU"),
        ({"RescaleType": None, "Modality": "MR"}, ""),
        ({"RescaleType": "US"}, ""),
        ({"RescaleType": None, "Modality": "PT", "Units": "BQML"}, "BQML"),
    ):
        assert whole(written(tmp_path, dataset(values, 12, **elements)))[1].units == units
    file, _ = whole(written(tmp_path, dataset(values, 12, WindowCenter=None, PatientID="")))
    assert (file.window, file.scene) == (None, None)
    lut = Dataset()
    lut.LUTDescriptor, lut.LUTData, lut.ModalityLUTType = [1, 0, 16], b"\0\0", "OD"
    made = dataset(values, 12, RescaleSlope=None, RescaleIntercept=None, RescaleType=None, ModalityLUTSequence=[lut])
    file, raster = whole(written(tmp_path, made))
    assert np.array_equal(raster.values[..., 0], values)
    assert (file.units, file.window) == ("", None)
    assert "table" in file.notes[0]


def test_monochrome1_stays_as_it_is_stored(tmp_path):
    values = stored()
    made = dataset(values, 12, RescaleSlope=1, RescaleIntercept=0, PhotometricInterpretation="MONOCHROME1")
    assert np.array_equal(whole(written(tmp_path, made))[1].values[..., 0], values)


def enhanced(frames, rescales, windows=((40, 400),), shared=False, **elements):
    """An enhanced multi-frame object, of one rescale and window for each frame or for all."""
    made = dataset(frames, 12, WindowCenter=None, WindowWidth=None, **elements)
    made.Rows, made.Columns, made.NumberOfFrames = frames.shape[1], frames.shape[2], len(frames)
    for name in ("RescaleSlope", "RescaleIntercept", "RescaleType"):
        delattr(made, name)

    def groups(rescale, window):
        group, values, voi = Dataset(), Dataset(), Dataset()
        values.RescaleSlope, values.RescaleIntercept, values.RescaleType = *rescale, "HU"
        voi.WindowCenter, voi.WindowWidth = window
        group.PixelValueTransformationSequence, group.FrameVOILUTSequence = [values], [voi]
        return group

    own = [groups(rescale, window) for rescale, window in zip(rescales, windows * len(rescales), strict=False)]
    made.SharedFunctionalGroupsSequence = own[:1] if shared else [Dataset()]
    made.PerFrameFunctionalGroupsSequence = [Dataset() for _ in frames] if shared else own
    return made


def series(count=3):
    return np.stack([stored() + number for number in range(count)]).astype(np.uint16).clip(0, 4095)


@pytest.mark.parametrize("syntax", ["explicit", "implicit", "rle"])
@pytest.mark.parametrize("shared", [True, False])
def test_frames_of_an_enhanced_object_are_read_one_by_one(tmp_path, syntax, shared):
    frames = series()
    rescales = [(1, -1024)] * 3 if shared else [(1, -1024), (2, -1000), (1, 0)]
    made = enhanced(frames, rescales, shared=shared)
    if syntax == "implicit":
        made.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    elif syntax == "rle":
        encoder = get_encoder(RLELossless)
        options = {"rows": 40, "columns": 48, "samples_per_pixel": 1, "bits_allocated": 16, "bits_stored": 12}
        options |= {"pixel_representation": 0, "photometric_interpretation": "MONOCHROME2", "number_of_frames": 1}
        made.PixelData = encapsulate([encoder.encode(frame, **options) for frame in frames])
        made["PixelData"].is_undefined_length = True
        made.file_meta.TransferSyntaxUID = RLELossless
    with open_raster_file(written(tmp_path, made)) as file:
        assert (file.layers, file.dtype, file.units, file.scene) == (3, "int16", "HU", "n1")
        assert (file.height, file.width, file.window) == (40, 48, (-160, 239))
        for layer in (2, 0, 1, 1):
            slope, intercept = rescales[layer]
            raster = file.read(layer, 1, 2, 30, 40)
            assert np.array_equal(raster.values[..., 0], frames[layer].astype(int)[1:31, 2:42] * slope + intercept)


def test_frames_of_an_older_object_share_one_rescale(tmp_path):
    frames = series(4)
    made = dataset(frames, 12, Rows=40, Columns=48, NumberOfFrames=4)
    file, raster = whole(written(tmp_path, made), layer=3)
    assert (file.layers, file.dtype) == (4, "int16")
    assert np.array_equal(raster.values[..., 0], frames[3].astype(int) * 2 - 1000)


def test_an_enhanced_object_of_one_frame(tmp_path):
    frames = series(1)
    file, raster = whole(written(tmp_path, enhanced(frames, [(0.5, 0)])))
    assert (file.layers, file.dtype) == (1, "float32")
    assert np.array_equal(raster.values[..., 0], frames[0] * np.float32(0.5))


def test_multi_frame_objects_that_cannot_be_read(tmp_path):
    frames = series()
    cases = [
        (enhanced(frames, [(1, 0)] * 3, NumberOfFrames=3, PhotometricInterpretation="RGB"), "RGB"),
        (enhanced(frames, [(1, 0)] * 3, Modality="SEG"), "segmentation"),
        (enhanced(frames, [(0, 0)] * 3), "RescaleSlope is 0"),
    ]
    short = enhanced(frames, [(1, 0)] * 3)
    short.NumberOfFrames = 30_000
    huge = enhanced(frames, [(1, 0)] * 3)
    huge.Rows = huge.Columns = 65535
    deflated = enhanced(frames, [(1, 0)] * 3)
    deflated.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    mixed = enhanced(frames, [(1, 0)] * 3)
    mixed.PerFrameFunctionalGroupsSequence[1].PixelValueTransformationSequence[0].RescaleType = "OD"
    cases += [
        (short, "30000 frames need"),
        (huge, "more than"),
        (deflated, "multi-frame object"),
        (mixed, "different units"),
    ]
    for made, reason in cases:
        with pytest.raises(UnreadableImageError, match=reason):
            whole(written(tmp_path, made))


def test_files_that_are_no_image(tmp_path):
    path = tmp_path / "a.dcm"
    for data in (b"x" * 500, encoded(dataset(stored(), 12))[:1500], encoded(dataset(stored(), 12))[:60]):
        path.write_bytes(data)
        with pytest.raises(UnreadableImageError):
            whole(path)


def test_a_bomb_of_deflated_elements_is_refused_in_bounded_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("orchestrator.dicom.slice.MOST_INFLATED", 1 << 20)
    made = dataset(stored(), 12, NumberOfFrames=2)
    made.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    made.file_meta.PrivateInformationCreatorUID, made.file_meta.PrivateInformation = "1.2.3", bytes(10_000)
    made.add_new((0x0009, 0x1001), "OB", bytes(4 << 20))
    with pytest.raises(UnreadableImageError, match="deflated elements become more than"):
        whole(written(tmp_path, made))
