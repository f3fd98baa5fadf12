"""The settings of a training as its first step finds them.

They are read from the optimiser, the objective, the network and the pool of patches, not from the settings that these
were made of: where one of those did not arrive, what is read here differs from what was asked for.
"""

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor

from trainables.images.patch_pool import PatchPool
from trainables.loops.objective import TransferObjective
from trainables.network.network import SuperResolutionNet

Facts = dict[str, object]
"""Plain values by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """Settings of a training as its first step finds them.

    Attributes:
        configuration: Peak learning rate, λ, the weights that train, and the network's shape.
        method: Whether G_φ is reused, and the regularizer where λ > 0.
        budget: Steps, patches per step and evaluations.
        patches: Settings of the pool of patches but its seed.
        start: Digest of the initial weights, those of G_φ before it is renewed.
        seed: Seed of the patches.
    """

    configuration: Facts
    method: Facts
    budget: Facts
    patches: Facts
    start: str
    seed: int


def received_configuration(
    net: SuperResolutionNet, optimizer: torch.optim.Optimizer, objective: TransferObjective
) -> Facts:
    """Peak learning rate, λ, the weights that train with their shapes, and the network's shape."""
    names = {id(p): f"{name} {tuple(p.shape)}" for name, p in net.named_parameters()}
    trained = [names[id(p)] for group in optimizer.param_groups for p in group["params"] if p.requires_grad]
    return {
        "learning_rate": sorted({group["initial_lr"] for group in optimizer.param_groups}),
        "lambda": objective.weight,
        "trained": sorted(trained),
        "architecture": net.architecture.to_dict(),
    }


def received_patches(pool: PatchPool) -> Facts:
    """Settings of a pool of patches but its seed."""
    return {
        "scale": pool.scale,
        "lr_patch": pool.lr_patch,
        "degradation": pool.degradation.to_dict(),
        "channels": pool.channels,
        "pairs_share": pool.pairs_share,
    }


def digest_of_weights(net: SuperResolutionNet) -> str:
    """SHA-256 of all weights with their names and shapes, in 16 hexadecimal digits; equal for equal bits."""
    digest = hashlib.sha256()
    for name, value in sorted(net.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(_bytes(value))
    return digest.hexdigest()[:16]


def _bytes(value: Tensor) -> bytes:
    return value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
