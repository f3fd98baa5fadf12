"""Fine-tuning a source model to a target domain: one trial, one confirmation run or one baseline."""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Literal

import torch
from torch import Tensor

from trainables.errors import DivergedError, UsageError
from trainables.images.patch_pool import PatchPool
from trainables.inference.precision import Precision, resolve
from trainables.loops.objective import TransferObjective
from trainables.loops.optimizers import descend, make_optimizer
from trainables.loops.received import Received, digest_of_weights, received_configuration, received_patches
from trainables.loops.regularizers import RegularizerName, make_regularizer
from trainables.network.adapters import add_adapters, merge_adapters
from trainables.network.network import FrozenFrom, SuperResolutionNet


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferConfiguration:
    """Settings that a study searches.

    Attributes:
        learning_rate: Peak learning rate of Adam, above 0.
        lambda_: Weight of the regularizer, 0 or more; 0 is no regularizer at all.
        frozen_depth: Leading blocks that stay as pretrained; 0 trains everything.
        kept_blocks: Number of leading residual blocks of the source model's F_θ to keep; None for all.
    """

    learning_rate: float
    lambda_: float
    frozen_depth: int
    kept_blocks: int | None = None

    def __post_init__(self) -> None:
        if not self.learning_rate > 0 or not math.isfinite(self.learning_rate):
            raise UsageError(f"learning_rate must be above 0, found {self.learning_rate}.")
        if not self.lambda_ >= 0 or not math.isfinite(self.lambda_):
            raise UsageError(f"lambda_ must be 0 or more, found {self.lambda_}.")
        if self.kept_blocks is not None and self.kept_blocks < 1:
            raise UsageError(f"kept_blocks must be at least 1, found {self.kept_blocks}.")

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={value!r}" for name, value in self.to_dict().items())
        return f"TransferConfiguration({settings})"

    def to_dict(self) -> dict[str, float]:
        """The settings as records keep them: a network that keeps all blocks is one that was never shortened."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferMethod:
    """Transfer method: the parts of the source model that are reused, before settings are searched.

    *Feature transfer* reuses F_θ alone, *model transfer* all of the network with λ = 0, and *joint optimisation* all of
    it under L + λR.

    Attributes:
        generator: ``reused``, or ``fresh``: G_φ begins anew, with the network as bicubic interpolation.
        regularizer: R, see :mod:`trainables.loops.regularizers`; it matters only where λ > 0.
        frozen_from: The end of the network that ``frozen_depth`` counts from.
        adapter_rank: Rank of the adapters that train in place of the weights, see :mod:`trainables.network.adapters`;
            None trains the weights. Frozen blocks have no adapters, and R sees the corrected weights.
    """

    generator: Literal["reused", "fresh"] = "reused"
    regularizer: RegularizerName = "l2-sp"
    frozen_from: FrozenFrom = "input"
    adapter_rank: int | None = None

    def __post_init__(self) -> None:
        if self.generator == "fresh" and self.frozen_from == "output":
            raise UsageError(
                "A fresh generator must train, but blocks are frozen from the output, where it is the first: "
                "reuse it, or freeze from the input."
            )
        if self.generator == "fresh" and self.adapter_rank is not None:
            raise UsageError(
                "Adapters correct the source model's weights, and a fresh generator has none: reuse it, or train "
                "without adapters."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Budget of every fine-tuning of an experiment, baselines included.

    Attributes:
        steps: Optimiser steps.
        batch: Patches per step.
        evaluations: Number of scorings on validation images; the last one is at the end.
    """

    steps: int
    batch: int
    evaluations: int

    def evaluation_steps(self) -> list[int]:
        """The steps after which the network is scored, evenly spread, ending with the last."""
        return sorted({round(self.steps * i / self.evaluations) for i in range(1, self.evaluations + 1)} - {0})


def precision_on(device: torch.device, precision: Precision) -> Literal["float32", "bfloat16"]:
    """The number format of a fine-tuning's convolutions on a device.

    ``auto`` is bfloat16 on a GPU with bfloat16 arithmetic and float32 on any CPU, so that CPUs of different kinds give
    the same study.
    """
    return "float32" if precision == "auto" and device.type == "cpu" else resolve(precision, device)


def memory_layout(device: torch.device) -> torch.memory_format:
    """Layout of a fine-tuning's images and weights: channels last on GPUs, which are faster with it."""
    return torch.contiguous_format if device.type == "cpu" else torch.channels_last


def finetune(
    net: SuperResolutionNet,
    configuration: TransferConfiguration,
    budget: Budget,
    pool: PatchPool,
    anchor: Mapping[str, Tensor],
    validate: Callable[[SuperResolutionNet], float],
    report: Callable[[int, float], None],
    method: TransferMethod = TransferMethod(),
    replay: PatchPool | None = None,
    certify: Callable[[Received], None] | None = None,
    precision: Precision = "auto",
) -> list[tuple[int, float]]:
    """Trains ``net`` in place with Adam, a short warm-up and a cosine decay to zero.

    Args:
        net: The source model, shortened where the configuration says so (:meth:`SuperResolutionNet.keep_blocks`), or a
            fresh one for the *scratch* baseline.
        configuration: Learning rate, λ and frozen depth.
        budget: Steps, batch and evaluations.
        pool: Source of patches; its seed decides which are drawn.
        anchor: Source weights for L2-SP.
        validate: Scores the network in dB, higher is better.
        report: Called with (step, score) after each evaluation.
        method: Transfer method: reuse, regularizer and the end that is frozen.
        replay: Patches of the source, for the regularizer that asks for them.
        certify: Called before the first step with the settings as they were received.
        precision: Number format of convolutions, see :func:`precision_on`.

    Returns:
        The (step, score) pairs, the last one being the final score.

    Raises:
        DivergedError: If the loss or the score stops being finite.
        UsageError: If there are no source patches to replay.
    """
    regularizer, start = None, digest_of_weights(net) if certify else ""
    if configuration.lambda_ > 0:
        reused = {name: w for name, w in anchor.items() if method.generator == "reused" or "generator." not in name}
        regularizer = make_regularizer(method.regularizer, net, reused, replay)
    if method.generator == "fresh":
        net.renew_generator()
    net.freeze(configuration.frozen_depth, method.frozen_from)
    if method.adapter_rank is not None:
        add_adapters(net, method.adapter_rank)
    optimizer, schedule = make_optimizer(net, configuration.learning_rate, budget.steps)
    half, layout = precision_on(pool.device, precision) == "bfloat16", memory_layout(pool.device)
    net.to(memory_format=layout)
    objective = TransferObjective(regularizer, configuration.lambda_, half)
    if certify:
        certify(
            Received(
                configuration=received_configuration(net, optimizer, objective),
                method={"generator": method.generator}
                | ({"regularizer": method.regularizer} if regularizer else {})
                | ({"precision": "bfloat16"} if objective.half else {}),
                budget=asdict(budget),
                patches=received_patches(pool),
                start=start,
                seed=pool.seed,
            )
        )
    pending, curve = budget.evaluation_steps(), []
    net.train(method.adapter_rank is None)  # adapters leave the statistics of batch norm alone
    for step in range(1, budget.steps + 1):
        lr, hr = pool.sample(budget.batch)
        loss = objective(net, lr.contiguous(memory_format=layout), hr)
        descend(net, loss, optimizer, schedule)
        if step == pending[0]:
            pending.pop(0)
            value = validate(net.eval()) if math.isfinite(loss.item()) else math.nan
            if not math.isfinite(value):
                raise DivergedError(f"The loss was not finite at step {step} of {budget.steps} ({configuration}).")
            curve.append((step, value))
            report(step, value)
            net.train(method.adapter_rank is None)
    net.eval()
    if method.adapter_rank is not None:
        merge_adapters(net)
    return curve
