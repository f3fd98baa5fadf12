"""Pretraining the source model; the same loop with one process or many."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.nn import functional

from trainables.errors import DivergedError
from trainables.images.patch_pool import PatchPool
from trainables.inference.precision import Precision, resolve
from trainables.loops.optimizers import Schedule, descend, make_optimizer
from trainables.loops.settings import OptimizerName
from trainables.network.network import SuperResolutionNet

STATE, HISTORY = "state.safetensors", "history.json"
Files = dict[str, bytes]
Report = Callable[[int, float, Files | None], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class PretrainSettings:
    """Settings of the source model's training.

    Attributes:
        steps: Optimiser steps.
        batch: Patches per step and worker.
        learning_rate: Peak learning rate.
        report_every: Steps between two points of the loss curve.
        checkpoint_every: Steps between two checkpoints, a multiple of ``report_every``.
        seed: Start of all randomness; each worker and each step derives its own.
        optimizer: ``muon`` or ``adam``.
        precision: Number format of convolutions; see :mod:`trainables.inference.precision`.
    """

    steps: int
    batch: int
    learning_rate: float
    report_every: int
    checkpoint_every: int
    seed: int
    optimizer: OptimizerName = "muon"
    precision: Precision = "auto"


@dataclass(frozen=True, slots=True)
class Shares:
    """Shares of the global batch that a process stands for.

    Attributes:
        numbers: Their numbers.
        weight: Factor of their mean loss, with which the mean over processes is the mean over all shares.
    """

    numbers: tuple[int, ...]
    weight: float = 1.0

    @classmethod
    def of(cls, rank: int, processes: int, shares: int) -> "Shares":
        """The shares of one of several processes, which may be fewer than the shares."""
        numbers = tuple(range(rank, shares, processes))
        return cls(numbers, len(numbers) * processes / shares)


@dataclass(slots=True)
class History:
    """The loss curve so far: (step, mean loss over workers since the point before)."""

    step: int = 0
    losses: list[tuple[int, float]] = field(default_factory=list)


def pretrain(
    net: SuperResolutionNet,
    settings: PretrainSettings,
    pool: PatchPool,
    report: Report,
    *,
    resume: Files | None = None,
    parallel: nn.Module | None = None,
    rank: int = 0,
    others: Sequence[PatchPool] = (),
    shares: Shares | None = None,
) -> History:
    """Minimises the mean absolute error under a cosine schedule.

    Args:
        net: The network, trained in place.
        settings: Steps, batch, learning rate and rhythm.
        pool: Source of this worker's patches.
        report: Called on every worker with (step, loss, files); files hold a checkpoint, or are None.
        resume: Files of a checkpoint to continue from.
        parallel: ``net`` wrapped for several workers (DistributedDataParallel); None for one.
        rank: This worker's number.
        others: Patches of further shares, which this process stands for: each step then takes the mean over all of
            them, as several workers do.
        shares: The shares that this process stands for; by default those that follow its number.

    Returns:
        The loss curve, the resumed part included.

    Raises:
        DivergedError: If the loss stops being finite.
    """
    net.to(memory_format=torch.channels_last)
    model = parallel or net
    optimizer, schedule = make_optimizer(net, settings.learning_rate, settings.steps, settings.optimizer)
    half = resolve(settings.precision, pool.device) == "bfloat16"
    history = restore(resume, net, optimizer, schedule) if resume else History()
    total = torch.zeros((), device=pool.device)
    pools = [pool, *others]
    stands_for = shares or Shares(tuple(range(rank, rank + len(pools))))
    net.train()
    for step in range(history.step + 1, settings.steps + 1):
        lr, hr = _patches(pools, settings, stands_for.numbers, step)
        with torch.autocast(pool.device.type, torch.bfloat16, enabled=half):
            output = model(lr.contiguous(memory_format=torch.channels_last))
        loss = functional.l1_loss(output, hr) * stands_for.weight
        descend(net, loss, optimizer, schedule)
        total += loss.detach()
        if step % settings.report_every == 0 or step == settings.steps:
            mean = _mean_over_workers(total) / (step - (history.losses[-1][0] if history.losses else 0))
            total.zero_()
            if not math.isfinite(mean):
                raise DivergedError(f"The pretraining loss was not finite at step {step}; lower the learning rate.")
            history.losses.append((step, mean))
            history.step = step
            due = step % settings.checkpoint_every == 0 or step == settings.steps
            report(step, mean, checkpoint(net, optimizer, history) if due else None)
    net.eval()
    return history


def _patches(
    pools: Sequence[PatchPool], settings: PretrainSettings, numbers: Sequence[int], step: int
) -> tuple[Tensor, Tensor]:
    for number, pool in zip(numbers, pools, strict=True):
        pool.reseed(_seed(settings.seed, number, step))
    lr, hr = zip(*(pool.sample(settings.batch) for pool in pools), strict=True)
    return (lr[0], hr[0]) if len(pools) == 1 else (torch.cat(lr), torch.cat(hr))


def checkpoint(net: nn.Module, optimizer: torch.optim.Optimizer, history: History) -> Files:
    """Weights, the optimiser's moments and the loss curve as files."""
    tensors = {f"net.{name}": value for name, value in net.state_dict().items()}
    for index, moments in optimizer.state_dict()["state"].items():
        tensors |= {f"moments.{index}.{name}": torch.as_tensor(value) for name, value in moments.items()}
    packed = save({name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()})
    return {STATE: packed, HISTORY: json.dumps({"step": history.step, "losses": history.losses}).encode()}


def restore(
    files: Files,
    net: nn.Module,
    optimizer: torch.optim.Optimizer | None = None,
    schedule: Schedule | None = None,
) -> History:
    """Puts a checkpoint's weights, moments and schedule back in place and returns its loss curve."""
    tensors = load(files[STATE])
    net.load_state_dict({name[4:]: value for name, value in tensors.items() if name.startswith("net.")})
    record = json.loads(files[HISTORY])
    history = History(record["step"], [(int(step), float(loss)) for step, loss in record["losses"]])
    if optimizer is not None and schedule is not None:
        moments: dict[int, dict[str, Tensor]] = {}
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        for name, value in tensors.items():
            if name.startswith("moments."):
                _, index, moment = name.split(".")
                # Fused kernels walk moments and weights side by side, so both need the same memory layout.
                alike = torch.empty_like(parameters[int(index)]).copy_(value) if value.ndim else value
                moments.setdefault(int(index), {})[moment] = alike
        optimizer.load_state_dict({**optimizer.state_dict(), "state": moments})
        _wind(schedule, history.step)
    return history


def step_of(files: Files) -> int:
    """Step of a checkpoint."""
    return int(json.loads(files[HISTORY])["step"])


def _wind(schedule: Schedule, step: int) -> None:
    schedule.load_state_dict({**schedule.state_dict(), "last_epoch": step})
    for group, base, factor in zip(
        schedule.optimizer.param_groups, schedule.base_lrs, schedule.lr_lambdas, strict=True
    ):
        group["lr"] = base * factor(step)


def _mean_over_workers(total: Tensor) -> float:
    if torch.distributed.is_initialized():
        total = total.clone()
        torch.distributed.all_reduce(total)
        total /= torch.distributed.get_world_size()
    return float(total)


def _seed(seed: int, rank: int, step: int) -> int:
    return ((seed * 1_000_003 + rank) * 10_000_019 + step) % 2**63  # the most that torch's generators take
