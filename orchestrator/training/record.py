"""Result of a pretraining, as its stage's record keeps it."""

from typing import TypedDict


class PretrainResult(TypedDict):
    """Steps, mean absolute error by step, and validation PSNR in dB beside bicubic's."""

    steps: int
    loss: list[tuple[int, float]]
    validation_psnr: float
    validation_psnr_bicubic: float
