"""Linear CKA: similarity of a block's representations of the same images under two degradations.

It shows up to which depth the source model's features fit a target domain. CKA compares two representations of the same
content, so that it cannot compare source images with target images. Each target HR image is therefore degraded twice,
as the source's images and as the target's, and the two representations are compared position by position, block by
block. Near 1, the target's degradation does not disturb the block. Far below, its output differs from the inputs that
later blocks were trained on, and it should not be frozen. CKA does not depend on content: a domain of new pictures
under the source's degradation scores 1.

Shapes: N images, C channels, H×W LR pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainables.errors import UsageError
from trainables.metrics.scene_bootstrap import Estimate, bootstrap_estimate

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class CrossProducts:
    """All that linear CKA needs to know of some positions; those of several images or scenes add up.

    Attributes:
        count: Positions.
        sum_x: (C,) sum of the first representation.
        sum_y: (C',) sum of the second.
        xx: (C, C) products of the first with itself.
        yy: (C', C') of the second with itself.
        xy: (C, C') of the first with the second.
    """

    count: float
    sum_x: Array
    sum_y: Array
    xx: Array
    yy: Array
    xy: Array

    @classmethod
    def of(cls, first: Tensor, second: Tensor) -> "CrossProducts":
        """Cross-products of two representations of the same images, (N, C, H, W) and (N, C', H, W).

        Raises:
            UsageError: If they do not have the same positions.
        """
        if first.shape[0] != second.shape[0] or first.shape[2:] != second.shape[2:]:
            raise UsageError(f"CKA compares the same positions, found {tuple(first.shape)} and {tuple(second.shape)}.")
        x, y = (torch.movedim(features, 1, -1).flatten(0, -2).double().cpu().numpy() for features in (first, second))
        return cls(len(x), x.sum(0), y.sum(0), x.T @ x, y.T @ y, x.T @ y)


def total(parts: Sequence[CrossProducts]) -> CrossProducts:
    """The cross-products of all parts together; a part may be there more than once, as a bootstrap has it."""
    return CrossProducts(
        sum(part.count for part in parts),
        *(np.sum([getattr(part, name) for part in parts], axis=0) for name in ("sum_x", "sum_y", "xx", "yy", "xy")),
    )


def linear_cka(products: CrossProducts) -> float:
    """Linear centred kernel alignment (Kornblith et al. 2019, 1905.00414), |X'Y|² / (|X'X| |Y'Y|), in [0, 1].

    It does not change when a representation is turned, mirrored, shifted or scaled as a whole. Few positions for many
    channels bias it upwards; there should be tens of times as many.

    Raises:
        UsageError: If a representation is the same at all positions.
    """
    n = products.count
    xx = products.xx - np.outer(products.sum_x, products.sum_x) / n
    yy = products.yy - np.outer(products.sum_y, products.sum_y) / n
    xy = products.xy - np.outer(products.sum_x, products.sum_y) / n
    size = np.linalg.norm(xx) * np.linalg.norm(yy)
    # Rounding leaves a constant representation a variance of about this much.
    if size <= 1e-20 * np.linalg.norm(products.xx) * np.linalg.norm(products.yy):
        raise UsageError("CKA needs representations that vary, found one that is the same at all positions.")
    return float(np.square(np.linalg.norm(xy)) / size)


def cka_estimate(scenes: Sequence[CrossProducts], seed: int = 0) -> Estimate:
    """Linear CKA over all scenes with its 95 % bootstrap interval.

    Args:
        scenes: The cross-products of each scene.
        seed: Seed of the resampling.
    """

    def replicate(rng: np.random.Generator) -> float:
        return linear_cka(total([scenes[i] for i in rng.integers(len(scenes), size=len(scenes))]))

    return bootstrap_estimate(linear_cka(total(scenes)), replicate, len(scenes), seed=seed, bounds=(0, 1))
