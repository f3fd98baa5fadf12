"""Fine-tuning a source model to a target domain: one trial, one confirmation run or one baseline."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from trainables.errors import DivergedError, UsageError
from trainables.network import SuperResolutionNet
from trainables.objective import TransferObjective
from trainables.optimizers import descend, make_optimizer
from trainables.patches import PatchPool


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferConfiguration:
    """What a study searches.

    Attributes:
        learning_rate: Peak learning rate of Adam, above 0.
        lambda_: Weight of the regularizer, 0 or more; 0 is no regularizer at all.
        frozen_depth: Leading blocks that stay as pretrained; 0 trains everything.
    """

    learning_rate: float
    lambda_: float
    frozen_depth: int

    def __post_init__(self) -> None:
        if not self.learning_rate > 0 or not math.isfinite(self.learning_rate):
            raise UsageError(f"learning_rate must be above 0, found {self.learning_rate}.")
        if not self.lambda_ >= 0 or not math.isfinite(self.lambda_):
            raise UsageError(f"lambda_ must be 0 or more, found {self.lambda_}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What every fine-tuning of an experiment may spend, baselines included.

    Attributes:
        steps: Optimiser steps.
        batch: Patches per step.
        evaluations: How often the network is scored on validation images; the last time is at the end.
    """

    steps: int
    batch: int
    evaluations: int

    def evaluation_steps(self) -> list[int]:
        """The steps after which the network is scored, evenly spread, ending with the last."""
        return sorted({round(self.steps * i / self.evaluations) for i in range(1, self.evaluations + 1)} - {0})


def finetune(
    net: SuperResolutionNet,
    configuration: TransferConfiguration,
    budget: Budget,
    pool: PatchPool,
    anchor: Mapping[str, Tensor],
    validate: Callable[[SuperResolutionNet], float],
    report: Callable[[int, float], None],
) -> list[tuple[int, float]]:
    """Trains ``net`` in place with Adam, a short warm-up and a cosine decay to zero.

    Args:
        net: The source model, or a fresh one for the *scratch* baseline.
        configuration: Learning rate, λ and frozen depth.
        budget: Steps, batch and evaluations.
        pool: Where patches come from; its seed decides which.
        anchor: Source weights for the regularizer.
        validate: Scores the network in dB, higher is better.
        report: Called with (step, score) after each evaluation.

    Returns:
        The (step, score) pairs, the last one being the final score.

    Raises:
        DivergedError: If the loss or the score stops being finite.
    """
    net.freeze(configuration.frozen_depth)
    optimizer, schedule = make_optimizer(net, configuration.learning_rate, budget.steps)
    objective = TransferObjective(anchor, configuration.lambda_)
    pending, curve = budget.evaluation_steps(), []
    net.train()
    for step in range(1, budget.steps + 1):
        lr, hr = pool.sample(budget.batch)
        loss = objective(net, net(lr), hr)
        descend(net, loss, optimizer, schedule)
        if step == pending[0]:
            pending.pop(0)
            value = validate(net.eval()) if math.isfinite(loss.item()) else math.nan
            if not math.isfinite(value):
                raise DivergedError(f"The loss was not finite at step {step} of {budget.steps} ({configuration}).")
            curve.append((step, value))
            report(step, value)
            net.train()
    net.eval()
    return curve
