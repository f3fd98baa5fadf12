"""Agreement of an upscaled scene with its HR scene across bands and in fine detail, over valid pixels only.

Shapes: C bands of H×W HR pixels; ``valid`` is (H, W), true where both images have a value, None where they have it
everywhere. Elsewhere the images may hold anything, NaN too. Values are in one unit in which 0 means nothing there, such
as reflectance: angle and ERGAS change when a constant is added.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

_HIGH_PASS = ((-1.0, -1.0, -1.0), (-1.0, 8.0, -1.0), (-1.0, -1.0, -1.0))
_BLANK = 1e-6
"""High-pass detail below this share of the largest value is rounding of float32."""


def sam(first: Tensor, second: Tensor, valid: Tensor | None = None) -> float | None:
    """Spectral angle: mean over pixels of the angle between their two vectors of bands (Yuhas et al. 1992).

    Args:
        first: (C, H, W), two bands or more.
        second: The same shape.
        valid: Pixels to compare.

    Returns:
        Degrees, 0 to 180, lower is better; None where no valid pixel has two vectors other than zero.
    """
    angles, defined = spectral_angles(first.double(), second.double())
    defined = defined if valid is None else defined & valid
    return math.degrees(angles[defined].mean().item()) if defined.any() else None


def ergas(output: Tensor, reference: Tensor, ratio: float, valid: Tensor | None = None) -> float | None:
    """Relative dimensionless global error in synthesis, 100 · h/l · √(mean over bands of (RMSE/mean)²) (Wald 2000).

    Args:
        output: (C, H, W).
        reference: The same shape; its bands' means are the ones divided by.
        ratio: h/l, an HR pixel's side over an LR pixel's: 1/r.
        valid: Pixels to compare.

    Returns:
        Per cent, lower is better; None without valid pixels, or where the mean of a band is 0.
    """
    predicted, truth = _samples(output, valid), _samples(reference, valid)
    means = truth.mean(1)
    if not truth.numel() or bool((means == 0).any()):
        return None
    errors = (predicted - truth).square().mean(1) / means.square()
    return 100 * ratio * math.sqrt(errors.mean().item())


def scc(first: Tensor, second: Tensor, valid: Tensor | None = None) -> float | None:
    """Spatial correlation: Pearson's coefficient of two high-pass filtered bands (Zhou et al. 1998).

    The filter is 8 at a pixel and -1 at its eight neighbours. Pixels count where all nine are inside and valid.

    Args:
        first: (H, W), sides of 3 pixels or more.
        second: The same shape.
        valid: Pixels that have a value.

    Returns:
        -1 to 1, higher is better; None where either band has no detail.
    """
    known = torch.ones(first.shape, dtype=torch.bool) if valid is None else valid
    whole = functional.avg_pool2d(known[None].double(), 3, stride=1)[0] > 1 - 1e-6
    details = []
    for plane in (first, second):
        values = torch.where(known, plane.double(), 0)
        detail = functional.conv2d(values[None, None], values.new_tensor(_HIGH_PASS)[None, None])[0, 0][whole]
        if detail.numel() < 2 or detail.std() <= _BLANK * values.abs().max():
            return None
        details.append(detail)
    return float(torch.corrcoef(torch.stack(details))[0, 1])


def spectral_angles(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Angles in radians between the bands of each pixel of two (C, H, W), and where they are defined: neither is zero.

    By Kahan's formula: arc cosine would turn a rounding error of 1e-7 into 0.02 degrees.
    """
    lengths = [_length(image) for image in (first, second)]
    a, b = first * lengths[1], second * lengths[0]
    return 2 * torch.atan2(_length(a - b), _length(a + b)), (lengths[0] > 0) & (lengths[1] > 0)


def _length(vectors: Tensor) -> Tensor:
    # Ten times as fast as torch.linalg.vector_norm over this dimension.
    return vectors.square().sum(0).sqrt()


def _samples(image: Tensor, valid: Tensor | None) -> Tensor:
    return (image.flatten(1) if valid is None else image[:, valid]).double()
