"""DICOM files among the images that `rayscale upscale` is given."""

import dicom_files
import noise_images
import pydicom
import pytest
import tiny_models


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


def test_one_slice(tmp_path, rayscale):
    source = tmp_path / "a.dcm"
    source.write_bytes(dicom_files.ct())
    for target, written in (("b.dcm", "b.dcm"), ("b.tif", "b.tif"), ("folder", "folder/a.dcm")):
        assert rayscale("upscale", source, tmp_path / target, "--model", "base-x2")[0] == 0
        assert (tmp_path / written).is_file()
    code, _, said = rayscale("upscale", source, tmp_path / "b.png", "--model", "base-x2")
    assert code == 1
    assert "must end in .dcm or .tif, or be a folder: 'a.dcm' is DICOM." in said
