"""Bands of a scene through the network and back to its data type, see :mod:`trainables.inference.radiometry`."""

from math import inf
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from orchestrator.archive.scene.types import SceneError
from trainables.inference.downscaling import MARGINS, Downscaling
from trainables.inference.prepare import Prepared
from trainables.inference.radiometry import BackProjection, Limits, downscaled, upscale_clamped

_ROWS_AT_ONCE = 8
"""LR rows whose output is rounded at once on a CPU, few enough for its cache."""


def halo_of(radius: int, downscaling: Downscaling | None) -> int:
    """LR pixels around a tile that its output depends on."""
    return radius if downscaling is None else radius + MARGINS[downscaling]


def limits_of_values(dtype: str, nodata: float | None = None) -> Limits:
    """Least and greatest value of a data type that is not nodata; infinite ones for decimals."""
    if np.dtype(dtype).kind == "f":
        return -inf, inf
    limits = np.iinfo(dtype)
    return limits.min + (nodata == limits.min), limits.max - (nodata == limits.max)


@torch.inference_mode()
def apply_network(
    net: Prepared,
    lr: NDArray[Any],
    low: NDArray[Any],
    span: NDArray[Any],
    out: NDArray[Any],
    bands: list[int],
    downscaling: Downscaling | None = None,
    limits: Limits = (-inf, inf),
    singly: bool = False,
) -> None:
    """Upscales bands and writes them in the data type of the output.

    Args:
        net: The network.
        lr: (c, h + 2H, w + 2H) source values with a halo of H pixels, which :func:`halo_of` gives. The network sees the
            bands together, c being as many as it takes, or each by itself.
        low: The value of each band that means 0, (c,).
        span: From there to the value that means 1, (c,).
        out: (bands, r·h', r·w') with h' ≤ h and w' ≤ w.
        bands: Positions of the bands in ``out``.
        downscaling: How the output is downscaled for back-projection; None to leave that out.
        limits: Least and greatest value of the output, for back-projection.
        singly: Whether the network sees each band by itself, all in one batch.

    Raises:
        SceneError: ``verification``, if the network's output is not finite.
    """
    r, halo, left = net.scale, halo_of(net.radius, downscaling), net.radius
    whole = torch.from_numpy(np.ascontiguousarray(lr)).to(net.device).float()
    bottom, width = (torch.from_numpy(v.astype(np.float32)).to(net.device)[:, None, None] for v in (low, span))

    def network(inside: torch.Tensor) -> torch.Tensor:
        return net(inside.expand(-1, net.channels, -1, -1))

    shown = (whole - bottom) / width
    if singly or len(lr) < net.channels:
        hr = _mean_of_repeated(upscale_clamped(network, shown[:, None], r), _ROWS_AT_ONCE * r)
    else:
        hr = upscale_clamped(network, shown[None], r)[0]
    projection = None
    if downscaling is not None:
        means = downscaled(hr, r, downscaling)
        projection = BackProjection.of(whole, whole - torch.addcmul(bottom, means, width), r, downscaling, limits)
    rows = out.shape[1] // r
    step = _ROWS_AT_ONCE if net.device.type == "cpu" else rows
    for first in range(0, rows, step):
        last = min(first + step, rows)
        values = hr[:, (halo + first) * r : (halo + last) * r]
        values = torch.addcmul(bottom, values, width)
        if projection is not None:
            values = projection.apply(values, halo + first, halo + last)
        values = values[:, :, left * r : left * r + out.shape[2]]
        out[bands, first * r : last * r] = _in_type(values, out.dtype).cpu().numpy()


def _mean_of_repeated(hr: torch.Tensor, rows: int) -> torch.Tensor:
    """(C, channels, H, W) to (C, H, W), some rows at once, which stay in a CPU's cache."""
    if hr.shape[1] == 1:
        return hr[:, 0]
    return torch.cat([hr[:, :, first : first + rows].mean(1) for first in range(0, hr.shape[2], rows)], 1)


def _in_type(values: torch.Tensor, dtype: np.dtype[Any]) -> torch.Tensor:
    if not torch.isfinite(values).all():
        raise SceneError(
            "verification",
            "The model gave values that are not finite where the scene has some: its weights are damaged, or the "
            "scene's values are too large for it.",
        )
    if dtype.kind == "f":
        return values
    limits = np.iinfo(dtype)
    return values.round().clamp_(limits.min, limits.max).to(getattr(torch, dtype.name))
