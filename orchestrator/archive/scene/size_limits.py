"""Size limits of a scene, checked on its header before memory or time is spent."""

from dataclasses import dataclass
from math import prod

import numpy as np

from orchestrator.archive.scene.types import SceneError

MOST_BANDS = 512
"""Most bands; hyperspectral sensors have up to about 450."""
LONGEST_SIDE = 1_000_000
MOST_PIXELS = 40_000_000_000
LARGEST_BLOCK = 2**30
"""Most bytes of one internal tile or strip, which must be decoded at once."""
LARGEST_ROW = 2**23
"""Most bytes of one row of pixels in all bands; some hundred rows are in memory at once."""
MOST_COMPRESSED = 10_000
"""Most decoded bytes per byte of the file; deflate reaches 1,032, and a real picture rarely 100."""
_LARGE = 2**30
"""Decoded bytes of a scene above which its compression is checked."""
_LARGE_BLOCK = 2**26
"""The same of one block."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """Size of a scene as its header states it.

    Attributes:
        width: Columns.
        height: Rows.
        bands: Bands, alpha included.
        dtype: NumPy name of the data type.
        block: Rows and columns of an internal tile or strip.
        interleaved: True if a block holds all bands.
        size: Bytes of the file; None where they are not known.
    """

    width: int
    height: int
    bands: int
    dtype: str
    block: tuple[int, int]
    interleaved: bool
    size: int | None


def check_header(header: Header) -> None:
    """Refuses scenes that would take memory or time without bound.

    Raises:
        SceneError: ``unsupported``, with the limit and what to do.
    """
    sample = np.dtype(header.dtype).itemsize
    if header.bands > MOST_BANDS:
        raise SceneError(
            "unsupported",
            f"It has {header.bands:,} bands; at most {MOST_BANDS} are taken. Divide it, for instance by "
            "gdal_translate -b.",
        )
    if max(header.width, header.height) > LONGEST_SIDE or header.width * header.height > MOST_PIXELS:
        raise SceneError(
            "unsupported",
            f"It says that it has {header.width:,}×{header.height:,} pixels; at most {LONGEST_SIDE:,} to a side and "
            f"{MOST_PIXELS:,} in all are taken. Cut it into pieces, for instance by gdal_translate -srcwin.",
        )
    row = header.width * header.bands * sample
    if row > LARGEST_ROW:
        raise SceneError(
            "unsupported",
            f"One row of its pixels takes {row / 2**20:.0f} MB; at most {LARGEST_ROW >> 20} MB are taken. Cut it into "
            "narrower pieces or fewer bands.",
        )
    block = prod(header.block) * sample * (header.bands if header.interleaved else 1)
    scene = header.width * header.height * header.bands * sample
    if block > LARGEST_BLOCK:
        raise SceneError(
            "unsupported",
            f"One of its internal tiles or strips takes {block / 2**20:,.0f} MB; at most {LARGEST_BLOCK >> 20} MB are "
            "taken. Write it with smaller ones, for instance by gdal_translate -co TILED=YES.",
        )
    for what, decoded, least in (("It", scene, _LARGE), ("One of its internal tiles", block, _LARGE_BLOCK)):
        if header.size and decoded > least and decoded > MOST_COMPRESSED * header.size:
            raise SceneError(
                "unsupported",
                f"{what} would take {decoded / 2**20:,.0f} MB decoded, more than {MOST_COMPRESSED:,} times the file's "
                f"{header.size:,} bytes, which no picture is. Cut out the part that has values.",
            )
