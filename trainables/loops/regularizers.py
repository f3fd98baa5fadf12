"""R(θ, φ) in four kinds: what ties a network that is being fine-tuned to its source model.

Shapes: N patches, C features, H×W LR pixels.

Each kind has a unit of its own. L2-SP is as published; the others are scaled so that one range of λ, 1e-5 to 1e-1,
runs from unnoticeable to dominant for all of them; docs/method.md has the measurement.
"""

import copy
from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainables.errors import UsageError
from trainables.images.patch_pool import PatchPool
from trainables.loops.settings import RegularizerName
from trainables.network.adapters import trainable_weights
from trainables.network.network import SuperResolutionNet

L2_SCALE = 0.1
"""The weights themselves are many times longer than the way that fine-tuning takes them."""

FEATURES_SCALE = 5.0
"""Fine-tuning without λ moves features by about 0.7 of their mean square, and weights by an L2-SP of about 3.5."""

REPLAY_SCALE = 100.0
"""At λ = 0.01 a batch of the source counts as much as the target's."""


class Regularizer(Protocol):
    """A term that the objective adds to its loss."""

    def __call__(self, net: SuperResolutionNet, lr: Tensor) -> tuple[Tensor, Tensor]:
        """The network's output for the target's LR batch (N, 3, H, W), and the scalar R."""


class WeightDistance:
    """L2-SP: half the squared distance of the trainable weights from the source model's (arXiv 1802.01483).

    Args:
        anchor: Source weights by parameter name. Weights that it lacks are new, and pulled to zero; an empty anchor is
            plain L2.
        scale: Factor of R.
    """

    def __init__(self, anchor: Mapping[str, Tensor], scale: float = 1.0) -> None:
        self._anchor, self._half = anchor, 0.5 * scale

    def __call__(self, net: SuperResolutionNet, lr: Tensor) -> tuple[Tensor, Tensor]:
        """See :class:`Regularizer`."""
        return net(lr), self.distance(net)

    def distance(self, net: nn.Module) -> Tensor:
        """R alone."""
        terms = [
            (weight - self._anchor[name] if name in self._anchor else weight).square().sum()
            for name, weight in trainable_weights(net)
        ]
        return self._half * torch.stack(terms).sum()


class FeatureDistance:
    """Distance of F_θ's features from the source's on target images: DELTA (Li et al. 2019), without attention.

    The squared distance of each block's features from the source model's, relative to the mean square of the latter,
    averaged over blocks (arXiv 1901.09229). Weights may move as long as their features stay. G_φ is free.

    Args:
        source: The source model; a copy of it is kept.
    """

    def __init__(self, source: SuperResolutionNet) -> None:
        self._source = copy.deepcopy(source).eval().requires_grad_(False)

    def __call__(self, net: SuperResolutionNet, lr: Tensor) -> tuple[Tensor, Tensor]:
        """See :class:`Regularizer`."""
        output, stages = net.with_stages(lr)
        with torch.no_grad():
            wanted = self._source.features.stages(lr)
        shares = [
            functional.mse_loss(features, reference) / reference.square().mean().clamp_min(1e-12)
            for features, reference in zip(stages, wanted, strict=True)
        ]
        return output, FEATURES_SCALE * torch.stack(shares).mean()


class SourceReplay:
    """The source's own loss, on as many of its patches as the target's batch has: rehearsal (Robins 1995).

    It doubles what a step costs: N more patches forward and backward.

    Args:
        pool: Source patches under the source's degradation.
    """

    def __init__(self, pool: PatchPool) -> None:
        self._pool = pool

    def __call__(self, net: SuperResolutionNet, lr: Tensor) -> tuple[Tensor, Tensor]:
        """See :class:`Regularizer`."""
        old_lr, old_hr = self._pool.sample(len(lr))
        return net(lr), REPLAY_SCALE * functional.l1_loss(net(old_lr), old_hr)


def make_regularizer(
    name: RegularizerName, source: SuperResolutionNet, anchor: Mapping[str, Tensor], replay: PatchPool | None
) -> Regularizer:
    """Builds a regularizer.

    Args:
        name: ``l2``, ``l2-sp``, ``features`` or ``replay``.
        source: The source model, for ``features``.
        anchor: Source weights, for ``l2-sp``.
        replay: Source patches, for ``replay``.

    Raises:
        UsageError: If ``replay`` lacks source patches.
    """
    if name == "features":
        return FeatureDistance(source)
    if name == "l2":
        return WeightDistance({}, L2_SCALE)
    if name == "l2-sp":
        return WeightDistance(anchor)
    if replay is None:
        raise UsageError("The regularizer 'replay' needs patches of the source, found none.")
    return SourceReplay(replay)
