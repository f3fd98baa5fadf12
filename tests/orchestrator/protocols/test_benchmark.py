"""Running a benchmark: scores of both kinds of images, and when published rows are not compared."""

import json
import math
from dataclasses import replace

import benchmark_trees as trees
import numpy as np
import pytest
import tiny_models
import torch
from skimage.metrics import structural_similarity

from orchestrator.apply.evaluation.evaluate import evaluate_model
from orchestrator.protocols.all_protocols import PROTOCOLS, find_protocol
from orchestrator.protocols.measures import measure, uniform_ssim
from orchestrator.protocols.protocol import BICUBIC, Published
from orchestrator.protocols.run import run_benchmark
from trainables.errors import UnreadableImageError, UsageError
from trainables.network.bands import with_bands


@pytest.fixture
def model(tmp_path):
    return tiny_models.write(tmp_path / "model", tiny_models.net(4))


def bicubic_psnr(result):
    return result["parts"][0]["arms"][BICUBIC]["psnr"]


def test_luma_scores_are_those_of_evaluate(tmp_path, model):
    trees.camera_pairs(tmp_path / "set", "{n}.png", "../lr/{n}.png", 4, count=6)
    benchmark = run_benchmark(find_protocol("set5"), str(tmp_path / "set"), [model])
    (other,) = evaluate_model(model, [str(tmp_path / "set")])["sets"]
    arms = benchmark["parts"][0]["arms"]
    assert arms[BICUBIC] == pytest.approx(other["bicubic"], abs=1e-3)
    assert arms[model] == pytest.approx(other["model"], abs=1e-3)
    assert benchmark["parts"][0]["gains"][model] == pytest.approx(other["gain"], abs=1e-3)


def test_hr_is_cut_at_its_lower_right(tmp_path):
    image = trees.smooth(0, 67, 66)
    trees.png(tmp_path / "odd" / "a.png", image)
    trees.png(tmp_path / "even" / "a.png", image[:64, :64])
    odd, even = (run_benchmark(find_protocol("set5"), str(tmp_path / name), scale=4) for name in ("odd", "even"))
    assert odd["parts"] == even["parts"]


@pytest.mark.parametrize(
    ("name", "write", "scale"),
    [
        ("realsr", trees.realsr, 4),
        ("super", trees.super_frames, 2),
        ("div2k", trees.div2k, 4),
        ("sen2venus", trees.sen2venus, 2),
        ("opensr-test", trees.opensr_scenes, 4),
        ("ixi", trees.ixi, 4),
    ],
)
def test_every_kind_of_image_is_enlarged(tmp_path, name, write, scale):
    folder = tiny_models.write(tmp_path / "model", tiny_models.net(scale))
    result = run_benchmark(find_protocol(name), str(write(tmp_path / "data")), [folder])
    for part in result["parts"]:
        assert part["arms"].keys() == {BICUBIC, folder}
        for values in part["arms"].values():
            assert values.keys() == set(result["measures"])
            assert all(value is None or math.isfinite(value) for value in values.values())
        assert part["arms"][BICUBIC]["psnr"] > 25
        assert part["arms"][folder]["psnr"] != part["arms"][BICUBIC]["psnr"]
        gain = part["arms"][folder]["psnr"] - part["arms"][BICUBIC]["psnr"]
        assert part["gains"][folder]["mean"] == pytest.approx(gain)


def test_bands_are_measured_over_reflectance():
    rng = np.random.default_rng(0)
    hr = rng.random((1, 64, 64, 4), dtype=np.float32) * 0.5 + 0.2
    output = hr.copy()
    output[..., 1] += 0.01
    lr = np.full((1, 32, 32, 4), 0.4, np.float32)
    values = measure(PROTOCOLS["sen2venus"], output, hr, lr, 2)
    assert values["psnr"] == pytest.approx((3 * 100 + 40) / 4, abs=1e-3)
    assert 0 < values["sam"] < 2
    assert 0 < values["ergas"] < 2
    consistent = np.repeat(np.repeat(lr, 2, 1), 2, 2) + np.float32(0.02)
    values = measure(replace(PROTOCOLS["opensr-test"], border=(0, 4)), consistent, hr, lr, 2)
    assert values["reflectance"] == pytest.approx(0.02, abs=1e-6)
    assert values["spectral"] == pytest.approx(0, abs=1e-2)


def test_a_volume_has_one_peak():
    first, second = np.zeros((2, 32, 32, 1), np.float32), np.full((2, 32, 32, 1), 0.1, np.float32)
    second[1] = 0
    values = measure(PROTOCOLS["ixi"], first, second, first[:, ::4, ::4], 4)
    assert values["psnr"] == pytest.approx(10 * math.log10(1 / (0.01 / 2)), abs=1e-4)


def test_uniform_ssim_is_that_of_scikit_image():
    rng = np.random.default_rng(0)
    first, second = rng.random((2, 20, 30)), rng.random((2, 20, 30))
    second = 0.7 * first + 0.3 * second
    expected = [structural_similarity(*pair, data_range=1.0) for pair in zip(first, second, strict=True)]
    assert uniform_ssim(torch.from_numpy(first), torch.from_numpy(second)) == pytest.approx(np.mean(expected))


def test_an_image_too_small_for_ssim_is_left_out():
    small = np.zeros((1, 18, 40, 3), np.uint8)
    with pytest.raises(UnreadableImageError, match="40×18 pixels are too few for SSIM"):
        measure(PROTOCOLS["set5"], small, small, small, 4)


def with_rows(psnr, images):
    row = Published(BICUBIC, 4, {"psnr": psnr, "ssim": 0.9}, "A. Body, 2020")
    best = Published("best", 4, {"psnr": 99.0, "ssim": 0.99}, "A. Body, 2020")
    return replace(find_protocol("realsr"), published=(row, best), images={"Canon and Nikon": images})


@pytest.mark.parametrize(
    ("off", "compared"), [(0.0, True), (0.049, True), (-0.049, True), (0.051, False), (-0.051, False)]
)
def test_rows_are_compared_where_bicubic_is_the_published_one(tmp_path, off, compared):
    trees.realsr(tmp_path)
    ours = bicubic_psnr(run_benchmark(find_protocol("realsr"), str(tmp_path)))
    result = run_benchmark(with_rows(ours + off, 4), str(tmp_path))
    assert [row["method"] for row in result["published"]] == ([BICUBIC, "best"] if compared else [])
    assert (result["refusal"] is None) == compared
    if not compared:
        assert f"bicubic has {ours:.2f} dB here and {ours + off:.2f} dB in RealSR V3's at x4" in result["refusal"]


def test_rows_are_not_compared_with_fewer_images(tmp_path):
    trees.realsr(tmp_path)
    result = run_benchmark(find_protocol("realsr"), str(tmp_path))
    assert result["published"] == []
    assert "they are of 100 images of RealSR V3, and 4 were found" in result["refusal"]


def test_a_damaged_file_is_left_out_and_named(tmp_path):
    trees.realsr(tmp_path)
    (tmp_path / "Nikon/Test/4/Nikon_002_LR4.png").write_bytes(b"no picture")
    result = run_benchmark(find_protocol("realsr"), str(tmp_path))
    assert result["parts"][0]["images"] == 3
    assert [entry["file"] for entry in result["left_out"]] == ["Nikon_002"]
    assert "1 test pairs of RealSR V3 were left out" in result["refusal"]


def test_nothing_but_damaged_files(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(UsageError, match=r"None of 1 test pairs of Set5 can be scored, such as 'a': "):
        run_benchmark(find_protocol("set5"), str(tmp_path))


def test_pairs_of_another_scale(tmp_path):
    trees.camera_pairs(tmp_path, "Test_x4/test_HR/Sony_{n}_x4.png", "Test_x4/test_LR/Sony_{n}_x1.png", 2)
    with pytest.raises(UsageError, match=r"'Sony_001' of DRealSR has 32×48 HR and 16×24 LR pixels, which is not x4"):
        run_benchmark(find_protocol("drealsr"), str(tmp_path), scale=4)


def test_models_of_other_scales(tmp_path, model):
    other = tiny_models.write(tmp_path / "other", tiny_models.net(2))
    trees.realsr(tmp_path)
    with pytest.raises(UsageError, match=r"other' enlarges x2 and the benchmark is at x4: give models of one scale"):
        run_benchmark(find_protocol("realsr"), str(tmp_path), [other], scale=4)
    with pytest.raises(UsageError, match=r"model' enlarges x4 and the benchmark is at x2"):
        run_benchmark(find_protocol("realsr"), str(tmp_path), [model, other])
    with pytest.raises(UsageError, match="SEN2VENµS is defined at x2, x4, found x3"):
        run_benchmark(find_protocol("sen2venus"), str(tmp_path), scale=3)


def test_a_native_network_sees_its_bands_by_name(tmp_path):
    trees.sen2venus(tmp_path / "data")
    rgb = tiny_models.net(2)
    orders = (("red", "green", "blue", "nir"), ("nir", "blue", "green", "red"))
    models = [
        tiny_models.write(tmp_path / str(number), with_bands(rgb, names), band_names=list(names))
        for number, names in enumerate(orders)
    ]
    (first, _) = run_benchmark(find_protocol("sen2venus"), str(tmp_path / "data"), models)["parts"]
    scores = [first["arms"][model] for model in models]
    assert scores[0] == pytest.approx(scores[1], abs=1e-4)
    assert scores[0]["psnr"] != pytest.approx(first["arms"][BICUBIC]["psnr"], abs=1e-3)


def test_a_model_with_a_range_of_its_own_sees_it(tmp_path):
    trees.sen2venus(tmp_path / "data")
    ranges = ([0, 10_000], [0, 5_000])
    models = [
        tiny_models.write(tmp_path / str(high), tiny_models.net(2), value_range={"uint16": [low, high]})
        for low, high in ranges
    ]
    plain = tiny_models.write(tmp_path / "plain", tiny_models.net(2))
    (first, _) = run_benchmark(find_protocol("sen2venus"), str(tmp_path / "data"), [*models, plain])["parts"]
    assert first["arms"][models[0]] == first["arms"][plain]
    assert first["arms"][models[1]] != first["arms"][plain]


def test_a_network_of_four_bands_is_refused_for_photographs(tmp_path):
    trees.realsr(tmp_path)
    names = ("red", "green", "blue", "nir")
    model = tiny_models.write(tmp_path / "four", with_bands(tiny_models.net(4), names), band_names=list(names))
    with pytest.raises(UsageError, match="takes 4 bands, and RealSR V3 is gray or in colour"):
        run_benchmark(find_protocol("realsr"), str(tmp_path), [model])


def test_parts_can_be_chosen(tmp_path):
    trees.sen2venus(tmp_path)
    result = run_benchmark(find_protocol("sen2venus"), str(tmp_path), scale=2, parts=["ARM"])
    assert [(part["name"], part["images"]) for part in result["parts"]] == [("ARM", 3)]
    with pytest.raises(UsageError, match="has no part 'NARYN' of SEN2VENµS at x2, it has ALSACE, ARM"):
        run_benchmark(find_protocol("sen2venus"), str(tmp_path), scale=2, parts=["NARYN"])


def test_published_numbers_are_of_known_scales_and_measures():
    for protocol in PROTOCOLS.values():
        for row in protocol.published:
            assert row.scale in protocol.scales
            assert row.measures.keys() <= set(protocol.measures)
            assert row.source
    anchors = {("realsr", 4): 27.2378, ("drealsr", 4): 30.56, ("set5", 4): 28.42, ("set5", 2): 33.66}
    for (name, scale), psnr in anchors.items():
        rows = [row for row in PROTOCOLS[name].published_at(scale) if row.method == BICUBIC]
        assert [row.measures["psnr"] for row in rows] == [psnr]


def test_the_command(rayscale, tmp_path, model):
    trees.realsr(tmp_path)
    code, out, err = rayscale("benchmark", "realsr", "--data", tmp_path, "--model", model)
    assert code == 1
    assert "rayscale: Not compared with published results: they are of 100 images of RealSR V3, and 4 were" in err
    assert "here: Canon and Nikon, 4" in out
    assert "csjcai" not in out
    code, out, _ = rayscale("benchmark", "realsr", "--data", tmp_path, "--json")
    assert code == 1
    assert json.loads(out)["refusal"].startswith("Not compared")
    trees.sen2venus(tmp_path / "s2")
    code, out, _ = rayscale("benchmark", "sen2venus", "--data", tmp_path / "s2", "--scale", 2)
    assert code == 0
    assert "There are no published rows for SEN2VENµS at x2" in out


def test_published_rows_are_printed_with_their_source(rayscale, tmp_path, monkeypatch):
    trees.realsr(tmp_path)
    ours = bicubic_psnr(run_benchmark(find_protocol("realsr"), str(tmp_path)))
    monkeypatch.setitem(PROTOCOLS, "realsr", with_rows(ours, 4))
    code, out, _ = rayscale("benchmark", "realsr", "--data", tmp_path)
    assert code == 0
    assert "99.00" in out
    assert "A. Body, 2020" in out


def test_an_unknown_benchmark(rayscale, tmp_path):
    code, _, err = rayscale("benchmark", "realsrv3", "--data", tmp_path)
    assert code == 2
    assert "There is no benchmark 'realsrv3'" in err
    assert "Did you mean 'realsr'?" in err
    assert err.count("\n") == 1
