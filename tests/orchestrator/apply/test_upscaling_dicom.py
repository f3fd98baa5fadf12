"""DICOM files among the images that `rayscale upscale` is given."""

import io

import dicom_files
import noise_images
import numpy as np
import pydicom
import pytest
import tiny_models

from orchestrator.dicom.upscale import DicomSettings, upscale_slice
from trainables.inference.prepare import prepared


@pytest.fixture(autouse=True)
def model(tmp_path, monkeypatch):
    tiny_models.packaged(tmp_path, monkeypatch)


def test_a_folder_of_slices_and_images(tmp_path, rayscale):
    folder = tmp_path / "in"
    noise_images.write(folder, ["a.png"], (24, 24))
    (folder / "a.dcm").write_bytes(dicom_files.ct())
    (folder / "colour.dcm").write_bytes(dicom_files.ct(PhotometricInterpretation="RGB"))
    (folder / "text.dcm").write_bytes(b"no slice")
    code, out, _ = rayscale("upscale", folder, tmp_path / "out", "--model", "base-x2")
    assert code != 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"a.png", "a.dcm"}
    assert pydicom.dcmread(tmp_path / "out/a.dcm").pixel_array.shape == (80, 96)
    assert "failed: text.dcm: no DICOM file: the mark 'DICM' at byte 128 is missing" in out
    assert "failed: colour.dcm: RGB with 1 samples a pixel is not MONOCHROME1 or MONOCHROME2" in out


@pytest.mark.parametrize("bands", [["HU"], ["red", "green", "blue"]])
def test_the_card_states_the_range_in_units(tmp_path, rayscale, bands):
    """Of models for one band and for colours."""
    source = tmp_path / "a.dcm"
    source.write_bytes(dicom_files.ct())
    net = tiny_models.of_bands(*bands, scale=2)
    plain = tiny_models.write(tmp_path / "plain", net)
    ranged = tiny_models.write(tmp_path / "ranged", net, value_range={"dicom": [-1000, 3000]}, units="HU")
    for model in (plain, ranged):
        assert rayscale("upscale", source, tmp_path / f"{model}.dcm", "--model", model)[0] == 0
    stored, in_units = (pydicom.dcmread(f"{model}.dcm") for model in (plain, ranged))
    assert "values 0 to 2000 as 0 to 1" in in_units.DerivationDescription  # stored values of slope 2 from -1000
    assert "values 0 to 4095 as 0 to 1" in stored.DerivationDescription
    assert (in_units.RescaleSlope, in_units.RescaleIntercept) == (2, -1000)
    how = DicomSettings(digest="d", model="m", normalisation=(-1000, 3000))
    expected, _ = upscale_slice(source.read_bytes(), prepared(net, precision="float32"), how)
    np.testing.assert_array_equal(in_units.pixel_array, pydicom.dcmread(io.BytesIO(expected)).pixel_array)
    assert not np.array_equal(in_units.pixel_array, stored.pixel_array)


def test_the_command_states_the_range_in_units(tmp_path, rayscale):
    """Before that of the card, whose unit then says nothing of it."""
    source, target = tmp_path / "a.dcm", tmp_path / "b.dcm"
    source.write_bytes(dicom_files.ct())
    model = tiny_models.write(tmp_path / "m", tiny_models.net(2), value_range={"dicom": [0, 1]}, units="BQML")
    assert rayscale("upscale", source, target, "--model", model, "--normalisation=-1000,3000")[0] == 0
    assert "values 0 to 2000 as 0 to 1" in pydicom.dcmread(target).DerivationDescription


def test_a_slice_in_another_unit_than_the_models_range_is_refused(tmp_path, rayscale):
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "ct.dcm").write_bytes(dicom_files.ct())
    (folder / "pet.dcm").write_bytes(dicom_files.ct(Modality="PT", RescaleType=None, Units="BQML"))
    (folder / "mr.dcm").write_bytes(dicom_files.ct(Modality="MR", RescaleType=None))
    model = tiny_models.write(tmp_path / "m", tiny_models.net(2), value_range={"dicom": [-1000, 3000]}, units="HU")
    code, out, _ = rayscale("upscale", folder, tmp_path / "out", "--model", model)
    assert code == 2
    assert "failed: pet.dcm: its values are in BQML, and the model's range in HU; take a model for BQML" in out
    assert "mr.dcm: it states no unit, and its values were taken to be in HU, the unit of the model's range" in out
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"ct.dcm", "mr.dcm"}


def test_a_model_of_four_bands_refuses_slices_and_pictures_one_by_one(tmp_path, rayscale):
    folder = tmp_path / "in"
    noise_images.write(folder, ["a.png"], (24, 24))
    (folder / "a.dcm").write_bytes(dicom_files.ct())
    model = tiny_models.write(tmp_path / "four", tiny_models.of_bands("red", "green", "blue", "nir"))
    code, out, _ = rayscale("upscale", folder, tmp_path / "out", "--model", model)
    assert code != 0
    told = "The model takes 4 bands together, and the image has {}: take a model of 1 or 3 bands."
    assert f"failed: a.dcm: {told.format(1)}" in out
    assert f"failed: a.png: {told.format(3)}" in out


def test_one_slice(tmp_path, rayscale):
    source = tmp_path / "a.dcm"
    source.write_bytes(dicom_files.ct())
    for target, written in (("b.dcm", "b.dcm"), ("b.tif", "b.tif"), ("folder", "folder/a.dcm")):
        assert rayscale("upscale", source, tmp_path / target, "--model", "base-x2")[0] == 0
        assert (tmp_path / written).is_file()
    code, _, said = rayscale("upscale", source, tmp_path / "b.png", "--model", "base-x2")
    assert code == 1
    assert "must end in .dcm or .tif, or be a folder: 'a.dcm' is DICOM." in said
