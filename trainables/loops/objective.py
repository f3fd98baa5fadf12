"""The transfer objective L(y, y*) + λ·R(θ, φ).

L is the mean absolute error; R is one of :mod:`trainables.loops.regularizers`. R is added to the loss, so with Adam it
passes through the optimiser's preconditioner (the *coupled* form).
"""

import torch
from torch import Tensor
from torch.nn import functional

from trainables.loops.regularizers import Regularizer
from trainables.loops.replicas import Replicas


def effective_lambda(sampled: float, floor: float) -> float:
    """Sets a sampled λ below the floor to exactly 0, so that 'no regularizer' has a share of the search."""
    return 0.0 if sampled < floor else sampled


class TransferObjective:
    """L + λR for one fine-tuning.

    Args:
        regularizer: R; None for none of it.
        lambda_: Weight λ of the regularizer, 0 or more; at 0 it is not computed.
        half: Whether convolutions compute in bfloat16; the losses stay in 32 bits.
    """

    def __init__(self, regularizer: Regularizer | None, lambda_: float, half: bool = False) -> None:
        self._regularizer, self._lambda, self.half = regularizer, lambda_, half

    @property
    def weight(self) -> float:
        """λ; 0 where there is no regularizer."""
        return 0.0 if self._regularizer is None else self._lambda

    def __call__(self, replicas: Replicas, lr: Tensor, hr: Tensor) -> Tensor:
        """The scalar that is minimised, for a batch of LR and HR patches that the replicas share."""
        parts, wanted = replicas.split(lr), replicas.split(hr)
        with torch.autocast(lr.device.type, torch.bfloat16, enabled=self.half):
            if self._regularizer is None or self._lambda == 0:
                outputs, penalty = replicas.outputs(parts), None
            else:
                outputs, penalty = self._regularizer(replicas, parts)
        loss = replicas.mean([functional.l1_loss(*pair) for pair in zip(outputs, wanted, strict=True)], wanted)
        return loss if penalty is None else loss + self._lambda * penalty
