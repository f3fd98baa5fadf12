"""The pool of images that training patches come from."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from trainables.degradation import Degradation
from trainables.errors import ImageSetError
from trainables.patches import PatchPool, smallest_image
from trainables.samples import generate

NOISY = Degradation(noise=(0.0, 0.1))


def flat(level, side=24, channels=3):
    return np.full((side, side, channels), level, dtype=np.uint8)


def make_pool(images, *, counter=None, **changes):
    def read():
        if counter is not None:
            counter.append(0)
        for image in images:
            if counter is not None:
                counter[-1] += 1
            yield image

    settings = {"scale": 2, "lr_patch": 8, "degradation": Degradation(), "seed": 0}
    return PatchPool(read, **{**settings, **changes})


def levels(pool, draws=1, batch=64):
    """Which of the flat images the pool's patches come from."""
    return {int(v) for _ in range(draws) for v in (pool.sample(batch)[1][:, 0, 0, 0] * 255).round()}


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_lr_is_the_degraded_hr_in_place(scale):
    pool = make_pool([generate("natural", 1, (96, 120))], scale=scale, lr_patch=12)
    lr, hr = pool.sample(8)
    assert lr.shape == (8, 3, 12, 12)
    assert hr.shape == (8, 3, 12 * scale, 12 * scale)
    again = functional.interpolate(hr, size=(12, 12), mode="bicubic", antialias=True).clamp(0, 1)
    inner = (slice(None), slice(None), slice(2, -2), slice(2, -2))
    assert (lr - again)[inner].abs().max() < 0.51 / 255
    shifted = (lr[..., 1:] - again[..., :-1])[inner].abs().max()
    assert shifted > 5 / 255


def test_patches_come_from_everywhere_in_all_eight_orientations():
    side = smallest_image(8, 2)
    ramp = np.zeros((side, side, 3), np.uint8)
    ramp += (np.arange(side)[:, None, None] * 8 + np.arange(side)[None, :, None]).astype(np.uint8)
    _, hr = make_pool([ramp]).sample(200)
    corners = hr[:, 0][:, [0, 0, -1, -1], [0, -1, 0, -1]]
    assert len({tuple(row.tolist()) for row in corners.argsort(1)}) == 8
    wide = np.arange(200, dtype=np.uint8)[None, :, None].repeat(side, 0)
    _, hr = make_pool([wide]).sample(800)
    edge = 2 * 2
    assert hr.min() * 255 == pytest.approx(edge)
    assert hr.max() * 255 == pytest.approx(199 - edge)


def test_the_seed_decides_everything():
    images = [generate("natural", i, (48, 48)) for i in range(3)]
    first, same, other = (make_pool(images, degradation=NOISY, seed=seed) for seed in (4, 4, 5))
    a, b, c = first.sample(4), same.sample(4), other.sample(4)
    assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))
    assert not torch.equal(a[1], c[1])
    later = first.sample(4)
    assert not torch.equal(later[1], a[1])
    first.reseed(4)
    again = first.sample(4)
    assert all(torch.equal(x, y) for x, y in zip(a, again, strict=True))


def test_gray_images_give_three_equal_bands():
    pool = make_pool([flat(99, channels=1), flat(120)], degradation=Degradation(noise=(0.05, 0.05)))
    lr, hr = pool.sample(32)
    gray = (hr[:, 0, 0, 0] * 255).round() == 99
    assert 0 < gray.sum() < 32
    assert (lr[gray] == lr[gray][:, :1]).all()
    assert not (lr[~gray] == lr[~gray][:, :1]).all()


def test_small_images_are_skipped_and_the_smallest_usable_one_is_used():
    side = smallest_image(8, 2)
    pool = make_pool([flat(1, side - 1), flat(2, side), np.full((side - 1, 90, 3), 3, np.uint8)])
    assert len(pool) == 1
    assert levels(pool) == {2}


@pytest.mark.parametrize("images", [[], [flat(1, 23)]])
def test_no_usable_image_is_an_error_that_states_the_size(images):
    with pytest.raises(ImageSetError, match="24×24"):
        make_pool(images)


def test_a_pool_that_holds_everything_reads_one_pass():
    counter = []
    pool = make_pool([flat(i) for i in range(3)], counter=counter, capacity=4, patches_per_image=1)
    assert levels(pool, draws=5) == {0, 1, 2}
    assert (counter, len(pool)) == ([3], 3)


def test_a_smaller_pool_evicts_the_oldest_and_keeps_rereading():
    counter = []
    pool = make_pool([flat(i) for i in range(5)], counter=counter, capacity=2, patches_per_image=8)
    assert counter == [2]
    assert levels(pool, batch=8) <= {1, 2}
    assert counter == [3]
    assert levels(pool, batch=16) <= {3, 4}
    assert levels(pool, draws=20) == {0, 1, 2, 3, 4}
    assert len(counter) > 5
    assert set(counter[:-1]) == {5}
    assert len(pool) == 2


@pytest.mark.parametrize(("batch", "draws", "read"), [(4, 7, 3), (4, 8, 4), (64, 1, 4)])
def test_one_image_is_read_per_so_many_patches(batch, draws, read):
    counter = []
    pool = make_pool(
        [flat(i) for i in range(50)], counter=counter, capacity=10, patches_per_image=16 if batch > 4 else 8
    )
    for _ in range(draws):
        pool.sample(batch)
    assert counter == [10 + read]
