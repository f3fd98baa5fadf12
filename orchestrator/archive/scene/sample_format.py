"""Sample format of a raster as its file states it beside GDAL's bands: used, kept or noted."""

import base64
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import rasterio
from PIL import BmpImagePlugin, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

from orchestrator.archive.scene.geotiff import tiff_tags
from orchestrator.archive.scene.types import SceneError

_PHOTOMETRIC = {
    4: "a transparency mask",
    9: "ICC L*a*b*",
    10: "ITU L*a*b*",
    32803: "a colour filter array",
    32844: "LogL",
    32845: "LogLuv",
    34892: "linear raw samples",
    51177: "a depth map",
    52527: "a semantic mask",
}
"""TIFF's photometric interpretations that GDAL's bands do not show, or show as something else."""
_CONVERTED = {5: "CMYK", 8: "L*a*b*"}
_LINES_FIRST = 5
"""Orientations from here on are stored with rows and columns exchanged."""
_ASSOCIATED = 1
_PROFILE = "SOURCE_ICC_PROFILE"
_KEPT_OF_PROFILE = (_PROFILE, "SOURCE_PRIMARIES_", "SOURCE_WHITEPOINT", "TIFFTAG_TRANSFER")
_SRGB_GAMMA, _GAMMA_TOLERANCE = 1 / 2.2, 0.005
_JP2_HEADER = 2**16
_PLUGINS: dict[str, Any] = {
    "PNG": PngImagePlugin.PngImageFile,
    "JPEG": JpegImagePlugin.JpegImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
    "WEBP": WebPImagePlugin.WebPImageFile,
}


@dataclass(frozen=True, slots=True)
class Encoding:
    """Encoding of samples.

    Attributes:
        orientation: 1 to 8, as TIFF and EXIF number them (TIFF 6.0, section 8).
        gray: True if its one band is gray, even if GDAL shows it as a palette.
        associated: True if colours are multiplied by alpha (ExtraSamples 1).
        opaque: True if GDAL's alpha band is its own addition.
        colour: Creation options of a GeoTIFF of the same colours: the ICC profile, primaries, transfer function.
        notes: Properties that are converted or left out.
    """

    orientation: int = 1
    gray: bool = False
    associated: bool = False
    opaque: bool = False
    colour: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def transposed(self) -> bool:
        """True if rows and columns are exchanged before anything is mirrored."""
        return self.orientation >= _LINES_FIRST

    @property
    def mirrored(self) -> tuple[bool, bool]:
        """Two flags: rows, and columns, are stored in reverse order."""
        return self.orientation in (3, 4, 7, 8), self.orientation in (2, 3, 6, 7)


def encoding_of(path: Path | str, dataset: "rasterio.io.DatasetReader") -> Encoding:
    """Reads what a file's header says.

    Raises:
        SceneError: ``unsupported``, where the samples mean what no output can say.
    """
    colour = {
        name: value
        for name, value in dataset.tags(ns="COLOR_PROFILE").items()
        if name.startswith(_KEPT_OF_PROFILE) and value
    }
    if str(path).startswith("/vsimem/"):
        return Encoding(colour=colour)
    if dataset.driver == "GTiff":
        return _of_tiff(Path(path), dataset, colour)
    if dataset.driver == "JP2OpenJPEG":
        return Encoding(colour=colour | _profile_of_jp2(Path(path)))
    return _of_picture(Path(path), dataset.driver, colour)


def _of_tiff(path: Path, dataset: "rasterio.io.DatasetReader", colour: dict[str, str]) -> Encoding:
    pages = list(tiff_tags.directories(path))
    first = pages[0] if pages else {}
    kind = _value(first, tiff_tags.PHOTOMETRIC)
    if kind in _PHOTOMETRIC or tiff_tags.DNG in first:
        what = "a camera's raw data (DNG)" if tiff_tags.DNG in first else _PHOTOMETRIC[kind or 0]
        raise SceneError("unsupported", f"Its samples are {what}, no gray or colour; convert it first.")
    if _value(first, tiff_tags.SUBFILE, 0) & 1:
        raise SceneError("unsupported", "Its first image is a preview of another one; convert the image that is meant.")
    notes = []
    whole = sum(not _value(page, tiff_tags.SUBFILE, 0) & 5 for page in pages)
    if whole > 1:
        notes.append(f"it holds {whole} images; all but the first were left out")
    if nested := len(first.get(tiff_tags.SUB_IFDS, ())):
        notes.append(f"images in SubIFDs ({nested}) were left out")
    if tiff_tags.EXIF in first or tiff_tags.GPS in first:
        notes.append("EXIF tags were left out")
    if tiff_tags.REFERENCE_BLACK_WHITE in first and kind == 2:
        notes.append("ReferenceBlackWhite was left out")
    # GDAL reads these through libtiff's conversion to RGBA.
    converted = kind in _CONVERTED and dataset.count == 4 and bool(dataset.tags(ns="IMAGE_STRUCTURE"))
    converted = converted and "SOURCE_COLOR_SPACE" in dataset.tags(ns="IMAGE_STRUCTURE")
    if converted:
        notes.append(f"{_CONVERTED[kind or 0]} was converted to RGB")
        colour = {}
    extra = first.get(tiff_tags.EXTRA_SAMPLES, ())
    return Encoding(
        orientation=_orientation(_value(first, tiff_tags.ORIENTATION, 1)),
        gray=kind in (0, 1),
        associated=not converted and _ASSOCIATED in extra,
        opaque=converted,
        colour=colour,
        notes=tuple(notes),
    )


def _of_picture(path: Path, driver: str, colour: dict[str, str]) -> Encoding:
    """PNG, JPEG, BMP or WebP; Pillow's plugins read headers only, and, asked directly, know no largest size."""
    notes, orientation, frames = [], 1, 1
    with suppress(Exception), path.open("rb") as file:  # damage of the pixels is found when they are read
        image = _PLUGINS[driver](file)
        with suppress(Exception):
            orientation = _orientation(image.getexif().get(tiff_tags.ORIENTATION, 1))
        if profile := image.info.get("icc_profile"):
            colour = {_PROFILE: base64.b64encode(profile).decode()}
        frames = getattr(image, "n_frames", 1)
        if frames > 1:
            notes.append(f"it holds {frames} images; all but the first were left out")
        gamma = image.info.get("gamma")
        if gamma and _PROFILE not in colour and abs(gamma - _SRGB_GAMMA) > _GAMMA_TOLERANCE:
            notes.append(f"its gamma of {gamma:g} was left out")
        if driver in ("PNG", "WEBP") and image.info.get("exif"):
            notes.append("EXIF tags were left out")
    if frames > 1 and driver == "WEBP":
        raise SceneError("unsupported", f"It is an animation of {frames} images; convert the one that is meant.")
    return Encoding(orientation=orientation, gray=False, colour=colour, notes=tuple(notes))


def _profile_of_jp2(path: Path) -> dict[str, str]:
    """The restricted ICC profile of a colour specification box (ISO/IEC 15444-1, I.5.3.3)."""
    with path.open("rb") as file:
        start = file.read(_JP2_HEADER)
    place = start.find(b"colr")
    if place < 4 or start[place + 4 : place + 5] != b"\2":
        return {}
    length = int.from_bytes(start[place - 4 : place], "big")
    profile = start[place + 7 : place - 4 + length]
    return {_PROFILE: base64.b64encode(profile).decode()} if profile[36:40] == b"acsp" else {}


def _value(tags: tiff_tags.Tags, tag: int, default: Any = None) -> Any:
    values = tags.get(tag)
    return values[0] if values else default


def _orientation(value: Any) -> int:
    return value if isinstance(value, int) and 1 <= value <= 8 else 1
