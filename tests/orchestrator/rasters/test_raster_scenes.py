import time

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.enums import ColorInterp

from orchestrator.rasters.open_raster_file import open_raster_file
from trainables.errors import UnreadableImageError

PLACE = {"crs": "EPSG:32633", "transform": Affine(10, 0, 5e5, 0, -10, 5e6)}


def noise(bands, height=50, width=60, dtype="uint16", seed=0):
    return np.random.default_rng(seed).integers(1, 10000, (bands, height, width)).astype(dtype)


def write(path, pixels, driver="GTiff", colours=None, names=None, units=None, mask=None, **profile):
    count, height, width = pixels.shape
    options = {"count": count, "height": height, "width": width, "dtype": pixels.dtype} | profile
    with rasterio.open(path, "w", driver=driver, **options) as target:
        target.write(pixels)
        if colours:
            target.colorinterp = colours
        if names:
            target.descriptions = names
        if units:
            target.units = units
        if mask is not None:
            target.write_mask(mask)
    return path


def whole(path, **options):
    with open_raster_file(path, **options) as file:
        return file, file.read(0, 0, 0, file.height, file.width)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
@pytest.mark.parametrize("tiled", [True, False])
def test_windows_hold_the_values_that_were_written(tmp_path, dtype, tiled):
    pixels = noise(4, dtype=dtype)
    layout = {"tiled": True, "blockxsize": 16, "blockysize": 16} if tiled else {}
    path = write(tmp_path / "a.tif", pixels, compress="deflate", photometric="minisblack", **layout, **PLACE)
    with open_raster_file(path) as file:
        assert (file.height, file.width, file.dtype, file.layers) == (50, 60, dtype, 1)
        assert (file.units, file.window, file.scene) == ("", None, None)
        for row, column, height, width in ((0, 0, 50, 60), (3, 7, 20, 11), (49, 59, 1, 1), (0, 40, 50, 20)):
            raster = file.read(0, row, column, height, width)
            wanted = np.moveaxis(pixels, 0, -1)[row : row + height, column : column + width]
            assert raster.values.dtype == dtype
            assert np.array_equal(raster.values, wanted)
            assert raster.valid is None
        with pytest.raises(IndexError, match="50×60"):
            file.read(0, 40, 0, 11, 60)
        with pytest.raises(IndexError):
            file.read(1, 0, 0, 5, 5)


def test_jpeg_2000_is_read_by_windows(tmp_path):
    pixels = noise(3)
    path = write(tmp_path / "a.jp2", pixels, "JP2OpenJPEG", QUALITY=100, REVERSIBLE="YES", **PLACE)
    with open_raster_file(path) as file:
        assert np.array_equal(file.read(0, 5, 6, 30, 20).values, np.moveaxis(pixels, 0, -1)[5:35, 6:26])


def test_bands_are_called_by_description_then_by_colour_then_by_number(tmp_path):
    rgbn = [ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.undefined]
    named = {
        "described.tif": ({"names": ["B02", "Red", "NIR", "B02"]}, ("B02", "red", "nir", "band4")),
        "coloured.tif": ({"colours": rgbn, "photometric": "rgb"}, ("red", "green", "blue", "band4")),
        "plain.tif": ({}, ("band1", "band2", "band3", "band4")),
    }
    for name, (options, bands) in named.items():
        file, raster = whole(write(tmp_path / name, noise(4), **options, **PLACE))
        assert file.bands == raster.bands == bands
    file, _ = whole(write(tmp_path / "gray.tif", noise(1), **PLACE))
    assert file.bands == ("gray",)


def test_units_are_those_of_the_stored_values(tmp_path):
    path = write(tmp_path / "a.tif", noise(2, dtype="float32"), units=["K", "K"], **PLACE)
    assert whole(path)[1].units == "K"
    with rasterio.open(path, "r+") as target:
        target.scales = (0.1, 0.1)
    assert whole(path)[1].units == ""
    assert whole(write(tmp_path / "b.tif", noise(2), units=["K", "m"], **PLACE))[1].units == ""


def test_a_pixel_without_a_value_in_one_band_is_invalid(tmp_path):
    pixels = noise(3)
    pixels[1, 4, 5] = pixels[:, 9, 9] = 0
    _, raster = whole(write(tmp_path / "nodata.tif", pixels, nodata=0, **PLACE))
    assert np.argwhere(~raster.valid).tolist() == [[4, 5], [9, 9]]
    decimals = noise(2, dtype="float32")
    decimals[0, 1, 2], decimals[1, 3, 4] = np.nan, np.inf
    _, raster = whole(write(tmp_path / "nan.tif", decimals, **PLACE))
    assert np.argwhere(~raster.valid).tolist() == [[1, 2], [3, 4]]
    mask = np.full((50, 60), 255, np.uint8)
    mask[:7] = 0
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        path = write(tmp_path / "mask.tif", noise(2), mask=mask, **PLACE)
    with open_raster_file(path) as file:
        assert file.read(0, 0, 0, 7, 60).empty
        assert file.read(0, 7, 0, 43, 60).valid is None


def test_transparency_of_16_bits_marks_pixels(tmp_path):
    pixels = noise(4)
    pixels[3] = 65535
    pixels[3, 8, 2] = 0
    _, raster = whole(write(tmp_path / "a.tif", pixels, photometric="rgb", alpha="yes"))
    assert raster.bands == ("red", "green", "blue")
    assert np.argwhere(~raster.valid).tolist() == [[8, 2]]


def test_classes_are_left_out_with_words_or_refused(tmp_path):
    patches = np.kron(np.random.default_rng(0).integers(3, 9, (10, 12)), np.ones((5, 5))).astype(np.uint16)[None]
    mixed = np.concatenate([noise(2), patches])
    file, raster = whole(write(tmp_path / "a.tif", mixed, names=["B04", "B08", "SCL"], **PLACE))
    assert raster.bands == ("B04", "B08")
    assert np.array_equal(raster.values, np.moveaxis(mixed[:2], 0, -1))
    assert [note for note in file.notes if "band 3 was left out" in note and "scl" in note]
    with pytest.raises(UnreadableImageError, match="classes or flags, no image"):
        whole(write(tmp_path / "scl.tif", patches, **PLACE))


def test_a_palette_on_a_map_is_refused(tmp_path):
    path = tmp_path / "a.tif"
    write(path, np.kron(np.arange(20).reshape(4, 5), np.ones((9, 9)))[None].astype(np.uint8), **PLACE)
    with rasterio.open(path, "r+") as target:
        target.write_colormap(1, {number: (number, 0, 0, 255) for number in range(20)})
    with pytest.raises(UnreadableImageError, match="palette"):
        whole(path)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_windows_of_a_turned_image_are_upright(tmp_path, orientation):
    import made_tiffs

    stored = noise(1, 20, 30)[0]
    path = tmp_path / "a.tif"
    made_tiffs.write(path, stored, tags={274: (3, [orientation])})
    upright = stored.T if orientation >= 5 else stored
    upright = upright[:: -1 if orientation in (3, 4, 7, 8) else 1, :: -1 if orientation in (2, 3, 6, 7) else 1]
    with open_raster_file(path) as file:
        assert (file.height, file.width) == upright.shape
        assert np.array_equal(file.read(0, 2, 3, 11, 9).values[..., 0], upright[2:13, 3:12])


def test_a_scene_that_is_cut_short_is_refused_where_it_is_read(tmp_path):
    path = write(tmp_path / "a.tif", noise(2, 300, 300), blockysize=16, **PLACE)
    path.write_bytes(path.read_bytes()[:200_000])
    with pytest.raises(UnreadableImageError, match=r"cannot be (read|opened)"):
        whole(path)


@pytest.mark.parametrize("dtype", ["float64", "int32", "uint32", "complex64"])
def test_other_data_types_are_refused(tmp_path, dtype):
    with pytest.raises(UnreadableImageError, match=f"data type is {dtype}"):
        whole(write(tmp_path / "a.tif", noise(1, dtype=dtype), **PLACE))


def test_a_scene_larger_than_any_memory_is_read_by_windows(tmp_path):
    path = tmp_path / "a.tif"
    profile = {"driver": "GTiff", "width": 200_000, "height": 200_000, "count": 4, "dtype": "uint16"}
    layout = {"tiled": True, "blockxsize": 512, "blockysize": 512, "sparse_ok": True, "bigtiff": "yes"}
    with rasterio.open(path, "w", **profile, **layout, **PLACE) as target:
        target.write(noise(4), window=rasterio.windows.Window(150_000, 150_000, 60, 50))
    path.touch()
    with path.open("ab") as file:
        file.truncate(200 << 20)  # sparse: as large as its compression may be
    with open_raster_file(path) as file:
        part = file.read(0, 150_000, 150_000, 50, 60)
        assert np.array_equal(part.values, np.moveaxis(noise(4), 0, -1))


def test_windows_side_by_side_decode_their_rows_once(tmp_path):
    pixels = noise(3, 600, 2000)
    path = write(tmp_path / "a.png", pixels, "PNG", zlevel=1)
    start = time.process_time()
    whole(path)
    once = time.process_time() - start
    start = time.process_time()
    with open_raster_file(path) as file:
        for column in range(0, 2000, 50):
            file.read(0, 300, column, 300, 50)
    assert time.process_time() - start < 5 * once, "40 windows, each of which passes half of the file"
