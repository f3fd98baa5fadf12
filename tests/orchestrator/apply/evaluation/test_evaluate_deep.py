"""Scoring a model on images of any depth and bands, by the value range of its card."""

import json

import dicom_files
import nibabel
import noise_images
import numpy as np
import pytest
import rasterio
import tiny_models
from rasterio.errors import NotGeoreferencedWarning

from orchestrator.apply.evaluation.evaluate import evaluate_model
from trainables.degradation import Degradation
from trainables.errors import ImageSetError, UsageError
from trainables.metrics.evaluation import NamedImage, bicubic, make_pairs, score

UINT16 = {"uint16": [0, 10000]}
NAMES = ("red", "green", "blue", "nir")


def model(folder, *names, value_range=UINT16, **facts):
    net = tiny_models.of_bands(*names, scale=2) if names else tiny_models.net(2)
    stated = {"band_names": list(names)} if names else {}
    return tiny_models.write(folder, net, value_range=value_range, **stated, **facts)


def arrays(folder, count=3, bands=4, low=1000, high=9000):
    folder.mkdir()
    rng = np.random.default_rng(0)
    made = [rng.integers(low, high, (48, 50, bands)).astype(np.uint16) for _ in range(count)]
    for number, values in enumerate(made):
        np.save(folder / f"{number}.npy", values)
    return made


def test_bands_are_scored_on_the_range_of_the_card(tmp_path):
    made = arrays(tmp_path / "set")
    evaluation = evaluate_model(model(tmp_path / "model", *NAMES), [str(tmp_path / "set")], baselines=True)
    (only,) = evaluation["sets"]
    shares = [np.rint(values / 10000 * 65535).astype(np.uint16) for values in made]
    pairs = make_pairs([NamedImage("a", "a", pixels) for pixels in shares], Degradation(levels=10000), 2)
    expected = [item.psnr for item in score(bicubic(2), pairs, 2)]
    assert only["bicubic"]["psnr"] == pytest.approx(np.mean(expected), abs=1e-9)
    assert np.mean(only["model"]["psnr_by_band"]) == pytest.approx(only["model"]["psnr"])
    assert only["gain"]["mean"] == pytest.approx(only["model"]["psnr"] - only["bicubic"]["psnr"])
    assert (only["images"], only["bands"], only["gain"]["scenes"]) == (3, list(NAMES), 3)
    assert only["model"]["sam"] > 0
    assert only["lanczos"]["ergas"] > 0
    assert only["protocol"].startswith("uint16, red, green, blue, nir; 0 to 10000 mean 0 to 1; PSNR and SSIM are of")


def test_axis_of_slices_and_side_of_parts_are_options(rayscale, tmp_path):
    """A volume of 40×44×96 voxels: as many images as its axis has slices, or more where they are cut."""
    (tmp_path / "set").mkdir()
    values = np.random.default_rng(0).integers(0, 9000, (40, 44, 96)).astype(np.uint16)
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), tmp_path / "set" / "a.nii")
    args = ("evaluate", "--images", tmp_path / "set", "--model", model(tmp_path / "model", "gray"), "--json")
    found = []
    for options in ((), ("--slice-axis", "0"), ("--slice-axis", "1", "--chip", "48")):
        code, out, err = rayscale(*args, *options)
        assert code == 0, err
        found.append(json.loads(out)["sets"][0]["images"])
    assert found == [96, 40, 2 * 44], "slices of 40×96 are two parts"
    with pytest.raises(UsageError, match="--chip must lie between 32 and 4096 pixels, found 5"):
        evaluate_model(str(tmp_path / "model"), [str(tmp_path / "set")], chip=5)
    with pytest.raises(UsageError, match="--slice-axis must be 0, 1 or 2, found 3"):
        evaluate_model(str(tmp_path / "model"), [str(tmp_path / "set")], slice_axis=3)


def test_the_terminal_says_the_protocol(rayscale, tmp_path):
    arrays(tmp_path / "set")
    (tmp_path / "set" / "bad.npy").write_bytes(b"no")
    args = ("evaluate", "--images", tmp_path / "set", "--model", model(tmp_path / "model", *NAMES))
    code, out, err = rayscale(*args)
    assert code == 0, err
    assert "set: uint16, red, green, blue, nir; 0 to 10000 mean 0 to 1; PSNR and SSIM are of each band" in out
    assert "left out are a border of 2 pixels, and LR pixels of which a part has no value; LR by" in out
    assert out.count("set: PSNR by band, ") == 2
    assert "left out of set: bad.npy: it is no .npy file" in out
    assert json.loads(rayscale(*args, "--json")[1])["sets"][0]["skipped"][0]["file"] == "bad.npy"


def test_dicom_slices_in_their_units(tmp_path):
    (tmp_path / "ct").mkdir()
    for number in range(2):
        (tmp_path / "ct" / f"{number}.dcm").write_bytes(dicom_files.ct(60 + number, 64))
    ct = model(tmp_path / "model", "gray", value_range={"dicom": [-1000, 7000], "int16": [0, 5]}, units="HU")
    (only,) = evaluate_model(ct, [str(tmp_path / "ct")], space="ct-v1")["sets"]
    assert only["protocol"].startswith("int16, gray; -1000 to 7000 HU mean 0 to 1;")
    assert (only["model"]["sam"], only["images"]) == (None, 2)
    other = model(tmp_path / "other", "gray", value_range={"dicom": [0, 7000]}, units="BQML")
    with pytest.raises(ImageSetError, match=r"are in HU, and the range of model .* is in BQML: take a model for HU"):
        evaluate_model(other, [str(tmp_path / "ct")])


@pytest.mark.filterwarnings("ignore", category=NotGeoreferencedWarning)
def test_16_bit_pictures_and_plain_ones_beside_them(tmp_path):
    values = arrays(tmp_path / "arrays", 2, 3)
    (tmp_path / "deep").mkdir()
    for number, array in enumerate(values):
        with rasterio.open(tmp_path / "deep" / f"{number}.png", "w", "PNG", 50, 48, 3, dtype="uint16") as file:
            file.write(array.transpose(2, 0, 1))
    plain = noise_images.write(tmp_path / "plain", ["a.png"], (48, 48))
    rgb = model(tmp_path / "model")
    deep, arrays_, eight_bit = evaluate_model(rgb, [str(tmp_path / name) for name in ("deep", "arrays", "plain")])[
        "sets"
    ]
    assert deep["model"] == arrays_["model"]
    assert "protocol" not in eight_bit
    assert eight_bit == evaluate_model(tiny_models.write(tmp_path / "no", tiny_models.net(2)), [str(plain)])["sets"][0]


def test_large_images_are_cut_and_their_files_are_the_scenes(tmp_path):
    (tmp_path / "set").mkdir()
    values = np.random.default_rng(0).uniform(0, 1, (100, 130)).astype(np.float32)
    values[:60, :70] = np.nan
    np.save(tmp_path / "set" / "a.npy", values)
    (only,) = evaluate_model(
        model(tmp_path / "model", "gray", value_range={"float32": [0, 1]}), [str(tmp_path / "set")], chip=64
    )["sets"]
    assert (only["images"], only["gain"]["scenes"]) == (3, 1)
    assert [item["reason"] for item in only["skipped"]] == ["1 of 4 chips have no value"]


class TestWrongInput:
    def test_a_model_without_a_range(self, tmp_path):
        arrays(tmp_path / "set")
        with pytest.raises(
            ImageSetError, match="used where a `value_range` is stated: by the target, the model's card"
        ):
            evaluate_model(tiny_models.write(tmp_path / "m", tiny_models.net(2)), [str(tmp_path / "set")])

    def test_other_bands_than_the_card_names(self, tmp_path):
        arrays(tmp_path / "set", bands=3)
        with pytest.raises(ImageSetError, match="it has no band 'nir': its bands are red, green, blue"):
            evaluate_model(model(tmp_path / "m", *NAMES), [str(tmp_path / "set")])

    def test_other_bands_than_the_network_takes(self, tmp_path):
        arrays(tmp_path / "set", bands=5)
        four = tiny_models.write(tmp_path / "m", tiny_models.of_bands(*NAMES, scale=2), value_range=UINT16)
        with pytest.raises(UsageError, match="The model takes 4 bands together, and the scene has 5"):
            evaluate_model(four, [str(tmp_path / "set")])

    def test_mixed_depths(self, tmp_path):
        arrays(tmp_path / "set", bands=1)
        np.save(tmp_path / "set" / "z.npy", np.ones((48, 48), np.float32))
        with pytest.raises(ImageSetError, match="must have one data type and the same bands"):
            evaluate_model(model(tmp_path / "m", "gray"), [str(tmp_path / "set")])

    def test_a_depth_without_a_range(self, tmp_path):
        arrays(tmp_path / "set", bands=1)
        with pytest.raises(
            ImageSetError, match=r"states a value_range of int16 alone, and the images of .* are uint16"
        ):
            evaluate_model(model(tmp_path / "m", "gray", value_range={"int16": [0, 9]}), [str(tmp_path / "set")])

    def test_options_of_scenes_and_of_plain_images(self, tmp_path):
        arrays(tmp_path / "set")
        four = model(tmp_path / "m", *NAMES)
        with pytest.raises(UsageError, match="remove --lpips"):
            evaluate_model(four, [str(tmp_path / "set")], lpips=True)
        with pytest.raises(UsageError, match="are for sets of TIFFs alone"):
            evaluate_model(four, [str(tmp_path / "set")], normalisation=(0, 5))
        with pytest.raises(UsageError, match="cannot degrade images of another depth"):
            evaluate_model(four, [str(tmp_path / "set")], space="surveillance")
