"""Names that stages and their reports share."""

from typing import Literal

Verdict = Literal["better", "tie", "worse", "too few scenes"]
"""Verdict of a difference's interval; ``tie`` where it holds zero, the last where it rests on too few scenes."""

ArmName = Literal[
    "bicubic",
    "bilinear",
    "lanczos",
    "tv",
    "example",
    "zero_shot",
    "scratch",
    "default",
    "feature",
    "model",
    "best",
    "interpolated",
    "soup",
    "best_mean",
    "front",
]
"""Ways to upscale: five without a network, the source model as it is, and networks trained with the same budget.

``best`` is the answer, ``best_mean`` the candidate with the best mean on validation where that is another one.
``front`` is any point of a front of quality and speed, which stands there and among no domain's arms.
"""

CLASSICAL: tuple[ArmName, ...] = ("bicubic", "bilinear", "lanczos", "tv", "example")
"""Arms without a network; all but the interpolations need a fit."""

STEPS: tuple[ArmName, ...] = ("zero_shot", "feature", "model", "best")
"""The steps of transfer in their order."""

ZERO_SHOT: ArmName = "zero_shot"
"""The source model as it is."""

SOUP: ArmName = "soup"
"""The answer's configuration with the weights of its seeds averaged."""

BEST_MEAN: ArmName = "best_mean"
"""The candidate with the best mean on validation, where it is not the answer."""

INTERPOLATED: ArmName = "interpolated"
"""Name of the arm of averaged weights, of its runs and of its model's folder below the domain's."""
