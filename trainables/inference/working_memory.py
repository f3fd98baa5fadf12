"""Working memory of a network, measured, and the largest tile that fits a budget."""

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from trainables.inference.prepare import Prepared
from trainables.inference.tiling import LARGEST_TILE

_PROBE = 64
_BESIDE = 1.5
"""Kernels' own scratch memory and what the allocator does not reuse, over the tensors that live at once."""


def bytes_per_pixel(net: Prepared) -> float:
    """Bytes of tensors that live at once at most, per LR pixel; a small image is computed to see."""
    lr = torch.rand(1, net.channels, _PROBE, _PROBE, device=net.device)
    with torch.inference_mode(), _LiveTensors() as live:
        net(lr)
    return float(live.peak) / _PROBE**2


def tile_within(memory: int, per_pixel: float, halo: int) -> int:
    """Side of the largest tile, without its halo, that fits a budget.

    Args:
        memory: Bytes to work in.
        per_pixel: Result of :func:`bytes_per_pixel`.
        halo: LR pixels to each side of a tile that are computed with it.

    Returns:
        :data:`LARGEST_TILE` at most; below ``SMALLEST_TILE``, even below 1, where the budget is too small.
    """
    return min(LARGEST_TILE, int(pixels_within(memory, per_pixel) ** 0.5) - 2 * halo)


def pixels_within(memory: int, per_pixel: float) -> int:
    """LR pixels that fit a budget, those of all images of a batch and of their halos together."""
    return int(memory / (_BESIDE * per_pixel))


class _LiveTensors(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of all storages that results of operations keep alive."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = 0
        self._sizes: dict[int, int] = {}

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """False: torch would import its compiler, which takes two seconds, to leave out what nothing compiles."""
        return False

    def __torch_dispatch__(self, function: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                storage = leaf.untyped_storage()
                if storage._cdata not in self._sizes:
                    self._sizes[storage._cdata] = storage.nbytes()
                    weakref.finalize(storage, self._sizes.pop, storage._cdata, None)
        self.peak = max(self.peak, sum(self._sizes.values()))
        return result
