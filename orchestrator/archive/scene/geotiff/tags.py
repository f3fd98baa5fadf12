"""Metadata of a scene, carried over to an output of r times as many pixels.

The formulas for scaled ground control points and rational polynomials are those that make GDAL's transformers give r
times the source's pixel (tests/orchestrator/archive/scene/test_archive_georeferencing.py).
"""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import rasterio
from affine import Affine
from rasterio.control import GroundControlPoint
from rasterio.rpc import RPC

from orchestrator.archive.scene.geotiff.bigtiff import output_colours
from orchestrator.archive.scene.reader import Scene
from orchestrator.archive.scene.types import ModelFacts
from trainables.version import __version__

NAMESPACE = "RAYSCALE"
_OWN_BY_GDAL = {"IMAGE_STRUCTURE", "DERIVED_SUBDATASETS", "SUBDATASETS", "RPC", "TIFF", "COLOR_PROFILE"}
_REFERRING = {"OVERVIEWS", "GEOLOCATION"}
"""They name other files, the first one such as GDAL would open."""
_WRONG_AFTER = (
    *("STATISTICS_", "AREA_OR_POINT", "NODATA_VALUES", "TIFFTAG_MINSAMPLEVALUE", "TIFFTAG_MAXSAMPLEVALUE"),
    *("EXIF_Orientation", "EXIF_PixelXDimension", "EXIF_PixelYDimension", "EXIF_ImageWidth", "EXIF_ImageLength"),
    *("EXIF_XResolution", "EXIF_YResolution", "EXIF_ResolutionUnit"),
)
"""Tags that describe the source's pixels, not the output's."""
_RESOLUTIONS = ("TIFFTAG_XRESOLUTION", "TIFFTAG_YRESOLUTION")


def carry_over(scene: Scene, target: "rasterio.io.DatasetWriter", scale: int, tags: dict[str, str]) -> list[str]:
    """Writes georeferencing, bands' descriptions and all tags into an open raw file.

    Args:
        scene: Source of the tags.
        target: Output that gets them.
        scale: r.
        tags: Further tags of the output.

    Returns:
        Notes on what could not be carried over.
    """
    notes = _place(scene, target, scale) + scene.notes
    source = scene.dataset
    if not scene.expanded:
        for fact in ("descriptions", "scales", "offsets"):
            of_all = getattr(source, fact)
            setattr(target, fact, [of_all[band - 1] for band in scene.written])
        if scene.palette:
            target.write_colormap(1, source.colormap(1))
        units = source.units
        target.units = tuple(units[band - 1] or "" for band in scene.written)
    target.colorinterp = output_colours(scene)
    target.update_tags(**_kept(source.tags()), **_resolution(source.tags(), scale), **tags)
    for name in source.tag_namespaces():
        if name in _OWN_BY_GDAL:
            continue
        if ":" in name or name in _REFERRING:
            notes.append(f"tags of {name} were left out")
        else:
            target.update_tags(ns=name, **_kept(source.tags(ns=name)))
    bands = (
        {}
        if scene.expanded
        else {number: _kept(source.tags(band)) for number, band in enumerate(scene.written, start=1)}
    )
    for band, kept in bands.items():
        target.update_tags(band, **kept)
    if any(bands.values()) and has_own_namespaces(target):
        # A copy keeps either these or those; see copy_as_cog.
        for band, kept in bands.items():
            target.update_tags(band, ns="BAND", **kept)
        notes.append("tags of single bands were moved into the namespace BAND")
    return notes


def _place(scene: Scene, target: "rasterio.io.DatasetWriter", scale: int) -> list[str]:
    source = scene.dataset
    # First: GDAL shifts points by half a pixel as it writes them.
    if point := source.tags().get("AREA_OR_POINT"):
        target.update_tags(AREA_OR_POINT=point)
    points, points_crs = source.gcps
    if points:
        target.gcps = [_scaled_point(point, scale) for point in points], points_crs
    elif scene.facts.kind == "georeferenced":
        if source.crs is not None:
            target.crs = source.crs
        target.transform = source.transform @ Affine.scale(1 / scale)
    if source.rpcs:
        target.rpcs = scaled_rpcs(source.rpcs, scale)
    return ["georef: none"] if scene.facts.kind == "none" else []


def _scaled_point(point: GroundControlPoint, scale: int) -> GroundControlPoint:
    return GroundControlPoint(
        row=point.row * scale, col=point.col * scale, x=point.x, y=point.y, z=point.z, id=point.id, info=point.info
    )


def scaled_rpcs(rpcs: RPC, scale: int) -> RPC:
    """Rational polynomials of the output: they count from the centre of the first pixel, which moves."""
    coefficients: dict[str, Any] = rpcs.to_dict()
    for axis in ("line", "samp"):
        coefficients[f"{axis}_off"] = scale * coefficients[f"{axis}_off"] + (scale - 1) / 2
        coefficients[f"{axis}_scale"] *= scale
    return RPC(**coefficients)


def has_own_namespaces(dataset: "rasterio.io.DatasetReader") -> bool:
    """Returns True if any tags lie in namespaces that are not GDAL's own."""
    return any(name not in _OWN_BY_GDAL for name in dataset.tag_namespaces())


def _kept(tags: dict[str, str]) -> dict[str, str]:
    left_out = (*_WRONG_AFTER, *_RESOLUTIONS)
    return {name: value for name, value in tags.items() if not name.startswith(left_out)}


def _resolution(tags: dict[str, str], scale: int) -> dict[str, str]:
    """Dots per inch or centimetre of the output, whose print is as large."""
    scaled = {}
    for name in _RESOLUTIONS:
        with suppress(KeyError, ValueError):
            scaled[name] = f"{float(tags[name].split()[0]) * scale:g}"
    return scaled


def own_tags(model: ModelFacts, normalisation: str, band_map: str, repeated: Sequence[int] = ()) -> dict[str, str]:
    """Tags of an output that state how it was made, independent of time and place."""
    labels = {f"{NAMESPACE}_REPEATED": ",".join(map(str, sorted(repeated)))} if repeated else {}
    return labels | {
        f"{NAMESPACE}_VERSION": __version__,
        f"{NAMESPACE}_MODEL": model.name,
        f"{NAMESPACE}_MODEL_SHA256": model.digest,
        f"{NAMESPACE}_SCALE": str(model.scale),
        f"{NAMESPACE}_PRECISION": model.precision,
        f"{NAMESPACE}_NORMALISATION": normalisation,
        f"{NAMESPACE}_BANDS": band_map,
    }
