"""Fine-tuning a source model to a target domain: one trial, one confirmation run or one baseline."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Literal

import torch
from torch import Tensor

from trainables.errors import DivergedError
from trainables.images.patch_pool import PatchPool
from trainables.inference.precision import Precision, resolve
from trainables.loops.objective import TransferObjective
from trainables.loops.optimizers import descend, make_optimizer
from trainables.loops.received import Received, digest_of_weights, received_configuration, received_patches
from trainables.loops.regularizers import make_regularizer
from trainables.loops.replicas import Replicas
from trainables.loops.settings import Budget, TransferConfiguration, TransferMethod
from trainables.network.adapters import add_adapters, merge_adapters
from trainables.network.network import SuperResolutionNet


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
    method: TransferMethod = TransferMethod(),  # noqa: B008 - immutable
    replay: PatchPool | None = None,
    certify: Callable[[Received], None] | None = None,
    precision: Precision = "auto",
    devices: Sequence[torch.device] = (),
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
        devices: Devices that share each batch, the network's own first, see :mod:`trainables.loops.replicas`; by
            default that one alone.

    Returns:
        The (step, score) pairs, the last one being the final score.

    Raises:
        DivergedError: If the loss or the score stops being finite.
        UsageError: If there are no source patches to replay, or the devices cannot share a batch of this network.
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
    replicas = Replicas(net, devices)
    for step in range(1, budget.steps + 1):
        lr, hr = pool.sample(budget.batch)
        loss = objective(replicas, lr.contiguous(memory_format=layout), hr)
        descend(net, loss, optimizer, schedule, replicas)
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
