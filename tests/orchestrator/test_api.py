"""The functions of a notebook: what they return is what the commands write."""

import inspect
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import typer.main

import orchestrator
from orchestrator import api
from orchestrator.archive.scene.types import Provenance, SceneSettings
from orchestrator.archive.scene.upscale import load_model as prepare_model
from orchestrator.archive.scene.upscale import upscale_scene
from orchestrator.cli.app import app
from tests.helpers import tiny_models
from trainables.errors import UsageError
from trainables.images.codec import decode, encode_png
from trainables.inference.prepare import prepared
from trainables.inference.upscale import upscale_values

ROOT = Path(__file__).parents[2]


@pytest.fixture
def model(tmp_path: Path) -> str:
    return tiny_models.write(tmp_path / "model", tiny_models.net(2))


def noise(*shape: int, dtype: Any = np.uint8, high: int = 256) -> Any:
    return np.random.default_rng(0).integers(0, high, shape).astype(dtype)


def python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    return done.stdout


class TestImport:
    def test_it_takes_less_than_a_tenth_of_a_second(self) -> None:
        code = "import time; start = time.perf_counter(); import orchestrator; print(time.perf_counter() - start)"
        assert min(float(python(code)) for _ in range(3)) < 0.1

    def test_it_imports_no_library(self) -> None:
        libraries = {"torch", "ray", "numpy", "pydantic"}
        code = f"import sys, orchestrator; dir(orchestrator); print({libraries} & set(sys.modules))"
        assert python(code).strip() == "set()"

    def test_an_array_is_upscaled_without_ray(self, model: str) -> None:
        code = (
            "import sys, numpy, orchestrator\n"
            f"orchestrator.upscale(numpy.zeros((20, 20), 'uint8'), model={model!r})\n"
            "print('ray' in sys.modules)"
        )
        assert python(code).strip() == "False"

    def test_every_name_is_there(self) -> None:
        assert set(orchestrator.__all__) <= set(dir(orchestrator))
        assert orchestrator.__all__ == api.__all__
        assert all(getattr(orchestrator, name) is getattr(api, name) for name in orchestrator.__all__)
        with pytest.raises(AttributeError, match="no attribute 'upscael'"):
            orchestrator.upscael  # noqa: B018


@pytest.mark.parametrize("name", ["upscale", "evaluate", "adapt", "finetune", "export", "benchmark"])
def test_options_are_those_of_the_command(name: str) -> None:
    command: Any = typer.main.get_command(app)
    options = {each.name: each.default for each in command.commands[name].params}
    if options.get("normalisation", "auto") is None:  # may be repeated
        options["normalisation"] = "auto"
    parameters = inspect.signature(getattr(api, name)).parameters
    ours = {key: each.default for key, each in parameters.items() if each.kind is inspect.Parameter.KEYWORD_ONLY}
    assert set(options) - {"as_json", "log_file", "verbose"} - set(parameters) == set()
    assert set(parameters) - set(options) == (set() if name == "export" else {"progress"})
    defaults = {key: value for key, value in ours.items() if key not in ("progress", "model", "space")}
    assert {key: options[key] or None for key in defaults} == {key: value or None for key, value in defaults.items()}


class TestArray:
    @pytest.mark.parametrize("shape", [(21, 30), (21, 30, 1), (21, 30, 3)])
    def test_a_picture_is_that_of_the_command(self, shape: tuple[int, ...], model: str, tmp_path: Path) -> None:
        image = noise(*shape)
        whole = image if image.ndim == 3 else image[..., None]
        (tmp_path / "lr.png").write_bytes(encode_png(whole))
        told = orchestrator.upscale(tmp_path / "lr.png", tmp_path / "hr.png", model=model)
        assert told["written"] == 1
        large = orchestrator.upscale(image, model=model)
        assert large.dtype == np.uint8
        assert np.array_equal(large, decode((tmp_path / "hr.png").read_bytes()).pixels.reshape(large.shape))

    @pytest.mark.parametrize(("dtype", "bands"), [("uint16", 1), ("uint16", 4), ("int16", 3), ("float32", 2)])
    def test_deep_values_are_those_of_a_scene(self, dtype: str, bands: int, model: str, tmp_path: Path) -> None:
        values = noise(70, 50, bands, dtype=dtype, high=12_000)
        profile = {"driver": "GTiff", "height": 70, "width": 50, "count": bands, "dtype": dtype}
        photometric = "rgb" if bands == 3 else "minisblack"
        with rasterio.open(tmp_path / "lr.tif", "w", **profile, photometric=photometric) as target:
            target.write(values.transpose(2, 0, 1))
        settings = SceneSettings(normalisation=(0, 10_000), labels="filter")
        found = prepare_model(orchestrator.load_model(model), settings)
        upscale_scene(
            tmp_path / "lr.tif", tmp_path / "hr.tif", tmp_path, found, settings, Provenance(item_id="a", source="b")
        )
        with rasterio.open(tmp_path / "hr.tif") as written:
            expected = written.read().transpose(1, 2, 0)
        large = orchestrator.upscale(values, model=model, normalisation=(0, 10_000), tile=32)
        assert large.dtype == expected.dtype
        assert np.allclose(large, expected, rtol=1e-5, atol=1e-2 if dtype == "float32" else 1)

    def test_the_card_states_the_range(self, tmp_path: Path) -> None:
        model = tiny_models.write(tmp_path / "ranged", tiny_models.net(2), value_range={"uint16": [0, 5000]})
        values = noise(20, 20, dtype=np.uint16, high=5000)
        by_card = orchestrator.upscale(values, model=model)
        assert np.array_equal(by_card, orchestrator.upscale(values, model=model, normalisation=(0, 5000)))
        assert not np.array_equal(by_card, orchestrator.upscale(values, model=model, normalisation="dtype"))

    @pytest.mark.parametrize("dtype", ["uint16", "float32", "float64"])
    def test_as_many_bands_as_the_model_takes_go_together(self, dtype: str, tmp_path: Path) -> None:
        names = ["red", "green", "blue", "nir"]
        card = {"band_names": names, "value_range": {"uint16": [0, 10_000], "float32": [0, 1]}}
        model = tiny_models.write(tmp_path / "four", tiny_models.of_bands(*names, scale=2), **card)
        high = 10_000 if dtype == "uint16" else 1
        values = np.random.default_rng(0).uniform(0, high, (20, 30, 4)).astype(dtype)
        large = orchestrator.upscale(values, model=model, precision="float32")
        net = prepared(tiny_models.of_bands(*names, scale=2), precision="float32")
        limits = (0.0, 65535 / high) if dtype == "uint16" else (-np.inf, np.inf)
        shown = values.astype(np.float32) / high
        expected = upscale_values(net, shown, downscaling="area", limits=limits) * high
        assert large.shape == (40, 60, 4)
        assert large.dtype == dtype
        if dtype == "uint16":
            assert np.abs(large - np.rint(expected).clip(0, 65535)).max() <= 1
        else:
            assert np.allclose(large, expected, atol=1e-5)
        with pytest.raises(UsageError, match=r"takes 4 bands together \(red, green, blue, nir\), and the scene has 1"):
            orchestrator.upscale(values[..., 0], model=model)
        with pytest.raises(UsageError, match="takes 4 bands together, and the image has 3"):
            orchestrator.upscale(noise(9, 9, 3), model=model)

    def test_float64_is_computed_in_float32_and_stays_float64(self, model: str) -> None:
        values = noise(20, 20, dtype=np.float64) / 256
        large = orchestrator.upscale(values, model=model, normalisation=(0, 1))
        assert large.dtype == np.float64
        assert np.array_equal(large, orchestrator.upscale(values.astype(np.float32), model=model, normalisation=(0, 1)))

    def test_the_ensemble_of_deep_values(self, model: str) -> None:
        values = noise(20, 20, dtype=np.uint16)
        turned = np.rot90(values)
        large = orchestrator.upscale(values, model=model, normalisation=(0, 255), self_ensemble=True)
        again = orchestrator.upscale(turned, model=model, normalisation=(0, 255), self_ensemble=True)
        assert np.abs(np.rot90(large).astype(int) - again).max() <= 1

    @pytest.mark.parametrize(
        ("array", "options", "told"),
        [
            (noise(9), {}, r"shape \(H, W\) or \(H, W, C\), found \(9,\)"),
            (noise(9, 0), {}, "found"),
            (noise(9, 9, dtype=np.int64), {}, "array of uint8, uint16, int16, float32 or float64, found int64"),
            (np.full((9, 9), np.nan), {"normalisation": (0, 1)}, "not finite"),
            (noise(9, 9, dtype=np.uint16), {}, "Nothing says which values mean black and white"),
            (noise(9, 9, dtype=np.float32), {"normalisation": "dtype"}, "float32 has no limits"),
            (noise(9, 9, 4), {"band_map": ((1, 2), (3, 4))}, "groups of 1 or 3 bands"),
            (noise(9, 9), {"device": "cpuu"}, "Did you mean"),
            (noise(9, 9), {"target": "out"}, "leave out the target"),
            ("folder", {}, "name the target"),
        ],
    )
    def test_what_is_no_image_is_refused(self, array: Any, options: dict[str, Any], told: str, model: str) -> None:
        upscale: Any = orchestrator.upscale
        with pytest.raises(UsageError, match=told):
            upscale(array, model=model, **options)


class TestFiles:
    def test_progress_is_reported_and_nothing_printed(self, model: str, tmp_path: Path, capfd: Any) -> None:
        (tmp_path / "in").mkdir()
        for name in ("a", "b"):
            (tmp_path / "in" / f"{name}.png").write_bytes(encode_png(noise(20, 20, 3)))
        seen: list[orchestrator.TaskProgress] = []
        loaded = orchestrator.load_model(model)
        orchestrator.upscale(tmp_path / "in", tmp_path / "out", model=loaded, progress=seen.append)
        assert [(each.task, each.done, each.total) for each in seen] == [("upscale images", n, 2) for n in (0, 1, 2)]
        assert capfd.readouterr() == ("", "")

    def test_evaluation_counts_images_of_all_sets(self, tmp_path: Path) -> None:
        model = tiny_models.write(tmp_path / "model", tiny_models.net(2))
        for name in ("a", "b"):
            (tmp_path / name).mkdir()
            (tmp_path / name / "1.png").write_bytes(encode_png(noise(64, 64, 3)))
        seen: list[orchestrator.TaskProgress] = []
        told = orchestrator.evaluate(model, [tmp_path / "a", tmp_path / "b"], progress=seen.append)
        assert [(each.done, each.total) for each in seen] == [(1, 2), (2, 2)]
        assert [each["images"] for each in told["sets"]] == [1, 1]

    def test_a_path_object_is_a_folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        tiny_models.write(tmp_path / "base-x4", tiny_models.net(2))
        assert orchestrator.load_model(Path("base-x4")).net.architecture.scale == 2
        assert orchestrator.load_model("base-x4").net.architecture.scale == 4


def test_an_experiment_of_settings_is_left_as_it_is() -> None:
    settings = {"name": "mine", "targets": {"satellite": {"images": "tiles"}}, "source": {"model": "base-x4"}}
    loaded = orchestrator.load_experiment(settings, ["search.trials=5", "root=data"])
    assert (loaded.name, loaded.search.trials) == ("mine", 5)
    assert "search" not in settings
    with pytest.raises(UsageError, match="the experiment: Unknown key 'serach'"):
        orchestrator.load_experiment({**settings, "serach": {}})
