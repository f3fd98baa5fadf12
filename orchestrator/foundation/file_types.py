"""What kind of input a file is, by the ending of its name: the one place that decides it."""

from pathlib import PurePosixPath
from typing import Literal

from trainables.images.codec import EXTENSIONS

PICTURES = EXTENSIONS
"""Plain images, in small letters with the dot, as all endings here."""

DICOM = ".dcm"
TIFF = (".tif", ".tiff")
RASTERS = frozenset({*TIFF, ".jp2", ".j2k"})
"""Files that are scenes by their name; other images are so only where Cloud-Optimised GeoTIFFs are asked for."""

LISTS = frozenset({".txt", ".csv"})
"""Lists of scenes."""

INPUTS = PICTURES | {DICOM}
"""What becomes an image of its own kind."""

ALL_INPUTS = RASTERS | INPUTS
"""What `rayscale upscale` takes."""

PICTURE_OUTPUTS = frozenset({".png", ".jpg", ".jpeg"})
"""What plain images can be written as, where an output is named by its own path."""

FILE_OUTPUTS = PICTURE_OUTPUTS | {DICOM, *TIFF}
"""Endings by which an output is a file and no folder."""

As = Literal["auto", "cog", "png"]
"""What inputs become: scenes of :data:`RASTERS` alone, all of them, or none."""


def suffix_of(name: str) -> str:
    """The ending of a name in small letters, with its dot."""
    return PurePosixPath(name).suffix.lower()


def is_scene(name: str, as_: As = "auto") -> bool:
    """Whether a file becomes a Cloud-Optimised GeoTIFF."""
    return as_ == "cog" or (as_ == "auto" and suffix_of(name) in RASTERS)
