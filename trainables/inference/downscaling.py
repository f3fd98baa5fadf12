"""The downscaling of back-projection: its option, and what a model's card says. Imports no torch."""

from typing import Literal

Downscaling = Literal["area", "bicubic"]
BackProject = Literal["on", "model", "off"]
"""Option: ``on`` downscales by block means, ``model`` as a model's training images were, ``off`` leaves it out."""

MARGINS: dict[Downscaling, int] = {"area": 2, "bicubic": 4}
"""LR pixels around a pixel whose output back-projection needs: two for each bicubic interpolation."""


def downscaling_of(option: BackProject, decimation: str | None) -> Downscaling | None:
    """Downscaling for back-projection; None for none.

    Args:
        option: The option.
        decimation: Decimation of the model's training images, as its card states it; None if it states none.
    """
    if option == "off":
        return None
    return "area" if option == "on" or decimation == "area" else "bicubic"
