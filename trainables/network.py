"""The network: a residual trunk F_θ at LR resolution, then an ESPCN generator G_φ.

Shapes: N images, C channels, H×W LR pixels, r the scale factor.

The generator is Shi et al.'s sub-pixel convolution (arXiv 1609.05158). The interpolated input is added at the end and
the last convolution starts at zero: an untrained network *is* bicubic interpolation.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainables.architecture import (
    PRESETS,
    SCALES,
    Architecture,
    check_frozen_depth,
    frozen_depth_limit,
    preset,
)
from trainables.trunks import FeatureExtractor, thin_trunk, torchvision_trunk

__all__ = [
    "PRESETS",
    "SCALES",
    "Architecture",
    "FeatureExtractor",
    "Generator",
    "SuperResolutionNet",
    "check_frozen_depth",
    "frozen_depth_limit",
    "interpolate",
    "preset",
]


class Generator(nn.Module):
    """G_φ: ESPCN's sub-pixel generator. (N, features, H, W) to (N, C, r·H, r·W)."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.conv = nn.Conv2d(architecture.features, architecture.channels * architecture.scale**2, 3, padding=1)
        self.shuffle = nn.PixelShuffle(architecture.scale)
        nn.init.zeros_(self.conv.weight)
        nn.init.zeros_(self.conv.bias)  # type: ignore[arg-type]

    def forward(self, features: Tensor) -> Tensor:
        """The image detail that interpolation lacks."""
        detail: Tensor = self.shuffle(self.conv(features))
        return detail


class SuperResolutionNet(nn.Module):
    """G_φ(F_θ(x)) + bicubic(x): (N, C, H, W) in [0, 1] to exactly (N, C, r·H, r·W), for any H and W."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        self.frozen_depth = 0
        thin = architecture.family == "thin"
        self.features = thin_trunk(architecture) if thin else torchvision_trunk(architecture)
        self.generator = Generator(architecture)

    def forward(self, lr: Tensor) -> Tensor:
        """Upscales a batch; values may leave [0, 1] slightly."""
        detail: Tensor = self.generator(self.features(lr))
        # Under autocast the detail is small and can be half precision; the image itself must not be.
        return detail.to(lr.dtype) + interpolate(lr, self.architecture.scale)

    def blocks(self) -> list[tuple[str, nn.Module]]:
        """Name and module of each block from input to output: the order that ``frozen_depth`` counts."""
        residual = [(f"block{i}", block) for i, block in enumerate(self.features.blocks, start=1)]
        return [("stem", self.features.stem), *residual, ("generator", self.generator)]

    def freeze(self, depth: int) -> None:
        """Keeps the first ``depth`` blocks as they are and makes the others trainable.

        Raises:
            UsageError: If ``depth`` is negative or would leave nothing to train.
        """
        check_frozen_depth(depth, self.architecture)
        self.frozen_depth = depth
        for position, (_, block) in enumerate(self.blocks()):
            block.requires_grad_(position >= depth)
        self.train(self.training)

    def train(self, mode: bool = True) -> "SuperResolutionNet":
        """Switches to training; frozen blocks stay in evaluation, so that their statistics are frozen too."""
        super().train(mode)
        for _, block in self.blocks()[: self.frozen_depth]:
            block.eval()
        return self

    def receptive_radius(self) -> int:
        """How many LR pixels to each side can influence an output pixel."""
        return max(self.features.radius() + 1, 2)

    def macs_per_lr_pixel(self) -> int:
        """Multiply-accumulates of all convolutions per LR pixel (all of them run at LR resolution)."""
        return sum(m.weight.numel() for m in self.modules() if isinstance(m, nn.Conv2d))

    def parameter_counts(self) -> dict[str, int]:
        """Number of parameters of F_θ and of G_φ."""
        return {name: sum(p.numel() for p in part.parameters()) for name, part in self._parts()}

    def _parts(self) -> Iterator[tuple[str, nn.Module]]:
        yield "F_theta", self.features
        yield "G_phi", self.generator


def interpolate(lr: Tensor, scale: int) -> Tensor:
    """Bicubic upscaling with MATLAB's kernel (a = -0.5): (N, C, H, W) to (N, C, r·H, r·W)."""
    with torch.autocast(lr.device.type, enabled=False):
        return functional.interpolate(lr, scale_factor=float(scale), mode="bicubic", antialias=True)
