"""What nobody can see in a picture changes nothing that can be seen."""

import numpy as np
import pytest
from encoded_images import encoded, picture
from PIL import Image

from trainables.images.codec import UnreadableImageError, decode
from trainables.images.hidden_colour import filled

PIXELS = picture(32, 32)
ALPHA = np.zeros((32, 32), np.uint8)
ALPHA[8:20, 10:30], ALPHA[9, 11] = 255, 1


def test_hidden_pixels_take_the_nearest_visible_colour():
    result = filled(PIXELS, ALPHA)
    np.testing.assert_array_equal(result[ALPHA > 0], PIXELS[ALPHA > 0])
    np.testing.assert_array_equal(result[0, 15], PIXELS[8, 15])
    np.testing.assert_array_equal(result[31, 31], PIXELS[19, 29])


def test_opaque_pictures_are_not_even_copied():
    assert filled(PIXELS, np.full((32, 32), 1, np.uint8)) is PIXELS


@pytest.mark.parametrize("channels", [1, 3])
def test_a_picture_of_nothing_is_black(channels):
    result = filled(PIXELS[..., :channels], np.zeros((32, 32), np.uint8))
    assert result.shape == (32, 32, channels)
    assert not result.any()


@pytest.mark.parametrize("keep_alpha", [True, False])
def test_decoding_depends_on_what_is_visible_alone(keep_alpha):
    results = []
    for hidden in ((0, 0, 0), (0, 255, 0), (255, 255, 255)):
        pixels = np.where(ALPHA[..., None] > 0, PIXELS, np.uint8(hidden)).astype(np.uint8)
        results.append(decode(encoded(np.dstack([pixels, ALPHA])), keep_alpha=keep_alpha))
    for result in results[1:]:
        np.testing.assert_array_equal(result.pixels, results[0].pixels)
    assert (results[0].alpha is not None) == keep_alpha


@pytest.mark.parametrize("kind", ["a gray level", "a colour", "an index", "a palette"])
def test_every_way_of_being_transparent_hides_a_colour(kind):
    """By tRNS in gray, colour and palette PNGs, which name one colour or give each index its own transparency."""
    gray = np.full((9, 9), 90, np.uint8)
    gray[:, 4:] = 30
    image = Image.fromarray(gray)
    options = {"transparency": 30}
    if kind == "a colour":
        image, options = image.convert("RGB"), {"transparency": (30, 30, 30)}
    elif kind in ("an index", "a palette"):
        image = Image.fromarray((gray == 30).astype(np.uint8)).convert("P")
        image.putpalette([90, 90, 90, 30, 30, 30])
        options = {"transparency": 1 if kind == "an index" else bytes([255, 0])}
    decoded = decode(encoded(image, **options), keep_alpha=True)
    assert set(decoded.pixels.ravel()) == {90}
    np.testing.assert_array_equal(decoded.alpha, np.where(gray == 30, 0, 255))


def test_training_refuses_a_picture_of_nothing_and_upscaling_does_not():
    data = encoded(np.dstack([PIXELS, np.zeros((32, 32), np.uint8)]))
    with pytest.raises(UnreadableImageError, match="all its pixels are transparent"):
        decode(data)
    assert not decode(data, keep_alpha=True).pixels.any()
