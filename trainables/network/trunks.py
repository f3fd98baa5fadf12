"""The feature extractor F_θ: (N, C, H, W) at LR resolution to (N, features, H, W), and its thin family.

Both families are residual networks that keep every feature at its LR pixel, and name their parts ``stem`` and
``blocks``; the other one is in :mod:`trainables.network.torchvision_trunks`.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from trainables.network.architecture import Architecture


class FeatureExtractor(nn.Module):
    """A stem and residual blocks.

    Args:
        stem: From image channels to features.
        blocks: Residual blocks from input to output.
    """

    def __init__(self, stem: nn.Module, blocks: Iterable[nn.Module]) -> None:
        super().__init__()
        self.stem = stem
        self.blocks = nn.Sequential(*blocks)

    def forward(self, lr: Tensor) -> Tensor:
        """Features of an LR image."""
        features: Tensor = self.blocks(self.stem(lr))
        return features

    def stages(self, lr: Tensor) -> list[Tensor]:
        """Features after the stem and after each block, the last being what :meth:`forward` gives."""
        features = [self.stem(lr)]
        for block in self.blocks:
            # A block may begin with an in-place rectifier.
            features.append(block(features[-1].clone()))
        return features

    def radius(self) -> int:
        """Radius of the receptive field: LR pixels to each side that can influence a feature."""
        return sum(m.kernel_size[0] // 2 for m in self.modules() if isinstance(m, nn.Conv2d))


class ThinBlock(nn.Module):
    """Two convolutions around one rectifier, added to the input: no normalisation, no activation after the sum.

    The residual block of EDSR (Lim et al. 2017, arXiv 1707.02921).
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        # Without normalisation the variance would double with every sum.
        with torch.no_grad():
            self.conv2.weight.mul_(0.1)

    def forward(self, features: Tensor) -> Tensor:
        """(N, width, H, W) to the same shape."""
        detail: Tensor = self.conv2(self.relu(self.conv1(features)))
        return features + detail


def thin_trunk(architecture: Architecture) -> FeatureExtractor:
    """Narrow and deep: at equal operations depth pays more than width (benchmarks/results, architectures)."""
    stem = nn.Conv2d(architecture.channels, architecture.width, 3, padding=1)
    return FeatureExtractor(stem, (ThinBlock(architecture.width) for _ in range(architecture.depth)))
