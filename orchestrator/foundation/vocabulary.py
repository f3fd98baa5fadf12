"""Names that stages and their reports share."""

from typing import Literal

Verdict = Literal[
    "better",
    "no difference that matters",
    "tie",
    "worse",
    "too few scenes",
    "too few scenes to exclude rare harm",
]
"""Verdict on a difference, from its interval (`orchestrator.foundation.statistics.Interval.judged`)."""

AHEAD: tuple[Verdict, ...] = ("better", "too few scenes to exclude rare harm")
"""Verdicts on an interval above zero and a mean that matters."""

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
    "finished",
]
"""Ways to upscale: five without a network, the source model as it is, and networks trained with the same budget.

``best`` is the answer, ``best_mean`` the candidate with the best mean on validation where that is another one.

``finished`` alone has another budget: the answer's configuration, trained for longer and on validation images too.

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
