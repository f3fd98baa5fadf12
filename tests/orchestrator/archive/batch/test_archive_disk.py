"""A full disk, a killed writer, a damaged output: never anything at the output's place but a verified file."""

import shutil
import subprocess

import archive_scenes as scenes
import numpy as np
import pytest
import rasterio

from orchestrator.archive.scene import rows
from orchestrator.archive.scene import upscale as scene_module
from orchestrator.archive.scene.geotiff import cog
from orchestrator.archive.scene.geotiff.bigtiff import check_extents
from orchestrator.archive.scene.reader import gdal
from orchestrator.archive.scene.types import Provenance, SceneError, SceneSettings
from orchestrator.archive.scene.upscale import finish_scene, upscale_part

SETTINGS = SceneSettings(blocksize=128)
ORIGIN = Provenance(item_id="scene", source="s3://bucket/scene.tif")


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 2 MB."""
    place = tmp_path / "small"
    place.mkdir()
    options = ["-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(["mount", *options], capture_output=True).returncode:
        pytest.skip("a small file system cannot be mounted here: that takes root")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.fixture
def source(tmp_path):
    return scenes.write(tmp_path / "in.tif", scenes.pixels(3, 150, 260), photometric="rgb")


def test_too_little_room_is_said_before_any_work(source, small_disk, monkeypatch):
    monkeypatch.setattr(rows, "upscale_rows", None)
    with pytest.raises(SceneError, match=r"needs \d MB in .*small, where 2 MB are free") as error:
        scenes.run(source, small_disk)
    assert error.value.kind == "disk"


def test_a_disk_that_fills_up_while_raw_pixels_are_written(source, small_disk, monkeypatch):
    monkeypatch.setattr(scene_module, "check_room", lambda *_: None)
    with pytest.raises(SceneError) as error:
        scenes.run(source, small_disk)
    assert error.value.kind == "disk"
    assert scenes.files(small_disk) == []


def test_a_disk_that_fills_up_while_the_output_is_written(source, small_disk, tmp_path):
    made = scenes.model()
    for size in (200_000, 1_000_000, 1_900_000):
        (small_disk / "ballast").write_bytes(bytes(size))
        part = upscale_part(source, (0, 150), tmp_path / "raw.tif", made, SETTINGS)
        with pytest.raises(SceneError) as error:
            finish_scene(source, [part], small_disk / "out.tif", made.facts, SETTINGS, ORIGIN)
        assert error.value.kind == "disk"
        assert scenes.files(small_disk) == ["ballast"]
    out = finish_scene(source, [part], tmp_path / "out.tif", made.facts, SETTINGS, ORIGIN)
    assert out.sha256 == scenes.run(source, tmp_path, SETTINGS, name="again.tif").sha256


@pytest.mark.parametrize("keep", [0.3, 0.8, 0.999])
def test_a_file_cut_short_is_noticed(tmp_path, source, keep):
    path = scenes.run(source, tmp_path, SETTINGS).path
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    with gdal(), rasterio.open(path) as written, pytest.raises(SceneError, match="missing or cut short"):
        check_extents(written, path)


def test_an_output_with_other_pixels_is_not_published(tmp_path, source, monkeypatch):
    def wrong(raw, target, settings):
        with rasterio.open(raw, "r+") as opened:
            values = opened.read()
        real(raw, target, settings)
        values[1, 300, 500] += 1
        with rasterio.open(raw, "r+") as opened:
            opened.write(values)

    real = cog.copy_as_cog
    monkeypatch.setattr(scene_module, "copy_as_cog", wrong)
    with pytest.raises(SceneError, match="other pixels") as error:
        scenes.run(source, tmp_path, SETTINGS)
    assert error.value.kind == "verification"
    assert scenes.files(tmp_path) == ["in.tif"]


def test_what_stood_at_the_outputs_place_stays_until_the_end(tmp_path, source, monkeypatch):
    (tmp_path / "out.tif").write_text("before")

    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(scene_module, "verify", interrupted)
        with pytest.raises(KeyboardInterrupt):
            scenes.run(source, tmp_path, SETTINGS)
    assert (tmp_path / "out.tif").read_text() == "before"
    assert scenes.files(tmp_path) == ["in.tif", "out.tif"]
    scenes.run(source, tmp_path, SETTINGS)
    assert scenes.read(tmp_path / "out.tif").shape == (3, 600, 1040)


@pytest.mark.parametrize("compression", ["zstd", "deflate"])
@pytest.mark.parametrize("overviews", [True, False])
def test_compression_and_overviews(tmp_path, source, compression, overviews):
    out = scenes.run(source, tmp_path, SceneSettings(blocksize=128, compression=compression, overviews=overviews))
    with gdal(), rasterio.open(out.path) as target:
        assert target.compression.name.lower() == compression
        assert target.overviews(1) == ([2, 4, 8, 16] if overviews else [])
        assert target.block_shapes[0] == (128, 128)
        full = target.read()
    if overviews:
        with rasterio.open(out.path, overview_level=0) as half:
            means = full.reshape(3, 300, 2, 520, 2).mean((2, 4))
            np.testing.assert_allclose(half.read(), means, atol=0.51)
