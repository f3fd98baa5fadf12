"""Features of F_θ after each block, as one vector per tile of an LR image.

Shapes: N images, C channels of a block, H×W LR pixels, T tiles, D = 2·C.
"""

import torch
from torch import Tensor
from torch.nn import functional

from trainables.network.network import SuperResolutionNet

TILE = 32
"""Side of a tile in LR pixels."""


@torch.inference_mode()
def block_features(net: SuperResolutionNet, lr: Tensor) -> list[Tensor]:
    """Features (N, C, H, W) after the stem and after each residual block, in the order that ``frozen_depth`` counts.

    Args:
        net: The network, in evaluation mode.
        lr: (N, 3, H, W) in [0, 1].
    """
    return net.features.stages(lr)


def block_names(net: SuperResolutionNet) -> tuple[str, ...]:
    """Names of the blocks whose features :func:`block_features` returns."""
    return tuple(name for name, _ in net.blocks()[:-1])


def tile_statistics(features: Tensor, tile: int = TILE) -> Tensor:
    """Mean and standard deviation of every channel over each whole tile of an image.

    Args:
        features: (1, C, H, W), H and W at least ``tile``.
        tile: Side of a tile.

    Returns:
        (T, D), float64: C means, then C standard deviations.
    """
    channels = features.shape[1]
    tiles = functional.unfold(features.double(), tile, stride=tile)[0].T.view(-1, channels, tile * tile)
    return torch.cat([tiles.mean(2), tiles.std(2, correction=0)], dim=1)
