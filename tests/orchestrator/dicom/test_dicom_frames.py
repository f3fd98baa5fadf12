"""Multi-frame DICOM: each frame upscaled in its own units, groups fitted to the new grid, and what is refused."""

import io
import threading

import dicom_files
import numpy as np
import pydicom
import pytest
import tiny_models
from pydicom import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels import get_encoder
from pydicom.uid import (
    EnhancedCTImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    RLELossless,
)

from orchestrator.apply.dicom_file import upscale_dicom_file
from orchestrator.dicom.element_values import DicomError
from orchestrator.dicom.settings import DicomSettings
from orchestrator.dicom.upscale import upscale_slice
from orchestrator.foundation.storage import Storage
from trainables.inference.prepare import prepared

SETTINGS = DicomSettings(digest="ab" * 32, model="tiny", normalisation=(-1000, 3000), units="HU")
RESCALES = [(1, -1024), (2, -1000), (1, 0)]


@pytest.fixture(scope="module")
def net():
    return prepared(tiny_models.net(2), precision="float32")


def stored(count=3, bits=12):
    frames = [dicom_files.anatomy(33 + number, 29, 100, 2**bits - 100)[:33] for number in range(count)]
    return np.stack(frames).round().astype(np.uint8 if bits == 8 else np.uint16)


def item(**elements):
    made = Dataset()
    for name, value in elements.items():
        setattr(made, name, value)
    return made


def enhanced(frames, shared_measures=True, **elements):
    """An enhanced CT image; every frame lies elsewhere and has a rescale of its own."""
    elements = {"NumberOfFrames": len(frames)} | elements
    made = dicom_files.dataset(frames, 12, WindowCenter=None, WindowWidth=None, **elements)
    made.SOPClassUID = made.file_meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
    made.Rows, made.Columns = frames.shape[1:]
    made.ImageType = ["MIXED", "PRIMARY", "VOLUME", "NONE"]
    outer = ("RescaleSlope", "RescaleIntercept", "RescaleType", "PixelSpacing")
    for name in (*outer, "ImagePositionPatient", "ImageOrientationPatient"):
        delattr(made, name)
    measures = {"PixelMeasuresSequence": [item(PixelSpacing=[0.5, 0.25], SliceThickness=3)]}
    shared = item(
        PlaneOrientationSequence=[item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])],
        **(measures if shared_measures else {}),
    )
    own = []
    for number, (slope, intercept) in zip(range(len(frames)), RESCALES * len(frames), strict=False):
        values = item(RescaleSlope=slope, RescaleIntercept=intercept, RescaleType="HU")
        groups = item(
            PixelValueTransformationSequence=[values],
            PlanePositionSequence=[item(ImagePositionPatient=[-10, 20, 3 * number])],
            CTImageFrameTypeSequence=[item(FrameType=["ORIGINAL", "PRIMARY", "VOLUME", "NONE"])],
            FrameContentSequence=[item(DimensionIndexValues=[1, number + 1])],
        )
        if not shared_measures:
            groups.PixelMeasuresSequence = [item(PixelSpacing=[0.5 + number, 0.25])]
        own.append(groups)
    made.SharedFunctionalGroupsSequence, made.PerFrameFunctionalGroupsSequence = [shared], own
    return made


def upscaled(made, net, tmp_path, settings=SETTINGS, name="out.dcm"):
    (tmp_path / "in.dcm").write_bytes(dicom_files.encoded(made))
    out = tmp_path / name
    places = (Storage.at(str(tmp_path / "in.dcm")), Storage.at(str(out)))
    facts = upscale_dicom_file(*places, net, settings, threading.Lock())
    return pydicom.dcmread(out), facts


def as_slice(frame, rescale):
    slope, intercept = rescale
    return dicom_files.encoded(dicom_files.dataset(frame, 12, RescaleSlope=slope, RescaleIntercept=intercept))


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless])
def test_each_frame_comes_out_as_a_slice_of_its_own_would(net, tmp_path, syntax):
    frames = stored()
    made = enhanced(frames)
    if syntax == RLELossless:
        options = {"rows": 33, "columns": 29, "samples_per_pixel": 1, "bits_allocated": 16, "bits_stored": 12}
        options |= {"pixel_representation": 0, "photometric_interpretation": "MONOCHROME2", "number_of_frames": 1}
        made.PixelData = encapsulate([get_encoder(RLELossless).encode(frame, **options) for frame in frames])
        made["PixelData"].is_undefined_length = True
    made.file_meta.TransferSyntaxUID = syntax
    result, facts = upscaled(made, net, tmp_path)
    assert result.file_meta.TransferSyntaxUID == (ExplicitVRLittleEndian if syntax == RLELossless else syntax)
    assert (result.NumberOfFrames, result.Rows, result.Columns) == (3, 66, 58)
    assert (facts["frames"], facts["width"], facts["height"], facts["valid_percent"]) == (3, 58, 66, 100)
    for number, rescale in enumerate(RESCALES):
        alone, _ = upscale_slice(as_slice(frames[number], rescale), net, SETTINGS)
        np.testing.assert_array_equal(result.pixel_array[number], pydicom.dcmread(io.BytesIO(alone)).pixel_array)
        groups = result.PerFrameFunctionalGroupsSequence[number]
        assert groups.PixelValueTransformationSequence[0].RescaleSlope == rescale[0]


@pytest.mark.parametrize("shared", [True, False])
def test_spacing_and_position_of_every_frame_are_those_of_the_new_grid(net, tmp_path, shared):
    result, facts = upscaled(enhanced(stored(), shared_measures=shared), net, tmp_path)
    groups = result.PerFrameFunctionalGroupsSequence
    for number, own in enumerate(groups):
        holder = result.SharedFunctionalGroupsSequence[0] if shared else own
        rows = 0.5 if shared else 0.5 + number
        assert list(holder.PixelMeasuresSequence[0].PixelSpacing) == pytest.approx([rows / 2, 0.125])
        # A quarter of a source pixel towards the corner, along both axes.
        expected = [-10 - 0.25 / 4, 20 - rows / 4, 3 * number]
        assert [float(at) for at in own.PlanePositionSequence[0].ImagePositionPatient] == pytest.approx(expected)
        assert list(own.FrameContentSequence[0].DimensionIndexValues) == [1, number + 1]
    if shared:
        assert result.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SliceThickness == 3
    # The rescales of the second and third frame lead out of the model's range, which is said of them alone.
    assert facts["notes"] == ["flagged frames: 2 (out-of-range), 3 (out-of-range)"]
    assert facts["consistency"]["flags"] == ["out-of-range"]


def test_a_position_of_all_frames_moves_once(net, tmp_path):
    made = enhanced(stored())
    shared = made.SharedFunctionalGroupsSequence[0]
    shared.PlanePositionSequence = [item(ImagePositionPatient=[1, 2, 3])]
    for own in made.PerFrameFunctionalGroupsSequence:
        del own.PlanePositionSequence
    result, _ = upscaled(made, net, tmp_path)
    moved = result.SharedFunctionalGroupsSequence[0].PlanePositionSequence[0].ImagePositionPatient
    assert [float(at) for at in moved] == pytest.approx([1 - 0.25 / 4, 2 - 0.5 / 4, 3])


def test_what_the_output_says_of_its_origin(net, tmp_path):
    made = enhanced(stored(), ConcatenationUID="1.2.9", InConcatenationNumber=1)
    made.SharedFunctionalGroupsSequence[0].DerivationImageSequence = [item(DerivationDescription="averaged")]
    result, facts = upscaled(made, net, tmp_path)
    assert list(result.ImageType) == ["DERIVED", "PRIMARY", "VOLUME", "NONE"]
    assert (
        result.SOPInstanceUID == result.file_meta.MediaStorageSOPInstanceUID == facts["sop_instance_uid"] != "1.2.3.4.5"
    )
    assert result.SourceImageSequence[0].ReferencedSOPInstanceUID == "1.2.3.4.5"
    assert result.ConcatenationUID not in ("1.2.9", result.SOPInstanceUID)
    assert "values of each frame as 0 to 1 by the rule -1000,3000" in result.DerivationDescription
    assert "DerivationImageSequence" not in result.SharedFunctionalGroupsSequence[0]
    for number, own in enumerate(result.PerFrameFunctionalGroupsSequence, 1):
        assert own.CTImageFrameTypeSequence[0].FrameType[0] == "DERIVED"
        before, last = own.DerivationImageSequence
        assert before.DerivationDescription == "averaged"
        assert last.DerivationCodeSequence[0].CodeMeaning == "Spatial resampling"
        source = last.SourceImageSequence[0]
        assert (source.ReferencedSOPInstanceUID, source.ReferencedFrameNumber) == ("1.2.3.4.5", number)
    again, _ = upscaled(made, net, tmp_path, name="again.dcm")
    assert again.PixelData == result.PixelData
    assert (tmp_path / "again.dcm").read_bytes() == (tmp_path / "out.dcm").read_bytes()


def test_frames_of_an_older_object(net, tmp_path):
    """Of 8 bits and an odd number of bytes, with one spacing and position for all."""
    frames = stored(bits=8)[:, :, :27]
    made = dicom_files.dataset(frames, 8, Rows=33, Columns=27, NumberOfFrames=3)
    made.SOPClassUID = made.file_meta.MediaStorageSOPClassUID = MultiFrameGrayscaleByteSecondaryCaptureImageStorage
    made.SmallestImagePixelValue = made.LargestImagePixelValue = 1
    result, _ = upscaled(made, net, tmp_path)
    assert result.pixel_array.shape == (3, 66, 54)
    assert (result.pixel_array.dtype, result["PixelData"].VR) == (np.uint8, "OB")
    assert list(result.PixelSpacing) == [0.25, 0.125]
    assert list(result.ImageType) == ["DERIVED", "SECONDARY", "AXIAL"]
    assert result.SmallestImagePixelValue == result.pixel_array.min()
    assert result.LargestImagePixelValue == result.pixel_array.max()


def test_a_bad_frame_is_named(net, tmp_path):
    made = enhanced(stored())
    made.PerFrameFunctionalGroupsSequence[1].PixelValueTransformationSequence[0].RescaleSlope = 0
    with pytest.raises(DicomError, match=r"^frame 2: its RescaleSlope is 0"):
        upscaled(made, net, tmp_path)
    made = enhanced(stored())
    made.PerFrameFunctionalGroupsSequence[2].PixelValueTransformationSequence[0].RescaleType = "OD"
    with pytest.raises(DicomError, match=r"^frame 3: its values are in OD, and the model's range in HU"):
        upscaled(made, net, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"in.dcm"}


def test_what_cannot_be_upscaled(net, tmp_path):
    with pytest.raises(DicomError, match="it has several frames, and a TIFF takes one"):
        upscaled(enhanced(stored()), net, tmp_path, name="out.tif")
    slide = enhanced(stored(), TotalPixelMatrixColumns=100)
    with pytest.raises(DicomError, match="TotalPixelMatrixColumns makes it a part of a larger image"):
        upscaled(slide, net, tmp_path)
    colour = enhanced(stored(), PhotometricInterpretation="RGB")
    with pytest.raises(DicomError, match="RGB with 1 samples a pixel"):
        upscaled(colour, net, tmp_path)


def test_in_a_folder_beside_slices(tmp_path, rayscale, monkeypatch):
    tiny_models.packaged(tmp_path, monkeypatch)
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.dcm").write_bytes(dicom_files.ct())
    (folder / "frames.dcm").write_bytes(dicom_files.encoded(enhanced(stored())))
    broken = dicom_files.encoded(enhanced(stored(), NumberOfFrames=30))
    (folder / "short.dcm").write_bytes(broken)
    code, out, _ = rayscale("upscale", folder, tmp_path / "out", "--model", "base-x2")
    assert code == 2
    assert "failed: short.dcm: its 30 frames need" in out
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"a.dcm", "frames.dcm"}
    assert pydicom.dcmread(tmp_path / "out/frames.dcm").pixel_array.shape == (3, 66, 58)
