"""Colour images under a method for one plane: luma gets the detail, chroma is interpolated.

The eye is less sensitive to chroma, so the methods' own authors do this too (Timofte et al. 2014, Romano et al. 2016).
"""

from collections.abc import Callable

import torch
from torch import Tensor

from trainables.errors import UsageError
from trainables.network.network import interpolate

_WEIGHTS = (0.299, 0.587, 0.114)
"""BT.601."""


def luma(images: Tensor) -> Tensor:
    """BT.601 luma, full range: (N, 3, H, W) to (N, 1, H, W). Three equal channels give that channel."""
    weights = torch.tensor(_WEIGHTS, device=images.device, dtype=images.dtype)
    return (images * weights.view(-1, 1, 1)).sum(1, keepdim=True)


def with_luma_detail(lr: Tensor, scale: int, detail: Callable[[Tensor], Tensor]) -> Tensor:
    """Bicubic interpolation plus a luma detail: (N, 3, H, W) to (N, 3, r·H, r·W); gray images stay gray.

    Args:
        lr: LR images in [0, 1]; gray ones repeated to three channels.
        scale: Scale factor r.
        detail: From LR luma (N, 1, H, W) to what the HR luma has beyond its bicubic interpolation, (N, 1, r·H, r·W).

    Raises:
        UsageError: If ``lr`` is no batch of float images with three channels.
    """
    if lr.dim() != 4 or lr.shape[1] != 3 or not lr.is_floating_point():
        raise UsageError(
            f"Expected float LR images (N, 3, H, W), found {lr.dtype} {tuple(lr.shape)}; repeat gray images to three "
            "channels."
        )
    return interpolate(lr, scale) + detail(luma(lr))
