"""Optimisers and their schedule."""

import math
from collections import defaultdict
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adam import adam

from trainables.loops.replicas import Replicas
from trainables.loops.settings import OptimizerName

Schedule = torch.optim.lr_scheduler.LambdaLR

_BETAS = (0.9, 0.99)
_EPSILON = 1e-8
_NEWTON_SCHULZ = (3.4445, -4.775, 2.0315)


def make_optimizer(
    net: nn.Module, learning_rate: float, steps: int, name: OptimizerName = "adam"
) -> tuple[torch.optim.Optimizer, Schedule]:
    """An optimiser over the trainable weights, warmed up over 5 % of the steps and decayed by a cosine to zero."""
    warm_up = max(1, steps // 20)

    def factor(step: int) -> float:
        return min((step + 1) / warm_up, 0.5 * (1 + math.cos(math.pi * min(step / steps, 1.0))))

    optimizer: torch.optim.Optimizer
    if name == "muon":
        kernels = inner_kernels(net)
        others = [p for p in net.parameters() if p.requires_grad and all(p is not kernel for kernel in kernels)]
        optimizer = Muon(kernels, others, learning_rate)
    else:
        trainable = [p for p in net.parameters() if p.requires_grad]
        optimizer = torch.optim.Adam(trainable, lr=learning_rate, betas=_BETAS, fused=True)
    return optimizer, Schedule(optimizer, factor)


def descend(
    net: nn.Module,
    loss: Tensor,
    optimizer: torch.optim.Optimizer,
    schedule: Schedule,
    replicas: Replicas | None = None,
) -> None:
    """One optimiser step, with gradients clipped to norm 1 so that one odd batch cannot wreck a run.

    Args:
        net: The network, which moves.
        loss: The scalar that is minimised.
        optimizer: Optimiser of the network's weights.
        schedule: Schedule of its learning rate.
        replicas: The network with its copies on other devices, if the loss is theirs too.
    """
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    if replicas is not None:
        replicas.gather_gradients()
    nn.utils.clip_grad_norm_([p for p in net.parameters() if p.requires_grad], 1.0)
    optimizer.step()
    schedule.step()
    if replicas is not None:
        replicas.renew()


def inner_kernels(net: nn.Module) -> list[Tensor]:
    """The trainable convolution kernels between features: all but the first and the last convolution's."""
    convolutions = [m for m in net.modules() if isinstance(m, nn.Conv2d)]
    return [m.weight for m in convolutions[1:-1] if m.weight.requires_grad]


class Muon(torch.optim.Optimizer):
    """Momentum whose matrices are orthogonalised, for the convolution kernels between features; Adam for the rest.

    Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks"; a kernel counts as a matrix of output
    channels × everything else. The update is scaled so that its root mean square is the learning rate, which makes one
    rate serve both rules (compare Liu et al. 2025, arXiv 2502.16982). ``torch.optim.Muon`` takes matrices alone, one
    at a time; convolution kernels have four dimensions, and those of one shape are orthogonalised here as one batch.

    Args:
        kernels: Parameters to orthogonalise, of two or more dimensions.
        others: Parameters for Adam.
        learning_rate: Learning rate of both rules.
        momentum: Nesterov momentum of the kernels.
    """

    def __init__(
        self, kernels: list[Tensor], others: list[nn.Parameter], learning_rate: float, momentum: float = 0.95
    ) -> None:
        groups: list[dict[str, object]] = [
            {"params": kernels, "rule": "muon", "momentum": momentum},
            {"params": others, "rule": "adam", "momentum": 0.0},
        ]
        super().__init__([group for group in groups if group["params"]], {"lr": learning_rate})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Moves every parameter that has a gradient."""
        del closure
        for group in self.param_groups:
            moving = [p for p in group["params"] if p.grad is not None]
            if group["rule"] == "muon":
                self._orthogonal(moving, group["lr"], group["momentum"])
            else:
                self._adam(moving, group["lr"])

    def _orthogonal(self, kernels: list[Tensor], rate: float, momentum: float) -> None:
        alike: dict[torch.Size, list[tuple[Tensor, Tensor]]] = defaultdict(list)
        for kernel in kernels:
            state = self.state[kernel]
            if not state:
                state["momentum"] = torch.zeros_like(kernel)
            average, gradient = state["momentum"], kernel.grad
            assert gradient is not None
            average.lerp_(gradient, 1 - momentum)
            alike[kernel.shape].append((kernel, gradient.lerp(average, momentum)))
        for shape, pairs in alike.items():
            directions = orthogonalised(torch.stack([direction.flatten(1) for _, direction in pairs]))
            # Rows of an orthogonal m×n matrix have length 1 where m <= n, columns otherwise.
            directions *= rate * math.sqrt(max(directions.shape[-2:]))
            for (kernel, _), direction in zip(pairs, directions, strict=True):
                kernel.sub_(direction.view(shape))

    def _adam(self, parameters: list[Tensor], rate: float) -> None:
        states = [self.state[parameter] for parameter in parameters]
        for parameter, state in zip(parameters, states, strict=True):
            if not state:
                state["step"] = torch.zeros(())
                state["mean"], state["square"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
        adam(
            parameters,
            [parameter.grad for parameter in parameters if parameter.grad is not None],
            [state["mean"] for state in states],
            [state["square"] for state in states],
            [],
            [state["step"] for state in states],
            lr=rate,
            beta1=_BETAS[0],
            beta2=_BETAS[1],
            eps=_EPSILON,
            weight_decay=0.0,
            amsgrad=False,
            maximize=False,
        )


def orthogonalised(matrices: Tensor) -> Tensor:
    """The nearly orthogonal matrices closest to a batch (N, m, n), by five Newton-Schulz iterations of odd order.

    Singular values end between about 0.7 and 1.2, which is as good here as exactly 1.
    """
    first, third, fifth = _NEWTON_SCHULZ
    tall = matrices.shape[-2] > matrices.shape[-1]
    found: Tensor = matrices.mT if tall else matrices
    found = found / (torch.linalg.matrix_norm(found, keepdim=True) + 1e-7)
    for _ in range(5):
        gram = found @ found.mT
        found = first * found + (third * gram + fifth * gram @ gram) @ found
    return found.mT if tall else found
