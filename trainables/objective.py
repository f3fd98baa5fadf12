"""The transfer objective L(y, y*) + λ·R(θ, φ).

L is the mean absolute error. R is L2-SP (Li, Grandvalet and Davoine 2018, arXiv 1802.01483): half the squared distance
of the trainable weights from the source model's. It is added to the loss, so with Adam it passes through the
optimiser's preconditioner (the *coupled* form).
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional


def effective_lambda(sampled: float, floor: float) -> float:
    """What a sampled λ means: below the floor it is exactly 0, so that 'no regularizer' has a share of the search."""
    return 0.0 if sampled < floor else sampled


class TransferObjective:
    """L + λR for one fine-tuning.

    Args:
        source: The source model's weights by parameter name; empty where there is no source.
        lambda_: Weight λ of the regularizer, 0 or more.
    """

    def __init__(self, source: Mapping[str, Tensor], lambda_: float) -> None:
        self._source, self._lambda = source, lambda_

    def __call__(self, net: nn.Module, output: Tensor, target: Tensor) -> Tensor:
        """The scalar that is minimised, for a batch of outputs and targets of equal shape."""
        loss = functional.l1_loss(output, target)
        return loss if self._lambda == 0 else loss + self._lambda * self.regularizer(net)

    def regularizer(self, net: nn.Module) -> Tensor:
        """R: half the squared distance of trainable weights from the source; plain L2 for weights it lacks."""
        terms = [
            (parameter - self._source[name] if name in self._source else parameter).square().sum()
            for name, parameter in net.named_parameters()
            if parameter.requires_grad
        ]
        return 0.5 * torch.stack(terms).sum()
