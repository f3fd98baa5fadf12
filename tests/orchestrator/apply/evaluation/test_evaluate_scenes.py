"""Scoring a model on GeoTIFF scenes, beside bicubic: values, footprints, pairs and wrong input."""

import json
import re
import sys
from types import SimpleNamespace

import archive_scenes
import noise_images
import numpy as np
import pytest
import rasterio
import tiny_models
import torch
from affine import Affine

from orchestrator.apply.evaluation.evaluate import evaluate_model
from orchestrator.apply.evaluation.scene_pairs import degraded, write_lr
from orchestrator.apply.evaluation.scene_scores import as_models, compare, score_scene
from orchestrator.archive.scene.reader import Scene, gdal
from orchestrator.archive.scene.types import SceneSettings
from orchestrator.archive.scene.upscale import load_model, upscale_part
from orchestrator.cli import app as cli
from orchestrator.foundation.model_store import find_model
from orchestrator.foundation.storage import Storage
from trainables.degradation import Degradation
from trainables.errors import ImageSetError, UsageError
from trainables.metrics.psnr_ssim import psnr
from trainables.metrics.spectral import ergas
from trainables.network.network import SuperResolutionNet, interpolate, preset

SIZE = 64
PLAIN = Degradation()


def smooth(bands, dtype="uint16", size=SIZE):
    """Waves whose values fill a part of 0 to 10000, or of 0 to 255."""
    y, x = np.mgrid[:size, :size] / size
    waves = np.stack([2 + np.sin(9 * x + band) + np.cos(7 * y * (band + 1)) for band in range(bands)]) / 4
    return (waves * {"uint8": 255, "float32": 1}.get(dtype, 9000)).astype(dtype)


@pytest.fixture
def model(tmp_path):
    """A network that adds something of its own."""
    return tiny_models.write(tmp_path / "model", tiny_models.net(2))


@pytest.fixture
def hr(tmp_path):
    (tmp_path / "hr").mkdir()
    return tmp_path / "hr"


def scores(model, folder, **settings):
    settings = {"normalisation": (0, 10000), "precision": "float32"} | settings
    (told,) = evaluate_model(model, [str(folder)], **settings)["sets"]
    return told


def test_lpips_is_refused(tmp_path, hr):
    model = tiny_models.write(tmp_path / "bicubic", SuperResolutionNet(preset("tiny", 2)))
    archive_scenes.write(hr / "a.tif", smooth(4))
    with pytest.raises(UsageError, match="LPIPS is of plain 8-bit images; remove --lpips"):
        scores(model, hr, lpips=True)


def test_a_model_of_four_bands_is_scored_by_what_its_card_says(tmp_path, hr):
    names = ("red", "green", "blue", "nir")
    card = {"band_names": names, "band_map": {"4": [[1, 2, 3, 4]]}, "value_range": {"uint16": [0, 10000]}}
    model = tiny_models.write(tmp_path / "four", tiny_models.of_bands(*names, scale=2), **card)
    values = smooth(4)
    archive_scenes.write(hr / "a.tif", values)
    (plain,) = evaluate_model(model, [str(hr)], precision="float32")["sets"]
    assert (plain["band_map"], plain["normalisation"]) == (["1,2,3,4"], ["0 to 10000 (the model's card)"])
    assert plain["gain"]["mean"] != pytest.approx(0, abs=1e-2)
    archive_scenes.write(hr / "a.tif", values[[3, 0, 1, 2]], names=["nir", "red", "green", "blue"])
    archive_scenes.write(hr / "b.tif", smooth(3), names=["red", "green", "blue"])
    (turned,) = evaluate_model(model, [str(hr)], precision="float32")["sets"]
    assert turned["band_map"] == ["2,3,4,1"]
    by_band = turned["model"]["psnr_by_band"]
    assert [by_band[band] for band in (1, 2, 3, 0)] == pytest.approx(plain["model"]["psnr_by_band"], abs=1e-3)
    assert [skipped["file"] for skipped in turned["skipped"]] == ["b.tif"]
    assert "takes 4 bands together (red, green, blue, nir), and the scene has 3" in turned["skipped"][0]["reason"]


def test_an_untrained_network_ties_with_bicubic_in_every_measure(tmp_path, hr):
    model = tiny_models.write(tmp_path / "bicubic", SuperResolutionNet(preset("tiny", 2)))
    for name in ("a.tif", "b.tif"):
        archive_scenes.write(hr / name, smooth(4))
    told = scores(model, hr, back_project="off")
    assert (told["images"], told["bands"], told["dtype"], told["skipped"]) == (2, 4, ["uint16"], [])
    assert told["normalisation"] == ["0 to 10000 (given)"]
    for measure, value in told["bicubic"].items():
        assert told["model"][measure] == pytest.approx(value, rel=1e-4), measure
    assert told["bicubic"]["psnr"] == pytest.approx(np.mean(told["bicubic"]["psnr_by_band"]))
    assert [one["name"] for one in told["scenes"]] == ["a.tif", "b.tif"]
    assert told["gain"]["mean"] == pytest.approx(0, abs=1e-3)
    json.dumps(told, allow_nan=False)


@pytest.mark.parametrize(
    ("bands", "dtype", "given"), [(1, "uint8", "auto"), (3, "int16", (0, 10000)), (5, "float32", (0, 1))]
)
def test_bicubic_is_that_of_values_in_their_own_depth(model, hr, bands, dtype, given):
    values = smooth(bands, dtype)
    archive_scenes.write(hr / "a.tif", values)
    told = scores(model, hr, normalisation=given)
    lr, _ = degraded(values, np.ones(values.shape, bool), PLAIN, 2)
    high = 255 if dtype == "uint8" else given[1]
    around = np.pad(lr.astype(np.float32), ((0, 0), (4, 4), (4, 4)), mode="reflect") / high
    output = interpolate(torch.from_numpy(around)[None], 2)[0, :, 8:-8, 8:-8] * high
    output = output if dtype == "float32" else output.round()
    planes = [torch.from_numpy(each.astype(float))[:, 2:-2, 2:-2] / high * 255 for each in (output.numpy(), values)]
    expected = [psnr(*band) for band in zip(*planes, strict=True)]
    # Of whole numbers, a few lie so near a half that they are rounded otherwise.
    assert told["bicubic"]["psnr_by_band"] == pytest.approx(expected, abs=0.05 if dtype == "uint8" else 1e-3)
    assert (told["bicubic"]["sam"] is None) == (told["bicubic"]["ergas"] is None) == (bands == 1)
    # With 8 bits, rounding alone would end at 59 dB.
    assert dtype == "uint8" or max(expected) > 60
    assert told["model"]["psnr"] < told["bicubic"]["psnr"] - 1


def test_the_model_is_what_an_archive_would_get(model, hr, tmp_path):
    values = smooth(4)
    archive_scenes.write(hr / "a.tif", values)
    (tmp_path / "lr").mkdir()
    lr, _ = degraded(values, np.ones(values.shape, bool), PLAIN, 2)
    path = archive_scenes.write(tmp_path / "lr/a.tif", lr, transform=archive_scenes.PLACE @ Affine.scale(2))
    settings = SceneSettings(normalisation=(0, 10000), precision="float32", back_project="model")
    part = upscale_part(path, (0, SIZE // 2), tmp_path / "part.tif", load_model(find_model(model), settings), settings)
    output, target = (torch.from_numpy(each / 10000.0) for each in (archive_scenes.read(part.path), values))
    expected = compare(output, target, torch.ones(output.shape, dtype=torch.bool), 2)
    told = scores(model, hr)
    assert told["model"]["psnr_by_band"] == pytest.approx(expected.psnr_by_band, abs=1e-3)
    assert told["model"]["sam"] == pytest.approx(expected.sam, rel=1e-4)
    inner = [each[:, 2:-2, 2:-2] for each in (output, target)]
    assert told["model"]["ergas"] == pytest.approx(ergas(*inner, 1 / 2), rel=1e-4)
    # LR of one's own, which here is the same, gives the same.
    taken = scores(model, hr, lr=[str(tmp_path / "lr")])
    assert taken["model"] == told["model"]
    assert taken["lr"] == f"from {tmp_path / 'lr'}"


@pytest.mark.parametrize("how", ["nodata", "nan", "mask"])
def test_what_has_no_value_does_not_count(model, hr, how):
    values = smooth(2, "float32" if how == "nan" else "uint16")
    given = (0, 1) if how == "nan" else (0, 10000)
    for spoil in (7, 60000):
        spoilt = values.copy()
        spoilt[:, 20:31, 10:41] = {"nodata": 65535, "nan": np.nan, "mask": spoil}[how]
        archive_scenes.write(hr / "a.tif", spoilt, **({"nodata": 65535} if how == "nodata" else {}))
        if how == "mask":
            shown = np.full((SIZE, SIZE), 255, np.uint8)
            shown[20:31, 10:41] = 0
            with gdal(), rasterio.open(hr / "a.tif", "r+") as target:
                target.write_mask(shown)
        told = scores(model, hr, normalisation=given)["bicubic"]
        # The hole's values, were they compared, would cost 20 dB and more.
        assert told["psnr"] > 45
        assert told["sam"] < 1
        if how == "mask" and spoil == 7:
            first = told
    assert how != "mask" or told == first


def test_lr_is_valid_where_all_that_it_covers_is(hr):
    valid = np.ones((1, 16, 16), bool)
    valid[0, 5, 6] = False
    lr, known = degraded(np.where(valid, 3000, 65535).astype(np.uint16), valid, PLAIN, 4)
    assert known.sum() == 15
    assert not known[0, 1, 1]
    assert (lr == 3000).all()


def test_what_lies_in_a_bucket_is_scored_from_memory(model, hr):
    values = smooth(2)
    path = archive_scenes.write(hr / "a.tif", values, nodata=0)
    far = SimpleNamespace(remote=True, read_bytes=path.read_bytes)
    loaded = as_models(load_model(find_model(model), SceneSettings(precision="float32")), {}, ensemble=False)
    settings = SceneSettings(normalisation=(0, 10000))
    told = [score_scene("a", place, PLAIN, loaded, settings) for place in (far, Storage.at(str(path)))]
    assert told[0] == told[1]


def test_pairs_may_lie_nowhere(model, hr, tmp_path):
    nowhere = {"crs": None, "transform": Affine.identity()}
    archive_scenes.write(hr / "a.tif", smooth(2), **nowhere)
    (tmp_path / "lr").mkdir()
    archive_scenes.write(tmp_path / "lr/a.tif", smooth(2, size=SIZE // 2), **nowhere)
    assert scores(model, hr, lr=[str(tmp_path / "lr")])["images"] == 1
    archive_scenes.write(tmp_path / "lr/a.tif", smooth(2, size=SIZE // 2))
    with pytest.raises(ImageSetError, match="georeferencing of LR must be that of HR, none, found georeferenced"):
        scores(model, hr, lr=[str(tmp_path / "lr")])


def test_a_palette_is_no_image(model, hr):
    archive_scenes.write(hr / "a.tif", smooth(1, "uint8"), photometric="palette")
    with gdal(), rasterio.open(hr / "a.tif", "r+") as target:
        target.write_colormap(1, {value: (value, 0, 255 - value) for value in range(256)})
    with pytest.raises(ImageSetError, match="indices of a palette"):
        scores(model, hr)


def test_a_blank_band_does_not_count(model, hr):
    archive_scenes.write(hr / "a.tif", smooth(2))
    expected = scores(model, hr, band_map="singly")
    archive_scenes.write(hr / "a.tif", np.concatenate([smooth(2), np.full((1, SIZE, SIZE), 500, np.uint16)]))
    told = scores(model, hr, band_map="singly")
    for arm in ("bicubic", "model"):
        assert told[arm] == expected[arm] | {"psnr_by_band": [*expected[arm]["psnr_by_band"], None]}


def test_no_valid_lr_sample_becomes_nodata(hr, tmp_path):
    archive_scenes.write(hr / "a.tif", smooth(1), nodata=700)
    lr, valid = np.full((1, 16, 16), 700, np.uint16), np.ones((1, 16, 16), bool)
    valid[0, 0, 0] = False
    with gdal(), Scene(hr / "a.tif") as scene:
        write_lr(tmp_path / "lr.tif", lr, valid, scene)
    with gdal(), Scene(tmp_path / "lr.tif") as made:
        assert np.array_equal(made.strip(0, 16).valid, valid)


def test_scales_of_the_file_mean_physical_values(model, hr):
    values = smooth(3, "int16")
    archive_scenes.write(hr / "a.tif", values)
    with gdal(), rasterio.open(hr / "a.tif", "r+") as target:
        target.scales, target.offsets = [1e-4] * 3, [0.0] * 3
    told = scores(model, hr, normalisation="auto")
    assert told["normalisation"] == ["0 to 10000 (0 to 1 after the file's scales and offsets)"]
    assert told["model"]["psnr"] == pytest.approx(scores(model, hr)["model"]["psnr"], abs=1e-3)


def test_plain_tiffs_stay_plain_unless_asked(model, tmp_path):
    noise_images.write(tmp_path / "tiffs", ["a.tif"], (40, 40))
    (plain,) = evaluate_model(model, [str(tmp_path / "tiffs")])["sets"]
    assert "scenes" not in plain
    assert plain["bicubic"].keys() == {"psnr", "ssim"}
    assert "scenes" in scores(model, tmp_path / "tiffs", normalisation=(0, 255))


class TestWrongInput:
    """One sentence each; the files that are right are scored all the same."""

    @pytest.fixture
    def pair(self, hr, tmp_path):
        (tmp_path / "lr").mkdir()
        archive_scenes.write(hr / "a.tif", smooth(3))
        return tmp_path / "lr"

    @pytest.mark.parametrize(
        ("values", "facts", "words"),
        [
            (smooth(3), {}, "HR must be 2 times as large as LR, 128×128 pixels, found 64×64"),
            (smooth(2, size=32), {}, "number of bands of LR must be that of HR, 3, found 2"),
            (smooth(3, "int16", 32), {}, "data type of LR must be that of HR, uint16, found int16"),
            (smooth(3, size=32), {"crs": "EPSG:32634"}, "CRS of LR must be that of HR, EPSG:32633, found EPSG:32634"),
            (smooth(3, size=32), {"transform": archive_scenes.PLACE}, r"bounds of LR must be .*, 32\.0 HR pixels off"),
        ],
        ids=["size", "bands", "dtype", "crs", "bounds"],
    )
    def test_lr_that_does_not_belong_to_hr(self, model, hr, pair, values, facts, words):
        facts = {"transform": archive_scenes.PLACE @ Affine.scale(2)} | facts
        archive_scenes.write(pair / "a.tif", values, **facts)
        with pytest.raises(ImageSetError, match=words):
            scores(model, hr, lr=[str(pair)])

    def test_no_lr_of_that_name(self, model, hr, pair):
        archive_scenes.write(pair / "b.tif", smooth(3, size=32))
        with pytest.raises(ImageSetError, match="1 × no LR file of the same name"):
            scores(model, hr, lr=[str(pair)])

    def test_no_normalisation(self, model, hr, pair):
        with pytest.raises(ImageSetError, match="Nothing says which values mean black and white"):
            scores(model, hr, normalisation="auto")

    def test_scenes_of_other_bands_are_left_out(self, model, hr, pair):
        archive_scenes.write(hr / "b.tif", smooth(4))
        archive_scenes.write(hr / "c.tif", smooth(3, size=31))
        (hr / "d.tif").write_bytes(b"II*\0")
        told = scores(model, hr)
        reasons = [entry["reason"] for entry in told["skipped"]]
        assert told["images"] == 1
        assert reasons[:2] == [
            "4 bands, where the scenes before have 3",
            "31×31 pixels, smaller than the 32×32 needed",
        ]
        assert reasons[2].startswith("It is no raster that can be opened")

    def test_a_band_map_of_other_bands(self, model, hr, pair):
        with pytest.raises(ImageSetError, match="must name each of the scene's 3 image bands once"):
            scores(model, hr, band_map=((1, 2),))

    def test_nothing_but_nodata(self, model, hr):
        archive_scenes.write(hr / "a.tif", np.zeros((1, 40, 40), np.uint16), nodata=0)
        with pytest.raises(ImageSetError, match="no band has two different values where HR and LR are valid"):
            scores(model, hr)

    def test_settings_that_do_not_go_together(self, model, hr, pair, tmp_path):
        with pytest.raises(UsageError, match="--lr once for each --images, found 1 for 2"):
            evaluate_model(model, [str(hr), str(hr)], lr=[str(pair)])
        with pytest.raises(UsageError, match=r"--lr, which has .* or --space satellite"):
            scores(model, hr, lr=[str(pair)], space="satellite")
        noise_images.write(tmp_path / "plain", ["a.png"], (40, 40))
        with pytest.raises(UsageError, match="are for sets of TIFFs alone"):
            scores(model, tmp_path / "plain")


def test_the_command_prints_every_measure_of_both(model, hr, monkeypatch, capsys):
    archive_scenes.write(hr / "a.tif", smooth(3))
    archive_scenes.write(hr / "b.tif", smooth(1))
    words = ["rayscale", "evaluate", "--model", model, "--images", str(hr), "--normalisation"]

    def run(*further):
        monkeypatch.setattr(sys, "argv", [*words, *further])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return ended.value.code, capsys.readouterr()

    code, said = run("0,10000", "--baselines")
    assert code == 0
    for arm in ("bicubic", "bilinear", "lanczos", "model"):
        assert re.search(
            rf"│ {arm} +│ +\d+\.\d\d │ [01]\.\d{{4}} │ +-?[01]\.\d{{4}} │ +\d+\.\d{{3}} │ +\d+\.\d{{3}} │", said.out
        )
    assert re.search(r"hr: PSNR by band, model: (\d+\.\d\d(, )?){3}\n", said.out)
    assert "0 and 1 are 0 to 10000 (given)" in said.out
    assert "left out of hr: b.tif: 1 bands, where the scenes before have 3" in said.out
    code, said = run("0;1")
    assert (code, said.out) == (2, "")
    assert said.err.startswith("rayscale: --normalisation is auto, dtype, scales, measured or LOW,HIGH")
    assert said.err.endswith("found '0;1'.\n")
    code, said = run("9,1")
    assert code == 2
    assert "LOW below HIGH, found 9,1" in said.err
