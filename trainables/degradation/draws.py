"""Random parameters of each image in a batch, drawn on the device of its generator."""

import math

import torch
from torch import Tensor

from trainables.degradation.settings import Range


def uniform(bounds: Range, count: int, generator: torch.Generator) -> Tensor:
    """(N,) values, evenly spread."""
    draw = torch.rand(count, generator=generator, device=generator.device)
    return bounds[0] + (bounds[1] - bounds[0]) * draw


def log_uniform(bounds: Range, count: int, generator: torch.Generator) -> Tensor:
    """(N,) values, evenly spread on a log scale."""
    return uniform((math.log(bounds[0]), math.log(bounds[1])), count, generator).exp()


def integers(bounds: tuple[int, int], count: int, generator: torch.Generator) -> Tensor:
    """(N,) integers, evenly spread."""
    return torch.randint(bounds[0], bounds[1] + 1, (count,), generator=generator, device=generator.device)


def normal(like: Tensor, gray: Tensor, generator: torch.Generator) -> Tensor:
    """White noise of unit variance, (N, C, H, W); a gray image has the same in all channels."""
    draw = torch.randn(like.shape, generator=generator, device=like.device, dtype=like.dtype)
    return torch.where(gray.to(like.device).view(-1, 1, 1, 1), draw[:, :1], draw)


def rounded(values: Tensor) -> Tensor:
    """Rounds to integers; the gradient passes straight through, as rounding has none."""
    return values + (values.round() - values).detach() if values.requires_grad else values.round()


def to_levels(values: Tensor, levels: float | None) -> Tensor:
    """Rounds to multiples of 1/levels; None for no rounding."""
    return values if levels is None else rounded(values * levels) / levels
