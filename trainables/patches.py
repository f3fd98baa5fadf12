"""A pool of decoded images that yields many random aligned patches per decode.

Decoding is the slow part of training a small network, so each image that arrives stays in the pool, on the training
device, until newer ones push it out; every batch mixes patches of all images in the pool.
"""

from collections import deque
from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainables.degradation import Degradation
from trainables.errors import ImageSetError

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
            larger than the whole pass reads it once; a smaller one keeps reading passes.
        scale: Scale factor r.
        lr_patch: Side of an LR patch in pixels.
        degradation: How LR patches are made.
        seed: Start of all randomness.
        device: Where images are kept and patches are made.
        capacity: Images that the pool may hold. It is a count, not bytes, so that distributed workers read their
            streams in step: one that read ahead would wait for the others, and they for its gradients.
        patches_per_image: How many patches are drawn per image decoded, once the pool is full.

    Raises:
        ImageSetError: If the first pass has no image of at least one patch.
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
    ) -> None:
        self.scale, self.lr_patch, self.degradation = scale, lr_patch, degradation
        self.device = torch.device(device)
        self._read_images, self._capacity = read_images, capacity
        self._patches_per_image, self._owed = patches_per_image, 0.0
        self._images: deque[tuple[Tensor, bool]] = deque()
        self._taken = 0
        self._places = np.random.default_rng(seed)
        self._noise = torch.Generator(self.device)
        self.reseed(seed)
        self._stream: Iterator[Pixels] | None = read_images()
        self._fill()

    def __len__(self) -> int:
        return len(self._images)

    def reseed(self, seed: int) -> None:
        """Restarts the randomness; a resumed run reseeds by step and so draws what an unbroken one would."""
        self._places = np.random.default_rng(seed)
        self._noise.manual_seed(seed)

    def sample(self, batch: int) -> tuple[Tensor, Tensor]:
        """Draws a batch: LR (N, 3, P, P) and HR (N, 3, r·P, r·P), float in [0, 1]."""
        self._refill(batch)
        side = smallest_image(self.lr_patch, self.scale)
        chosen = [self._images[i] for i in self._places.integers(len(self._images), size=batch)]
        hr = torch.stack([self._crop(image, side) for image, _ in chosen]).float() / 255
        gray = torch.tensor([is_gray for _, is_gray in chosen], device=self.device)
        lr = self.degradation(hr, self.scale, gray, self._noise)
        inner = MARGIN * self.scale
        return lr[..., MARGIN:-MARGIN, MARGIN:-MARGIN], hr[..., inner:-inner, inner:-inner]

    def _crop(self, image: Tensor, side: int) -> Tensor:
        row = int(self._places.integers(image.shape[1] - side + 1))
        column = int(self._places.integers(image.shape[2] - side + 1))
        quarter_turns, mirrored = int(self._places.integers(4)), bool(self._places.integers(2))
        crop = torch.rot90(image[:, row : row + side, column : column + side], quarter_turns, (1, 2))
        return (crop.flip(2) if mirrored else crop).expand(3, -1, -1)

    def _fill(self) -> None:
        while self._stream is not None and self._taken < self._capacity:
            self._take_one()
        if not self._images:
            side = smallest_image(self.lr_patch, self.scale)
            raise ImageSetError(f"No image has the {side}×{side} pixels that one training patch needs.")

    def _refill(self, batch: int) -> None:
        if self._stream is None:
            return
        self._owed += batch / self._patches_per_image
        while self._owed >= 1:
            self._owed -= 1
            self._take_one()

    def _take_one(self) -> None:
        assert self._stream is not None
        pixels = next(self._stream, None)
        if pixels is None:
            holds_everything = self._taken < self._capacity
            self._stream = None if holds_everything else self._read_images()
            return
        self._taken += 1
        if min(pixels.shape[:2]) < smallest_image(self.lr_patch, self.scale):
            return
        image = torch.from_numpy(pixels.transpose(2, 0, 1).copy()).to(self.device)
        self._images.append((image, image.shape[0] == 1))
        if len(self._images) > self._capacity:
            self._images.popleft()
