"""`rayscale upscale` on NIfTI volumes and .npy arrays: the same format, data type, units and place in space."""

import json
import sys

import nibabel
import numpy as np
import pytest
import tiny_models

from orchestrator.cli.app import main
from orchestrator.foundation.model_store import find_model
from trainables.inference.prepare import prepared
from trainables.inference.upscale import upscale_values

RANGE = (-1000.0, 3000.0)
AFFINE = np.array([[-0.8, 0.1, 0, 90], [0.1, 0.8, 0, -100], [0, 0, 3.0, -50], [0, 0, 0, 1]])


@pytest.fixture
def model(tmp_path):
    return tiny_models.write(tmp_path / "model", tiny_models.net(2), value_range={"int16": RANGE}, units="HU")


@pytest.fixture
def rayscale(monkeypatch, capsys, tmp_path, model):
    def call(source, target, *options, named=model):
        arguments = ["rayscale", "upscale", source, target, "--model", named, "--json", *options]
        monkeypatch.setattr(sys, "argv", list(map(str, arguments)))
        with pytest.raises(SystemExit) as ended:
            main()
        told = capsys.readouterr()
        return ended.value.code, json.loads(told.out) if told.out else told.err

    return call


def expected(model, values, low=RANGE[0], high=RANGE[1]):
    """A slice (H, W) as the network makes it, in units."""
    net = prepared(find_model(model).net, "cpu", "float32")
    shares = ((values.astype(np.float64) - low) / (high - low)).astype(np.float32)[..., None]
    return upscale_values(net, shares, downscaling="area")[..., 0].astype(np.float64) * (high - low) + low


def volume(path, slope=2.0, intercept=-1000.0, shape=(20, 22, 3)):
    image = nibabel.Nifti1Image(np.random.default_rng(0).integers(0, 1500, shape).astype(np.int16), AFFINE)
    image.header.set_slope_inter(slope, intercept)
    image.set_qform(AFFINE, 1)
    image.set_sform(AFFINE, 2)
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"kept"))
    nibabel.save(image, path)
    return nibabel.load(path)


@pytest.mark.parametrize("axis", [2, 0])
@pytest.mark.parametrize("ending", ["nii", "nii.gz"])
def test_a_volume_keeps_its_format_values_and_place(tmp_path, rayscale, model, ending, axis):
    source = volume(tmp_path / f"scan.{ending}")
    code, told = rayscale(tmp_path / f"scan.{ending}", tmp_path / "out", "--slice-axis", axis)
    assert (code, told["written"]) == (0, 1), told
    made = nibabel.load(tmp_path / "out" / f"scan.{ending}")
    inside = sorted({0, 1, 2} - {axis})
    assert made.shape == tuple(side * (2 if number in inside else 1) for number, side in enumerate(source.shape))
    assert made.get_data_dtype() == np.int16
    assert (made.header["sform_code"], made.header["qform_code"]) == (2, 1)
    assert [extension.get_content() for extension in made.header.extensions] == [b"kept"]
    slices, larger = np.moveaxis(source.get_fdata(), axis, 2), np.moveaxis(made.get_fdata(), axis, 2)
    for number in range(slices.shape[2]):
        wanted = expected(model, slices[..., number].T).T
        assert np.abs(larger[..., number] - wanted).max() <= 1.0 + 1e-3, "half a step of the slope of 2"
    middle = np.array([0.5, 0.5, 0.5, 1.0])  # of the r×r pixels that the first one became
    middle[axis] = 0
    for affine in (made.affine, made.get_qform()):
        assert np.allclose(affine @ middle, AFFINE @ [0, 0, 0, 1], atol=1e-4)
    assert np.allclose(
        made.header.get_zooms(), np.array(source.header.get_zooms()) / [1 + (n in inside) for n in range(3)]
    )


def test_an_array_keeps_data_type_and_pixels_without_a_value(tmp_path, rayscale, model):
    values = np.random.default_rng(1).normal(500, 300, (24, 20)).astype(np.float32)
    values[3:5, 7] = np.nan
    np.save(tmp_path / "a.npy", values)
    code, told = rayscale(tmp_path / "a.npy", tmp_path / "b.npy", "--normalisation=-1000,3000")
    assert code == 0, told
    made = np.load(tmp_path / "b.npy")
    assert (made.dtype, made.shape) == (np.float32, (48, 40))
    assert np.array_equal(np.isnan(made), np.isnan(values).repeat(2, 0).repeat(2, 1))
    far = np.s_[24:, :]  # beyond the reach of the hole
    assert np.allclose(made[far], expected(model, np.nan_to_num(values, nan=500))[far], atol=0.05)


def test_whole_numbers_are_rounded_and_cut_off_not_wrapped(tmp_path, rayscale):
    values = np.zeros((16, 16), np.int16)
    values[:, 8:] = 32767
    np.save(tmp_path / "edge.npy", values)
    code, told = rayscale(tmp_path / "edge.npy", tmp_path / "out")
    assert code == 0, told
    assert told["notes"] == [
        {
            "file": "edge.npy",
            "note": "it states no unit, and its values were taken to be in HU, the unit of the model's range",
        }
    ]
    made = np.load(tmp_path / "out" / "edge.npy")
    assert made.dtype == np.int16
    assert made[:, 24:].min() > 20000, "an overshoot would have become negative"


def test_a_folder_goes_on_after_files_that_fit_no_range_or_are_damaged(tmp_path, rayscale):
    folder = tmp_path / "in"
    folder.mkdir()
    np.save(folder / "good.npy", np.full((16, 16), 7, np.int16))
    np.save(folder / "float.npy", np.zeros((16, 16), np.float32))
    (folder / "cut.npy").write_bytes((folder / "good.npy").read_bytes()[:100])
    volume(folder / "whole.nii.gz")
    (folder / "cut.nii.gz").write_bytes((folder / "whole.nii.gz").read_bytes()[:300])
    code, told = rayscale(folder, tmp_path / "out")
    assert (code, told["written"]) == (2, 2), told["failed"]
    reasons = {failure["file"]: failure["reason"] for failure in told["failed"]}
    assert set(reasons) == {"float.npy", "cut.npy", "cut.nii.gz"}
    assert reasons["float.npy"] == (
        "its values are float32, and the model's card states no value_range for them: state with --normalisation "
        "LOW,HIGH which of them mean 0 and 1"
    )
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["good.npy", "whole.nii.gz"]
    code, told = rayscale(folder, tmp_path / "out")
    assert (told["written"], told["skipped"]) == (0, 2)


@pytest.mark.parametrize(
    ("name", "target", "kinds"), [("a.npy", "a.png", ".npy"), ("a.nii", "a.npy", ".nii or .nii.gz")]
)
def test_an_output_of_another_format_is_refused(tmp_path, rayscale, name, target, kinds):
    if name == "a.npy":
        np.save(tmp_path / name, np.zeros((16, 16), np.int16))
    else:
        volume(tmp_path / name)
    code, told = rayscale(tmp_path / name, tmp_path / "out" / target)
    assert code == 1
    assert f"must end in {kinds}, or be a folder" in told
