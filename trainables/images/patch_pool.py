"""A pool of decoded images that yields many random aligned patches per decode.

Decoding is the slow part of training a small network, so each image that arrives stays in the pool, on the training
device, until newer ones push it out; every batch mixes patches of all images in the pool. A thread reads and decodes
ahead of the pool. When an image enters depends on how many patches were drawn, never on how fast it was read, so a
seeded run draws the same patches on any machine.
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainables.degradation import Degradation
from trainables.errors import ImageSetError
from trainables.images.image_buffer import ImageBuffer, Integers, to_device, to_shares
from trainables.images.image_pair import PreparedPair
from trainables.images.prefetch import Prefetch
from trainables.images.raster import PreparedImage
from trainables.images.valid_places import ValidPlaces

Pixels = NDArray[np.uint8 | np.uint16]
"""(H, W, C) as networks are trained on them; the type's largest value stands for 1."""

TrainingImage = Pixels | PreparedImage | PreparedPair
"""An HR image, or a pair of HR and real LR."""

MARGIN = 2
"""LR pixels cut from each side after degrading, so that a blur never sees a patch's own edge."""


def smallest_image(lr_patch: int, scale: int) -> int:
    """The least height and width in HR pixels that an image needs for one patch of ``lr_patch`` LR pixels."""
    return (lr_patch + 2 * MARGIN) * scale


class PatchPool:
    """Holds images as integers on a device and draws batches of (LR, HR) patches.

    LR patches are degraded HR patches or, of pairs, cut from the real LR image at the same place.

    Args:
        read_images: Starts one pass over the images, each (H, W, C), all uint8 or all uint16, and all pairs or none.
            Patches are cut where every pixel has a value. A pool that is large enough for the whole pass reads it once;
            a smaller one keeps reading passes. Called and iterated on the pool's reading thread only.
        scale: Scale factor r.
        lr_patch: Side of an LR patch in pixels.
        degradation: Degradation that makes LR patches.
        seed: Start of all randomness.
        device: Device that keeps images and makes patches.
        capacity: Images that the pool may hold. It is a count, not bytes, so that distributed workers read their
            streams in step: one that read ahead would wait for the others, and they for its gradients.
        patches_per_image: Patches drawn per image decoded, once the pool is full.
        read_ahead: Images that may be decoded and wait to enter; at most ``capacity`` of them are kept.
        channels: C of patches. Images have as many bands; gray ones are repeated to 3.
        pairs_share: Of pairs, share of patches with their real LR, 0 to 1; the others' LR is degraded HR.
        drawn: Patches that an interrupted run drew from its pool. ``read_images`` begins with the oldest image that
            this pool held, see :func:`replaced`.

    Attributes:
        scale: Scale factor r.
        lr_patch: Side of an LR patch in pixels.
        degradation: Degradation that makes LR patches.
        channels: C of patches.
        pairs_share: Of pairs, share of patches with their real LR.
        seed: Start of the randomness.
        taken: Images that were read and had their turn, those too small for a patch included.
        skipped: Number of them that were too small for a patch, or had no room for one between invalid pixels.

    Raises:
        ImageSetError: If a whole pass has no image of at least one patch, images have unequal depths or bands, a pair's
            sizes do not fit the scale factor, or only some images are pairs.
        Exception: Any error of ``read_images``, here or in :meth:`sample`, at the turn of the image that it concerns.
    """

    def __init__(
        self,
        read_images: Callable[[], Iterator[TrainingImage]],
        *,
        scale: int,
        lr_patch: int,
        degradation: Degradation,
        seed: int,
        device: torch.device | str = "cpu",
        capacity: int = 2000,
        patches_per_image: int = 64,
        read_ahead: int = 64,
        channels: int = 3,
        pairs_share: float = 1.0,
        drawn: int = 0,
    ) -> None:
        self.scale, self.lr_patch, self.degradation = scale, lr_patch, degradation
        self.channels, self.pairs_share = channels, pairs_share
        self.device = torch.device(device)
        self.taken, self.skipped = 0, 0
        self._capacity, self._patches_per_image = capacity, patches_per_image
        self._owed = drawn / patches_per_image % 1
        self._images, self._lr_images = ImageBuffer(self.device, channels), ImageBuffer(self.device, channels)
        self._places_of: deque[ValidPlaces | None] = deque()
        """Room for patches in each image of the pool; None where all its pixels are valid."""
        self._places = np.random.default_rng(seed)
        self._noise = torch.Generator(self.device)
        self.reseed(seed)
        passes = _passes(read_images, lr_patch + 2 * MARGIN, scale, capacity)
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
        self.seed = seed
        self._places = np.random.default_rng(seed)
        self._noise.manual_seed(seed)

    def sample(self, batch: int) -> tuple[Tensor, Tensor]:
        """Draws a batch: LR (N, C, P, P) and HR (N, C, r·P, r·P), float in [0, 1]."""
        self._refill(batch)
        side = smallest_image(self.lr_patch, self.scale)
        numbers = self._places.integers(len(self._images), size=batch)
        bands, heights, widths = self._images.shapes(numbers).T
        # Pairs are cut between LR pixels, other images anywhere.
        unit = self.scale if self._lr_images else 1
        # Patch by patch: its row, its column, its quarter turns, whether it is mirrored.
        choices = [(heights - side) // unit + 1, (widths - side) // unit + 1, np.full(batch, 4), np.full(batch, 2)]
        masked = self._masked(numbers)
        for patch, places in masked:
            choices[0][patch], choices[1][patch] = len(places), 1
        rows, columns, turns, mirrored = self._places.integers(np.stack(choices, axis=1)).T
        for patch, places in masked:
            rows[patch], columns[patch] = places.place(int(rows[patch]))
        orientations = turns + 4 * mirrored
        hr = to_shares(self._images.crops(numbers, unit * rows, unit * columns, orientations, side))
        lr = self._lr(hr, bands == 1, numbers, rows, columns, orientations)
        inner = MARGIN * self.scale
        return lr[..., MARGIN:-MARGIN, MARGIN:-MARGIN], hr[..., inner:-inner, inner:-inner]

    def _lr(
        self,
        hr: Tensor,
        gray: NDArray[np.bool_],
        numbers: Integers,
        rows: Integers,
        columns: Integers,
        turned: Integers,
    ) -> Tensor:
        """LR of HR patches: cut from the LR images of pairs, degraded, or a mixture of both."""
        if not self._lr_images:
            return self.degradation(hr, self.scale, to_device(gray, self.device), self._noise)
        lr = to_shares(self._lr_images.crops(numbers, rows, columns, turned, self.lr_patch + 2 * MARGIN))
        if self.pairs_share == 1:
            return lr
        degraded = self.degradation(hr, self.scale, to_device(gray, self.device), self._noise)
        real = to_device(self._places.random(len(numbers)) < self.pairs_share, self.device)
        return torch.where(real.view(-1, 1, 1, 1), lr, degraded)

    def _masked(self, numbers: Integers) -> list[tuple[int, ValidPlaces]]:
        """Patches of images with invalid pixels, and where in them there is room."""
        found = ((patch, self._places_of[number]) for patch, number in enumerate(numbers))
        return [(patch, places) for patch, places in found if places is not None]

    def _fill(self) -> None:
        while not self._exhausted and (self.taken < self._capacity or not self._images):
            self._take_image()
        if not self._images:
            side = smallest_image(self.lr_patch, self.scale)
            raise ImageSetError(
                f"No image has the {side}×{side} pixels, all with a value, that one training patch needs."
            )
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
            self._places_of.popleft()
            if self._lr_images:
                self._lr_images.drop_oldest()
        if self._images and (image.lr is None) is bool(self._lr_images):
            raise ImageSetError("Training images must all be pairs of HR and LR, or none: found both.")
        self._images.append(image.values)
        self._places_of.append(image.places)
        if image.lr is not None:
            self._lr_images.append(image.lr)


def replaced(drawn: int, patches_per_image: int = 64) -> int:
    """Number of images of a full pool that were replaced while so many patches were drawn."""
    return drawn // patches_per_image


@dataclass(frozen=True, slots=True)
class _Usable:
    """An image (C, H, W), of a pair with its LR image, and where there is room for a patch; None for everywhere.

    Places are those of HR pixels or, of a pair, of LR pixels.
    """

    values: Tensor
    places: ValidPlaces | None
    lr: Tensor | None = None


def _usable(image: TrainingImage, lr_side: int, scale: int) -> _Usable | None:
    if isinstance(image, PreparedPair):
        image.check(scale)
        pixels, valid, side, lr = image.lr.pixels, image.valid(scale), lr_side, _planes(image.lr.pixels)
        values = _planes(image.hr.pixels)
    else:
        pixels, valid = (image.pixels, image.valid) if isinstance(image, PreparedImage) else (image, None)
        side, lr, values = lr_side * scale, None, _planes(pixels)
    if min(pixels.shape[:2]) < side:
        return None
    places = None if valid is None or valid.all() else ValidPlaces(valid, side)
    if places is not None and not len(places):
        return None
    return _Usable(values, places, lr)


def _planes(pixels: Pixels) -> Tensor:
    return torch.from_numpy(pixels.transpose(2, 0, 1).copy())


def _passes(
    read_images: Callable[[], Iterator[TrainingImage]], lr_side: int, scale: int, capacity: int
) -> Iterator[_Usable | None]:
    """Images, None in place of one without room for a patch, until a pool of ``capacity`` has them all.

    Only images are counted, usable or not: distributed workers, whose passes have equally many, end alike.
    """
    usable, small = 1, capacity
    while usable and usable + small > capacity:
        usable, small = 0, 0
        for image in read_images():
            found = _usable(image, lr_side, scale)
            usable, small = usable + (found is not None), small + (found is None)
            yield found
