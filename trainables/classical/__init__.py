"""Upscalers that are no network: interpolation, reconstruction and learning from examples, to compare networks with."""

from trainables.classical.example import AnchoredRegression
from trainables.classical.fitting import ClassicalBaselines, fit_baselines, fixed_baselines
from trainables.classical.interpolation import bilinear, lanczos
from trainables.classical.reconstruction import TotalVariation

__all__ = [
    "AnchoredRegression",
    "ClassicalBaselines",
    "TotalVariation",
    "bilinear",
    "fit_baselines",
    "fixed_baselines",
    "lanczos",
]
