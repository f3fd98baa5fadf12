"""The pool of images that training patches come from."""

import gc
import hashlib
import random
import threading
import time

import numpy as np
import pytest
import torch
from torch.nn import functional
from waiting import act_after, wait_for

from trainables.degradation import Degradation
from trainables.errors import ImageSetError
from trainables.images.patch_pool import PatchPool, smallest_image
from trainables.images.raster import PreparedImage
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


@pytest.mark.parametrize("capacity", [3, 4])
def test_a_pool_that_holds_everything_reads_one_pass(capacity):
    counter = []
    pool = make_pool([flat(i) for i in range(3)], counter=counter, capacity=capacity, patches_per_image=1)
    assert levels(pool, draws=5) == {0, 1, 2}
    assert (counter, len(pool), pool.taken) == ([3], 3, 3)


def test_a_smaller_pool_evicts_the_oldest_and_keeps_rereading():
    counter = []
    pool = make_pool([flat(i) for i in range(5)], counter=counter, capacity=2, patches_per_image=8)
    assert pool.taken == 2
    assert levels(pool, batch=8) <= {1, 2}
    assert pool.taken == 3
    assert levels(pool, batch=16) <= {3, 4}
    assert levels(pool, draws=20) == {0, 1, 2, 3, 4}
    assert len(counter) > 5
    assert set(counter[:-1]) == {5}
    assert len(pool) == 2


@pytest.mark.parametrize(("batch", "draws", "read"), [(4, 7, 3), (4, 8, 4), (64, 1, 4)])
def test_one_image_enters_per_so_many_patches(batch, draws, read):
    images = [flat(i) for i in range(50)]
    for capacity in (10, 40):
        pool = make_pool(images, capacity=capacity, patches_per_image=16 if batch > 4 else 8)
        for _ in range(draws):
            pool.sample(batch)
        assert pool.taken == capacity + read


def test_patches_equal_those_of_one_draw_after_another():
    images = [generate("natural", i, (48 + 4 * i, 60)) for i in range(3)] + [flat(7, 30, channels=1)]
    _, hr = make_pool(images, seed=11).sample(64)
    draw, side = np.random.default_rng(11), smallest_image(8, 2)
    for patch, number in zip(hr, draw.integers(len(images), size=64), strict=True):
        image = torch.from_numpy(images[number]).permute(2, 0, 1)
        row, column = (int(draw.integers(image.shape[axis] - side + 1)) for axis in (1, 2))
        crop = torch.rot90(image[:, row : row + side, column : column + side], int(draw.integers(4)), (1, 2))
        crop = crop.flip(2) if draw.integers(2) else crop
        assert torch.equal(patch, (crop.float() / 255)[:, 4:-4, 4:-4].expand(3, -1, -1))


def test_black_images_are_images():
    lr, hr = make_pool([flat(0), flat(0, channels=1)], capacity=1).sample(8)
    assert (lr.abs().max(), hr.abs().max()) == (0, 0)


def slowly(images, seed):
    """Passes over ``images`` by a reader that dawdles at random."""
    dawdle = random.Random(seed)

    def read():
        for image in images:
            if dawdle.random() < 0.3:
                time.sleep(dawdle.random() * 0.01)
            yield image

    return read


def test_patches_do_not_depend_on_how_fast_images_are_read():
    images = [generate("natural", i, (32, 40)) for i in range(4)] + [flat(9, 20), flat(0), flat(80, channels=1)]
    settings = {"scale": 2, "lr_patch": 8, "degradation": NOISY, "seed": 3, "capacity": 3, "patches_per_image": 6}
    drawn = []
    for delays, ahead in ((0, 1), (1, 2), (2, 64)):
        with PatchPool(slowly(images, delays), read_ahead=ahead, **settings) as pool:
            drawn.append([pool.sample(5) for _ in range(25)])
            assert (pool.taken, pool.skipped) == (3 + 125 // 6, 3)
    for other in drawn[1:]:
        for first, second in zip(drawn[0], other, strict=True):
            assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_a_resumed_run_draws_what_an_unbroken_one_would():
    images = [generate("natural", i, (48, 48)) for i in range(3)]
    unbroken, resumed = make_pool(images, degradation=NOISY), make_pool(images, degradation=NOISY)
    for step in range(6):
        unbroken.reseed(step)
        expected = unbroken.sample(4)
    resumed.reseed(5)
    assert all(torch.equal(a, b) for a, b in zip(resumed.sample(4), expected, strict=True))


def test_small_images_at_the_start_are_counted_and_passed_over():
    small, usable = [flat(1, 20)] * 7, [flat(i, 24) for i in (2, 3)]
    pool = make_pool(small + usable, capacity=4)
    assert (len(pool), pool.skipped, pool.taken) == (1, 7, 8)
    assert levels(pool, batch=16) == {2}
    assert levels(pool, draws=2) == {2, 3}


def test_a_stream_of_small_images_alone_is_read_once_and_refused():
    counter = []
    with pytest.raises(ImageSetError, match="24×24"):
        make_pool([flat(1, 20)] * 9, counter=counter, capacity=4)
    assert counter == [9]


def test_waits_are_counted_in_sampling_alone():
    gate = threading.Semaphore(3)

    def read():
        for level in range(100):
            gate.acquire()
            yield flat(level)

    settings = {"scale": 2, "lr_patch": 8, "degradation": Degradation(), "seed": 0, "capacity": 2}
    with PatchPool(read, patches_per_image=4, **settings) as pool:
        assert (pool.waits, pool.waited_s) == (0, 0.0)
        wait_for(lambda: pool._reader._shelf.items)
        pool.sample(4)
        assert (pool.waits, pool.waited_s) == (0, 0.0)
        act_after(lambda: pool.waits, 0.1, gate.release)
        pool.sample(4)
        assert pool.waits == 1
        assert pool.waited_s > 0.05
        gate.release(200)


class ReadError(Exception):
    """As a file system may raise one."""


def test_an_error_of_the_reader_is_raised_at_its_turn():
    def read(good):
        yield from [flat(1)] * good
        raise ReadError("part-00003 is cut short")

    settings = {"scale": 2, "lr_patch": 8, "degradation": Degradation(), "seed": 0, "capacity": 4}
    with pytest.raises(ReadError, match="cut short"):
        PatchPool(lambda: read(3), **settings)
    pool = PatchPool(lambda: read(6), patches_per_image=4, **settings)
    for _ in range(2):
        pool.sample(4)
    with pytest.raises(ReadError, match="cut short"):
        pool.sample(4)


def readers():
    return [thread for thread in threading.enumerate() if thread.name == "read-ahead"]


def wait_until_gone():
    wait_for(lambda: not readers() or gc.collect() < 0)


def test_no_thread_outlives_its_pool():
    wait_until_gone()
    images = [flat(i) for i in range(9)]
    with make_pool(images, capacity=2) as pool:
        assert len(readers()) == 1
        pool.sample(4)
    assert readers() == []
    assert pool.sample(200)[0].shape[0] == 200
    pool = make_pool(images, capacity=2)
    del pool
    wait_until_gone()
    make_pool(images, capacity=100)
    wait_until_gone()
    with pytest.raises(ImageSetError):
        make_pool([flat(1, 20)])
    wait_until_gone()


def test_plain_images_give_the_patches_that_they_always_gave():
    def random_image(seed):
        size = (40 + 3 * seed, 50, 1 if seed == 2 else 3)
        return np.random.default_rng(seed).integers(0, 256, size, np.uint8)

    with make_pool(
        [random_image(i) for i in range(5)], degradation=NOISY, seed=3, capacity=3, patches_per_image=8
    ) as p:
        lr, hr = (torch.cat(parts) for parts in zip(*(p.sample(16) for _ in range(6)), strict=True))
    digest = hashlib.sha256((hr * 255).round().byte().numpy().tobytes()).hexdigest()
    assert digest == "83e3717ca53872f6b43a15af813a430faacc00bbe6230592c67729cb7b452649"
    assert float(lr.double().mean()) == pytest.approx(0.49400617569901645, abs=1e-6)
    assert float(lr.double().std()) == pytest.approx(0.12968180974333396, abs=1e-6)


def deep(height, width, channels=4, seed=0):
    return np.random.default_rng(seed).integers(0, 65536, (height, width, channels), np.uint16)


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_deep_images_of_any_number_of_bands_keep_every_step(channels):
    image = deep(60, 70, channels)
    chain = Degradation(decimation="area", levels=None)
    with make_pool([image], degradation=chain, channels=channels, scale=2) as pool:
        lr, hr = pool.sample(32)
    assert (lr.shape, hr.shape, hr.dtype) == ((32, channels, 8, 8), (32, channels, 16, 16), torch.float32)
    steps = (hr.double() * 65535).round()
    assert (hr.double() * 65535 - steps).abs().max() < 0.01
    assert set(steps[:, 0].flatten().int().tolist()) <= set(image[..., 0].ravel().tolist())
    assert hr.max() > 0.99
    torch.testing.assert_close(lr, functional.avg_pool2d(hr, 2), atol=1e-6, rtol=0)


def test_gray_deep_images_have_three_equal_bands_in_a_pool_of_three():
    with make_pool([deep(40, 40, 1), deep(40, 40, 3)], degradation=Degradation(levels=65535)) as pool:
        _, hr = pool.sample(32)
    equal = (hr == hr[:, :1]).flatten(1).all(1)
    assert 0 < equal.sum() < 32


@pytest.mark.parametrize(
    ("images", "channels", "found"),
    [
        ([flat(1), deep(24, 24, 3)], 3, "3 bands of uint8 were expected, found one of 3 bands of uint16"),
        ([deep(24, 24, 4)], 3, "3 bands of uint16 were expected, found one of 4 bands of uint16"),
        ([deep(24, 24, 4), deep(24, 24, 1)], 4, "4 bands of uint16 were expected, found one of 1 band of uint16"),
        ([flat(1)], 1, "1 band of uint8 were expected, found one of 3 bands of uint8"),
    ],
)
def test_images_of_another_depth_or_other_bands_are_refused(images, channels, found):
    with pytest.raises(ImageSetError, match=found):
        make_pool(images, channels=channels)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_patches_are_drawn_where_every_pixel_is_valid(dtype):
    side, worst = 24, np.iinfo(dtype).max
    valid = np.ones((80, 90), bool)
    valid[30:40, 35:45] = False
    valid[:, 80:] = False
    pixels = np.random.default_rng(0).integers(0, worst, (80, 90, 3)).astype(dtype)
    pixels[~valid] = worst
    whole = pixels[:side, :side].copy()
    images = [PreparedImage(pixels, valid), PreparedImage(whole, np.ones((side, side), bool)), whole]
    with make_pool(images, degradation=Degradation(decimation="area", levels=None)) as pool:
        _, hr = pool.sample(600)
    assert hr.max() < 1
    starts = {float(value) for value in hr[:, 0, 0, 0]}
    assert len(starts) > 100


def test_every_place_between_invalid_pixels_is_used():
    valid = np.zeros((24, 60), bool)
    valid[:, 3:28] = valid[:, 30:56] = True
    ramp = np.arange(60, dtype=np.uint16)[None, :, None].repeat(24, 0)
    with make_pool([PreparedImage(ramp, valid)], channels=1, degradation=Degradation(levels=None)) as pool:
        _, hr = pool.sample(400)
    lowest = (hr.amin((1, 2, 3)) * 65535).round().int().tolist()
    assert set(lowest) == {3 + 4, 4 + 4, 30 + 4, 31 + 4, 32 + 4}


def test_images_without_room_between_invalid_pixels_are_skipped():
    valid = np.ones((40, 40), bool)
    valid[20, 20] = False
    with make_pool([PreparedImage(flat(1, 40), valid), flat(2)]) as pool:
        assert (len(pool), pool.skipped, levels(pool)) == (1, 1, {2})
    with pytest.raises(ImageSetError, match="24×24 pixels, all with a value"):
        make_pool([PreparedImage(flat(1, 40), valid)])


def test_a_mask_without_holes_changes_nothing():
    images = [generate("natural", i, (48, 48)) for i in range(3)]
    masked = [PreparedImage(image, np.ones((48, 48), bool)) for image in images]
    plain, prepared = (make_pool(each, degradation=NOISY).sample(16) for each in (images, masked))
    assert all(torch.equal(a, b) for a, b in zip(plain, prepared, strict=True))


def test_masks_leave_a_pool_with_their_images():
    valid = np.ones((30, 30), bool)
    valid[:4] = False
    images = [PreparedImage(flat(1, 30), valid), flat(2), flat(3, 40), PreparedImage(flat(4, 30), valid), flat(5)]
    with make_pool(images, capacity=2, patches_per_image=4) as pool:
        assert levels(pool, draws=40, batch=4) == {1, 2, 3, 4, 5}
