"""Learning from LR images alone."""

import numpy as np
import pytest
import torch

from trainables.degradation import Degradation
from trainables.errors import ImageSetError
from trainables.images.raster import PixelFormat, PreparedImage
from trainables.loops.cross_scale import adapt, least_side, patch_that_fits
from trainables.loops.settings import Budget, TransferConfiguration
from trainables.metrics.evaluation import NamedImage, make_pairs, mean_psnr
from trainables.network.bands import with_bands
from trainables.network.network import Architecture, SuperResolutionNet
from trainables.samples import generate

BLURRED = Degradation(blur=(0.6, 0.6))
FOUR_BANDS = PixelFormat("uint16", ("red", "green", "blue", "nir"), 0, 10000)
IMAGES = [generate("natural", seed, (48, 52)) for seed in range(2)]


def test_the_patch_is_what_the_smallest_image_has_room_for():
    assert patch_that_fits(IMAGES, 2) == 20  # 48 / 2, less two margins of 2
    assert patch_that_fits(IMAGES, 4) == 8
    assert patch_that_fits([np.zeros((200, 300, 3), np.uint8)], 2) == 32
    assert least_side(4) == 48
    with pytest.raises(ImageSetError, match="at x4 need images of at least 48 pixels, found 40"):
        patch_that_fits([*IMAGES, IMAGES[0][:40]], 4)


def test_it_learns_to_undo_the_degradation_across_scales():
    torch.manual_seed(0)
    net = SuperResolutionNet(Architecture(scale=2, width=8, depth=1))
    pairs = make_pairs([NamedImage("new", "new", generate("natural", 9, (48, 48)))], BLURRED, 2)
    before = mean_psnr(net.eval(), pairs, 2)
    settings = TransferConfiguration(learning_rate=5e-3, lambda_=0.0, frozen_depth=0)
    told = []
    budget = Budget(steps=50, batch=4, evaluations=2)
    curve = adapt(
        net, IMAGES, BLURRED, settings, budget, 0, lambda n: mean_psnr(n, pairs, 2), lambda *p: told.append(p)
    )
    assert curve == told
    assert [step for step, _ in curve] == [25, 50]
    assert curve[-1][1] > before + 0.3


def test_it_learns_from_deep_images_of_four_bands_around_invalid_pixels():
    def bands(seed, height=48, width=60):
        return np.repeat(generate("natural", seed, (height, width))[..., :2], 2, axis=2).astype(np.uint16) * 257

    valid = np.ones((48, 60), bool)
    valid[:, 50:] = False
    spoilt = bands(0)
    spoilt[~valid] = 65535
    images, chain = [PreparedImage(spoilt, valid), PreparedImage(bands(1))], BLURRED.for_format(FOUR_BANDS)
    assert patch_that_fits(images, 2) == 20
    torch.manual_seed(0)
    net = with_bands(SuperResolutionNet(Architecture(scale=2, width=8, depth=1)), FOUR_BANDS.bands)
    pairs = make_pairs([NamedImage("new", "new", bands(9))], chain, 2)
    before = mean_psnr(net.eval(), pairs, 2)
    settings = TransferConfiguration(learning_rate=5e-3, lambda_=0.0, frozen_depth=0)
    budget = Budget(steps=50, batch=4, evaluations=1)
    curve = adapt(net, images, chain, settings, budget, 0, lambda n: mean_psnr(n, pairs, 2), lambda *_: None)
    assert curve[-1][1] > before + 0.3
