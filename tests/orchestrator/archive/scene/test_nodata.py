"""Nodata, NaN, masks, alpha and palettes: exact footprints, and nothing of them reaches the network."""

import archive_scenes as scenes
import numpy as np
import pytest
import rasterio

from orchestrator.archive.scene.nodata import enlarged, enlarged_alpha, filled, nudge
from orchestrator.archive.scene.reader import gdal
from orchestrator.archive.scene.types import SceneError, SceneSettings

RNG = np.random.default_rng(0)
SMALL = 6
"""MB: several tiles in a scene of 90 pixels."""


def holes(height, width):
    """A rectangle, a corner, a frame's edge and single pixels."""
    lost = np.random.default_rng(2).random((height, width)) < 0.01
    lost[10:40, 20:55] = lost[-5:, :9] = True
    lost[:, -1] = True
    return lost


@pytest.mark.parametrize(
    ("dtype", "nodata"), [("uint8", 0), ("uint8", 255), ("uint16", 1), ("int16", -9999), ("float32", np.nan)]
)
def test_the_footprint_is_exact_and_no_valid_pixel_is_nodata(tmp_path, dtype, nodata):
    values, lost = scenes.pixels(2, 70, 90, dtype), np.stack([holes(70, 90), holes(70, 90)[::-1]])
    # Just beside nodata, where rounding would fall on it.
    values[:, 45:, 60:] = {0: 1, 255: 254, 1: 2, -9999: -9998}.get(nodata, 1)
    values = np.where(lost, np.array(nodata, dtype), values)
    lost = np.isnan(values) if dtype == "float32" else values == nodata
    source = scenes.write(tmp_path / "in.tif", values, nodata=nodata)
    wish = {"uint8": "auto", "float32": (0.0, 1.0)}.get(dtype, (0.0, 10000.0))
    outputs = set()
    for name, memory in (("a.tif", SMALL), ("b.tif", 100)):
        settings = SceneSettings(memory_mb=memory, blocksize=128, normalisation=wish)
        out = scenes.run(source, tmp_path, settings, name=name)
        outputs.add(out.sha256)
    hr = scenes.read(out.path)
    found = np.isnan(hr) if dtype == "float32" else hr == nodata
    np.testing.assert_array_equal(found, enlarged(lost, 4))
    assert len(outputs) == 1, "tiles show"
    assert out.valid_share == pytest.approx((~lost).mean())
    with rasterio.open(out.path) as target:
        assert np.array_equal(target.nodata, nodata, equal_nan=True)


def test_the_footprint_of_four_bands_seen_together_is_exact(tmp_path):
    """Nodata of single bands stays in these bands, and reaches no other one."""
    values, made = scenes.pixels(4, 70, 90, "uint16") + 1, scenes.model_of_four_bands()
    lost = np.stack([holes(70, 90), holes(70, 90)[::-1], holes(70, 90), np.zeros((70, 90), bool)])
    values[lost] = 0
    source = scenes.write(tmp_path / "in.tif", values, nodata=0, names=scenes.REFLECTANCE)
    outputs = {}
    for name, memory in (("a.tif", SMALL), ("b.tif", 100)):
        out = scenes.run(source, tmp_path, SceneSettings(memory_mb=memory, blocksize=128), made=made, name=name)
        outputs[out.sha256] = out
    np.testing.assert_array_equal(scenes.read(out.path) == 0, enlarged(lost, 4))
    assert len(outputs) == 1, "tiles show"
    assert out.valid_share == pytest.approx((~lost).mean())


def test_a_mask_of_four_bands_seen_together_is_exact(tmp_path):
    values, made, lost = scenes.pixels(4, 70, 90, "uint16"), scenes.model_of_four_bands(), holes(70, 90)
    source = scenes.write(tmp_path / "in.tif", values)
    with gdal(), rasterio.open(source, "r+") as target:
        target.write_mask(~lost)
    shas = {
        scenes.run(source, tmp_path, SceneSettings(memory_mb=memory, blocksize=128), made=made).sha256
        for memory in (SMALL, 100)
    }
    assert len(shas) == 1, "tiles show"
    with gdal(), rasterio.open(tmp_path / "out.tif") as target:
        np.testing.assert_array_equal(target.read_masks(1) == 0, enlarged(lost, 4))


def test_holes_leave_no_trace_beside_them(tmp_path):
    """A flat scene with a deep hole stays flat."""
    values = np.full((1, 60, 60), 5000, np.uint16)
    values[0, 20:40, 20:40] = 0
    settings = SceneSettings(blocksize=128, normalisation=(0, 10000))
    hole = scenes.read(scenes.run(scenes.write(tmp_path / "a.tif", values, nodata=0), tmp_path, settings).path)
    flat = np.full_like(values, 5000)
    same = scenes.read(scenes.run(scenes.write(tmp_path / "b.tif", flat, nodata=0), tmp_path, settings).path)
    np.testing.assert_array_equal(hole[hole != 0], same[hole != 0])


def test_no_valid_pixel_depends_on_what_lies_in_a_hole():
    pixels, valid = RNG.random((1, 40, 40)), RNG.random((1, 40, 40)) < 0.1
    other = np.where(valid, pixels, np.nan)
    np.testing.assert_array_equal(filled(pixels, valid, 8), filled(other, valid, 8))
    assert np.isfinite(filled(other, valid, 8)).all()
    inner = filled(pixels[:, 5:], valid[:, 5:], 8)[:, 8:]
    np.testing.assert_array_equal(inner, filled(pixels, valid, 8)[:, 13:])


@pytest.mark.parametrize("everything", [True, False])
def test_a_mask_is_kept_and_what_it_hides_is_not_seen(tmp_path, everything):
    values, hidden = scenes.pixels(3, 70, 90), holes(70, 90) | everything
    values[:, hidden] = RNG.integers(0, 256, (3, hidden.sum()))
    outputs = []
    for name in ("a", "b"):
        source = scenes.write(tmp_path / f"{name}.tif", values, photometric="rgb")
        with gdal(), rasterio.open(source, "r+") as target:
            target.write_mask(~hidden)
        out = scenes.run(source, tmp_path, SceneSettings(memory_mb=SMALL, blocksize=128), name=f"{name}-out.tif")
        outputs.append(scenes.read(out.path))
        values[:, hidden] = 7
    with rasterio.open(out.path) as target:
        np.testing.assert_array_equal(target.dataset_mask() == 0, enlarged(hidden, 4))
        shown = target.dataset_mask() > 0
    assert out.valid_share == (~hidden).mean()
    np.testing.assert_array_equal(outputs[0][:, shown], outputs[1][:, shown])
    if everything:
        assert out.minimum == [None] * 3


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_alpha_is_interpolated_and_not_seen_by_the_network(tmp_path, scale):
    values = scenes.pixels(4, 40, 50)
    values[3] = np.where(holes(40, 50), 0, 255)
    source = scenes.write(tmp_path / "in.tif", values, colours=["red", "green", "blue", "alpha"], alpha="yes")
    out = scenes.run(source, tmp_path, scale=scale)
    alpha = scenes.read(out.path)[3]
    padded = np.pad(values[3], 1, mode="reflect")
    np.testing.assert_array_equal(alpha, enlarged_alpha(padded, scale))
    with rasterio.open(out.path) as target:
        assert target.colorinterp[3].name == "alpha"
    assert out.band_map == "1,2,3"
    assert len(out.minimum) == 3


def test_interpolated_alpha_is_bilinear():
    import torch

    alpha = RNG.integers(0, 256, (12, 15), dtype=np.uint8)
    for scale in (2, 3, 4):
        expected = torch.nn.functional.interpolate(
            torch.from_numpy(alpha)[None, None].double(), scale_factor=float(scale), mode="bilinear"
        )[0, 0]
        np.testing.assert_allclose(enlarged_alpha(np.pad(alpha, 1, mode="edge"), scale), expected, atol=0.5 + 1e-6)


@pytest.mark.parametrize(
    ("dtype", "nodata", "beside"),
    [("uint8", 0, 1), ("uint8", 255, 254), ("int16", -9999, -9998), ("float32", 0, 1e-45)],
)
def test_values_on_nodata_move_to_the_next(dtype, nodata, beside):
    values = np.array([nodata, 7], dtype)
    nudge(values, nodata)
    assert values.tolist() == [pytest.approx(beside, abs=0 if beside > 1 else 1e-44), 7]
    assert values[0] != nodata
    nudge(values, None)
    nudge(values, np.nan)


def palette(path, **facts):
    indices = RNG.integers(0, 4, (1, 30, 40), dtype=np.uint8)
    with (
        gdal(),
        rasterio.open(
            path, "w", driver="GTiff", width=40, height=30, count=1, dtype="uint8", photometric="palette", **facts
        ) as target,
    ):
        target.write(indices)
        target.write_colormap(1, {0: (0, 0, 0, 255), 1: (250, 0, 0, 255), 2: (0, 250, 0, 255), 3: (9, 9, 250, 255)})
    return indices[0]


def test_a_palette_is_refused_or_expanded(tmp_path):
    indices = palette(tmp_path / "in.tif", nodata=2)
    with pytest.raises(SceneError, match="indices of a palette") as error:
        scenes.run(tmp_path / "in.tif", tmp_path)
    assert error.value.kind == "unsupported"
    out = scenes.run(tmp_path / "in.tif", tmp_path, SceneSettings(expand_palette=True, blocksize=128))
    with rasterio.open(out.path) as target:
        assert [each.name for each in target.colorinterp] == ["red", "green", "blue"]
        assert target.nodata is None
        np.testing.assert_array_equal(target.dataset_mask() == 0, enlarged(indices == 2, 4))


def test_damaged_and_foreign_files_are_told_apart(tmp_path):
    from PIL import Image

    values = scenes.pixels(3, 200, 200)
    whole = scenes.write(tmp_path / "whole.tif", values, compress="deflate", tiled=True, blockxsize=64, blockysize=64)
    data = whole.read_bytes()
    (tmp_path / "cut.tif").write_bytes(data[: len(data) * 2 // 3])
    (tmp_path / "flipped.tif").write_bytes(data[:60000] + bytes(200) + data[60200:])
    (tmp_path / "empty.tif").write_bytes(b"")
    (tmp_path / "text.tif").write_text("no image")
    for kind in ("png", "jpg"):
        Image.fromarray(np.moveaxis(values, 0, -1)).save(tmp_path / f"whole.{kind}")
        data = (tmp_path / f"whole.{kind}").read_bytes()
        (tmp_path / f"cut.{kind}").write_bytes(data[: len(data) // 2])
    scenes.write(tmp_path / "complex.tif", values.astype(np.complex64))
    expected = {
        "cut.tif": "corrupt",
        "flipped.tif": "corrupt",
        "cut.png": "corrupt",
        "cut.jpg": "corrupt",
        "empty.tif": "unreadable",
        "text.tif": "unreadable",
        "missing.tif": "unreadable",
        "complex.tif": "unsupported",
    }
    (tmp_path / "out").mkdir()
    kinds = {}
    for name in expected:
        with pytest.raises(SceneError) as error:
            scenes.run(tmp_path / name, tmp_path / "out")
        kinds[name] = error.value.kind
        assert str(tmp_path) not in error.value.reason or kinds[name] == "unreadable"
    assert kinds == expected
    assert scenes.files(tmp_path / "out") == []
    out = scenes.run(tmp_path / "whole.png", tmp_path / "out")
    np.testing.assert_array_equal(scenes.read(out.path), scenes.read(scenes.run(whole, tmp_path / "out").path))
