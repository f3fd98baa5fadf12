"""R(θ, φ) in four kinds: what ties a network that is being fine-tuned to its source model.

Shapes: N patches, C features, H×W LR pixels.

Each kind has a unit of its own. L2-SP is as published; the others are scaled so that one range of λ, 1e-5 to 1e-1,
runs from unnoticeable to dominant for all of them; docs/method.md has the measurement.
"""

import copy
from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainables.errors import UsageError
from trainables.images.patch_pool import PatchPool
from trainables.loops.replicas import Replicas
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

    def __call__(self, replicas: Replicas, parts: Sequence[Tensor]) -> tuple[list[Tensor], Tensor]:
        """Outputs of the replicas for the parts (N, 3, H, W) of the target's LR batch, and R of the whole batch."""


class WeightDistance:
    """L2-SP: half the squared distance of the trainable weights from the source model's (arXiv 1802.01483).

    Args:
        anchor: Source weights by parameter name. Weights that it lacks are new, and pulled to zero; an empty anchor is
            plain L2.
        scale: Factor of R.
    """

    def __init__(self, anchor: Mapping[str, Tensor], scale: float = 1.0) -> None:
        self._anchor, self._half = anchor, 0.5 * scale

    def __call__(self, replicas: Replicas, parts: Sequence[Tensor]) -> tuple[list[Tensor], Tensor]:
        """See :class:`Regularizer`."""
        return replicas.outputs(parts), self.distance(replicas.nets[0])  # the weights of all are equal

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
        source: The source model; a copy of it is kept, on each device that it is needed on.
    """

    def __init__(self, source: SuperResolutionNet) -> None:
        self._source = copy.deepcopy(source).eval().requires_grad_(False)
        self._copies: dict[torch.device, SuperResolutionNet] = {}

    def __call__(self, replicas: Replicas, parts: Sequence[Tensor]) -> tuple[list[Tensor], Tensor]:
        """See :class:`Regularizer`."""
        outputs, distances, squares = [], [], []
        for net, part in zip(replicas.nets, parts, strict=True):
            output, stages = net.with_stages(part)
            with torch.no_grad():
                wanted = self._on(part.device).features.stages(part)
            outputs.append(output)
            distances.append([functional.mse_loss(*pair) for pair in zip(stages, wanted, strict=True)])
            squares.append([reference.square().mean() for reference in wanted])
        shares = [
            replicas.mean(distance, parts) / replicas.mean(square, parts).clamp_min(1e-12)
            for distance, square in zip(zip(*distances, strict=True), zip(*squares, strict=True), strict=True)
        ]
        return outputs, FEATURES_SCALE * torch.stack(shares).mean()

    def _on(self, device: torch.device) -> SuperResolutionNet:
        """The source model on a device."""
        if device == next(self._source.parameters()).device:
            return self._source
        if device not in self._copies:
            self._copies[device] = copy.deepcopy(self._source).to(device)
        return self._copies[device]


class SourceReplay:
    """The source's own loss, on as many of its patches as the target's batch has: rehearsal (Robins 1995).

    It doubles what a step costs: N more patches forward and backward.

    Args:
        pool: Source patches under the source's degradation.
    """

    def __init__(self, pool: PatchPool) -> None:
        self._pool = pool

    def __call__(self, replicas: Replicas, parts: Sequence[Tensor]) -> tuple[list[Tensor], Tensor]:
        """See :class:`Regularizer`."""
        old_lr, old_hr = (replicas.split(batch) for batch in self._pool.sample(sum(len(part) for part in parts)))
        outputs = replicas.outputs(parts)
        losses = [functional.l1_loss(*pair) for pair in zip(replicas.outputs(old_lr), old_hr, strict=True)]
        return outputs, REPLAY_SCALE * replicas.mean(losses, old_hr)


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
