"""Kinds of input files by the ending of their names: the one place that decides them.

Where a name cannot say it, content does later: which decoder reads a picture (:mod:`trainables.images.codec`), which
driver a scene (:mod:`orchestrator.archive.scene.open_raster`), and whether a set of TIFFs to be scored is scenes
(:func:`orchestrator.apply.evaluation.scene_pairs.is_scene`).
"""

from pathlib import PurePosixPath
from typing import Literal

from trainables.images.codec import EXTENSIONS

PNG, BMP, WEBP, DICOM = ".png", ".bmp", ".webp", ".dcm"
JPEG = (".jpg", ".jpeg")
JPEG_2000 = (".jp2", ".j2k")
TIFF = (".tif", ".tiff")
ZARR_METADATA = frozenset({".zarray", ".zattrs", ".zgroup", ".zmetadata"})
"""Names of files of Zarr format 2, which hold its metadata and are not hidden for their dot."""
NPY, NIFTI, NIFTI_COMPRESSED = ".npy", ".nii", ".nii.gz"
TEXT_LIST, CSV_LIST = ".txt", ".csv"

PICTURES = EXTENSIONS
"""Plain images, in small letters with the dot, as all endings here."""

RASTERS = frozenset({*TIFF, *JPEG_2000})
"""Files that are scenes by their name; other images are so only where Cloud-Optimised GeoTIFFs are asked for."""

NITF = frozenset({".ntf", ".nitf", ".nsf"})
"""Files in the National Imagery Transmission Format."""

STAC = frozenset({".json", ".geojson"})
"""STAC items and item collections."""

LISTS = frozenset({TEXT_LIST, CSV_LIST})
"""Lists of scenes."""

ARRAYS = frozenset({NPY, NIFTI, NIFTI_COMPRESSED})
"""Arrays and volumes, which are upscaled layer by layer."""

INPUTS = PICTURES | {DICOM} | ARRAYS
"""Endings of inputs that become an image of their own kind."""

ALL_INPUTS = RASTERS | INPUTS
"""Endings of inputs that `rayscale upscale` takes."""

PICTURE_OUTPUTS = frozenset({PNG, *JPEG})
"""Endings of plain images as outputs, where an output is named by its own path."""

FILE_OUTPUTS = PICTURE_OUTPUTS | {DICOM, *TIFF} | ARRAYS
"""Endings by which an output is a file and no folder."""

RASTER_INPUTS = ALL_INPUTS
"""Endings of images that are learned from, in their own depth, bands and units."""

As = Literal["auto", "cog", "png"]
"""Kind of outputs: scenes from :data:`RASTERS` alone, from all inputs but :data:`ARRAYS`, or from none."""

RasterFormat = Literal["picture", "scene", "dicom", "nifti", "npy"]
"""Kind of an image that is learned from, by its name: each has a reader of its own (:mod:`orchestrator.rasters`)."""

Kind = Literal["picture", "dicom", "array", "scene", "list", "other"]
"""Kind of a file: a plain image, a DICOM slice, an array or volume, a scene, a list of scenes, or no input."""


def suffix_of(name: str) -> str:
    """Returns the ending of a name in small letters, with its dot; that of a compressed NIfTI file has two."""
    ending = PurePosixPath(name).suffix.lower()
    return NIFTI_COMPRESSED if ending == ".gz" and name.lower().endswith(NIFTI_COMPRESSED) else ending


def kind_of(name: str, as_: As = "auto") -> Kind:
    """Returns the kind of an input file.

    Args:
        name: Its name, path or URI.
        as_: Kind of outputs.
    """
    suffix = suffix_of(name)
    if suffix in LISTS:
        return "list"
    if suffix in ARRAYS:
        return "array"
    if suffix in ALL_INPUTS and (as_ == "cog" or (as_ == "auto" and suffix in RASTERS)):
        return "scene"
    if suffix == DICOM:
        return "dicom"
    return "picture" if suffix in PICTURES else "other"


def raster_format_of(name: str) -> RasterFormat | None:
    """Returns the format of an image that is learned from; None for any other file."""
    suffix = suffix_of(name)
    if suffix in RASTERS:
        return "scene"
    if suffix in PICTURES:
        return "picture"
    others: dict[str, RasterFormat] = {DICOM: "dicom", NIFTI: "nifti", NIFTI_COMPRESSED: "nifti", NPY: "npy"}
    return others.get(suffix)


def is_tiff(name: str) -> bool:
    """Returns True if a file is a TIFF by its name."""
    return suffix_of(name) in TIFF


def is_jpeg(name: str) -> bool:
    """Returns True if a file is a JPEG by its name."""
    return suffix_of(name) in JPEG
