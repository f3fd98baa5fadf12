"""Data-parallel training in one process: copies of a network on further devices, which share each batch.

The first device draws the batch, holds the optimiser and is scored. Every device computes the outputs of its part of
the batch and their gradient; the loss and the gradient are those of the whole batch, so that a step is that of one
device up to rounding. Work on a GPU is queued: this process queues the parts' outputs one after another, and torch
computes their gradients in a thread for each device.
"""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from trainables.errors import UsageError
from trainables.network.network import SuperResolutionNet


class Replicas:
    """A network that trains and its copies, one on each device.

    Args:
        net: The network, on its device, with its trainable weights chosen; it is trained in place.
        devices: Devices that share each batch, the network's own first; by default that one alone.

    Attributes:
        nets: The network and its copies, in the order of their parts of a batch.

    Raises:
        UsageError: If there are copies of a network with batch normalisation, whose statistics are of a whole batch.
    """

    def __init__(self, net: SuperResolutionNet, devices: Sequence[torch.device] = ()) -> None:
        if len(devices) > 1 and any(isinstance(module, nn.BatchNorm2d) for module in net.modules()):
            raise UsageError(
                f"A network with batch normalisation cannot share a batch among {len(devices)} devices, since its "
                "statistics are those of the whole batch: train it on one device."
            )
        self.nets = [net, *(copy.deepcopy(net).to(device) for device in devices[1:])]
        self._trained = [[p for p in replica.parameters() if p.requires_grad] for replica in self.nets]

    def split(self, batch: Tensor) -> list[Tensor]:
        """The parts of a batch (N, ...), each on its device; their sizes differ by one at most.

        Raises:
            UsageError: If there are fewer patches than devices.
        """
        count = len(self.nets)
        if count == 1:
            return [batch]
        if len(batch) < count:
            raise UsageError(
                f"A batch of {len(batch)} patches cannot be split over {count} devices: raise the batch, or take fewer "
                "devices."
            )
        parts = zip(self._trained, batch.tensor_split(count), strict=True)
        return [part.to(trained[0].device, non_blocking=True) for trained, part in parts]

    def outputs(self, parts: Sequence[Tensor]) -> list[Tensor]:
        """Outputs of the network and its copies, each for its part of a batch."""
        return [net(part) for net, part in zip(self.nets, parts, strict=True)]

    def mean(self, values: Sequence[Tensor], parts: Sequence[Tensor]) -> Tensor:
        """Mean over a batch, on the first device, of scalars that are means over its parts."""
        if len(values) == 1:
            return values[0]
        whole = sum(len(part) for part in parts)
        terms = zip(values, parts, strict=True)
        return torch.stack([value.to(values[0].device) * (len(part) / whole) for value, part in terms]).sum()

    def gather_gradients(self) -> None:
        """Adds the gradients of the copies to those of the network, and clears them."""
        own, *copies = self._trained
        for parameters in copies:
            for weight, copied in zip(own, parameters, strict=True):
                if copied.grad is None:
                    continue
                gradient = copied.grad.to(weight.device, non_blocking=True)
                weight.grad = gradient if weight.grad is None else weight.grad.add_(gradient)
                copied.grad = None

    @torch.no_grad()
    def renew(self) -> None:
        """Copies the network's trained weights to its copies, after a step."""
        own, *copies = self._trained
        for parameters in copies:
            for weight, copied in zip(own, parameters, strict=True):
                copied.copy_(weight, non_blocking=True)
