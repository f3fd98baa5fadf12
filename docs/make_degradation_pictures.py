"""Draws the pictures of docs/degradations.md; run it as `python docs/make_degradation_pictures.py`.

Each picture shows a generated HR image and its LR image, enlarged by repeating pixels, at the light and the heavy end
of the model's range.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from trainables.degradation import Degradation
from trainables.samples import generate

OUT = Path(__file__).parent / "pictures"
SCALE, SIDE, STRIP = 4, 256, 22
MODELS: dict[str, tuple[str, int, dict[str, Any], dict[str, Any]]] = {
    "bicubic": ("natural", 2, {}, {"decimation": "fourier"}),
    "mtf": ("satellite", 0, {"mtf": (0.4, 0.4)}, {"mtf": (0.1, 0.1)}),
    "shot": (
        "satellite",
        1,
        {"noise": (0.002,) * 2, "shot": (0.005,) * 2},
        {"noise": (0.01,) * 2, "shot": (0.03,) * 2},
    ),
    "rician": ("medical", 1, {"noise": (0.005, 0.005)}, {"noise": (0.02, 0.02)}),
    "dose": ("medical", 0, {"photons": (1e5, 1e5)}, {"photons": (1e3, 1e3), "attenuation": (4.0, 4.0)}),
    "blur": ("surveillance", 0, {"blur": (0.2, 0.2)}, {"blur": (0.5, 0.5)}),
    "jpeg": ("art", 1, {"jpeg": (95, 95)}, {"jpeg": (50, 50)}),
    "h264": ("surveillance", 1, {"h264": (24, 24)}, {"h264": (36, 36)}),
}
COMMON: dict[str, dict[str, Any]] = {
    "mtf": {"decimation": "area"},
    "shot": {"decimation": "area"},
    "rician": {"decimation": "fourier", "noise_kind": "rician"},
    "dose": {"decimation": "area"},
}


def panel(pixels: np.ndarray, caption: str) -> Image.Image:
    """One image with a line of text above it."""
    made = Image.new("RGB", (SIDE, SIDE + STRIP), "white")
    ImageDraw.Draw(made).text((3, 3), caption, fill="black", font=ImageFont.load_default(13))
    made.paste(Image.fromarray(pixels), (0, STRIP))
    return made


def degraded(pixels: np.ndarray, chain: Degradation, gray: bool) -> np.ndarray:
    """The LR image, enlarged to HR size."""
    hr = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255
    lr = chain(hr, SCALE, torch.tensor([gray]), torch.Generator().manual_seed(0))[0]
    small = (lr * 255).round().byte().permute(1, 2, 0).numpy()
    return small.repeat(SCALE, axis=0).repeat(SCALE, axis=1)


def caption(values: dict[str, Any]) -> str:
    """The settings that differ between the two ends."""
    said = [f"{name} {value[0]:g}" if isinstance(value, tuple) else str(value) for name, value in values.items()]
    return "LR: " + (", ".join(said) or "bicubic")


def main() -> None:
    """Writes all pictures."""
    OUT.mkdir(exist_ok=True)
    for name, (domain, seed, light, heavy) in MODELS.items():
        hr, gray = generate(domain, seed, (SIDE, SIDE)), domain == "medical"
        panels = [panel(hr, "HR (generated)")]
        for end in (light, heavy):
            panels.append(panel(degraded(hr, Degradation(**COMMON.get(name, {}), **end), gray), caption(end)))
        whole = Image.new("RGB", (3 * SIDE + 16, SIDE + STRIP), "white")
        for i, part in enumerate(panels):
            whole.paste(part, (i * (SIDE + 8), 0))
        whole.save(OUT / f"degradation-{name}.webp", quality=82, method=6)


if __name__ == "__main__":
    main()
