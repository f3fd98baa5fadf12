import os
import struct
import zlib

import numpy as np
import pytest
import rasterio
from PIL import Image

from orchestrator.rasters.open_raster_file import open_raster_file
from trainables.errors import UnreadableImageError
from trainables.images.codec import decode


def colours(height=24, width=30, bands=3):
    return np.random.default_rng(0).integers(0, 256, (height, width, bands), dtype=np.uint8)


def whole(path, **options):
    with open_raster_file(path, **options) as file:
        return file, file.read(0, 0, 0, file.height, file.width)


@pytest.mark.parametrize("checked", [True, False])
@pytest.mark.parametrize("ending", ["png", "jpg", "webp", "bmp", "tif"])
def test_pictures_of_8_bits_are_decoded_as_ever(tmp_path, ending, checked):
    for name, pixels, bands in (
        ("rgb", colours(), ("red", "green", "blue")),
        ("gray", colours(bands=1)[..., 0], ("gray",)),
    ):
        path = tmp_path / f"{name}.{ending}"
        Image.fromarray(pixels).save(path)
        file, raster = whole(path, checked=checked)
        decoded = decode(path.read_bytes()).pixels
        if ending == "webp":  # has no gray
            bands = ("red", "green", "blue")
        assert (file.dtype, raster.bands, raster.valid, file.notes) == ("uint8", bands, None, ())
        assert np.array_equal(raster.values, decoded)
        with open_raster_file(path) as file:
            assert np.array_equal(file.read(0, 3, 4, 5, 6).values, decoded[3:8, 4:10])


@pytest.mark.parametrize("ending", ["png", "tif"])
@pytest.mark.parametrize("bands", [1, 2, 3, 4])
def test_16_bits_are_not_squeezed(tmp_path, ending, bands):
    path = tmp_path / f"a.{ending}"
    pixels = np.random.default_rng(0).integers(0, 65536, (bands, 20, 30)).astype(np.uint16)
    if bands in (2, 4):
        pixels[-1] = 65535
        pixels[-1, :3] = 0
    profile = {"driver": "PNG"} if ending == "png" else {"driver": "GTiff", "alpha": "yes" if bands == 4 else "no"}
    if ending == "tif":
        profile["photometric"] = "rgb" if bands > 2 else "minisblack"
        if bands == 2:
            profile["alpha"] = "yes"
    with rasterio.open(path, "w", width=30, height=20, count=bands, dtype="uint16", **profile) as target:
        target.write(pixels)
    _, raster = whole(path)
    shown = bands - (bands in (2, 4))
    assert raster.bands == (("gray",) if shown == 1 else ("red", "green", "blue"))
    assert raster.values.dtype == np.uint16
    rows = slice(3 if bands in (2, 4) else 0, None)
    assert np.array_equal(raster.values[rows], np.moveaxis(pixels[:shown], 0, -1)[rows])
    assert (raster.valid is None) == (bands in (1, 3))
    if raster.valid is not None:
        assert not raster.valid[:3].any()
        assert raster.valid[3:].all()


def test_transparent_pixels_have_no_value(tmp_path):
    pixels = colours(bands=4)
    pixels[..., 3] = 255
    pixels[2, 5, 3] = 0
    Image.fromarray(pixels).save(tmp_path / "a.png")
    _, raster = whole(tmp_path / "a.png")
    assert np.argwhere(~raster.valid).tolist() == [[2, 5]]
    assert np.array_equal(raster.values, decode((tmp_path / "a.png").read_bytes()).pixels)
    pixels[..., 3] = 0
    Image.fromarray(pixels).save(tmp_path / "b.png")
    assert whole(tmp_path / "b.png")[1].empty


def test_further_images_of_a_file_are_named(tmp_path):
    first, second = Image.fromarray(colours()), Image.fromarray(colours()[::-1])
    first.save(tmp_path / "a.tif", save_all=True, append_images=[second])
    file, raster = whole(tmp_path / "a.tif")
    assert file.notes == ("it holds 2 images; all but the first were left out",)
    assert np.array_equal(raster.values, colours())


def test_a_tiff_with_nodata_or_further_bands_is_no_plain_picture(tmp_path):
    pixels = np.moveaxis(colours(bands=5), -1, 0).copy()
    profile = {"driver": "GTiff", "width": 30, "height": 24, "dtype": "uint8"}
    with rasterio.open(tmp_path / "a.tif", "w", count=5, **profile) as target:
        target.write(pixels)
    assert np.array_equal(whole(tmp_path / "a.tif")[1].values, np.moveaxis(pixels, 0, -1))
    pixels[:, 3, 4] = 7
    with rasterio.open(tmp_path / "b.tif", "w", count=3, nodata=7, photometric="rgb", **profile) as target:
        target.write(pixels[:3])
    assert not whole(tmp_path / "b.tif")[1].valid[3, 4]


def png(width, height, depth, data):
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, 0)), (b"IDAT", data), (b"IEND", b"")]
    parts = [struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize("depth", [8, 16])
def test_bombs_and_short_files_are_refused(tmp_path, depth):
    path = tmp_path / "a.png"
    path.write_bytes(png(900_000, 900_000, depth, zlib.compress(bytes(100_000))))
    with pytest.raises(UnreadableImageError, match="pixels"):
        whole(path)
    whole_rows = np.random.default_rng(0).bytes(40 * (1 + 50 * depth // 8))
    rows = b"".join(b"\0" + whole_rows[n * 50 * depth // 8 : (n + 1) * 50 * depth // 8] for n in range(40))
    path.write_bytes(png(50, 40, depth, zlib.compress(rows)))
    assert whole(path)[1].values.shape == (40, 50, 1)
    path.write_bytes(png(50, 40, depth, zlib.compress(rows[: len(rows) // 2])))
    with pytest.raises(UnreadableImageError):
        whole(path)


def test_other_files_are_refused_with_a_reason(tmp_path):
    cases = {"empty.png": b"", "text.tif": b"hello, world", "page.jpg": b"<html>", "note.txt": b"x", "a.npz": b"PK"}
    for name, data in cases.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(UnreadableImageError):
            whole(tmp_path / name)
    with pytest.raises(UnreadableImageError, match="No such file"):
        whole(tmp_path / "missing.png")
    (tmp_path / "folder.tif").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    for name in ("folder.tif", "pipe.png"):
        with pytest.raises(UnreadableImageError, match="no file, but"):
            whole(tmp_path / name)


def test_what_the_caller_raises_stays_what_it_is(tmp_path):
    Image.fromarray(colours()).save(tmp_path / "a.png")
    with pytest.raises(KeyError, match="mine"), open_raster_file(tmp_path / "a.png"):
        raise KeyError("mine")
