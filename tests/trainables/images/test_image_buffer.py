"""The buffer that patches are cut from."""

from collections import deque

import numpy as np
import pytest
import torch

from trainables.images import image_buffer
from trainables.images.image_buffer import ImageBuffer, copy_walks, gather_walks, to_shares


def picture(seed, height, width, channels=3, dtype=np.uint8):
    values = np.random.default_rng(seed).integers(
        0, np.iinfo(dtype).max, (channels, height, width), dtype, endpoint=True
    )
    return torch.from_numpy(values)


def slow_crop(image, row, column, orientation, side, channels=3):
    """A patch by torch's own operations, one at a time."""
    crop = torch.rot90(image.int()[:, row : row + side, column : column + side], orientation % 4, (1, 2))
    return (crop.flip(2) if orientation >= 4 else crop).expand(channels, -1, -1)


def whole(buffer, number):
    _, height, width = buffer.shapes([number])[0]
    side = min(height, width)
    return buffer.crops(*(np.array([v]) for v in (number, height - side, width - side, 0)), side)[0]


@pytest.mark.parametrize("follow", [copy_walks, gather_walks])
@pytest.mark.parametrize("side", [3, 16, 23])
def test_crops_equal_slow_ones_in_all_orientations(monkeypatch, follow, side):
    monkeypatch.setattr(image_buffer, "copy_walks", follow)
    images = [picture(0, 40, 31), picture(1, 23, 60, channels=1), picture(2, 23, 23), torch.zeros(3, 50, 50).byte()]
    buffer = ImageBuffer()
    for image in images:
        buffer.append(image)
    rng, count = np.random.default_rng(side), 400
    numbers, orientations = rng.integers(len(images), size=count), np.arange(count) % 8
    _, heights, widths = buffer.shapes(numbers).T
    rows, columns = rng.integers(0, heights - side + 1), rng.integers(0, widths - side + 1)
    patches = buffer.crops(numbers, rows, columns, orientations, side)
    assert patches.dtype == torch.uint8
    for patch, number, *where in zip(patches, numbers, rows, columns, orientations, strict=True):
        assert torch.equal(patch.int(), slow_crop(images[number], *map(int, where), side))


@pytest.mark.parametrize("follow", [copy_walks, gather_walks])
@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_crops_of_any_depth_and_number_of_bands(monkeypatch, follow, channels, dtype):
    monkeypatch.setattr(image_buffer, "copy_walks", follow)
    images = [picture(0, 40, 31, channels, dtype), picture(1, 23, 60, 1 if channels == 3 else channels, dtype)]
    buffer = ImageBuffer(channels=channels)
    for image in images:
        buffer.append(image)
    rng, count = np.random.default_rng(0), 64
    numbers, orientations = np.arange(count) // 32, np.arange(count) % 8
    _, heights, widths = buffer.shapes(numbers).T
    rows, columns = rng.integers(0, heights - 16), rng.integers(0, widths - 16)
    patches = buffer.crops(numbers, rows, columns, orientations, 17)
    assert (patches.dtype, patches.shape) == (images[0].dtype, (count, channels, 17, 17))
    for patch, number, *where in zip(patches, numbers, rows, columns, orientations, strict=True):
        assert torch.equal(patch.int(), slow_crop(images[number], *map(int, where), 17, channels))


@pytest.mark.parametrize(("dtype", "full"), [(np.uint8, 255), (np.uint16, 65535)])
def test_shares_of_the_largest_value(dtype, full):
    values = np.arange(full + 1, dtype=dtype)
    expected = (values.astype(np.float32) / np.float32(full)).astype(np.float32)
    assert np.array_equal(to_shares(torch.from_numpy(values)).numpy(), expected)


def test_it_holds_what_a_queue_holds_through_any_wrapping_and_growing():
    rng, buffer, queue = np.random.default_rng(5), ImageBuffer(), deque()
    for number in range(600):
        image = picture(number, *rng.integers(4, 30, 2), channels=int(rng.choice([1, 3])))
        for _ in range(min(len(queue), rng.integers(3)) if len(queue) > 6 else 0):
            buffer.drop_oldest()
            queue.popleft()
        buffer.append(image)
        queue.append(image)
        assert len(buffer) == len(queue)
        for place in {0, len(queue) // 2, len(queue) - 1}:
            side = min(queue[place].shape[1:])
            expected = queue[place][:, -side:, -side:].expand(3, -1, -1)
            assert torch.equal(whole(buffer, place), expected)


@pytest.mark.parametrize("held", [1, 2, 7])
def test_it_does_not_grow_without_end(held):
    rng, buffer = np.random.default_rng(6), ImageBuffer()
    sizes = []
    for number in range(2000):
        if len(buffer) == held:
            buffer.drop_oldest()
        buffer.append(torch.zeros(3, *rng.integers(10, 21, 2), dtype=torch.uint8))
        sizes.append(len(buffer._values))
        assert len(buffer) == min(held, number + 1)
    assert sizes[-1] <= (held + 2) * 1200 * 1.5
    assert sizes[-1] == sizes[1000]
