"""EXIF is read and changed in place; what cannot be understood in it stops nothing."""

import struct

import numpy as np
import pytest
from encoded_images import encoded, exif, picture, turned
from PIL import Image

from trainables.images.codec import decode
from trainables.images.exif import orientation, upright_xmp, upscaled_exif

PIXELS = picture(20, 30)
XMP = b'<x:xmpmeta><rdf:Description tiff:Orientation="6" dc:title="Sea"/></x:xmpmeta>'
UPRIGHT = {
    1: PIXELS,
    2: PIXELS[:, ::-1],
    3: PIXELS[::-1, ::-1],
    4: PIXELS[::-1],
    5: PIXELS.swapaxes(0, 1),
    6: np.rot90(PIXELS, -1),
    7: PIXELS[::-1, ::-1].swapaxes(0, 1),
    8: np.rot90(PIXELS),
}


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("value", UPRIGHT)
def test_every_orientation_in_every_format_is_turned_upright(value, order):
    block = turned(value, order)
    for data in (encoded(PIXELS, exif=block), encoded(PIXELS, "WEBP", lossless=True, exif=block)):
        np.testing.assert_array_equal(decode(data).pixels, UPRIGHT[value])
    tags = Image.Exif()
    tags[0x0112] = value
    np.testing.assert_array_equal(decode(encoded(PIXELS, "TIFF", exif=tags)).pixels, UPRIGHT[value])
    jpeg = encoded(PIXELS, "JPEG", quality=100, subsampling=0, exif=b"Exif\0\0" + block)
    np.testing.assert_allclose(decode(jpeg).pixels.astype(int), UPRIGHT[value], atol=6)


def test_alpha_is_turned_with_its_pixels():
    alpha = np.arange(600, dtype=np.uint16).reshape(20, 30).clip(1, 255).astype(np.uint8)
    decoded = decode(encoded(np.dstack([PIXELS, alpha]), exif=turned(6)), keep_alpha=True)
    np.testing.assert_array_equal(decoded.alpha, np.rot90(alpha, -1))


def test_xmp_says_it_where_exif_does_not():
    data = encoded(PIXELS, "WEBP", lossless=True, xmp=XMP)
    np.testing.assert_array_equal(decode(data).pixels, UPRIGHT[6])
    assert orientation(turned(8), XMP) == 8
    assert orientation(exif(), XMP.replace(b'="6"', b">6<")) == 6
    assert orientation(None, b"no orientation") == 1


@pytest.mark.parametrize(
    "odd",
    [
        (0x9204, 10, 1, struct.pack("<I", 9999)),  # a signed fraction that lies outside the block
        (0x0132, 5, 1, struct.pack("<I", 8)),  # a date as a fraction
        (0x8769, 4, 1, struct.pack("<I", 2**32 - 1)),  # a directory nowhere
        (0x8825, 4, 1, struct.pack("<I", 8)),  # a directory that is its own parent
        (0x927C, 7, 2**32 - 1, struct.pack("<I", 26)),  # a maker's note longer than any file
        (0xFFFF, 99, 7, b"abcd"),  # no type that anybody knows
    ],
)
def test_entries_that_cannot_be_written_again_do_not_stop_anything(odd):
    block = b"Exif\0\0" + exif((0x0112, 3, 1, struct.pack("<HH", 6, 0)), odd)
    for data in (encoded(PIXELS, "JPEG", exif=block), encoded(PIXELS, exif=block), encoded(PIXELS, "WEBP", exif=block)):
        assert decode(data).pixels.shape == (30, 20, 3)


@pytest.mark.parametrize(
    "block", [b"", b"II*\0", b"MM\0*\0\0\0\x08\xff\xff", b"Exif\0\0", turned(9), turned(0), b"x" * 40]
)
def test_blocks_that_say_nothing_are_upright(block):
    assert orientation(block) == 1
    assert decode(encoded(PIXELS, "JPEG", exif=block or b"Exif\0\0")).pixels.shape == PIXELS.shape


def test_an_upscaled_block_keeps_all_but_what_has_changed():
    exif_block = Image.Exif()
    exif_block[0x0112] = 6
    exif_block[0x010F] = "Maker"
    exif_block[0x011A] = exif_block[0x011B] = 72.0
    exif_block.get_ifd(0x8769)[0xA002] = 30
    exif_block.get_ifd(0x8769)[0xA003] = 20
    exif_block.get_ifd(0x8769)[0x9003] = "2021:05:04 03:02:01"
    exif_block.get_ifd(0x8825)[0x0001] = "N"
    block = exif_block.tobytes()
    result = upscaled_exif(block, 4, 80, 120)
    assert result is not None
    assert len(result) == len(block) - 6
    again = Image.Exif()
    again.load(result)
    inner = again.get_ifd(0x8769)
    assert (again[0x0112], again[0x010F], again[0x011A]) == (1, "Maker", 288)
    assert (inner[0xA002], inner[0xA003], inner[0x9003]) == (80, 120, "2021:05:04 03:02:01")
    assert again.get_ifd(0x8825)[0x0001] == "N"


def test_the_thumbnail_is_unlinked():
    block = turned(6)[:-4] + struct.pack("<I", 8)
    result = upscaled_exif(block, 2, 40, 60)
    assert result is not None
    assert result[-4:] == bytes(4)
    assert orientation(result) == 1


@pytest.mark.parametrize("block", [b"", b"nonsense", b"II*\0\xff\xff\0\0", turned(3)[:12]])
def test_a_block_that_cannot_be_read_is_not_carried(block):
    assert upscaled_exif(block, 2, 4, 4) is None


def test_xmp_becomes_upright():
    assert upright_xmp(XMP) == XMP.replace(b'"6"', b'"1"')
    assert upright_xmp(b"<tiff:Orientation>8</tiff:Orientation>") == b"<tiff:Orientation>1</tiff:Orientation>"
