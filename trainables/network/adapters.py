"""Low-rank adapters: convolutions that keep their pretrained weights W and learn a correction B·A of a given rank.

LoRA (Hu et al. 2021, arXiv 2106.09685), for convolutions: a kernel counts as a matrix of output channels × everything
else, as W' = W + B·A with B (output channels × rank) and A (rank × everything else).

B starts at zero, so that an adapted network starts as the pretrained one. The scale is 1 (the paper's α equals the
rank) and the entries of A are drawn from a standard normal distribution. One step of Adam then moves a weight by about
the learning rate times the square root of the rank, nearly as far as without adapters, so that ranges of learning rates
serve both. Biases and the parameters and statistics of batch norm stay as pretrained.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from trainables.errors import UsageError
from trainables.network.architecture import Architecture
from trainables.network.network import SuperResolutionNet

MOST_SHARE = 0.1
"""Largest share of the network's parameters that its adapters may have."""


class LowRank(nn.Module):
    """The parametrization W ↦ W + B·A of a convolution's kernel.

    Args:
        kernel: W, (output channels, ...); it is only looked at.
        rank: Rank of B·A, from 1.
    """

    def __init__(self, kernel: Tensor, rank: int) -> None:
        super().__init__()
        rows, columns = len(kernel), kernel[0].numel()
        self.down = nn.Parameter(torch.randn(rank, columns).to(kernel))
        self.up = nn.Parameter(torch.zeros(rows, rank).to(kernel))

    def forward(self, kernel: Tensor) -> Tensor:
        """W + B·A, in the shape of W."""
        return kernel + (self.up @ self.down).view_as(kernel)


def add_adapters(net: SuperResolutionNet, rank: int) -> None:
    """Gives each convolution that trains an adapter, which trains in its place.

    Call it after :meth:`SuperResolutionNet.freeze`; frozen blocks get none. Batch norm keeps its statistics as long as
    the network stays in evaluation mode.

    Args:
        net: The network, on its device.
        rank: Rank of the adapters, from 1.

    Raises:
        UsageError: If that is too high a rank for the network, see :func:`check_rank`.
    """
    check_rank(rank, net.architecture)
    adapted = [module for module in net.modules() if isinstance(module, nn.Conv2d) and module.weight.requires_grad]
    net.requires_grad_(False)
    for convolution in adapted:
        adapter = LowRank(convolution.weight.detach(), rank)
        parametrize.register_parametrization(convolution, "weight", adapter)


def merge_adapters(net: SuperResolutionNet) -> None:
    """Adds each adapter to the weights that it corrects: a plain network, all of whose weights train again."""
    for convolution in list(net.modules()):
        if isinstance(convolution, nn.Conv2d) and parametrize.is_parametrized(convolution, "weight"):
            parametrize.remove_parametrizations(convolution, "weight", leave_parametrized=True)
    net.requires_grad_(True)


def trainable_weights(net: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Name and value of each weight that training changes; of an adapted kernel the corrected one, W + B·A."""
    for name, module in net.named_modules():
        if isinstance(module, nn.Conv2d) and parametrize.is_parametrized(module, "weight"):
            yield f"{name}.weight", module.weight
    for name, parameter in net.named_parameters():
        if parameter.requires_grad and ".parametrizations." not in name:
            yield name, parameter


def adapter_parameters(architecture: Architecture, rank: int) -> int:
    """Number of parameters of the adapters of a whole network."""
    return sum(rank * (len(kernel) + kernel[0].numel()) for kernel in _kernels(architecture))


def check_rank(rank: int, architecture: Architecture) -> None:
    """Checks that adapters of a rank have at most :data:`MOST_SHARE` of the network's parameters.

    Raises:
        UsageError: If they have more, naming the highest rank.
    """
    with torch.device("meta"):
        whole = sum(parameter.numel() for parameter in SuperResolutionNet(architecture).parameters())
    per_rank = adapter_parameters(architecture, 1)
    highest = int(MOST_SHARE * whole / per_rank)
    if rank > highest:
        offered = f"lower it to {highest} or less" if highest else "remove it, or take a wider network"
        share = 100 * rank * per_rank / whole
        raise UsageError(
            f"An adapter_rank of {rank} gives {rank * per_rank:,} parameters, {share:.1f} % of the network's "
            f"{whole:,}, and adapters may have {100 * MOST_SHARE:.0f} %: {offered}."
        )


def _kernels(architecture: Architecture) -> list[Tensor]:
    with torch.device("meta"):
        net = SuperResolutionNet(architecture)
    return [module.weight for module in net.modules() if isinstance(module, nn.Conv2d)]
