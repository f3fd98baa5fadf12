"""The network: a residual trunk F_θ at LR resolution, then an ESPCN generator G_φ.

Shapes: N images, C channels, H×W LR pixels, r the scale factor.

The generator is Shi et al.'s sub-pixel convolution (arXiv 1609.05158). The interpolated input is added at the end and
the last convolution starts at zero: an untrained network *is* bicubic interpolation.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainables.network.architecture import (
    PRESETS,
    SCALES,
    Architecture,
    FrozenFrom,
    check_frozen_depth,
    frozen_depth_limit,
    preset,
    shortened,
)
from trainables.network.trunks import FeatureExtractor, thin_trunk

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
    "shortened",
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
        self._frozen = range(0)
        self.features = _trunk(architecture)
        self.generator = Generator(architecture)

    def forward(self, lr: Tensor) -> Tensor:
        """Upscales a batch; values may leave [0, 1] slightly."""
        return self._upscaled(self.features(lr), lr)

    def with_stages(self, lr: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The same, and the features (N, features, H, W) after the stem and after each block."""
        stages = self.features.stages(lr)
        return self._upscaled(stages[-1], lr), stages

    def blocks(self) -> list[tuple[str, nn.Module]]:
        """Name and module of each block from input to output: the order in which ``frozen_depth`` counts."""
        residual = [(f"block{i}", block) for i, block in enumerate(self.features.blocks, start=1)]
        return [("stem", self.features.stem), *residual, ("generator", self.generator)]

    def freeze(self, depth: int, frozen_from: FrozenFrom = "input") -> None:
        """Keeps ``depth`` blocks as they are and makes the others trainable.

        Args:
            depth: Number of blocks, 0 to all but one.
            frozen_from: ``input`` keeps the first ones, from the stem on; ``output`` the last, from the generator back.

        Raises:
            UsageError: If ``depth`` is negative or would leave nothing to train.
        """
        check_frozen_depth(depth, self.architecture)
        blocks = self.blocks()
        self._frozen = range(depth) if frozen_from == "input" else range(len(blocks) - depth, len(blocks))
        for position, (_, block) in enumerate(blocks):
            block.requires_grad_(position not in self._frozen)
        self.train(self.training)

    def renew_generator(self) -> None:
        """Puts an untrained G_φ, with which the network is bicubic interpolation, in place of the pretrained one."""
        device = next(self.parameters()).device
        self.generator = Generator(self.architecture).to(device).train(self.training)

    def keep_blocks(self, count: int) -> None:
        """Removes all but the first ``count`` residual blocks; stem and generator stay.

        What remains is a network of its own, with its own :attr:`architecture`, in which every block trains.

        Args:
            count: From 1 to as many as there are.

        Raises:
            UsageError: If the trunk is not a thin one, or has no such number of blocks.
        """
        self.architecture = shortened(self.architecture, count)
        self.features.blocks = self.features.blocks[:count]
        self.freeze(0)

    def train(self, mode: bool = True) -> "SuperResolutionNet":
        """Switches to training; frozen blocks stay in evaluation, so that their statistics are frozen too."""
        super().train(mode)
        blocks = self.blocks()
        for position in self._frozen:
            blocks[position][1].eval()
        return self

    def receptive_radius(self) -> int:
        """Radius of the receptive field: LR pixels to each side that can influence an output pixel."""
        return max(self.features.radius() + 1, 2)

    def macs_per_lr_pixel(self) -> int:
        """Multiply-accumulates of all convolutions per LR pixel (all of them run at LR resolution)."""
        return sum(m.weight.numel() for m in self.modules() if isinstance(m, nn.Conv2d))

    def parameter_counts(self) -> dict[str, int]:
        """Number of parameters of F_θ and of G_φ."""
        return {name: sum(p.numel() for p in part.parameters()) for name, part in self._parts()}

    def _upscaled(self, features: Tensor, lr: Tensor) -> Tensor:
        detail: Tensor = self.generator(features)
        # Under autocast the detail is small and can be half precision; the image itself must not be.
        return detail.to(lr.dtype) + interpolate(lr, self.architecture.scale)

    def _parts(self) -> Iterator[tuple[str, nn.Module]]:
        yield "F_theta", self.features
        yield "G_phi", self.generator


def interpolate(lr: Tensor, scale: int) -> Tensor:
    """Bicubic upscaling with MATLAB's kernel (a = -0.5): (N, C, H, W) to (N, C, r·H, r·W)."""
    with torch.autocast(lr.device.type, enabled=False):
        return functional.interpolate(lr, scale_factor=float(scale), mode="bicubic", antialias=True)


def _trunk(architecture: Architecture) -> FeatureExtractor:
    if architecture.family == "thin":
        return thin_trunk(architecture)
    from trainables.network.torchvision_trunks import torchvision_trunk  # two seconds, for these families alone

    return torchvision_trunk(architecture)
