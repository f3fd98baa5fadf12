"""Which bytes are tried at all, what is too large, and what is incomplete."""

import io
import struct
import subprocess

import numpy as np
import pytest
from encoded_images import encoded, picture, png, with_tag
from PIL import Image

from trainables.images import formats as image_formats
from trainables.images.codec import UnreadableImageError, decode
from trainables.images.formats import MOST_PIXELS, MOST_SIDE, check_size, format_of, open_image

PIXELS = picture()
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 40 40\n%%EndComments\nshowpage\n%%EOF\n"
TIFF_KINDS = ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits"]


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "BMP", "WEBP"])
def test_five_formats_are_read_by_their_first_bytes(kind):
    data = encoded(PIXELS, kind)
    assert format_of(data) == kind
    assert decode(data).format == kind


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (EPS, "it is PostScript; save it as PNG, JPEG, TIFF, WebP or BMP"),
        (b"\xc5\xd0\xd3\xc6" + EPS, "it is PostScript"),
        (encoded(PIXELS, "GIF"), "it is a GIF"),
        (encoded(PIXELS, "JPEG2000"), "it is JPEG 2000"),
        (encoded(PIXELS, "AVIF"), "it is AVIF"),
        (encoded(PIXELS, "PDF"), "it is a PDF"),
        (b"<!doctype html><html>not found", "it is XML or a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "it is a pointer of Git LFS, whose file was not fetched"),
        (b"", "it is empty"),
        (encoded(PIXELS, "ICO"), "not an image that can be decoded$"),
        (encoded(PIXELS, "TGA"), "not an image that can be decoded$"),
        (encoded(PIXELS, "PPM"), "not an image that can be decoded$"),
    ],
)
def test_nothing_else_is_read_whatever_it_is_called(data, words, monkeypatch):
    def started(*arguments, **options):
        pytest.fail("a program was started")

    monkeypatch.setattr(subprocess, "Popen", started)
    monkeypatch.setattr(subprocess, "check_call", started)
    with pytest.raises(UnreadableImageError, match=words):
        decode(data)


def test_a_camera_of_102_megapixels_is_read():
    rows = np.zeros((8736, 1), np.uint8) + np.arange(16, dtype=np.uint8) * 16
    pixels = np.tile(rows, (1, 728))
    assert decode(encoded(pixels, "JPEG", quality=30)).pixels.shape == (8736, 11648, 1)


@pytest.mark.parametrize(("width", "height"), [(30_000, 20_000), (1, 80_000_000), (MOST_SIDE + 1, 1), (65_535, 65_535)])
def test_too_large_is_refused_before_it_takes_memory_and_says_what_to_do(width, height, monkeypatch):
    monkeypatch.setattr(Image.core, "new", lambda *arguments: pytest.fail("took memory"))
    with pytest.raises(UnreadableImageError, match=f"{width}×{height} pixels; the most are .* million .* GeoTIFF"):
        decode(png(bytes(100), width, height, colour=0))


def test_the_largest_sizes_are_accepted():
    check_size(MOST_PIXELS >> 15, 1 << 15, bytes(10**6), "PNG")
    check_size(MOST_SIDE, 1, bytes(10**6), "PNG")


def bmp(width, height):
    return b"BM" + struct.pack("<IHHI", 0, 0, 0, 54) + struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, *[0] * 6)


def tiff(width, height):
    data = encoded(PIXELS, "TIFF", compression="tiff_adobe_deflate")
    return with_tag(with_tag(with_tag(data, 256, width), 257, height), 278, height)


@pytest.mark.parametrize(
    "data",
    [
        encoded(PIXELS, "JPEG").replace(struct.pack(">HH", 40, 48), struct.pack(">HH", 16_000, 16_000)),
        b"RIFF\x1e\0\0\0WEBPVP8L\x11\0\0\0\x2f\xff\xff\xff\x0f" + bytes(40),
        b"RIFF\x1e\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0\x10\x27\0\x10\x27\0" + bytes(40),
        bmp(16_000, 16_000),
        tiff(16_000, 16_000),
    ],
    ids=["jpeg", "webp lossless", "webp extended", "bmp", "tiff"],
)
def test_a_bomb_is_refused_before_it_takes_memory(data, monkeypatch):
    monkeypatch.setattr(Image.core, "new", lambda *arguments: pytest.fail("took memory"))
    monkeypatch.setattr(image_formats, "WebPImageFile", lambda stream: pytest.fail("took memory"))
    with pytest.raises(UnreadableImageError, match="bomb or cut short"):
        decode(data)


def test_a_large_picture_of_few_colours_is_no_bomb():
    pixels = np.zeros((9000, 9000), np.uint8)
    pixels[::37] = 200
    with open_image(encoded(pixels)) as image:
        assert image.size == (9000, 9000)


@pytest.mark.parametrize("compression", TIFF_KINDS)
def test_a_tiff_whose_strips_lie_behind_its_end_is_refused(compression):
    pixels = np.random.default_rng(0).integers(1, 256, (300, 300, 3), dtype=np.uint8)
    data = encoded(pixels, "TIFF", compression=compression, strip_size=9000)
    np.testing.assert_array_equal(decode(data).pixels, pixels)
    ifd = struct.unpack_from("<I", data, 4)[0]
    for length in range(len(data) // 3, len(data) - 1, len(data) // 5):
        if length > ifd + 300:  # else the tags are lost too, and refused for that
            with pytest.raises(UnreadableImageError, match=r"cut short|decoded"):
                decode(data[:length])


@pytest.mark.parametrize(("tag", "value"), [(279, 0), (273, 1 << 30), (279, 40 * 48 * 3 - 1), (278, 39)])
def test_a_strip_that_is_missing_or_short_is_refused(tag, value):
    data = encoded(PIXELS, "TIFF")
    with pytest.raises(UnreadableImageError, match="the TIFF is cut short"):
        decode(with_tag(data, tag, value))


def rle8(runs):
    palette = b"".join(bytes([k, 255 - k, 7, 0]) for k in range(256))
    header = struct.pack("<IiiHHIIiiII", 40, 4, 3, 1, 8, 1, len(runs), 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", 0, 0, 0, 54 + len(palette)) + header + palette + runs


WHOLE = b"\x04\x09\0\0\0\x04\1\2\3\4\0\0\4\x07\0\1"


def test_run_lengths_of_a_bmp_are_read():
    first = decode(rle8(WHOLE)).pixels
    assert first[2, 0].tolist() == [7, 246, 9]
    assert first[1, :, 2].tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize("runs", [WHOLE[:4] + b"\0\1", WHOLE[:12] + b"\2\7\0\1", b"\4\x09\0\0\0\2\1\1" + WHOLE[12:]])
def test_run_lengths_that_leave_pixels_out_are_refused(runs):
    with pytest.raises(UnreadableImageError, match=r"the BMP holds . of its 3 rows, or leaves pixels out"):
        decode(rle8(runs))


@pytest.mark.parametrize("kind", ["BMP", "WEBP"])
def test_no_cut_picture_of_any_other_format_is_used(kind):
    data = encoded(PIXELS, kind)
    for length in range(0, len(data) - 2, 211):
        with pytest.raises(UnreadableImageError):
            decode(data[:length])


def test_a_cut_file_that_was_checked_before_is_not_checked_again(monkeypatch):
    monkeypatch.setattr(image_formats, "check_complete", lambda *arguments: pytest.fail("checked again"))
    assert decode(encoded(PIXELS), checked=True).height == 40


def test_signed_values_are_not_gray():
    tags = Image.Exif()
    tags[339] = 2
    data = encoded(PIXELS[..., 0], "TIFF", tiffinfo=tags)
    with pytest.raises(UnreadableImageError, match="its values are signed"):
        decode(data)
    with Image.open(io.BytesIO(data)) as image:
        assert image.mode == "L"


def test_associated_alpha_is_divided_out_and_a_reversed_gray_turned_round():
    alpha = np.tile(np.linspace(40, 255, 48).round().astype(np.uint8), (40, 1))
    straight = np.full((40, 48, 3), 200, np.uint8)
    premultiplied = (straight * (alpha[..., None] / 255)).round().astype(np.uint8)
    data = encoded(np.dstack([premultiplied, alpha]), "TIFF")
    decoded = decode(with_tag(data, 338, 1), keep_alpha=True)
    np.testing.assert_allclose(decoded.pixels.astype(int), 200, atol=4)
    np.testing.assert_array_equal(decoded.alpha, alpha)
    reversed_gray = with_tag(encoded(PIXELS[..., 0], "TIFF"), 262, 0)
    np.testing.assert_array_equal(decode(reversed_gray).pixels[..., 0], 255 - PIXELS[..., 0])
