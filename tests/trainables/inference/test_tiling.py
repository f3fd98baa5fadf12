"""Tiles are together, bit for bit, what the network makes of the whole image continued by reflection."""

import numpy as np
import pytest
import torch
from kernels import assert_same

from trainables.inference.prepare import interpolate_by_phase, prepared
from trainables.inference.tiling import SMALLEST_TILE, Grid, cut, reflected, rows_needed
from trainables.inference.working_memory import bytes_per_pixel, tile_within
from trainables.network import packaged as pretrained
from trainables.network.bands import with_bands
from trainables.network.network import SuperResolutionNet, interpolate, preset

NIR = ["red", "green", "blue", "nir"]


@pytest.mark.parametrize("length", [1, 2, 3, 7, 20])
def test_reflection_is_that_of_numpy(length):
    line = np.arange(length)
    np.testing.assert_array_equal(line[reflected(-11, length + 13, length)], np.pad(line, (11, 13), mode="reflect"))


@pytest.mark.parametrize(("height", "width"), [(1, 1), (7, 5), (30, 1), (40, 50)])
def test_windows_are_those_of_the_padded_image(height, width):
    image = np.random.default_rng(0).random((2, height, width))
    padded = np.pad(image, ((0, 0), (9, 29), (9, 29)), mode="reflect")
    for row in range(-9, height, 8):
        for column in range(-9, width, 8):
            first, last = rows_needed(row, 20, height)
            window = cut(image[:, first:last], row, column, 20, 20, height, first)
            np.testing.assert_array_equal(window, padded[:, row + 9 : row + 29, column + 9 : column + 29])


@pytest.mark.parametrize(("length", "tile"), [(1, 16), (16, 16), (17, 16), (100, 16), (61, 60), (999, 256)])
@pytest.mark.parametrize("multiple", [1, 8])
def test_tiles_cover_all_once(length, tile, multiple):
    grid = Grid.of(length, 5, tile, 7, multiple)
    spans = [(tile.row, tile.row + tile.rows) for tile in grid.tiles()]
    assert [row for first, last in spans for row in range(first, last)] == list(range(length))
    assert grid.rows <= max(tile, multiple)
    assert len(spans) == 1 or grid.rows % multiple == 0


def computed(length, side, halo):
    """Pixels along a line that tiles of one side compute, the last of them too."""
    return -(-length // side) * (side + 2 * halo)


@pytest.mark.parametrize(
    ("length", "tile", "multiple"), [(100, 16, 1), (100, 32, 8), (61, 60, 1), (65, 64, 16), (9, 8, 8)]
)
@pytest.mark.parametrize("halo", [3, 7, 30])
def test_sides_are_those_of_least_work_and_the_largest_of_equal_ones(length, tile, multiple, halo):
    allowed = [side for side in range(1, tile + 1) if side % multiple == 0]
    least = min(computed(length, side, halo) for side in allowed)
    best = [side for side in allowed if computed(length, side, halo) == least]
    grid = Grid.of(length, length, tile, halo, multiple)
    assert grid.rows == grid.columns == max(best)


@pytest.mark.parametrize(("tile", "side"), [(31, 16), (32, 32), (33, 32), (15, 16)])
def test_sides_are_multiples_within_a_tile(tile, side):
    assert Grid.of(64, 64, tile, 0, 16) == Grid(64, 64, side, side)


@pytest.mark.parametrize(("row", "column"), [(0, 0), (2, 0), (0, 3), (2, 3)])
def test_a_window_inside_an_image_is_no_copy(row, column):
    image = np.zeros((2, 6, 8), np.float32)
    assert np.shares_memory(cut(image, row, column, 4, 5, 6), image)


def test_an_image_within_one_tile_is_one_tile_whatever_the_multiple():
    for multiple in (1, 8):
        assert [(t.rows, t.columns) for t in Grid.of(13, 16, 16, 4, multiple).tiles()] == [(13, 16)]
    assert Grid.of(16, 17, 16, 4) == Grid(16, 17, 16, 9)


def test_tiles_of_some_rows_start_there_and_end_there():
    grid = Grid(height=10, width=5, rows=4, columns=3)
    places = [(tile.row, tile.column, tile.rows, tile.columns) for tile in grid.tiles(3, 9)]
    assert places == [(3, 0, 4, 3), (3, 3, 4, 2), (7, 0, 2, 3), (7, 3, 2, 2)]
    assert [tile.row for tile in grid.tiles(8)] == [8, 8]


@pytest.mark.parametrize(
    ("row", "rows", "needed"), [(2, 3, (2, 5)), (-3, 5, (0, 4)), (7, 6, (6, 10)), (-2, 14, (0, 10))]
)
def test_no_more_rows_are_read_than_a_window_needs(row, rows, needed):
    assert rows_needed(row, rows, 10) == needed


def test_no_tile_is_narrow_where_tiles_may_have_any_side():
    assert Grid.of(1000, 1000, 512, 18).rows == 500


def whole(net, image):
    """The definition: the network on the padded image, cropped."""
    edge = net.radius * net.scale
    padded = np.pad(image, ((0, 0), (net.radius,) * 2, (net.radius,) * 2), mode="reflect")
    return net(torch.from_numpy(padded)[None])[0, :, edge:-edge, edge:-edge].numpy()


def tiled(net, image, tile):
    r, halo, (bands, height, width) = net.scale, net.radius, image.shape
    out = np.empty((bands, height * r, width * r), np.float32)
    grid = Grid.of(height, width, tile, halo)
    for each in grid.tiles():
        window = cut(image, each.row - halo, each.column - halo, grid.rows + 2 * halo, grid.columns + 2 * halo, height)
        hr = net(torch.from_numpy(np.ascontiguousarray(window))[None])[0, :, halo * r :, halo * r :].numpy()
        rows, columns = each.rows * r, each.columns * r
        out[:, each.row * r :, each.column * r :][:, :rows, :columns] = hr[:, :rows, :columns]
    return out


def tiny(scale, name="tiny"):
    torch.manual_seed(scale)
    made = SuperResolutionNet(preset(name, scale))
    for parameter in made.generator.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    return made


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", ["base-x2", "base-x4"])
def test_packaged_models_are_exact_to_the_last_bit(name, precision):
    net = prepared(pretrained.load(name)[0], precision=precision)
    image = np.random.default_rng(0).random((3, 70, 45), dtype=np.float32)
    expected = whole(net, image)
    for tile in (32, 64):
        assert_same(tiled(net, image, tile), expected)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_packaged_models_are_exact_with_other_bands_too(precision):
    net = prepared(with_bands(pretrained.load("base-x4")[0], NIR), precision=precision)
    image = np.random.default_rng(0).random((4, 70, 45), dtype=np.float32)
    assert_same(tiled(net, image, 32), whole(net, image))


@pytest.mark.parametrize("names", [["gray"], ["red", "green", "blue"], NIR])
@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (7, 5), (33, 70)])
def test_any_scale_size_and_bands_are_exact_after_quantisation(names, scale, height, width):
    net = prepared(with_bands(tiny(scale), names), precision="float32")
    image = np.random.default_rng(1).random((len(names), height, width), dtype=np.float32)
    expected = whole(net, image)
    for tile in (16, 40):
        found = tiled(net, image, tile)
        np.testing.assert_allclose(found, expected, atol=1e-6)
        for top in (255, 65535):
            assert_same(*(np.rint(each * top).astype(np.int32) for each in (found, expected)))


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (1, 3, 2, 5), (2, 3, 17, 30)])
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_interpolation_by_phase_is_bicubic_interpolation_that_knows_no_place(scale, shape):
    lr = torch.rand(shape)
    torch.testing.assert_close(interpolate_by_phase(lr, scale), interpolate(lr, scale), atol=2e-6, rtol=0)
    far = torch.cat([torch.rand(*shape[:3], 1000), lr], -1)
    if shape[-1] > 10:
        inner = slice(2 * scale, None)
        there = interpolate_by_phase(far, scale)[..., 1000 * scale :]
        assert torch.equal(there[..., inner], interpolate_by_phase(lr, scale)[..., inner])


def test_a_narrow_halo_would_show():
    """The tests above can fail."""
    from dataclasses import replace

    net = prepared(tiny(2), precision="float32")
    image = np.random.default_rng(1).random((3, 40, 40), dtype=np.float32)
    assert np.abs(tiled(replace(net, radius=2), image, 16) - whole(net, image)).max() > 1 / 255


def test_memory_is_measured_and_tiles_fit_the_budget():
    small, wide = (prepared(tiny(4, name), precision="float32") for name in ("tiny", "base"))
    assert bytes_per_pixel(small) < bytes_per_pixel(wide)
    assert bytes_per_pixel(small) < bytes_per_pixel(prepared(with_bands(tiny(4), NIR), precision="float32"))
    each, radius = bytes_per_pixel(wide), wide.radius
    sides = [tile_within(megabytes * 2**20, each, radius) for megabytes in (1, 64, 128, 100_000)]
    assert 3 * 32 * 4 < each < 8 * 32 * 4
    assert sides == sorted(sides)
    assert sides[0] < SMALLEST_TILE
    assert sides[-1] == 512
    assert (sides[1] + 2 * wide.radius) ** 2 * each < 64 * 2**20
