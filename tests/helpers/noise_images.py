"""Images of noise: quick to write, each unlike every other."""

import io
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image


def png(name: str, size: tuple[int, int] = (96, 96), channels: int = 3) -> bytes:
    """An image of (height, width) that depends on ``name`` alone."""
    noise = np.random.default_rng(zlib.crc32(name.encode())).integers(0, 256, (*size, channels), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise.squeeze(-1) if channels == 1 else noise).save(buffer, "PNG")
    return buffer.getvalue()


def sixteen_bit_png(side: int = 96) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.arange(side * side, dtype=np.uint16).reshape(side, side)).save(buffer, "PNG")
    return buffer.getvalue()


def write(folder: Path, names: Iterable[str], size: tuple[int, int] = (96, 96), channels: int = 3) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(str(path), size, channels))
    return folder
