"""LR-HR pairs as files: generated images, and LR images that their domain's degradation or another function makes."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from made_pairs import DEGRADATIONS
from numpy.typing import NDArray
from PIL import Image

from trainables.samples import generate

Pixels = NDArray[np.uint8]


def degraded(domain: str, scale: int) -> Callable[[Pixels], Pixels]:
    """The domain's degradation, as a function of pixels."""

    def degrade(hr: Pixels) -> Pixels:
        shares = torch.from_numpy(hr).permute(2, 0, 1)[None] / 255
        generator = torch.Generator().manual_seed(int(hr.sum()))
        lr = DEGRADATIONS[domain](shares, scale, torch.tensor([domain == "medical"]), generator)
        return (lr[0].permute(1, 2, 0) * 255).round().numpy().astype(np.uint8)

    return degrade


def write_pairs(
    folder: Path,
    count: int,
    scale: int = 2,
    domain: str = "satellite",
    side: int = 128,
    lr_of: Callable[[Pixels], Pixels] | None = None,
    first: int = 0,
) -> None:
    """Writes ``hr/N.png`` and ``lr/N.png``."""
    make = lr_of or degraded(domain, scale)
    for name in ("hr", "lr"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for seed in range(first, first + count):
        hr = generate(domain, seed, (side, side))
        Image.fromarray(hr).save(folder / "hr" / f"{seed}.png")
        Image.fromarray(make(hr)).save(folder / "lr" / f"{seed}.png")
