"""The network: a torchvision ResNet trunk F_θ at LR resolution, then an ESPCN generator G_φ.

Shapes: N images, C channels, H×W LR pixels, r the scale factor.

The trunk is He et al.'s residual network (arXiv 1512.03385) without its strides and pooling, so that every feature
keeps an LR pixel's place. The generator is Shi et al.'s sub-pixel convolution (arXiv 1609.05158). The interpolated
input is added at the end and the last convolution starts at zero: an untrained network *is* bicubic interpolation.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.resnet import BasicBlock

from trainables.errors import UsageError, suggestion

SCALES = (2, 3, 4)


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """Everything that determines the network's shape.

    Attributes:
        scale: Scale factor r, one of 2, 3, 4.
        width: Feature channels of the trunk.
        depth: Residual blocks of the trunk.
        norm: ``none``, or ``batch`` as in torchvision's own ResNets.
        stem: Side of the first convolution's kernel in LR pixels, odd.
        channels: Image channels C.
    """

    scale: int
    width: int
    depth: int
    norm: Literal["none", "batch"] = "none"
    stem: int = 3
    channels: int = 3

    def __post_init__(self) -> None:
        if self.scale not in SCALES:
            raise UsageError(f"The scale factor must be one of {SCALES}, found {self.scale}.")
        if self.width < 1 or self.depth < 1 or self.channels < 1 or self.stem % 2 == 0:
            raise UsageError(f"Width, depth and channels must be at least 1 and the stem odd, found {self}.")

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as a model card stores them."""
        return asdict(self)


_PRESETS: dict[str, dict[str, Any]] = {
    "tiny": {"width": 16, "depth": 5},
    "base": {"width": 32, "depth": 7},
    "large": {"width": 64, "depth": 16},
    "resnet18": {"width": 64, "depth": 2, "norm": "batch", "stem": 7},
}
PRESETS = tuple(_PRESETS)


def preset(name: str, scale: int) -> Architecture:
    """Returns the architecture called ``name`` for a scale factor.

    Raises:
        UsageError: If there is no such preset or the scale factor is not supported.
    """
    if name not in _PRESETS:
        raise UsageError(f"No network is called '{name}'; there are {', '.join(PRESETS)}.{suggestion(name, PRESETS)}")
    return Architecture(scale=scale, **_PRESETS[name])


class FeatureExtractor(nn.Module):
    """F_θ: stride-1 stem and one stage of torchvision residual blocks. (N, C, H, W) to (N, width, H, W)."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        width, bare = architecture.width, architecture.norm == "none"
        norm = _no_norm if bare else nn.BatchNorm2d
        self.conv1 = nn.Conv2d(
            architecture.channels, width, architecture.stem, padding=architecture.stem // 2, bias=bare
        )
        self.bn1 = norm(width)
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = nn.Sequential(*(BasicBlock(width, width, norm_layer=norm) for _ in range(architecture.depth)))
        if bare:
            # Without normalisation the variance would double with every sum.
            with torch.no_grad():
                for name, weight in self.layer1.named_parameters():
                    if name.endswith("conv2.weight"):
                        weight.mul_(0.1)

    def forward(self, lr: Tensor) -> Tensor:
        """Features of an LR image."""
        features: Tensor = self.layer1(self.relu(self.bn1(self.conv1(lr))))
        return features


class Generator(nn.Module):
    """G_φ: ESPCN's sub-pixel generator. (N, width, H, W) to (N, C, r·H, r·W)."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        width, scale = architecture.width, architecture.scale
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(width, architecture.channels * scale**2, 3, padding=1)
        self.shuffle = nn.PixelShuffle(scale)
        nn.init.zeros_(self.conv2.weight)
        nn.init.zeros_(self.conv2.bias)  # type: ignore[arg-type]

    def forward(self, features: Tensor) -> Tensor:
        """The image detail that interpolation lacks."""
        detail: Tensor = self.shuffle(self.conv2(self.relu(self.conv1(features))))
        return detail


class SuperResolutionNet(nn.Module):
    """G_φ(F_θ(x)) + bicubic(x): (N, C, H, W) in [0, 1] to exactly (N, C, r·H, r·W), for any H and W."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        self.frozen_depth = 0
        self.features = FeatureExtractor(architecture)
        self.generator = Generator(architecture)

    def forward(self, lr: Tensor) -> Tensor:
        """Upscales a batch; values may leave [0, 1] slightly."""
        detail: Tensor = self.generator(self.features(lr))
        return detail + interpolate(lr, self.architecture.scale)

    def blocks(self) -> list[tuple[str, list[nn.Module]]]:
        """Name and modules of each block from input to output: the order that ``frozen_depth`` counts."""
        stem: list[nn.Module] = [self.features.conv1, self.features.bn1]
        residual = [(f"block{i}", [block]) for i, block in enumerate(self.features.layer1, start=1)]
        return [("stem", stem), *residual, ("generator", [self.generator])]

    def freeze(self, depth: int) -> None:
        """Keeps the first ``depth`` blocks as they are and makes the others trainable.

        Raises:
            UsageError: If ``depth`` is negative or would leave nothing to train.
        """
        check_frozen_depth(depth, self.architecture)
        self.frozen_depth = depth
        for position, (_, modules) in enumerate(self.blocks()):
            for module in modules:
                module.requires_grad_(position >= depth)
        self.train(self.training)

    def train(self, mode: bool = True) -> "SuperResolutionNet":
        """Switches to training; frozen blocks stay in evaluation, so that their statistics are frozen too."""
        super().train(mode)
        for _, modules in self.blocks()[: self.frozen_depth]:
            for module in modules:
                module.eval()
        return self

    def receptive_radius(self) -> int:
        """How many LR pixels to each side can influence an output pixel."""
        convolutions = self.architecture.stem // 2 + 2 * self.architecture.depth + 2
        return max(convolutions, 2)

    def macs_per_lr_pixel(self) -> int:
        """Multiply-accumulates of all convolutions per LR pixel (all of them run at LR resolution)."""
        convolutions = (m for m in self.modules() if isinstance(m, nn.Conv2d))
        return sum(m.weight.numel() for m in convolutions)

    def parameter_counts(self) -> dict[str, int]:
        """Number of parameters of F_θ and of G_φ."""
        return {name: sum(p.numel() for p in part.parameters()) for name, part in self._parts()}

    def _parts(self) -> Iterator[tuple[str, nn.Module]]:
        yield "F_theta", self.features
        yield "G_phi", self.generator


def frozen_depth_limit(architecture: Architecture) -> int:
    """The largest frozen depth: all blocks but the generator."""
    return architecture.depth + 1


def check_frozen_depth(depth: int, architecture: Architecture) -> None:
    """Refuses a frozen depth that the network does not have.

    Raises:
        UsageError: If ``depth`` is outside 0 to :func:`frozen_depth_limit`.
    """
    limit = frozen_depth_limit(architecture)
    if not 0 <= depth <= limit:
        raise UsageError(
            f"frozen_depth must lie between 0 and {limit} (stem and {architecture.depth} residual blocks; "
            f"the generator always trains), found {depth}."
        )


def interpolate(lr: Tensor, scale: int) -> Tensor:
    """Bicubic upscaling with MATLAB's kernel (a = -0.5): (N, C, H, W) to (N, C, r·H, r·W)."""
    return functional.interpolate(lr, scale_factor=float(scale), mode="bicubic", antialias=True)


def _no_norm(channels: int) -> nn.Module:
    del channels
    return nn.Identity()
