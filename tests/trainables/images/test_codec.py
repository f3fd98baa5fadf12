"""Which files become pixels, and which are refused with which words."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from trainables.images.codec import UnreadableImageError, decode, encode_png

TURNED = b"Exif\0\0II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\6\0\0\0\0\0\0\0"
PIXELS = np.random.default_rng(0).integers(0, 256, (5, 7, 4), dtype=np.uint8)


def encoded(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def deep_png(colour_type, channels):
    """A 16-bit PNG, which Pillow itself cannot write in colour."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 5, 4, 16, colour_type, 0, 0, 0)
    rows = zlib.compress(b"".join(b"\0" + bytes(5 * channels * 2) for _ in range(4)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize("channels", [1, 3])
def test_png_round_trip_keeps_every_pixel(channels):
    pixels = PIXELS[..., :channels]
    decoded = decode(encode_png(pixels))
    np.testing.assert_array_equal(decoded.pixels, pixels)
    assert decoded.pixels.dtype == np.uint8
    assert (decoded.height, decoded.width, decoded.channels, decoded.format) == (5, 7, channels, "PNG")


def test_alpha_is_dropped_not_blended():
    pixels = PIXELS.copy()
    pixels[..., [1, 3]] |= 1  # something of every pixel can be seen
    np.testing.assert_array_equal(decode(encoded(Image.fromarray(pixels))).pixels, pixels[..., :3])
    gray_alpha = Image.fromarray(np.ascontiguousarray(pixels[..., :2]))
    np.testing.assert_array_equal(decode(encoded(gray_alpha)).pixels, pixels[..., :1])


def test_palette_becomes_the_colours_it_stands_for():
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putpixel((1, 0), 1)
    assert decode(encoded(image)).pixels.tolist() == [[[10, 20, 30], [200, 100, 50]]]


def test_cmyk_becomes_rgb():
    decoded = decode(encoded(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG", quality=95))
    red, green, blue = decoded.pixels.mean((0, 1))
    assert decoded.format == "JPEG"
    assert red > 240
    assert max(green, blue) < 15


def test_black_and_white_becomes_gray():
    pixels = np.array([[True, False], [False, True]])
    assert decode(encoded(Image.fromarray(pixels))).pixels[..., 0].tolist() == [[255, 0], [0, 255]]


@pytest.mark.parametrize(("colour_type", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_16_bit_png_is_refused(colour_type, channels):
    with pytest.raises(UnreadableImageError, match="not 8-bit gray or colour"):
        decode(deep_png(colour_type, channels))


@pytest.mark.parametrize("mode", ["I;16", "I", "F"])
def test_deep_gray_tiff_is_refused(mode):
    with pytest.raises(UnreadableImageError, match=f"pixel mode {mode} is not 8-bit"):
        decode(encoded(Image.new(mode, (4, 4)), "TIFF"))


def test_every_truncation_of_a_jpeg_is_refused():
    data = encoded(Image.fromarray(PIXELS[..., :3]), "JPEG")
    for length in range(0, len(data) - 2, 9):
        with pytest.raises(UnreadableImageError):
            decode(data[:length])
    with pytest.raises(UnreadableImageError, match="truncated"):
        decode(data[:-20])


@pytest.mark.parametrize("data", [b"", b"not an image", b"\x89PNG\r\n\x1a\n", bytes(1000)])
def test_garbage_is_refused_in_one_line(data):
    with pytest.raises(UnreadableImageError) as caught:
        decode(data)
    assert 5 < len(str(caught.value)) < 100
    assert "0x" not in str(caught.value)


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("PNG", {}),
        ("PNG", {"exif": TURNED}),
        ("JPEG", {}),
        ("JPEG", {"exif": TURNED, "progressive": True}),
        ("MPO", {"save_all": True, "append_images": [Image.new("RGB", (7, 5))]}),
        ("BMP", {}),
        ("TIFF", {}),
        ("TIFF", {"big_tiff": True}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"compression": "tiff_adobe_deflate"}),
        ("WEBP", {"exif": TURNED}),
        ("WEBP", {"lossless": True}),
    ],
)
def test_damaged_files_decode_or_are_refused_but_never_crash(kind, options):
    data, chance = encoded(Image.fromarray(PIXELS[..., :3]), kind, **options), np.random.default_rng(1)
    refused = 0
    for _ in range(150):
        damaged = bytearray(data)
        for place in chance.integers(0, min(len(data), 120), size=4):
            damaged[place] = chance.integers(256)
        try:
            assert decode(bytes(damaged)).channels in (1, 3)
        except UnreadableImageError:
            refused += 1
    assert refused > 10


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (KeyError(274), r"its header or data are damaged \(KeyError\)"),
        (ZeroDivisionError(), r"its header or data are damaged \(ZeroDivisionError\)"),
        (OverflowError("int too large"), r"\(OverflowError\)"),
        (AssertionError(), r"\(AssertionError\)"),
        (RecursionError(), r"\(RecursionError\)"),
        (OSError("broken data stream"), "broken data stream"),
        (MemoryError(), "too little memory is free to decode it; cut it into pieces"),
        (Image.DecompressionBombError("no"), "save it as PNG, or as a GeoTIFF"),
    ],
)
def test_whatever_a_decoder_raises_is_said_of_the_file(monkeypatch, error, words):
    def fail(data):
        raise error

    monkeypatch.setattr("trainables.images.formats.open_image", fail)
    with pytest.raises(UnreadableImageError, match=words):
        decode(encode_png(PIXELS[..., :3]))


def test_an_interruption_is_nobodys_fault(monkeypatch):
    def interrupt(data):
        raise KeyboardInterrupt

    monkeypatch.setattr("trainables.images.formats.open_image", interrupt)
    with pytest.raises(KeyboardInterrupt):
        decode(encode_png(PIXELS[..., :3]))
