"""The same picture is known in any lossless encoding, turned, mirrored, and gray stored as colour."""

import io

import numpy as np
import pytest
from PIL import Image

from trainables.images.codec import decode
from trainables.images.picture_digest import look, picture_digest, raster_digest
from trainables.images.raster import Raster


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def eight(pixels):
    for turns in range(4):
        turned = np.rot90(pixels, turns)
        yield from (turned, turned[:, ::-1])


SYMMETRICAL = np.array([[1, 2, 1], [3, 4, 3], [1, 2, 1]], np.uint8)[..., None]


@pytest.mark.parametrize(
    "pixels",
    [
        noise(20, 31, 3),
        noise(24, 24, 1),
        noise(24, 24, 3),
        np.zeros((5, 7, 3), np.uint8),
        SYMMETRICAL,
        np.array([[0, 9], [9, 0]], np.uint8)[..., None],
        np.array([[0, 9, 0, 0], [0, 0, 0, 9], [9, 0, 0, 0], [0, 0, 9, 0]], np.uint8)[..., None],
        np.kron(np.array([[0, 9, 9], [7, 7, 7], [9, 9, 0]], np.uint8), np.ones((2, 2), np.uint8))[..., None],
    ],
    ids=["colour", "square gray", "square", "black", "symmetrical", "diagonal", "wheel", "point-symmetrical"],
)
def test_turned_and_mirrored_versions_have_one_digest(pixels):
    assert len({picture_digest(version) for version in eight(pixels)}) == 1


def test_other_pictures_have_other_digests():
    base = noise(16, 20, 3)
    changed = base.copy()
    changed[3, 4, 1] ^= 1
    others = [changed, base[:-1], base[..., ::-1], noise(16, 20, 3, seed=1), base[..., :1], base.reshape(20, 16, 3)]
    assert len({picture_digest(pixels) for pixels in (base, *others)}) == 1 + len(others)
    black = [np.zeros(shape, np.uint8) for shape in ((4, 6, 1), (3, 8, 1), (2, 12, 1))]
    assert len(set(map(picture_digest, black))) == 3


def test_gray_stored_as_colour_is_gray():
    gray = noise(16, 20, 1)
    assert picture_digest(np.repeat(gray, 3, axis=2)) == picture_digest(gray)


@pytest.mark.parametrize(
    ("kind", "options"), [("BMP", {}), ("TIFF", {}), ("WEBP", {"lossless": True}), ("PNG", {"dpi": (9, 9)})]
)
def test_lossless_encodings_have_one_digest(kind, options):
    pixels = noise(20, 31, 3)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    assert picture_digest(decode(buffer.getvalue()).pixels) == picture_digest(pixels)


def test_a_digest_stays_the_same_for_good():
    assert picture_digest(SYMMETRICAL) == "82698763e078f8eb2126c384197bd283"


def test_pictures_that_look_alike_share_nearly_all_bits_and_others_do_not():
    rows, columns = np.mgrid[0:120, 0:160]
    scene = (100 + 60 * np.sin(rows / 17) * np.cos(columns / 23) + 40 * (columns > 90)).clip(0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(scene).save(buffer, "JPEG", quality=60)
    again = decode(buffer.getvalue()).pixels
    assert (look(scene[..., None]) ^ look(again)).bit_count() <= 3
    assert (look(scene[..., None]) ^ look(scene[2:, 1:-1, None])).bit_count() <= 4
    other = np.kron(noise(8, 9, 1)[..., 0], np.ones((15, 15), np.uint8))[..., None]
    assert (look(scene[..., None]) ^ look(other)).bit_count() > 16
    assert look(np.full((40, 40, 3), 90, np.uint8)) is None


def test_a_raster_has_one_digest_however_it_is_turned_and_another_with_another_mask():
    values = np.random.default_rng(0).integers(0, 9000, (6, 9, 4)).astype(np.uint16)
    valid = np.random.default_rng(1).random((6, 9)) > 0.2
    bands = ("blue", "green", "red", "nir")
    digests = {
        raster_digest(Raster(np.rot90(values, k)[:, ::flip], bands, np.rot90(valid, k)[:, ::flip]))
        for k in range(4)
        for flip in (1, -1)
    }
    others = {raster_digest(Raster(values, bands)), raster_digest(Raster(values, bands, ~valid))}
    assert len(digests) == 1
    assert len(digests | others) == 3
