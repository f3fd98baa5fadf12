"""Patches of pairs: LR and HR show the same place in the same orientation, and LR is the real one."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from trainables.degradation import Degradation
from trainables.errors import ImageSetError
from trainables.images.image_pair import PreparedPair
from trainables.images.patch_pool import PatchPool
from trainables.images.raster import PreparedImage

SCALE = 2


def pair(height=20, width=28, channels=3, dtype=np.uint16, seed=0, hr_valid=None, lr_valid=None):
    """HR of noise, and an LR image that is its mean over 2×2 pixels, turned into its negative: no degradation's."""
    full = np.iinfo(dtype).max
    hr = np.random.default_rng(seed).integers(0, full // 4, (SCALE * height, SCALE * width, channels)) * 4
    lr = full - hr.reshape(height, SCALE, width, SCALE, channels).mean((1, 3))
    return PreparedPair(PreparedImage(hr.astype(dtype), hr_valid), PreparedImage(lr.round().astype(dtype), lr_valid))


def pool(images, channels=3, lr_patch=8, **changes):
    settings = {"scale": SCALE, "lr_patch": lr_patch, "degradation": Degradation(levels=None), "seed": 0}
    return PatchPool(lambda: iter(images), channels=channels, **{**settings, **changes})


def is_negative(lr, hr, tolerance=1e-4):
    """For each patch, whether LR is the negative of HR's means."""
    return ((1 - functional.avg_pool2d(hr, SCALE)) - lr).abs().flatten(1).amax(1) < tolerance


@pytest.mark.parametrize(("dtype", "channels"), [(np.uint8, 3), (np.uint8, 1), (np.uint16, 4)])
def test_both_patches_show_the_same_place_in_all_orientations(dtype, channels):
    images = [pair(channels=channels, dtype=dtype, seed=seed) for seed in range(3)]
    lr, hr = pool(images, channels=max(channels, 3)).sample(64)
    assert lr.shape == (64, max(channels, 3), 8, 8)
    assert hr.shape == (64, max(channels, 3), 16, 16)
    assert is_negative(lr, hr, 1 / 255 if dtype == np.uint8 else 1e-4).all()


def test_patches_come_from_everywhere():
    lr, _ = pool([pair(13, 14)]).sample(400)
    corners = {round(float(patch[0, 0, 0]), 5) for patch in lr}
    assert len(corners) == 2 * 3 * 4  # places by the corners that turns and mirrors bring to the front


def test_the_seed_decides_everything():
    first, again, other = (pool([pair()], seed=seed).sample(16) for seed in (3, 3, 4))
    assert torch.equal(first[0], again[0])
    assert not torch.equal(first[0], other[0])


def test_a_share_of_patches_is_degraded_instead():
    lr, hr = pool([pair()], pairs_share=0.7).sample(500)
    real = is_negative(lr, hr)
    assert real.float().mean() == pytest.approx(0.7, abs=0.06)
    means = functional.avg_pool2d(hr, SCALE)
    assert ((lr - means).abs().mean((1, 2, 3)) < 0.1)[~real].all()


def test_no_share_of_pairs_is_the_degradation_alone():
    lr, hr = pool([pair()], pairs_share=0.0).sample(32)
    assert not is_negative(lr, hr).any()


def test_patches_are_drawn_where_both_images_have_values():
    hr_valid, lr_valid = np.ones((40, 56), bool), np.ones((20, 28), bool)
    hr_valid[17, 40] = False
    lr_valid[:, :6] = False
    image = pair(hr_valid=hr_valid, lr_valid=lr_valid)
    marked = image.hr.pixels.copy()
    marked[..., 2] = 0
    marked[17, 40, 2] = 65535
    marked[:, :12, 2] = 65535
    lr, hr = pool([PreparedPair(PreparedImage(marked, hr_valid), image.lr)]).sample(200)
    assert is_negative(lr[:, :2], hr[:, :2]).all()
    assert hr[:, 2].max() == 0


def test_pairs_too_small_for_a_patch_are_skipped():
    found = pool([pair(11, 28), pair(12, 12, seed=1)])
    assert (len(found), found.skipped) == (1, 1)
    with pytest.raises(ImageSetError, match="No image has the 24×24 pixels"):
        pool([pair(11, 28)])


def test_a_small_pool_keeps_pairs_together():
    images = [pair(seed=seed) for seed in range(5)]
    found = pool(images, capacity=2, patches_per_image=4)
    for _ in range(10):
        assert is_negative(*found.sample(8)).all()


def test_pairs_and_single_images_are_not_mixed():
    for images in ([pair(), pair().hr], [pair().hr, pair()]):
        with pytest.raises(ImageSetError, match="must all be pairs of HR and LR, or none: found both"):
            pool(images)


def test_sizes_that_do_not_fit_are_refused():
    wrong = PreparedPair(pair().hr, PreparedImage(pair().lr.pixels[1:]))
    with pytest.raises(ImageSetError, match=r"pair at x2 .* HR of 56×40 pixels \(uint16\) and LR of 28×19"):
        pool([wrong])
    other = PreparedPair(pair().hr, pair(dtype=np.uint8).lr)
    with pytest.raises(ImageSetError, match=r"HR of 56×40 pixels \(uint16\) and LR of 28×20 \(uint8\)"):
        pool([other])
