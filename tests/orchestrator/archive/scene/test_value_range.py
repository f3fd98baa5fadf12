"""Ranges, bands, nodata and sizes: what fits is used, what cannot be meant is refused before any work."""

import time
from dataclasses import replace

import archive_scenes as scenes
import made_tiffs
import numpy as np
import pytest
import rasterio
import torch

from orchestrator.archive.scene import rows as part
from orchestrator.archive.scene.nodata import enlarged, filled, valid_samples
from orchestrator.archive.scene.size_limits import (
    LARGEST_BLOCK,
    LARGEST_ROW,
    LONGEST_SIDE,
    MOST_BANDS,
    MOST_COMPRESSED,
    MOST_PIXELS,
    Header,
    check_header,
)
from orchestrator.archive.scene.strips import tidy_limits, usable_nodata
from orchestrator.archive.scene.types import LoadedModel, ModelFacts, SceneError, SceneSettings
from orchestrator.archive.scene.upscale import check_scene
from orchestrator.archive.scene.value_range import normalisation
from trainables.errors import UsageError

FACTS = ModelFacts(name="m", digest="d", scale=2, channels=3, radius=4, precision="float32")
ONE = dict(width=1, height=1, bands=1, dtype="uint8", block=(1, 1), interleaved=False, size=100)


def norm(dtype, wish, scales=(1.0,), offsets=(0.0,)):
    return normalisation(dtype, scales, offsets, FACTS, SceneSettings(normalisation=wish))


def limits(made):
    return made.low.tolist(), made.high.tolist()


@pytest.mark.parametrize("wish", [(0, 10000), (-1000, 9000), (0, 256), (-1, 255), (300, 400)])
def test_8_bit_scenes_of_a_mixed_archive_keep_their_own_range(wish):
    assert limits(norm("uint8", wish)) == ([0.0], [255.0])
    assert norm("uint8", wish).text == "0 to 255 (limits of uint8)"


@pytest.mark.parametrize("wish", [(0, 255), (0, 100), (16, 235)])
def test_a_range_within_8_bits_is_meant(wish):
    assert limits(norm("uint8", wish)) == ([wish[0]], [wish[1]])


def test_a_range_for_decimals_leaves_8_bit_scenes_alone(tmp_path):
    source = scenes.write(tmp_path / "a.tif", scenes.pixels(1, 20, 20))
    given = scenes.run(source, tmp_path, SceneSettings(blocksize=128, normalisation=(0, 1)))
    assert given.sha256 == scenes.run(source, tmp_path, name="b.tif").sha256


@pytest.mark.parametrize(
    ("dtype", "wish"),
    [("uint16", (65535, 70000)), ("uint16", (-5, 0)), ("int16", (32767, 40000)), ("uint16", (0, 10**6))],
)
def test_a_range_outside_the_type_is_refused(dtype, wish):
    with pytest.raises(SceneError, match=f"does not fit {dtype}") as error:
        norm(dtype, wish)
    assert error.value.kind == "normalisation"
    assert limits(norm("uint16", (-1000, 9000))) == ([-1000.0], [9000.0])
    assert limits(norm("int16", (0, 65535))) == ([0.0], [65535.0])


@pytest.mark.parametrize(
    ("dtype", "low", "high", "wish"),
    [
        ("float32", 0, 1, (0, 10000)),
        ("float32", 0, 10000, (0, 1)),
        ("uint16", 3000, 9000, (0, 1)),
        ("uint16", 0, 60000, (0, 255)),
        ("int16", -9000, -8000, (0, 1000)),
    ],
)
def test_a_range_far_from_all_values_is_refused(tmp_path, dtype, low, high, wish):
    values = np.random.default_rng(0).uniform(low, high, (2, 40, 40)).astype(dtype)
    source = scenes.write(tmp_path / "a.tif", values, photometric="minisblack")
    with pytest.raises(SceneError, match=r"does not fit the values of band 1, which run from .* to ") as error:
        check_scene(source, scenes.model().facts, SceneSettings(normalisation=wish))
    assert error.value.kind == "normalisation"
    facts = replace(scenes.model().facts, value_range={dtype: wish})
    with pytest.raises(SceneError, match=r"does not fit the values of band 1"):
        check_scene(source, facts, SceneSettings())


@pytest.mark.parametrize(
    ("dtype", "low", "high", "wish"),
    [
        ("uint16", 0, 5, (0, 10000)),  # night
        ("uint16", 29000, 31000, (0, 10000)),  # clouds
        ("float32", 0, 0.02, (0, 1)),  # water
        ("float32", 200, 320, (200, 320)),
        ("int16", -500, 300, (0, 10000)),
    ],
)
def test_dark_and_bright_scenes_are_not_refused(tmp_path, dtype, low, high, wish):
    values = np.random.default_rng(0).uniform(low, high, (1, 40, 40)).astype(dtype)
    values[0, 0, 0] = 0
    check_scene(scenes.write(tmp_path / "a.tif", values), scenes.model().facts, SceneSettings(normalisation=wish))
    flat = scenes.write(tmp_path / "b.tif", np.zeros((1, 9, 9), dtype))
    check_scene(flat, scenes.model().facts, SceneSettings(normalisation=wish))
    empty = scenes.write(tmp_path / "c.tif", np.zeros((1, 9, 9), dtype), nodata=0)
    check_scene(empty, scenes.model().facts, SceneSettings(normalisation=wish))


@pytest.mark.parametrize("scales", [(0.0,), (-0.1,), (0.1, 0.0)])
def test_scales_must_be_above_0(scales):
    with pytest.raises(SceneError, match=f"scales must be above 0 .* found {min(scales):g}") as error:
        norm("int16", "scales", scales, (5.0,) * len(scales))
    assert error.value.kind == "normalisation"


def test_offsets_alone_are_scales():
    assert limits(norm("int16", "auto", (1.0,), (-2.0,))) == ([2.0], [3.0])
    with pytest.raises(SceneError, match="the file has no scales"):
        norm("int16", "scales")


@pytest.mark.parametrize("wish", [(0, np.inf), (-np.inf, 0), (np.nan, 1), (0, np.nan), (1, 1), (2, 1)])
def test_a_range_has_two_finite_ends(wish):
    with pytest.raises(UsageError, match="two values LOW,HIGH"):
        SceneSettings(normalisation=wish)


def test_limits_of_types():
    assert limits(norm("int16", "dtype")) == ([-32768.0], [32767.0])
    assert limits(norm("uint16", "dtype")) == ([0.0], [65535.0])


@pytest.mark.parametrize(
    ("value", "dtype", "usable"),
    [
        (None, "uint8", None),
        (256, "uint8", None),
        (-1, "uint8", None),
        (0.5, "uint16", None),
        (float("nan"), "uint8", None),
        (float("inf"), "int16", None),
        (255, "uint8", 255),
        (-32768, "int16", -32768),
        (-1e30, "float32", -1e30),
    ],
)
def test_nodata_that_the_type_cannot_hold_is_none(value, dtype, usable):
    assert usable_nodata(value, dtype) == usable


def test_the_limits_of_float32_are_no_values():
    most = np.finfo(np.float32).max
    values = np.array([most, -most, -3.4e38, np.inf, -np.inf, np.nan, 1e38, 0], np.float32)
    assert valid_samples(values, None).tolist() == [False] * 6 + [True, True]
    tidy_limits(values, -np.inf)
    assert values[1] == -np.inf
    assert values[0] == most


@pytest.mark.parametrize("stated", ["-1.7976931348623157e+308", "-3.4028234663852886e+38", "-3.4e+38", "inf", "nan"])
def test_nodata_beyond_float32_keeps_its_footprint(tmp_path, stated):
    values = scenes.pixels(1, 40, 50, "float32")
    hole = np.zeros((1, 40, 50), bool)
    hole[0, 10:20, 15:30] = True
    fill = -np.finfo(np.float32).max if "308" in stated else np.float32(stated)
    values[hole] = fill
    text = [*stated.encode(), 0]
    path = made_tiffs.write(tmp_path / "a.tif", values[0], tags={339: (3, [3]), 42113: (1, text)})
    path.write_bytes(path.read_bytes().replace(b"\x81\xa4\x01\0", b"\x81\xa4\x02\0"))  # text, not bytes
    out = scenes.run(path, tmp_path, SceneSettings(blocksize=128, normalisation=(0, 1)))
    with rasterio.open(out.path) as target:
        np.testing.assert_array_equal(target.read_masks(1) == 0, enlarged(hole[0], 4))
        shown = target.read(1)[~enlarged(hole[0], 4)]
    assert np.isfinite(shown).all()
    assert -1 < shown.min() < shown.max() < 2


def test_a_fill_beyond_reach_is_0_and_within_it_the_mean_of_known_neighbours():
    pixels, valid = np.zeros((1, 9, 9), np.float32), np.zeros((1, 9, 9), bool)
    pixels[0, 4, 4], valid[0, 4, 4] = 6, True
    result = filled(pixels, valid, 2)[0]
    assert (result[2:7, 2:7] == 6).all()
    assert result.sum() == 25 * 6
    valid[:] = True
    np.testing.assert_array_equal(filled(pixels, valid, 2), pixels)


class Broken(torch.nn.Module):
    """What a damaged model gives."""

    def __init__(self, value):
        super().__init__()
        self.value = value

    def forward(self, lr):
        return torch.full((*lr.shape[:2], lr.shape[2] * 4, lr.shape[3] * 4), self.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_values_that_are_not_finite_are_no_output(tmp_path, value, dtype):
    made = scenes.model()
    broken = LoadedModel(made.facts, replace(made.net, run=Broken(value)), made.bytes_per_pixel)
    source = scenes.write(tmp_path / "a.tif", scenes.pixels(1, 20, 20, dtype))
    with pytest.raises(SceneError, match="not finite where the scene has some") as error:
        scenes.run(source, tmp_path, SceneSettings(blocksize=128, normalisation=(0, 1)), made=broken)
    assert error.value.kind == "verification"
    assert scenes.files(tmp_path) == ["a.tif"]


@pytest.mark.parametrize(
    ("wrong", "right", "reason"),
    [
        ({"bands": MOST_BANDS + 1}, {"bands": MOST_BANDS}, f"{MOST_BANDS + 1} bands; at most {MOST_BANDS}"),
        ({"width": LONGEST_SIDE + 1}, {"width": LONGEST_SIDE}, "1,000,001×1 pixels; at most 1,000,000 to a side"),
        ({"height": LONGEST_SIDE + 1}, {"height": LONGEST_SIDE}, "1×1,000,001 pixels"),
        ({"height": 80_000_000}, {}, "at most 1,000,000 to a side"),
        ({"width": 2**31 - 1, "height": 2**31 - 1}, {}, "at most 1,000,000 to a side"),
        (
            {"width": 200_001, "height": 200_000, "size": None},
            {"width": 200_000, "height": MOST_PIXELS // 200_000, "size": None},
            "40,000,000,000 in all",
        ),
        (
            {"width": LARGEST_ROW // 16 + 1, "bands": 8, "dtype": "uint16", "size": None},
            {"width": LARGEST_ROW // 16, "bands": 8, "dtype": "uint16", "size": None},
            "One row of its pixels takes 8 MB",
        ),
        (
            {"block": (2**15 + 1, 2**15), "size": None},
            {"block": (2**15, LARGEST_BLOCK // 2**15), "size": None},
            "tiles or strips takes 1,024 MB; at most 1024 MB",
        ),
        (
            {"block": (2**14, 2**14), "bands": 5, "interleaved": True, "size": None},
            {"block": (2**14, 2**14), "bands": 5, "interleaved": False, "size": None},
            "tiles or strips takes 1,280 MB",
        ),
        (
            {"width": 40_000, "height": 40_000, "size": 1000},
            {"width": 40_000, "height": 40_000, "size": 1_600_000_000 // MOST_COMPRESSED},
            "It would take .* times the file's 1,000 bytes",
        ),
        (
            {"block": (9000, 9000), "size": 1000},
            {"block": (9000, 9000), "size": 81_000_000 // MOST_COMPRESSED},
            "One of its internal tiles would take .* times the file's 1,000 bytes",
        ),
    ],
)
def test_sizes_have_limits_that_are_stated(wrong, right, reason):
    with pytest.raises(SceneError, match=reason) as error:
        check_header(Header(**{**ONE, **wrong}))
    assert error.value.kind == "unsupported"
    check_header(Header(**{**ONE, **right}))


@pytest.mark.parametrize(
    "tags",
    [
        {256: (4, [2**31 - 1]), 257: (4, [2**31 - 1]), 278: (4, [2**31 - 1])},
        {256: (4, [1]), 257: (4, [80_000_000])},
        {256: (4, [80_000_000]), 257: (4, [1])},
        {256: (4, [100_000]), 257: (4, [100_000]), 278: (4, [100_000])},
    ],
)
def test_a_header_that_promises_too_much_costs_nothing(tmp_path, tags):
    path = made_tiffs.write(tmp_path / "a.tif", np.zeros((4, 4), np.uint8), tags=tags)
    start = time.process_time()
    with pytest.raises(SceneError) as error:
        check_scene(path, scenes.model().facts, SceneSettings())
    assert error.value.kind in ("unsupported", "unreadable")
    assert time.process_time() - start < 2


def test_many_bands_take_smaller_tiles_and_cells():
    settings = SceneSettings()
    assert [settings.for_bands(bands, "uint8").blocksize for bands in (1, 128, 129, 512)] == [512, 512, 256, 256]
    assert settings.for_bands(512, "float32").blocksize == 128
    assert settings.for_bands(1, "uint8") is settings
    odd = SceneSettings(blocksize=144)
    assert odd.for_bands(512, "float32") == odd


def test_cost_grows_with_bands_no_faster_than_they_do(tmp_path, monkeypatch):
    """GDAL's cache must hold the tiles of all bands, else each band decodes them all."""
    monkeypatch.setattr(part, "apply_network", lambda net, lr, low, span, out, bands, *_: out[bands].fill(0))
    taken = {}
    for bands in (48, 192):
        source = scenes.write(tmp_path / "a.tif", scenes.pixels(bands, 16, 16, "uint16"), photometric="minisblack")
        start = time.process_time()
        scenes.run(source, tmp_path, SceneSettings(normalisation=(0, 10000)), scale=2)
        taken[bands] = time.process_time() - start
    assert taken[192] < 8 * taken[48] + 1
