"""Measures of a benchmark: an output is compared with its HR image on the planes that the protocol states.

Shapes: N images (slices of a volume, otherwise one) of H×W HR pixels and C bands.
"""

import math
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from orchestrator.protocols.protocol import Protocol
from trainables.errors import UnreadableImageError
from trainables.metrics.consistency import ConsistencyMeter
from trainables.metrics.correctness import correctness
from trainables.metrics.psnr_ssim import comparable, psnr, ssim
from trainables.metrics.spectral import ergas, sam

_WINDOW, _UNIFORM_WINDOW = 11, 7
_LEAST_SIDE = {"luma": _WINDOW, "rgb": _WINDOW, "bands": _WINDOW, "volume": _UNIFORM_WINDOW}


def measure(
    protocol: Protocol, output: NDArray[Any], hr: NDArray[Any], lr: NDArray[Any], scale: int
) -> dict[str, float | None]:
    """Measures of an output by their names; None where one is undefined.

    Args:
        protocol: States planes, border and measures.
        output: (N, H, W, C): uint8, or float32 shares of the value range.
        hr: Likewise.
        lr: (N, H/r, W/r, C), what was enlarged.
        scale: Scale factor r.

    Raises:
        UnreadableImageError: If the image is too small for SSIM.
    """
    border = protocol.border_at(scale)
    if min(hr.shape[1:3]) - 2 * border < _LEAST_SIDE[protocol.comparison]:
        raise UnreadableImageError(f"{hr.shape[2]}×{hr.shape[1]} pixels are too few for SSIM without the border")
    if protocol.comparison == "volume":
        return _volume(torch.from_numpy(output[..., 0]).double(), torch.from_numpy(hr[..., 0]).double())
    first, second = (torch.from_numpy(np.ascontiguousarray(image[0].transpose(2, 0, 1))) for image in (output, hr))
    if protocol.comparison == "bands":
        return _bands(protocol, first, second, torch.from_numpy(lr[0].transpose(2, 0, 1).copy()), scale)
    if protocol.comparison == "rgb":
        return _joint(_inner(first.double(), border), _inner(second.double(), border))
    gray = len(second) == 1
    planes = [comparable(image.float().expand(3, -1, -1) / 255, gray, border) for image in (first, second)]
    return {"psnr": psnr(*planes), "ssim": ssim(*planes)}


def _inner(image: Tensor, border: int) -> Tensor:
    return image[..., border : image.shape[-2] - border, border : image.shape[-1] - border]


def _joint(first: Tensor, second: Tensor) -> dict[str, float | None]:
    """PSNR over all bands together and the mean of their SSIM; (C, H, W) on [0, 255]."""
    similarity = [ssim(*planes) for planes in zip(first, second, strict=True)]
    return {"psnr": psnr(first, second), "ssim": sum(similarity) / len(similarity)}


def _bands(protocol: Protocol, output: Tensor, hr: Tensor, lr: Tensor, scale: int) -> dict[str, float | None]:
    """Measures of reflectance, (C, H, W) shares; consistency is of the whole image."""
    border = protocol.border_at(scale)
    first, second = _inner(output.double(), border), _inner(hr.double(), border)
    planes = list(zip(first * 255, second * 255, strict=True))
    values: dict[str, float | None] = {
        "psnr": sum(psnr(*pair) for pair in planes) / len(planes),
        "ssim": sum(ssim(*pair) for pair in planes) / len(planes),
        "sam": sam(first, second),
        "ergas": ergas(first, second, 1 / scale),
    }
    if "reflectance" in protocol.measures:
        meter = ConsistencyMeter(scale, len(lr))
        meter.add(lr.numpy(), output.numpy())
        result = meter.result()
        values["reflectance"] = sum(result.reflectance) / len(result.reflectance) if result.reflectance else None
        values["spectral"] = result.spectral_angle
        values["spatial"] = None if result.shift is None else math.hypot(*result.shift)
    if "synthesis" in protocol.measures:
        values |= asdict(correctness(output, hr, lr, border))
    return values


def _volume(output: Tensor, hr: Tensor) -> dict[str, float | None]:
    """PSNR of a volume and mean SSIM of its slices, (N, H, W) shares of the volume's largest value."""
    return {"psnr": psnr(output * 255, hr * 255), "ssim": uniform_ssim(output, hr)}


def uniform_ssim(first: Tensor, second: Tensor) -> float:
    """Mean SSIM of (N, H, W) images on [0, 1] with a 7×7 uniform window and sample covariances.

    This is the default of scikit-image, which fastMRI's and other MRI papers quote.
    """
    c1, c2 = 0.01**2, 0.03**2
    count = _UNIFORM_WINDOW**2

    def mean(planes: Tensor) -> Tensor:
        return functional.avg_pool2d(planes[:, None], _UNIFORM_WINDOW, stride=1)[:, 0]

    mean1, mean2, unbiased = mean(first), mean(second), count / (count - 1)
    variance1 = unbiased * (mean(first * first) - mean1 * mean1)
    variance2 = unbiased * (mean(second * second) - mean2 * mean2)
    covariance = unbiased * (mean(first * second) - mean1 * mean2)
    similarity = ((2 * mean1 * mean2 + c1) * (2 * covariance + c2)) / (
        (mean1 * mean1 + mean2 * mean2 + c1) * (variance1 + variance2 + c2)
    )
    return float(similarity.mean())
