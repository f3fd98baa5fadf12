"""Scoring a network on a fixed set of degraded images.

A plain image, 8-bit gray or RGB, is compared on gray or luma. A deep one, uint16 of any number of bands, is compared
band by band, with 1 for the peak: the top of its domain's value range. Pixels without a value count nowhere.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from trainables.degradation import Degradation
from trainables.errors import ImageSetError
from trainables.images.hidden_colour import nearest
from trainables.images.image_buffer import to_shares
from trainables.images.image_pair import PreparedPair
from trainables.images.patch_pool import Pixels
from trainables.images.raster import PreparedImage
from trainables.images.valid_places import fullest_window, window_sums
from trainables.metrics.psnr_ssim import SSIM_WINDOW, comparable, inside, psnr, ssim
from trainables.metrics.spectral import ergas, sam
from trainables.network.network import interpolate

Upscaler = Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class NamedImage:
    """One HR image of a split.

    Attributes:
        name: Its name.
        scene: Its scene.
        pixels: (H, W, C), uint8 of a plain image and uint16 of a deep one.
        valid: bool (H, W), False where a pixel has no value; None if all have one.
        lr: The real LR image of a pair; None where LR is made by a degradation.
    """

    name: str
    scene: str
    pixels: Pixels
    valid: NDArray[np.bool_] | None = None
    lr: PreparedImage | None = None

    @property
    def prepared(self) -> PreparedImage | PreparedPair:
        """The image, or the pair, to train on."""
        hr = PreparedImage(self.pixels, self.valid)
        return hr if self.lr is None else PreparedPair(hr, self.lr)


def named(name: str, image: PreparedImage | PreparedPair) -> NamedImage:
    """An image, or a pair, of a name that stands for its scene too."""
    if isinstance(image, PreparedPair):
        return NamedImage(name, name, image.hr.pixels, image.hr.valid, image.lr)
    return NamedImage(name, name, image.pixels, image.valid)


@dataclass(frozen=True, slots=True)
class Pair:
    """An HR image and its fixed LR counterpart, both (C, ·, ·) float in [0, 1].

    Attributes:
        name: Name of the image.
        scene: Its scene.
        gray: True if the image has one band, which a plain pair repeats to three.
        lr: LR image.
        hr: HR image, r times as high and wide.
        valid: bool (H, W), HR pixels that are compared; None for all.
        levels: Steps between 0 and 1 that an output is rounded to, None for no rounding.
        deep: True if bands are compared on their own scale, False if luma or gray is compared.
    """

    name: str
    scene: str
    gray: bool
    lr: Tensor
    hr: Tensor
    valid: Tensor | None = None
    levels: float | None = 255.0
    deep: bool = False


@dataclass(frozen=True, slots=True)
class Score:
    """One image's metrics.

    Attributes:
        name: Name of the image.
        scene: Its scene.
        psnr: PSNR in dB; of a deep image the mean over its bands.
        ssim: SSIM; of a deep image the mean over its bands.
        bands: Of a deep image, PSNR in dB of each band.
        sam: Of two deep bands or more, spectral angle in degrees, lower is better; None where it is not defined. It
            and ERGAS are of shares of the value range, whose bottom should therefore be the value of nothing.
        ergas: Of two deep bands or more, ERGAS in per cent, lower is better; None where it is not defined.
    """

    name: str
    scene: str
    psnr: float
    ssim: float
    bands: tuple[float, ...] = ()
    sam: float | None = None
    ergas: float | None = None


def make_pairs(
    images: Iterable[NamedImage], degradation: Degradation, scale: int, crop: int | None = None
) -> list[Pair]:
    """Degrades each image once, with randomness that depends on its pixels alone; a real LR image is taken as it is.

    Args:
        images: HR images, each of which is cut to a multiple of ``scale``, or pairs.
        degradation: The domain's degradation.
        scale: Scale factor r.
        crop: Largest height and width in HR pixels that is used, from the middle; None for the whole image. Where
            pixels have no value, it is the window with the most that have, and of several the nearest to the middle.

    Returns:
        A pair for each image, without those in which nothing can be compared: whose valid pixels, less those whose LR
        pixel covers an invalid one, hold no window of SSIM.

    Raises:
        ImageSetError: If nothing can be compared in any of one or more images, or a pair's sizes do not fit.
    """
    found = [_make_pair(image, degradation, scale, crop) for image in images]
    pairs = [pair for pair in found if pair is not None]
    if found and not pairs:
        raise ImageSetError(
            f"No image can be scored at x{scale}: none has {SSIM_WINDOW}×{SSIM_WINDOW} pixels, all with a value, "
            "between its invalid pixels."
        )
    return pairs


def score(upscale: Upscaler, pairs: Sequence[Pair], scale: int) -> list[Score]:
    """Upscales and compares every pair, after rounding the output to the image's depth as a file would."""
    return [compare(run(upscale, pair), pair, scale) for pair in pairs]


def compare(output: Tensor, pair: Pair, scale: int) -> Score:
    """Scores what :func:`run` gave for a pair."""
    valid = None if pair.valid is None else inside(pair.valid, scale)
    planes = _planes(output, pair, scale)
    psnrs, ssims = ([metric(*pair_of_planes, valid) for pair_of_planes in planes] for metric in (psnr, ssim))
    if not pair.deep:
        return Score(pair.name, pair.scene, psnrs[0], ssims[0])
    angle, error = _across_bands(output, pair, scale, valid) if len(planes) > 1 else (None, None)
    return Score(
        pair.name, pair.scene, float(np.mean(psnrs)), float(np.mean(ssims)), tuple(psnrs), sam=angle, ergas=error
    )


def mean_psnr(upscale: Upscaler, pairs: Sequence[Pair], scale: int, batch: int = 1) -> float:
    """Mean PSNR in dB over pairs; SSIM is left out, which halves the time."""
    return float(np.mean(psnr_of_each(upscale, pairs, scale, batch)))


def psnr_of_each(upscale: Upscaler, pairs: Sequence[Pair], scale: int, batch: int = 1) -> list[float]:
    """PSNR in dB of each pair; neighbours of one size go through the network together, at most ``batch`` of them."""
    return [
        _psnr(output, pair, scale)
        for group in _of_one_size(pairs, batch)
        for output, pair in zip(run_together(upscale, group), group, strict=True)
    ]


def _of_one_size(pairs: Sequence[Pair], most: int) -> Iterator[Sequence[Pair]]:
    for _, group in groupby(pairs, key=lambda pair: pair.lr.shape):
        members = list(group)
        yield from (members[first : first + most] for first in range(0, len(members), most))


def bicubic(scale: int) -> Upscaler:
    """The interpolation baseline: MATLAB's bicubic kernel."""
    return lambda lr: interpolate(lr, scale)


def run(upscale: Upscaler, pair: Pair) -> Tensor:
    """Upscales one pair's LR image: (C, r·h, r·w), rounded to the pair's levels, on the CPU."""
    return run_together(upscale, [pair])[0]


def run_together(upscale: Upscaler, pairs: Sequence[Pair]) -> list[Tensor]:
    """Upscales the LR images of pairs of one size in one batch; see :func:`run`."""
    with torch.inference_mode():
        outputs = upscale(torch.stack([pair.lr for pair in pairs])).clamp(0, 1)
    return [
        output.cpu() if pair.levels is None else (output * pair.levels).round().cpu() / pair.levels
        for output, pair in zip(outputs, pairs, strict=True)
    ]


def _psnr(output: Tensor, pair: Pair, scale: int) -> float:
    valid = None if pair.valid is None else inside(pair.valid, scale)
    return float(np.mean([psnr(*planes, valid) for planes in _planes(output, pair, scale)]))


def _planes(output: Tensor, pair: Pair, scale: int) -> list[tuple[Tensor, Tensor]]:
    """Planes that are compared, on [0, 255]: luma or gray of a plain pair, each band of a deep one."""
    if not pair.deep:
        return [(comparable(output, pair.gray, scale), comparable(pair.hr, pair.gray, scale))]
    ours, truth = (inside(image, scale).double() * 255 for image in (output, pair.hr))
    return list(zip(ours, truth, strict=True))


def _across_bands(output: Tensor, pair: Pair, scale: int, valid: Tensor | None) -> tuple[float | None, float | None]:
    """Spectral angle and ERGAS."""
    ours, truth = (inside(image, scale).double() for image in (output, pair.hr))
    return sam(ours, truth, valid), ergas(ours, truth, 1 / scale, valid)


def _make_pair(image: NamedImage, degradation: Degradation, scale: int, crop: int | None) -> Pair | None:
    prepared = image.prepared
    if isinstance(prepared, PreparedPair):
        return _real_pair(image, prepared, degradation.levels, scale, crop)
    height, width = (min(side, crop or side) // scale * scale for side in image.pixels.shape[:2])
    part = _part(image.pixels.shape, image.valid, height, width)
    pixels, valid = image.pixels[part], None if image.valid is None else image.valid[part]
    valid = None if valid is None or valid.all() else valid
    compared = None if valid is None else _compared(valid, scale)
    if compared is not None and not _can_be_scored(compared, scale):
        return None
    gray, deep = pixels.shape[2] == 1, pixels.dtype == np.uint16
    hr = _shares(pixels, valid)
    seed = int.from_bytes(hashlib.sha256(pixels.tobytes()).digest()[:7], "big")
    generator = torch.Generator().manual_seed(seed)
    lr = degradation(hr[None], scale, torch.tensor([gray]), generator)[0]
    return Pair(image.name, image.scene, gray, lr, hr, compared, degradation.levels, deep)


def _real_pair(
    image: NamedImage, pair: PreparedPair, levels: float | None, scale: int, crop: int | None
) -> Pair | None:
    pair.check(scale)
    known = pair.valid(scale)
    shape = pair.lr.pixels.shape
    height, width = (min(side, (crop or side * scale) // scale) for side in shape[:2])
    rows, columns = part = _part(shape, known, height, width)
    large = tuple(slice(axis.start * scale, axis.stop * scale) for axis in (rows, columns))
    hr, lr = _shares_of(pair.hr, large), _shares_of(pair.lr, part)
    compared = None
    if known is not None and not known[part].all():
        compared = torch.from_numpy(known[part]).repeat_interleave(scale, 0).repeat_interleave(scale, 1)
        if not _can_be_scored(compared, scale):
            return None
    gray, deep = pair.hr.pixels.shape[2] == 1, pair.hr.pixels.dtype == np.uint16
    return Pair(image.name, image.scene, gray, lr, hr, compared, levels, deep)


def _shares_of(image: PreparedImage, part: tuple[slice, ...]) -> Tensor:
    valid = None if image.valid is None or image.valid[part].all() else image.valid[part]
    return _shares(image.pixels[part], valid)


def _part(shape: tuple[int, ...], valid: NDArray[np.bool_] | None, height: int, width: int) -> tuple[slice, slice]:
    """The window that is used: in the middle or, where pixels have no value, that with the most that have."""
    top, left = fullest_window(valid, (shape[0], shape[1]), height, width)
    return slice(top, top + height), slice(left, left + width)


def _shares(pixels: Pixels, valid: NDArray[np.bool_] | None) -> Tensor:
    """Pixels as a network sees them: (C, H, W), those without a value filled with the nearest one."""
    seen = pixels if valid is None else nearest(pixels, ~valid)
    shares = to_shares(torch.from_numpy(np.ascontiguousarray(seen.transpose(2, 0, 1))))
    if pixels.dtype == np.uint16:
        return shares
    return shares.expand(3, -1, -1).clone(memory_format=torch.contiguous_format)


def _compared(valid: NDArray[np.bool_], scale: int) -> Tensor:
    """HR pixels whose LR pixel covers valid ones alone."""
    holes = torch.from_numpy(~valid).float()[None, None]
    covering = functional.max_pool2d(holes, scale)
    return functional.interpolate(covering, scale_factor=float(scale), mode="nearest")[0, 0] == 0


def _can_be_scored(compared: Tensor, scale: int) -> bool:
    known = inside(compared, scale).numpy()
    return min(known.shape) >= SSIM_WINDOW and bool(
        (window_sums(known, SSIM_WINDOW, SSIM_WINDOW) == SSIM_WINDOW**2).any()
    )
