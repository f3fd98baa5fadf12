"""One scene in, one COG out: exact whatever the tiles, parts and threads, of every type and number of bands."""

import hashlib
import shutil
import subprocess

import archive_scenes as scenes
import numpy as np
import pystac
import pytest
import rasterio
import torch
from kernels import assert_same, assert_same_files
from pystac.validation.stac_validator import JsonSchemaSTACValidator
from rio_cogeo.cogeo import cog_validate

from orchestrator.archive.scene import rows as part
from orchestrator.archive.scene.types import SceneError, SceneSettings
from orchestrator.archive.scene.upscale import check_scene, describe_scene, part_rows
from trainables.errors import UsageError
from trainables.network.network import interpolate

RANGE = {"uint8": "auto", "uint16": (0.0, 10000.0), "int16": (-1000.0, 9000.0), "float32": (0.0, 1.0)}


def blocks(hr, scale):
    bands, height, width = hr.shape
    return hr.reshape(bands, height // scale, scale, width // scale, scale)


def whole(values, made, low, high):
    """The whole scene through the network, seen as gray if it has one band, back-projected, in the scene's units."""
    net, r, pad = made.net, made.net.scale, made.net.radius + 2
    source = np.pad(values.astype(np.float32), ((0, 0), (pad, pad), (pad, pad)), mode="reflect")
    lr = torch.from_numpy((source - np.float32(low)) / np.float32(high - low))
    hr = net(lr.expand(net.channels, -1, -1)[None])[0].numpy()
    hr = (hr if len(values) == len(hr) else hr.mean(0, keepdims=True)) * np.float32(high - low) + np.float32(low)
    difference = source - blocks(hr, r).mean((2, 4))
    correction = interpolate(torch.from_numpy(difference)[None], r)[0].numpy()
    rest = difference - blocks(correction, r).mean((2, 4))
    means, hr = source[:, :, None, :, None], blocks(hr + correction, r) + rest[:, :, None, :, None]
    if values.dtype.kind != "f":
        limits, least, most = np.iinfo(values.dtype), hr.min((2, 4), keepdims=True), hr.max((2, 4), keepdims=True)
        with np.errstate(all="ignore"):
            below = np.where(least < limits.min, (means - limits.min) / (means - least), 1)
            above = np.where(most > limits.max, (limits.max - means) / (most - means), 1)
        hr = means + (hr - means) * np.minimum(below, above)
    return hr.reshape(len(values), source.shape[1] * r, -1)[:, pad * r : -pad * r, pad * r : -pad * r]


def assert_rounded(found, expected):
    """Whole numbers are those that are meant, but for ties of sums in another order."""
    limits = np.iinfo(found.dtype)
    expected = np.rint(expected).clip(limits.min, limits.max)
    np.testing.assert_allclose(found, expected, atol=1)
    assert (found != expected).mean() < 1e-3


@pytest.mark.parametrize(("height", "width"), [(1, 1), (7, 5), (65, 80)])
def test_tiles_give_the_whole_scene(tmp_path, height, width):
    values = scenes.pixels(3, height, width)
    source = scenes.write(tmp_path / "in.tif", values, photometric="rgb")
    made = scenes.model()
    outputs = []
    for memory in (8, 64):
        out = scenes.run(source, tmp_path, SceneSettings(memory_mb=memory, blocksize=128), made=made)
        assert (out.height, out.width, out.dtype) == (4 * height, 4 * width, "uint8")
        outputs.append((out.sha256, scenes.read(out.path)))
        assert cog_validate(out.path, strict=True)[0]
    assert_rounded(scenes.read(out.path), whole(values, made, 0, 255))
    assert_same_files(*outputs)
    assert hashlib.sha256(out.path.read_bytes()).hexdigest() == out.sha256
    assert scenes.files(tmp_path) == ["in.tif", "out.tif"]


@pytest.mark.parametrize(("height", "width"), [(1, 1), (7, 5), (65, 80)])
def test_tiles_and_parts_of_four_bands_seen_together_give_the_whole_scene(tmp_path, height, width):
    values = scenes.pixels(4, height, width, "uint16")
    source, made = scenes.write(tmp_path / "in.tif", values), scenes.model_of_four_bands()
    outputs = []
    for memory, parts in ((8, 1), (64, 1), (8, 3)):
        settings = SceneSettings(memory_mb=memory, blocksize=128)
        out = scenes.run(source, tmp_path, settings, parts=parts, made=made)
        outputs.append((out.sha256, scenes.read(out.path)))
    assert_rounded(scenes.read(out.path), whole(values, made, 0, 10000))
    assert_same_files(*outputs)
    assert (out.band_map, out.normalisation) == ("1,2,3,4", "0 to 10000 (the model's card)")


def test_bands_in_another_order_reach_the_network_in_its_own(tmp_path):
    values, made = scenes.pixels(4, 20, 30, "uint16"), scenes.model_of_four_bands()
    plain = scenes.read(scenes.run(scenes.write(tmp_path / "a.tif", values), tmp_path, made=made).path)
    source = scenes.write(tmp_path / "b.tif", values[[3, 0, 1, 2]], names=["nir", "red", "green", "blue"])
    out = scenes.run(source, tmp_path, made=made)
    assert out.band_map == "2,3,4,1"
    np.testing.assert_array_equal(scenes.read(out.path)[[1, 2, 3, 0]], plain)
    with rasterio.open(out.path) as target:
        assert target.descriptions == ("nir", "red", "green", "blue")


def test_a_band_of_flags_beside_those_of_the_network_is_repeated(tmp_path):
    values, made = scenes.pixels(4, 40, 40, "uint16"), scenes.model_of_four_bands()
    flags = np.zeros((1, 40, 40), np.uint16)
    flags[0, 10:20, 5:25] = 4
    names = [*scenes.REFLECTANCE, "cloud_mask"]
    out = scenes.run(
        scenes.write(tmp_path / "a.tif", np.concatenate([values, flags]), names=names), tmp_path, made=made
    )
    alone = scenes.run(scenes.write(tmp_path / "b.tif", values), tmp_path, made=made, name="b-out.tif")
    assert out.band_map == "1,2,3,4"
    np.testing.assert_array_equal(scenes.read(out.path)[:4], scenes.read(alone.path))
    np.testing.assert_array_equal(scenes.read(out.path)[4], flags[0].repeat(4, 0).repeat(4, 1))


def test_a_scene_that_lacks_a_band_of_the_model_is_refused(tmp_path):
    made = scenes.model_of_four_bands()
    for names in (["red", "green", "blue"], ["red", "green", "blue", "swir"]):
        source = scenes.write(tmp_path / "a.tif", scenes.pixels(len(names), 9, 9, "uint16"), names=names)
        with pytest.raises(SceneError, match=r"takes 4 bands together \(red, green, blue, nir\)") as error:
            check_scene(source, made.facts, SceneSettings())
        assert error.value.kind == "model_mismatch"


@pytest.mark.skipif(shutil.which("gdalinfo") is None, reason="gdalinfo is not installed (Debian: gdal-bin)")
@pytest.mark.parametrize(("bands", "dtype"), [(3, "uint8"), (4, "uint16"), (1, "float32")])
def test_gdalinfo_reads_every_pixel_without_a_warning(tmp_path, bands, dtype):
    source = scenes.write(tmp_path / "in.tif", scenes.pixels(bands, 150, 170, dtype), nodata=0)
    out = scenes.run(source, tmp_path, SceneSettings(normalisation=RANGE[dtype], blocksize=128))
    told = subprocess.run(["gdalinfo", "-checksum", str(out.path)], capture_output=True, text=True)
    assert (told.returncode, told.stderr) == (0, "")
    assert "LAYOUT=COG" in told.stdout
    assert told.stdout.count("Checksum=") == bands


def test_tiles_follow_the_budget(tmp_path):
    source = scenes.write(tmp_path / "in.tif", scenes.pixels(3, 110, 110), photometric="rgb")
    tiles = [scenes.run(source, tmp_path, SceneSettings(memory_mb=mb, blocksize=128)).tile for mb in (4, 12, 1000)]
    assert tiles[0] < tiles[1] < tiles[2] == (110, 110)


@pytest.mark.parametrize(("scale", "parts"), [(2, 3), (3, 2)])
def test_parts_and_threads_change_no_byte(tmp_path, scale, parts):
    values = np.where(np.random.default_rng(1).random((4, 160, 40)) < 0.02, 0, scenes.pixels(4, 160, 40))
    colours = ["red", "green", "blue", "alpha"]
    source = scenes.write(tmp_path / "in.tif", values.astype(np.uint8), colours=colours, alpha="yes")
    one = scenes.run(source, tmp_path, scale=scale)
    more = scenes.run(source, tmp_path, SceneSettings(blocksize=128, threads=2), parts=parts, scale=scale, name="2.tif")
    assert one.sha256 == more.sha256
    assert (one.minimum, one.maximum, one.valid_share) == (more.minimum, more.maximum, more.valid_share)
    assert {key: value for key, value in one.item.items() if key != "assets"} == {
        key: value for key, value in more.item.items() if key != "assets"
    }


def test_rows_of_parts_end_with_rows_of_internal_tiles(tmp_path):
    facts = describe_scene(scenes.write(tmp_path / "in.tif", scenes.pixels(1, 1000, 3)))
    for scale, step in ((2, 256), (3, 512), (4, 128)):
        rows = part_rows(facts, scale, SceneSettings(), 3)
        assert [first for first, _ in rows] == [0, *(last for _, last in rows[:-1])]
        assert rows[-1][1] == 1000
        assert all(first % step == 0 for first, _ in rows)
    assert part_rows(facts, 4, SceneSettings(), 1) == [(0, 1000)]
    assert len(part_rows(facts, 4, SceneSettings(), 100)) == 8


@pytest.mark.parametrize("dtype", RANGE)
@pytest.mark.parametrize("bands", [1, 3, 4, 7])
def test_every_type_and_number_of_bands(tmp_path, dtype, bands):
    values = scenes.pixels(bands, 20, 30, dtype)
    source = scenes.write(tmp_path / "in.tif", values, photometric="minisblack")
    made = scenes.model()
    out = scenes.run(source, tmp_path, SceneSettings(blocksize=128, normalisation=RANGE[dtype]), made=made)
    low, high = (0, 255) if dtype == "uint8" else RANGE[dtype]
    hr = scenes.read(out.path)
    assert hr.dtype == dtype
    assert hr.shape == (bands, 80, 120)
    if bands == 3:
        expected = whole(values, made, low, high)
    else:
        expected = np.concatenate([whole(band[None], made, low, high) for band in values])
    if dtype != "float32":
        expected = np.rint(expected).clip(np.iinfo(dtype).min, np.iinfo(dtype).max)
    # Means of three and 16-bit units in float32 may round to the next value.
    np.testing.assert_allclose(hr, expected, atol=1e-5 if dtype == "float32" else 1)
    assert out.band_map == ("1,2,3" if bands == 3 else ";".join(str(band + 1) for band in range(bands)))
    assert out.minimum == [float(band.min()) for band in hr]
    assert cog_validate(out.path, strict=True)[0]


def test_values_are_not_cut_off_where_the_type_goes_on(tmp_path):
    values = np.full((1, 20, 20), 30000, np.uint16)
    out = scenes.run(
        scenes.write(tmp_path / "in.tif", values), tmp_path, SceneSettings(blocksize=128, normalisation=(0, 10000))
    )
    means = blocks(scenes.read(out.path).astype(float), 4).mean((2, 4))
    assert abs(means - 30000).max() <= 0.5


def test_colours_are_seen_together_in_the_networks_order(tmp_path):
    rgb, nir = scenes.pixels(3, 20, 30), scenes.pixels(1, 20, 30, seed=1)
    plain = scenes.read(scenes.run(scenes.write(tmp_path / "a.tif", rgb, photometric="rgb"), tmp_path).path)
    mixed = np.concatenate([nir, rgb[::-1]])
    source = scenes.write(tmp_path / "b.tif", mixed, colours=["undefined", "blue", "green", "red"])
    out = scenes.run(source, tmp_path)
    assert out.band_map == "4,3,2;1"
    np.testing.assert_array_equal(scenes.read(out.path)[[3, 2, 1]], plain)
    settings = SceneSettings(blocksize=128, band_map=((4, 3, 2), (1,)))
    unnamed = scenes.write(tmp_path / "c.tif", mixed, photometric="minisblack")
    np.testing.assert_array_equal(scenes.read(scenes.run(unnamed, tmp_path, settings).path)[[3, 2, 1]], plain)
    of_card = scenes.model_with(band_map={"4": [[4, 3, 2], [1]]})
    assert scenes.run(unnamed, tmp_path, made=of_card).band_map == "4,3,2;1"
    assert scenes.run(unnamed, tmp_path, SceneSettings(blocksize=128, band_map="singly")).band_map == "1;2;3;4"


@pytest.mark.parametrize(
    ("band_map", "told"), [(((1, 2, 3),), "each of the scene's 4"), (((1, 2), (3, 4)), "groups of 1 or 3 bands")]
)
def test_a_band_map_that_does_not_fit_is_refused(tmp_path, band_map, told):
    source = scenes.write(tmp_path / "in.tif", scenes.pixels(4, 5, 5), photometric="minisblack")
    with pytest.raises(SceneError, match=told) as error:
        check_scene(source, scenes.model().facts, SceneSettings(band_map=band_map))
    assert error.value.kind == "model_mismatch"


@pytest.mark.parametrize("dtype", ["uint16", "int16", "float32"])
def test_no_range_is_guessed(tmp_path, dtype):
    source = scenes.write(tmp_path / "in.tif", scenes.pixels(1, 5, 5, dtype))
    with pytest.raises(SceneError, match=f"its values are {dtype} without scales.*such as 0,10000") as error:
        check_scene(source, scenes.model().facts, SceneSettings())
    assert error.value.kind == "normalisation"
    high = 1 if dtype == "float32" else 3000
    check_scene(source, scenes.model_with(value_range={dtype: [0, high]}).facts, SceneSettings())


def test_a_card_may_state_no_range_and_no_bands():
    facts = scenes.model_with(value_range=None, band_map=None, band_names=None).facts
    assert (facts.value_range, facts.band_map, facts.band_names) == ({}, {}, ())


def test_scales_of_the_file_give_the_range(tmp_path):
    values = scenes.pixels(2, 20, 20, "int16")
    source = scenes.write(tmp_path / "in.tif", values)
    with rasterio.open(source, "r+") as target:
        target.scales, target.offsets = (1e-4, 2e-4), (-0.1, 0.0)
    out = scenes.run(source, tmp_path)
    assert out.normalisation == "1000 to 11000, 0 to 5000 (0 to 1 after the file's scales and offsets)"
    given = SceneSettings(blocksize=128, normalisation=(1000, 11000))
    same = scenes.run(scenes.write(tmp_path / "b.tif", values), tmp_path, given, name="b-out.tif")
    np.testing.assert_array_equal(scenes.read(out.path)[0], scenes.read(same.path)[0])
    other = scenes.write(tmp_path / "c.tif", scenes.pixels(1, 5, 5, "float32"))
    with pytest.raises(SceneError, match="float32 has no limits"):
        check_scene(other, scenes.model().facts, SceneSettings(normalisation="dtype"))


def test_out_of_memory_halves_the_tiles_and_changes_nothing(tmp_path, monkeypatch):
    source = scenes.write(tmp_path / "in.tif", scenes.pixels(3, 60, 80), photometric="rgb")
    expected = scenes.run(source, tmp_path)
    through, calls = part.apply_network, []

    def scarce(net, lr, *rest):
        calls.append(lr.shape)
        if lr.shape[-1] > 50 + 2 * net.radius:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return through(net, lr, *rest)

    monkeypatch.setattr(part, "apply_network", scarce)
    out = scenes.run(source, tmp_path, name="b.tif")
    assert out.tile == (30, 40)
    assert_same_files(*((each.sha256, scenes.read(each.path)) for each in (expected, out)))
    monkeypatch.setattr(part, "apply_network", lambda *_: np.empty((1 << 62,), np.uint8))
    with pytest.raises(SceneError) as error:
        scenes.run(source, tmp_path)
    assert error.value.kind == "memory"
    with pytest.raises(SceneError, match="Not even tiles of 16 pixels fit into memory_mb 1"):
        scenes.run(source, tmp_path, SceneSettings(memory_mb=1))


@pytest.mark.parametrize(("images", "shapes"), [(0, [1, 1, 1, 1]), (2, [2, 2]), (9, [4])])
def test_bands_that_go_one_by_one_go_in_batches_that_fit_memory(images, shapes, tmp_path, monkeypatch):
    source = scenes.write(tmp_path / "in.tif", scenes.pixels(4, 60, 80, "uint16"))
    settings = SceneSettings(blocksize=128, normalisation=(0, 10000), band_map="singly")
    expected = scenes.run(source, tmp_path, settings)
    through, calls = part.apply_network, []

    def counted(net, lr, *rest):
        calls.append(lr.shape)
        return through(net, lr, *rest)

    monkeypatch.setattr(part, "apply_network", counted)
    halo = expected.halo
    monkeypatch.setattr(part, "pixels_at_once", lambda *_: images * (60 + 2 * halo) * (80 + 2 * halo))
    out = scenes.run(source, tmp_path, settings, name="b.tif")
    assert [shape[0] for shape in calls] == shapes
    assert_same(scenes.read(out.path)[0], scenes.read(expected.path)[0])


def test_other_errors_of_the_network_are_not_called_memory(tmp_path, monkeypatch):
    source = scenes.write(tmp_path / "in.tif", scenes.pixels(3, 10, 10))

    def broken(*_):
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(part, "apply_network", broken)
    with pytest.raises(SceneError, match="RuntimeError: shapes") as error:
        scenes.run(source, tmp_path)
    assert error.value.kind == "error"
    assert scenes.files(tmp_path) == ["in.tif"]


def test_an_observer_sees_each_pixel_once(tmp_path):
    values = np.where(np.random.default_rng(1).random((3, 70, 50)) < 0.1, 0, scenes.pixels(3, 70, 50)).astype(np.uint8)
    seen_lr, seen_hr, valid = np.zeros((3, 70, 50)), np.zeros((3, 280, 200)), np.zeros((3, 70, 50), int)

    def observe(view):
        rows, columns = slice(view.row, view.row + view.lr.shape[1]), slice(view.column, view.column + view.lr.shape[2])
        seen_lr[:, rows, columns] += view.lr
        valid[:, rows, columns] += view.valid
        seen_hr[:, rows.start * 4 : rows.stop * 4, columns.start * 4 : columns.stop * 4] += view.hr

    source = scenes.write(tmp_path / "in.tif", values, nodata=0)
    out = scenes.run(source, tmp_path, SceneSettings(memory_mb=6, blocksize=128), observe=observe)
    np.testing.assert_array_equal(seen_lr, values)
    np.testing.assert_array_equal(valid, values != 0)
    np.testing.assert_array_equal(seen_hr, scenes.read(out.path))
    assert out.valid_share == pytest.approx((values != 0).mean())


@pytest.mark.parametrize("crs", ["EPSG:32633", None])
def test_the_item_is_valid_stac(tmp_path, crs):
    source = scenes.write(
        tmp_path / "in.tif", scenes.pixels(3, 20, 30), crs=crs, transform=scenes.PLACE if crs else None
    )
    item = scenes.run(source, tmp_path).item
    assert scenes.plain(item)
    JsonSchemaSTACValidator().validate_core(item, pystac.STACObjectType.ITEM, item["stac_version"])
    assert item["links"] == [{"rel": "derived_from", "href": str(source)}]
    assert item["properties"]["proj:shape"] == [80, 120]
    assert item["assets"]["data"]["href"] == "out.tif"
    if crs:
        west, south, east, north = item["bbox"]
        assert 14.99 < west < east < 15.02
        assert 45.14 < south < north < 45.16
        assert item["properties"]["proj:code"] == crs
        assert item["properties"]["proj:transform"][:3] == [7.5, 0.0, 500000.0]
    else:
        assert item["geometry"] is None
        assert "bbox" not in item


def test_a_coordinate_system_without_a_code_is_stated_in_the_text_format_of_2019(tmp_path):
    system = "+proj=laea +lat_0=51 +lon_0=8.5 +ellps=GRS80 +units=m +no_defs"
    source = scenes.write(tmp_path / "in.tif", scenes.pixels(1, 20, 30), crs=system)
    properties = scenes.run(source, tmp_path).item["properties"]
    assert properties.get("proj:code") is None
    assert properties["proj:wkt2"].startswith('PROJCRS["')
    assert rasterio.CRS.from_wkt(properties["proj:wkt2"]) == rasterio.CRS.from_string(system)


@pytest.mark.parametrize(
    "wrong", [{"memory_mb": 0}, {"blocksize": 100}, {"normalisation": (5.0, 5.0)}, {"threads": 0}], ids=str
)
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(UsageError, match=str(next(iter(wrong)))):
        SceneSettings(**wrong)
