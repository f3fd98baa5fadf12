"""Values of an upscaled image: interpolated where a network must not see them, and back-projected onto the source.

Shapes: C bands, H×W LR pixels, r the scale factor. Values are on the network's scale, on which its range is 0 to 1.

A network is trained on values from 0 to 1 and may give anything for others. So it sees them clamped, and what lies
beyond is interpolated bicubically and added.

Back-projection (Irani & Peleg 1991, https://doi.org/10.1016/1049-9652(91)90045-L), in one step: the difference between
the source and the downscaled output is upsampled bicubically and added. The output is downscaled in one of two ways:

- ``area``: block means, the means of the r×r output pixels of each LR pixel. What bicubic upsampling leaves of the
  difference is added to each block as a constant, so that the block means become those of the source, up to rounding.
  Both together are one filter of 5×5 LR pixels for each of the r×r output pixels.
- ``bicubic``, antialiased, as the training images of most models were. The mean over any larger area becomes that of
  the source; the mean of a single block does not.

The one that made the LR image brings an output closer to HR, the other one may not.

All of it has a bounded neighbourhood and one order of operations, so that the result is the same in every tile.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from math import inf

import torch
from torch import Tensor
from torch.nn import functional

from trainables.inference.downscaling import MARGINS, Downscaling
from trainables.inference.prepare import REACH, bicubic_kernels, enlarge

_ROWS = 8
"""LR rows whose output is averaged at once, few enough for a CPU's cache."""

Limits = tuple[float, float]
"""Least and greatest value that an output can hold."""


def upscale_clamped(network: Callable[[Tensor], Tensor], lr: Tensor, scale: int) -> Tensor:
    """Upscales values of any range with a network that sees them clamped to [0, 1].

    Args:
        network: From (N, C, H, W) to (N, C, r·H, r·W).
        lr: (N, C, H, W).
        scale: Scale factor r.

    Returns:
        (N, C, r·H, r·W): the network's output, plus the interpolation of what lies beyond the range.
    """
    inside = lr.clamp(0, 1)
    hr, beyond = network(inside), lr - inside
    return hr + enlarge(beyond, scale) if bool(beyond.any()) else hr


def block_means(hr: Tensor, scale: int) -> Tensor:
    """Means of r×r pixels: (C, r·H, r·W) to (C, H, W), added up in one order everywhere."""
    step = _ROWS * scale
    return torch.cat([_means(hr[:, first : first + step], scale) for first in range(0, hr.shape[1], step)], 1)


def _means(hr: Tensor, scale: int) -> Tensor:
    lines = hr.reshape(hr.shape[0], -1, scale, hr.shape[2])
    total = lines[:, :, 0]
    for row in range(1, scale):
        total = total + lines[:, :, row]
    sums = total[..., ::scale]
    for column in range(1, scale):
        sums = sums + total[..., column::scale]
    return sums / scale**2


@dataclass(frozen=True, slots=True)
class BackProjection:
    """Back-projection of an output onto its source, some rows at a time.

    Attributes:
        lr: (C, H, W) source values.
        correction: (C, r², H - 4, W - 4), what is added to each of the r×r output pixels of an LR pixel.
        scale: Scale factor r.
        downscaling: How the output was downscaled.
        limits: Least and greatest value that the output's data type holds. With ``area``, a block that would leave them
            is drawn towards its mean until it does not, since cutting it off would change its mean.
    """

    lr: Tensor
    correction: Tensor
    scale: int
    downscaling: Downscaling
    limits: Limits = (-inf, inf)

    @classmethod
    def of(
        cls, lr: Tensor, difference: Tensor, scale: int, downscaling: Downscaling, limits: Limits = (-inf, inf)
    ) -> "BackProjection":
        """Filters the (C, H, W) source values less the downscaled output."""
        kernels = _kernels(scale, downscaling).to(difference.device)
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            correction = functional.conv2d(difference[:, None], kernels)
        return cls(lr, correction, scale, downscaling, limits)

    def apply(self, hr: Tensor, first: int, last: int) -> Tensor:
        """Corrects the output of some LR rows.

        Args:
            hr: (C, r·(last - first), r·W), those rows of the output.
            first: First LR row, at least M, the one of :data:`MARGINS`.
            last: LR row after the last one, at most H - M.

        Returns:
            The corrected rows, (C, r·(last - first), r·(W - 2·M)), without the margin to the left and right.
        """
        margin, r = MARGINS[self.downscaling], self.scale
        bands, count, width = len(hr), last - first, self.lr.shape[2] - 2 * margin
        inner = slice(margin - REACH, margin - REACH + width)
        phases = self.correction[:, :, first - REACH : last - REACH, inner].reshape(bands, r, r, count, width)
        corrected = hr[:, :, margin * r : (margin + width) * r].clone(memory_format=torch.contiguous_format)
        corrected.view(bands, count, r, width, r).add_(phases.permute(0, 3, 1, 4, 2))
        if self.downscaling == "area":
            self._keep_within_limits(corrected, self.lr[:, first:last, margin : margin + width])
        return corrected

    def _keep_within_limits(self, hr: Tensor, lr: Tensor) -> None:
        """Draws blocks that leave the limits towards their means, in place."""
        low, high = self.limits
        lowest, highest = hr.aminmax()
        if bool(lowest >= low) and bool(highest <= high):
            return
        bands, height, width = lr.shape
        blocks = hr.view(bands, height, self.scale, width, self.scale).permute(0, 1, 3, 2, 4)
        beyond = (blocks < low).any(4).any(3) | (blocks > high).any(4).any(3)
        values, means = blocks[beyond], lr[beyond][:, None, None]
        least, most = values.amin((1, 2), keepdim=True), values.amax((1, 2), keepdim=True)
        whole = torch.ones_like(means)
        below = torch.where(least < low, (means - low) / (means - least), whole)
        above = torch.where(most > high, (high - means) / (most - means), whole)
        blocks[beyond] = means + (values - means) * torch.minimum(below, above).clamp(0, 1)


def back_projected(
    hr: Tensor, lr: Tensor, scale: int, downscaling: Downscaling, limits: Limits = (-inf, inf)
) -> Tensor:
    """Corrects a whole output.

    Args:
        hr: (C, r·H, r·W), the output.
        lr: (C, H, W), its source.
        scale: Scale factor r.
        downscaling: How the output is downscaled.
        limits: As of :class:`BackProjection`.

    Returns:
        (C, r·(H - 2·M), r·(W - 2·M)), without the margin M of :data:`MARGINS` at each side.
    """
    projection = BackProjection.of(lr, lr - downscaled(hr, scale, downscaling), scale, downscaling, limits)
    margin = MARGINS[downscaling]
    last = lr.shape[1] - margin
    rows = [(first, min(first + _ROWS, last)) for first in range(margin, last, _ROWS)]
    return torch.cat([projection.apply(hr[:, start * scale : end * scale], start, end) for start, end in rows], 1)


def downscaled(hr: Tensor, scale: int, downscaling: Downscaling) -> Tensor:
    """(C, r·H, r·W) to (C, H, W); right at a margin's distance from the borders."""
    if downscaling == "area":
        return block_means(hr, scale)
    size = [side // scale for side in hr.shape[1:]]
    with torch.autocast(hr.device.type, enabled=False):
        return functional.interpolate(hr.contiguous()[None], size, mode="bicubic", antialias=True)[0]


@cache
def _kernels(scale: int, downscaling: Downscaling) -> Tensor:
    """(r², 1, 5, 5): weights of the LR pixels around one for each of its output pixels, row by row."""
    kernels = bicubic_kernels(scale)
    if downscaling == "area":
        kernels = kernels - kernels.mean(0)
        kernels[:, REACH, REACH] += 1
    return kernels[:, None].float()
