"""Images of several bands under a method for one plane.

Of images of three bands, luma gets the detail and chroma is interpolated: the eye is less sensitive to chroma, so the
methods' own authors do this too (Timofte et al. 2014, Romano et al. 2016). Of other numbers of bands each is a plane.
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


def planes(images: Tensor) -> Tensor:
    """The planes that get detail: luma of three bands, (N, 3, H, W) to (N, 1, H, W), else all, to (N·C, 1, H, W)."""
    return luma(images) if images.shape[1] == 3 else images.flatten(0, 1).unsqueeze(1)


def with_detail(lr: Tensor, scale: int, detail: Callable[[Tensor], Tensor]) -> Tensor:
    """Bicubic interpolation plus the detail of :func:`planes`: (N, C, H, W) to (N, C, r·H, r·W).

    Args:
        lr: LR images in [0, 1]; three equal bands stay equal.
        scale: Scale factor r.
        detail: From LR planes (P, 1, H, W) to what HR has beyond their bicubic interpolation, (P, 1, r·H, r·W).

    Raises:
        UsageError: If ``lr`` is no batch of float images.
    """
    if lr.dim() != 4 or not lr.is_floating_point():
        raise UsageError(f"Expected float LR images (N, C, H, W), found {lr.dtype} {tuple(lr.shape)}.")
    smooth, details = interpolate(lr, scale), detail(planes(lr))
    return smooth + (details if lr.shape[1] == 3 else details.view_as(smooth))
