"""A pool of decoded images that yields many random aligned patches per decode.

Decoding is the slow part of training a small network, so each image that arrives stays in the pool, on the training
device, until newer ones push it out; every batch mixes patches of all images in the pool. A thread reads and decodes
ahead of the pool. When an image enters depends on how many patches were drawn, never on how fast it was read, so a
seeded run draws the same patches on any machine.
"""

from collections.abc import Callable, Iterator
from types import TracebackType

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainables.degradation import Degradation
from trainables.errors import ImageSetError
from trainables.images.image_buffer import ImageBuffer, to_device
from trainables.images.prefetch import Prefetch

Pixels = NDArray[np.uint8]

MARGIN = 2
"""LR pixels cut from each side after degrading, so that a blur never sees a patch's own edge."""


def smallest_image(lr_patch: int, scale: int) -> int:
    """The least height and width in HR pixels that an image needs for one patch of ``lr_patch`` LR pixels."""
    return (lr_patch + 2 * MARGIN) * scale


class PatchPool:
    """Holds images as uint8 on a device and draws batches of (LR, HR) patches.

    Args:
        read_images: Starts one pass over the images, each a uint8 array (H, W, C) with C of 1 or 3. A pool that is
            large enough for the whole pass reads it once; a smaller one keeps reading passes. Called and iterated on
            the pool's reading thread only.
        scale: Scale factor r.
        lr_patch: Side of an LR patch in pixels.
        degradation: Degradation that makes LR patches.
        seed: Start of all randomness.
        device: Device that keeps images and makes patches.
        capacity: Images that the pool may hold. It is a count, not bytes, so that distributed workers read their
            streams in step: one that read ahead would wait for the others, and they for its gradients.
        patches_per_image: Patches drawn per image decoded, once the pool is full.
        read_ahead: Images that may be decoded and wait to enter; at most ``capacity`` of them are kept.

    Attributes:
        taken: Images that were read and had their turn, those too small for a patch included.
        skipped: Number of them that were too small for a patch.

    Raises:
        ImageSetError: If a whole pass has no image of at least one patch.
        Exception: Any error of ``read_images``, here or in :meth:`sample`, at the turn of the image that it concerns.
    """

    def __init__(
        self,
        read_images: Callable[[], Iterator[Pixels]],
        *,
        scale: int,
        lr_patch: int,
        degradation: Degradation,
        seed: int,
        device: torch.device | str = "cpu",
        capacity: int = 2000,
        patches_per_image: int = 64,
        read_ahead: int = 64,
    ) -> None:
        self.scale, self.lr_patch, self.degradation = scale, lr_patch, degradation
        self.device = torch.device(device)
        self.taken, self.skipped = 0, 0
        self._capacity, self._patches_per_image, self._owed = capacity, patches_per_image, 0.0
        self._images = ImageBuffer(self.device)
        self._places = np.random.default_rng(seed)
        self._noise = torch.Generator(self.device)
        self.reseed(seed)
        passes = _passes(read_images, smallest_image(lr_patch, scale), capacity)
        self._reader = Prefetch(passes, min(read_ahead, capacity))
        self._exhausted = False
        self._fill()

    def __len__(self) -> int:
        return len(self._images)

    def __enter__(self) -> "PatchPool":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def waits(self) -> int:
        """Number of times that :meth:`sample` had to wait for an image to be read; ideally 0."""
        return self._reader.waits

    @property
    def waited_s(self) -> float:
        """Seconds that :meth:`sample` waited for images in all."""
        return self._reader.waited_s

    def close(self) -> None:
        """Ends the reading thread; the pool goes on drawing from the images that it holds."""
        self._exhausted = True
        self._reader.close()

    def reseed(self, seed: int) -> None:
        """Restarts the randomness; a resumed run reseeds by step and so draws what an unbroken one would."""
        self._places = np.random.default_rng(seed)
        self._noise.manual_seed(seed)

    def sample(self, batch: int) -> tuple[Tensor, Tensor]:
        """Draws a batch: LR (N, 3, P, P) and HR (N, 3, r·P, r·P), float in [0, 1]."""
        self._refill(batch)
        side = smallest_image(self.lr_patch, self.scale)
        numbers = self._places.integers(len(self._images), size=batch)
        bands, heights, widths = self._images.shapes(numbers).T
        # Patch by patch: its row, its column, its quarter turns, whether it is mirrored.
        choices = [heights - side + 1, widths - side + 1, np.full(batch, 4), np.full(batch, 2)]
        rows, columns, turns, mirrored = self._places.integers(np.stack(choices, axis=1)).T
        hr = self._images.crops(numbers, rows, columns, turns + 4 * mirrored, side).float().div_(255)
        lr = self.degradation(hr, self.scale, to_device(bands == 1, self.device), self._noise)
        inner = MARGIN * self.scale
        return lr[..., MARGIN:-MARGIN, MARGIN:-MARGIN], hr[..., inner:-inner, inner:-inner]

    def _fill(self) -> None:
        while not self._exhausted and (self.taken < self._capacity or not self._images):
            self._take_image()
        if not self._images:
            side = smallest_image(self.lr_patch, self.scale)
            raise ImageSetError(f"No image has the {side}×{side} pixels that one training patch needs.")
        self._reader.waits, self._reader.waited_s = 0, 0.0

    def _refill(self, batch: int) -> None:
        self._owed += batch / self._patches_per_image
        while not self._exhausted and self._owed >= 1:
            self._owed -= 1
            self._take_image()

    def _take_image(self) -> None:
        try:
            image = next(self._reader)
        except StopIteration:
            self._exhausted = True
            return
        self.taken += 1
        if image is None:
            self.skipped += 1
            return
        if len(self._images) == self._capacity:
            self._images.drop_oldest()
        self._images.append(image)


def _passes(read_images: Callable[[], Iterator[Pixels]], side: int, capacity: int) -> Iterator[Tensor | None]:
    """Images as uint8 (C, H, W), None in place of one that is too small, until a pool of ``capacity`` has them all.

    Only images are counted, usable or not: distributed workers, whose passes have equally many, end alike.
    """
    usable, small = 1, capacity
    while usable and usable + small > capacity:
        usable, small = 0, 0
        for pixels in read_images():
            if min(pixels.shape[:2]) < side:
                small += 1
                yield None
            else:
                usable += 1
                yield torch.from_numpy(pixels.transpose(2, 0, 1).copy())
