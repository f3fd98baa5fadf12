"""Decoded images of many sizes in one buffer on a device, from which a whole batch of patches is cut at once.

Shapes: N patches of C bands, S the side of a patch in pixels. Images lie one behind the other as (C, H, W), all of them
uint8 or all uint16; where C is 3, gray ones have one band.

A square patch in any of its eight orientations is a walk through the buffer: it starts at some value and takes fixed
strides from band to band, row to row and column to column. Turning and mirroring only exchange and negate strides, and
a gray image has three equal bands because its stride from band to band is zero.
"""

from collections import deque
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainables.errors import ImageSetError

Integers = NDArray[np.int64]

# Orientation k is k quarter turns as of torch.rot90, k + 4 the same mirrored left to right. Of the patch as it lies in
# the image: whether walks start in the last row and in the last column, then how they step in units of (row, column)
# from one row of the result to the next, and from one column to the next.
_ORIENTATIONS = np.array(
    [
        [0, 0, 1, 0, 0, 1],
        [0, 1, 0, -1, 1, 0],
        [1, 1, -1, 0, 0, -1],
        [1, 0, 0, 1, -1, 0],
        [0, 1, 1, 0, 0, -1],
        [1, 1, 0, -1, -1, 0],
        [1, 0, -1, 0, 0, 1],
        [0, 0, 0, 1, 1, 0],
    ]
)


class ImageBuffer:
    """A first-in, first-out store of images.

    Args:
        device: Device that keeps them.
        channels: C of the patches; gray images are repeated to 3.
    """

    def __init__(self, device: torch.device | str = "cpu", channels: int = 3) -> None:
        self._channels = channels
        self._values = torch.empty(0, dtype=torch.uint8, device=device)
        self._images: deque[tuple[int, int, int, int]] = deque()
        """First value, C, H and W of each image, the oldest first."""
        self._end = 0

    def __len__(self) -> int:
        return len(self._images)

    def append(self, image: Tensor) -> None:
        """Stores an image (C, H, W) of the CPU's memory by one copy that nobody waits for.

        Args:
            image: uint8 or uint16, which the first image decides for all.

        Raises:
            ImageSetError: If it has another depth than the images before it, or another number of bands.
        """
        self._check(image)
        start = self._room_for(image.numel())
        flat = image.flatten()
        self._values[start : start + len(flat)].copy_(_ready_to_send(flat, self._values.device), non_blocking=True)
        self._images.append((start, image.shape[0], image.shape[1], image.shape[2]))
        self._end = start + image.numel()

    def drop_oldest(self) -> None:
        """Makes room."""
        self._images.popleft()
        if not self._images:
            self._end = 0

    def shapes(self, numbers: Integers) -> Integers:
        """C, H and W of images by number, 0 being the oldest: (N, 3)."""
        return np.array([self._images[number][1:] for number in numbers])

    def crops(self, numbers: Integers, rows: Integers, columns: Integers, orientations: Integers, side: int) -> Tensor:
        """Cuts a batch of patches.

        Args:
            numbers: (N,), which image each patch comes from, 0 being the oldest.
            rows: (N,), top row of each patch as it lies in its image.
            columns: (N,), its left column.
            orientations: (N,), 0 to 7: quarter turns as of ``torch.rot90``, plus 4 to mirror left to right afterwards.
            side: S.

        Returns:
            (N, C, S, S) of the images' data type on the buffer's device.
        """
        first, bands, heights, widths = np.array([self._images[number] for number in numbers]).T
        from_last_row, from_last_column, *steps = _ORIENTATIONS[orientations].T
        start = (rows + from_last_row * (side - 1)) * widths + columns + from_last_column * (side - 1)
        down, right = steps[0] * widths + steps[1], steps[2] * widths + steps[3]
        walks = np.stack([first + start, (bands > 1) * heights * widths, down, right], axis=1)
        follow = copy_walks if self._values.device.type == "cpu" else gather_walks
        return follow(self._values, walks, (self._channels, side, side))

    def _check(self, image: Tensor) -> None:
        if not len(self._values):
            self._values = self._values.new_empty(0, dtype=image.dtype)
        fits = image.shape[0] == self._channels or (image.shape[0] == 1 and self._channels == 3)
        if image.dtype != self._values.dtype or not fits:
            raise ImageSetError(
                f"Training images of {_said(self._values.dtype, self._channels)} were expected, found one of "
                f"{_said(image.dtype, image.shape[0])}: images of one domain have one depth and the same bands."
            )

    def _room_for(self, size: int) -> int:
        """The first value of a free stretch: behind the newest image, at the front, or in a larger buffer."""
        oldest = self._images[0][0] if self._images else 0
        wrapped = bool(self._images) and self._end <= oldest
        if self._end + size <= (oldest if wrapped else len(self._values)):
            return self._end
        if not wrapped and size <= oldest:
            return 0
        self._grow(size)
        return self._end

    def _grow(self, size: int) -> None:
        sizes = [channels * height * width for _, channels, height, width in self._images]
        larger = self._values.new_empty(max(sum(sizes) + size, len(self._values) * 3 // 2))
        packed: deque[tuple[int, int, int, int]] = deque()
        end = 0
        for (start, *shape), count in zip(self._images, sizes, strict=True):
            larger[end : end + count] = self._values[start : start + count]
            packed.append((end, shape[0], shape[1], shape[2]))
            end += count
        self._values, self._images, self._end = larger, packed, end


def copy_walks(buffer: Tensor, walks: Integers, shape: tuple[int, int, int]) -> Tensor:
    """Follows walks on the CPU one by one, ten times faster there than by an index for every value."""
    memory = buffer.numpy()
    patches = np.empty((len(walks), *shape), memory.dtype)
    for patch, (start, *strides) in zip(patches, (walks * memory.itemsize).tolist(), strict=True):
        walk: NDArray[Any] = np.ndarray(shape, memory.dtype, memory, start, strides)
        # Read forwards, as the image lies in memory, and turned and mirrored in the processor's cache.
        rows, columns = (slice(None, None, 1 if stride > 0 else -1) for stride in strides[1:])
        patch[...] = walk[:, rows, columns].copy(order="K")[:, rows, columns]
    return torch.from_numpy(patches)


def gather_walks(buffer: Tensor, walks: Integers, shape: tuple[int, int, int]) -> Tensor:
    """Follows all walks at once, by an index for every value: a handful of kernels for the batch, and no waiting."""
    start, band, down, right = to_device(walks, buffer.device).view(-1, 4, 1, 1, 1).unbind(1)
    bands, rows, columns = (torch.arange(count, device=buffer.device) for count in shape)
    places = (start + band * bands.view(-1, 1, 1)) + (down * rows.view(-1, 1) + right * columns)
    # Devices need not be able to index 16-bit values without a sign; their bits are all that matters.
    return buffer.view(torch.int16)[places].view(buffer.dtype) if buffer.dtype == torch.uint16 else buffer[places]


def to_shares(values: Tensor) -> Tensor:
    """uint8 or uint16 to float32 in [0, 1], in which the type's largest value is 1."""
    if values.dtype == torch.uint16:
        return (values.view(torch.int16).int() & 0xFFFF).float().div_(0xFFFF)
    return values.float().div_(0xFF)


def to_device(values: NDArray[Any], device: torch.device) -> Tensor:
    """Copies an array to a device; nobody waits for the copy, nor for what the device still does."""
    return _ready_to_send(torch.from_numpy(values), device).to(device, non_blocking=True)


def _said(dtype: torch.dtype, bands: int) -> str:
    return f"{bands} band{'s' * (bands != 1)} of {str(dtype).removeprefix('torch.')}"


def _ready_to_send(tensor: Tensor, device: torch.device) -> Tensor:
    """A GPU copies in the background from pinned memory only."""
    return tensor.pin_memory() if device.type == "cuda" else tensor
