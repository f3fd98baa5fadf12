"""A JPEG is used only if its data hold the whole picture."""

import io

import numpy as np
import pytest
from encoded_images import encoded, picture
from PIL import Image

from trainables.errors import UnreadableImageError
from trainables.images.codec import decode
from trainables.images.jpeg_scans import can_hold, read_scans

PIXELS = picture(160, 200)
KINDS = {
    "baseline": {},
    "progressive": {"progressive": True},
    "subsampled": {"subsampling": 2},
    "restarts": {"restart_marker_rows": 1},
    "many restarts": {"restart_marker_blocks": 3, "subsampling": 1},
    "progressive restarts": {"restart_marker_blocks": 7, "progressive": True, "subsampling": 2},
    "optimised": {"optimize": True, "quality": 30},
}


@pytest.mark.parametrize("kind", KINDS)
def test_whole_pictures_are_as_pillow_decodes_them(kind):
    for pixels in (PIXELS, PIXELS[..., 0], PIXELS[:13, :21]):
        data = encoded(pixels, "JPEG", **KINDS[kind])
        expected = np.asarray(Image.open(io.BytesIO(data)))
        np.testing.assert_array_equal(decode(data).pixels.squeeze(), expected)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.3, 0.5, 0.8, 0.95])
def test_data_that_end_early_before_a_valid_end_are_refused(kind, share):
    """As a download leaves them that a tool has closed; Pillow fills the rest with gray."""
    data = encoded(PIXELS, "JPEG", **KINDS[kind])
    start = data.index(b"\xff\xda")
    cut = data[: start + int((len(data) - start) * share)].rstrip(b"\xff") + b"\xff\xd9"
    with pytest.raises(UnreadableImageError, match=r"cut short|truncated"):
        decode(cut)


def test_a_progressive_picture_without_its_last_scans_is_refused():
    data = encoded(PIXELS, "JPEG", progressive=True)
    scans = [k for k in range(len(data)) if data[k : k + 2] == b"\xff\xda"]
    with pytest.raises(UnreadableImageError, match="lacks parts of its picture"):
        decode(data[: scans[-1]] + b"\xff\xd9")


def test_gray_pictures_of_the_colour_that_decoders_fill_with_are_whole():
    for kind in KINDS.values():
        assert decode(encoded(np.full((64, 64, 3), 128, np.uint8), "JPEG", **kind)).pixels.tolist()[0][0] == [128] * 3


def test_cmyk_and_a_second_picture_behind_the_first_are_whole():
    assert decode(encoded(Image.new("CMYK", (40, 40), (10, 200, 30, 4)), "JPEG")).channels == 3
    image = Image.fromarray(PIXELS)
    assert decode(encoded(image, "MPO", save_all=True, append_images=[image])).pixels.shape == PIXELS.shape


def test_what_the_markers_say():
    data = encoded(PIXELS, "JPEG", progressive=True)
    scans = read_scans(data)
    assert (scans.frame, scans.components) == (0xC2, (1, 2, 3))
    assert scans.precision == {each: [0] * 64 for each in (1, 2, 3)}
    assert data[scans.end :] == b"\xff\xd9"


def test_a_file_without_a_picture_is_refused():
    with pytest.raises(UnreadableImageError, match="holds no picture"):
        read_scans(b"\xff\xd8\xff\xd9" + bytes(20))


def test_no_jpeg_is_smaller_than_its_blocks():
    for pixels in (PIXELS, np.full((2000, 2000), 128, np.uint8)):
        for kind in ({"progressive": True, "quality": 1}, {"optimize": True, "quality": 1}):
            data = encoded(pixels, "JPEG", **kind)
            assert can_hold(data, pixels.shape[1], pixels.shape[0])
    assert not can_hold(bytes(1000), 20_000, 20_000)
