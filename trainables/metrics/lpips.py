"""LPIPS: perceptual distance of two images, by features of an image classifier.

Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric", CVPR 2018, as torchmetrics
computes it, with AlexNet. The features' weights are torchvision's, which no package brings along: they are taken from
where torchvision keeps them, and nothing is downloaded.
"""

from pathlib import Path

import torch
from torch import Tensor

from trainables.errors import UsageError

LEAST_SIDE = 64
"""Height and width in pixels below which AlexNet's layers run out of image."""


class Lpips:
    """Compares images, 0 being equal.

    Raises:
        UsageError: If torchmetrics is not installed, or AlexNet's weights are not there.
    """

    def __init__(self) -> None:
        try:
            from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity
        except ImportError:
            raise UsageError("LPIPS needs torchmetrics: pip install 'rayscale[lpips]'.") from None
        path = weights_file()
        if not path.is_file():
            raise UsageError(
                f"LPIPS needs torchvision's AlexNet at '{path}' and downloads nothing by itself: run python -c "
                "\"import torchvision; torchvision.models.alexnet(weights='DEFAULT')\" where there is a network."
            )
        try:
            self._compare = LearnedPerceptualImagePatchSimilarity(net_type="alex", normalize=True).eval()
        except Exception as error:  # pickle's own errors have no common class
            raise UsageError(f"'{path}' does not hold torchvision's AlexNet ({type(error).__name__}).") from None

    def __call__(self, output: Tensor, target: Tensor) -> float | None:
        """LPIPS of two images, (3, H, W) in [0, 1], without cutting a border; None where they are too small."""
        if min(target.shape[-2:]) < LEAST_SIDE:
            return None
        with torch.inference_mode():
            return float(self._compare(output[None], target[None]))


def weights_file() -> Path:
    """Path of AlexNet's weights in torchvision's cache."""
    from torchvision.models import AlexNet_Weights  # two seconds, for this metric alone

    from trainables.network.torchvision_trunks import cached_weights

    return cached_weights(AlexNet_Weights.IMAGENET1K_V1)
