"""Real LR images are scored as they are, cut in step with their HR images."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from trainables.degradation import Degradation
from trainables.errors import ImageSetError
from trainables.images.image_pair import PreparedPair
from trainables.images.raster import PreparedImage
from trainables.metrics.evaluation import NamedImage, bicubic, make_pairs, score

SCALE = 2


def image(height=24, width=32, channels=3, dtype=np.uint8, valid=None, lr_valid=None):
    """LR is the mean over 2×2 pixels, darkened, which no degradation does."""
    full = np.iinfo(dtype).max
    hr = np.random.default_rng(0).integers(0, full, (SCALE * height, SCALE * width, channels), endpoint=True)
    lr = (hr.reshape(height, SCALE, width, SCALE, channels).mean((1, 3)) / 2).astype(dtype)
    return NamedImage("a", "s", hr.astype(dtype), valid, PreparedImage(lr, lr_valid))


@pytest.mark.parametrize("crop", [None, 24, 25])
@pytest.mark.parametrize(("dtype", "channels"), [(np.uint8, 3), (np.uint8, 1), (np.uint16, 4)])
def test_lr_is_the_real_one_of_the_same_place(dtype, channels, crop):
    (pair,) = make_pairs([image(channels=channels, dtype=dtype)], Degradation(noise=(0.2, 0.2)), SCALE, crop)
    side = {None: (48, 64), 24: (24, 24), 25: (24, 24)}[crop]
    assert tuple(pair.hr.shape[1:]) == side
    assert (pair.gray, pair.deep, pair.valid) == (channels == 1, dtype == np.uint16, None)
    assert torch.allclose(functional.avg_pool2d(pair.hr, SCALE) / 2, pair.lr, atol=1 / 255)


def test_the_middle_is_used():
    (pair,) = make_pairs([image()], Degradation(), SCALE, 24)
    assert torch.equal(pair.hr, torch.from_numpy(image().pixels[12:36, 20:44]).permute(2, 0, 1) / 255)


def test_pixels_without_value_on_either_side_count_nowhere():
    valid, lr_valid = np.ones((48, 64), bool), np.ones((24, 32), bool)
    valid[0, 5] = False
    lr_valid[3, 3] = False
    (pair,) = make_pairs([image(valid=valid, lr_valid=lr_valid)], Degradation(), SCALE)
    expected = torch.ones(48, 64, dtype=torch.bool)
    expected[0:2, 4:6] = False
    expected[6:8, 6:8] = False
    assert torch.equal(pair.valid, expected)


def test_a_crop_avoids_pixels_without_value():
    lr_valid = np.ones((24, 32), bool)
    lr_valid[:, :16] = False
    (pair,) = make_pairs([image(lr_valid=lr_valid)], Degradation(), SCALE, 32)
    assert pair.valid is None
    assert torch.equal(pair.lr, torch.from_numpy(image().lr.pixels[4:20, 16:32]).permute(2, 0, 1) / 255)


def test_levels_are_those_of_the_domain():
    (pair,) = make_pairs([image(dtype=np.uint16, channels=2)], Degradation(levels=10000.0), SCALE)
    assert pair.levels == 10000
    assert len(score(bicubic(SCALE), [pair], SCALE)[0].bands) == 2


def test_sizes_that_do_not_fit_are_refused():
    wrong = NamedImage("a", "s", image().pixels[1:], None, image().lr)
    with pytest.raises(ImageSetError, match="pair at x2 was expected, found HR of 64×47 pixels"):
        make_pairs([wrong], Degradation(), SCALE)


def test_what_a_network_is_trained_on():
    assert isinstance(image().prepared, PreparedPair)
    single = NamedImage("a", "s", image().pixels)
    assert isinstance(single.prepared, PreparedImage)
    assert single.prepared.pixels is single.pixels
