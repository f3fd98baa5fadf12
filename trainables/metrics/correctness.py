"""Synthesis and correctness of an upscaled scene against its LR and HR, as opensr-test defines them.

Definitions: Aybar et al. 2024 (https://doi.org/10.1109/LGRS.2024.3401394), and the defaults of its package in version
1.2, which the paper's tables predate: normalised difference at each pixel, softmin at temperature 0.25. The systematic
differences between output and HR are taken away first: the output's histograms are matched to HR's, and a displacement
of up to :data:`FARTHEST` pixels is undone. Own code, because the package needs several large libraries; registration is
that of :mod:`trainables.metrics.registration`.

Shapes: C bands of H×W HR pixels, r the scale factor. Values are reflectances, shares of 1.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from trainables.metrics.psnr_ssim import inside
from trainables.metrics.registration import phase_shift

FARTHEST = 5.0
"""Displacement in HR pixels, down or right, above which an output is compared where it lies."""

_DETAIL_QUANTILE = 0.75
_TEMPERATURE = 0.25
_SHARPNESS = 0.05
_EPSILON = 1e-8
_LEAST_SIDE = 16
_ROUNDING = 1e-6
"""Differences below are rounding."""


@dataclass(frozen=True, slots=True)
class Correctness:
    """Detail that an output adds to its LR, and the share of it that HR has.

    Attributes:
        synthesis: Mean absolute difference between the output and LR enlarged bilinearly; higher is more detail.
        hallucination: Mean share of detail in the output that HR does not have, 0 to 1.
        omission: Mean share of HR's detail that the output lacks, 0 to 1.
        improvement: Mean share of detail that the output and HR have and LR lacks, 0 to 1. The three shares sum to 1;
            they are None where no pixel has detail.
    """

    synthesis: float
    hallucination: float | None
    omission: float | None
    improvement: float | None


def correctness(output: Tensor, hr: Tensor, lr: Tensor, border: int = 0) -> Correctness:
    """Synthesis and correctness of an output.

    Args:
        output: (C, r·H, r·W).
        hr: The same shape.
        lr: (C, H, W).
        border: HR pixels left out at each side, a multiple of r.
    """
    scale = hr.shape[-1] // lr.shape[-1]
    truth = inside(hr, border).double()
    harmonised = harmonise(inside(output, border), truth)
    enlarged = functional.interpolate(
        inside(lr, border // scale).double()[None], scale_factor=scale, mode="bilinear", align_corners=False
    )[0]
    of_input, to_truth, to_input = (
        _difference(*pair) for pair in ((enlarged, truth), (harmonised, truth), (harmonised, enlarged))
    )
    detail = of_input.flatten().kthvalue(max(1, int(_DETAIL_QUANTILE * of_input.numel()))).values
    counted = (torch.stack([of_input, to_truth, to_input]) > detail.clamp(min=_ROUNDING)).any(0)
    shares = _shares((to_truth / of_input)[counted], (to_input / of_input)[counted])
    defined = [None if bool(share.isnan()) else float(share) for share in shares]
    return Correctness(float((enlarged - harmonised).abs().mean()), defined[2], defined[1], defined[0])


def harmonise(output: Tensor, hr: Tensor) -> Tensor:
    """An output without its systematic differences from HR, those of its histograms and of its place.

    Args:
        output: (C, H, W).
        hr: The same shape.

    Returns:
        (C, H, W) float64.
    """
    from scipy.ndimage import shift  # here, so that other metrics need no SciPy

    reference = hr.double().numpy()
    bands = np.stack([match_histogram(*pair) for pair in zip(output.double().numpy(), reference, strict=True)])
    if min(bands.shape[1:]) < _LEAST_SIDE:
        return torch.from_numpy(bands)
    down, right = phase_shift(reference.mean(0), bands.mean(0))
    if max(abs(down), abs(right)) > FARTHEST or (down, right) == (0.0, 0.0):
        return torch.from_numpy(bands)
    return torch.from_numpy(np.stack([shift(band, (-down, -right), order=3, mode="nearest") for band in bands]))


def match_histogram(band: NDArray[np.float64], reference: NDArray[np.float64]) -> NDArray[np.float64]:
    """The values of a band mapped monotonically so that they are distributed as those of a reference (any shapes)."""
    _, places, counts = np.unique(band, return_inverse=True, return_counts=True)
    wanted, wanted_counts = np.unique(reference, return_counts=True)
    mapped: NDArray[np.float64] = np.interp(
        np.cumsum(counts) / band.size, np.cumsum(wanted_counts) / reference.size, wanted
    )
    return mapped[places].reshape(band.shape)


def _difference(first: Tensor, second: Tensor) -> Tensor:
    """Normalised difference |a - b| / |a + b| of each pixel, mean over bands: (C, H, W) to (H, W)."""
    return ((first - second).abs() / (first + second + _EPSILON).abs()).mean(0)


def _shares(to_truth: Tensor, to_input: Tensor) -> Tensor:
    """Mean shares of improvement, omission and hallucination over pixels.

    Args:
        to_truth: (N,), difference of output and HR over that of LR and HR.
        to_input: (N,), difference of output and LR over that of LR and HR.
    """
    beyond = 1 - torch.exp(-_SHARPNESS * (to_truth + to_input - 1))
    distances = torch.stack(
        [to_truth + to_input * beyond, to_input + to_truth * beyond, torch.exp(-_SHARPNESS * to_truth * to_input)]
    )
    return torch.softmax(-distances / _TEMPERATURE, 0).nanmean(1)
