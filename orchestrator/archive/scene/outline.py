"""The outline of a raster on the globe, as GeoJSON (RFC 7946).

Rasters that cross longitude 180° become several polygons with a bounding box whose west is greater than its east
(3.1.9 and 5.2); those that hold a pole reach it along a meridian (5.3).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import rasterio
from rasterio.control import GroundControlPoint
from rasterio.errors import CRSError
from rasterio.transform import AffineTransformer, GCPTransformer, RPCTransformer
from rasterio.warp import transform

from orchestrator.archive.scene.reader import GDAL_ERRORS

Point = tuple[float, float]
_EDGE = 16
"""Straight pieces of each edge, since straight edges are not straight in longitude and latitude."""

_DECIMALS = 7
"""Decimals of degrees: a centimetre."""

_GLOBE = "OGC:CRS84"
_AT_POLE = 90 - 1e-7
_OFF_THE_GLOBE = "its edge lies partly off the globe"


@dataclass(frozen=True, slots=True)
class Outline:
    """Outline of a raster on earth.

    Attributes:
        geometry: A GeoJSON polygon or multipolygon with counter-clockwise rings; None where it is not known.
        bbox: West, south, east and north in degrees, with west > east across 180°; None where it is not known.
        why: Reason for an unknown outline; None where the file states no location, or all is well.
    """

    geometry: dict[str, object] | None = None
    bbox: list[float] | None = None
    why: str | None = None


class _NoOutline(Exception):
    """Raised with the reason for a missing outline, in a few words."""


def outline(dataset: "rasterio.io.DatasetReader") -> Outline:
    """Finds the outline of an open raster from its ground control points, affine transform or rational polynomials."""
    try:
        ring = _ring(dataset)
        if ring is None:
            return Outline()
        corners = _around_the_globe(ring, dataset)
        pieces = [piece for piece in map(_closed, _strips(corners)) if piece]
        if not pieces:
            raise _NoOutline("it has no area")
    except _NoOutline as error:
        return Outline(why=str(error))
    except (*GDAL_ERRORS, CRSError, ValueError) as error:
        if "Reprojection failed" in str(error):
            return Outline(why=_OFF_THE_GLOBE)
        return Outline(why=f"its coordinates cannot be transformed ({str(error).splitlines()[0][:120]})")
    if len(pieces) == 1:
        return Outline({"type": "Polygon", "coordinates": [pieces[0]]}, _bounds(pieces, corners))
    return Outline({"type": "MultiPolygon", "coordinates": [[piece] for piece in pieces]}, _bounds(pieces, corners))


def _ring(dataset: "rasterio.io.DatasetReader") -> list[Point] | None:
    """Longitude and latitude along the raster's edge, not closed; None where the file does not say where it is."""
    along = np.linspace(0, 1, _EDGE + 1)[:-1]
    zeros, ones = np.zeros_like(along), np.ones_like(along)
    columns = np.concatenate([along, ones, 1 - along, zeros]) * dataset.width
    rows = np.concatenate([zeros, along, ones, 1 - along]) * dataset.height
    points, points_crs = dataset.gcps
    spare = 0.0
    transformer: Any
    if points:
        crs = points_crs
        transformer = GCPTransformer(_without_jump(points) if crs is not None and crs.is_geographic else points)
    elif dataset.crs is not None:
        crs, affine = dataset.crs, dataset.transform
        if affine.is_identity:
            raise _NoOutline("it has a coordinate system, but no transform")
        if not np.isfinite(affine[:6]).all() or affine.determinant == 0:
            raise _NoOutline("its transform is degenerate")
        transformer, spare = AffineTransformer(affine), abs(affine.d) + abs(affine.e)
    elif dataset.rpcs:
        crs = rasterio.CRS.from_string(_GLOBE)
        transformer = RPCTransformer(dataset.rpcs, rpc_height=dataset.rpcs.height_off)
    elif not dataset.transform.is_identity:
        raise _NoOutline("it has a transform, but no coordinate system")
    else:
        return None
    if crs is None:
        raise _NoOutline("its ground control points have no coordinate system")
    with transformer:
        x, y = (np.asarray(coordinates, float) for coordinates in transformer.xy(rows, columns, offset="ul"))
    if crs.is_geographic:
        # Rasters of values at the poles reach beyond them by half a pixel.
        if np.abs(y).max(initial=0) > 90 + spare:
            raise _NoOutline("it reaches beyond a latitude of 90 degrees")
        y = y.clip(-90, 90)
    longitudes, latitudes = (np.asarray(coordinates, float) for coordinates in transform(crs, _GLOBE, x, y))
    if not (np.isfinite(longitudes).all() and np.isfinite(latitudes).all()):
        raise _NoOutline(_OFF_THE_GLOBE)
    return list(zip(longitudes.tolist(), latitudes.clip(-90, 90).tolist(), strict=True))


def _without_jump(points: list[GroundControlPoint]) -> list[GroundControlPoint]:
    """Ground control points on both sides of 180°, east of each other."""
    longitudes = [point.x for point in points]
    eastern = [longitude % 360 for longitude in longitudes]
    if max(longitudes) - min(longitudes) <= 180 or max(eastern) - min(eastern) >= 180:
        return points
    return [
        GroundControlPoint(row=point.row, col=point.col, x=longitude, y=point.y, z=point.z, id=point.id)
        for point, longitude in zip(points, eastern, strict=True)
    ]


def _around_the_globe(ring: list[Point], dataset: "rasterio.io.DatasetReader") -> list[Point]:
    """The ring with continuous longitudes, also beyond 180°, and along a pole if it contains or touches one."""
    at_pole = [abs(latitude) > _AT_POLE for _, latitude in ring]
    alone = [i for i, here in enumerate(at_pole) if here and not at_pole[i - 1] and not at_pole[(i + 1) % len(ring)]]
    if alone:  # whose longitude means nothing; more poles than one on an edge are none of a raster's
        ring = ring[alone[0] + 1 :] + ring[: alone[0] + 1]
        pole = ring.pop()[1]
        open_ring = _continued(ring)
        return [*open_ring, (open_ring[-1][0], pole), (open_ring[0][0], pole)]
    corners = _continued([*ring, ring[0]])
    turns = round((corners[-1][0] - corners[0][0]) / 360)
    if turns == 0:
        return corners[:-1]
    if abs(turns) > 1:
        raise _NoOutline("its edge goes round the globe several times")
    pole = _pole_within(dataset, float(np.mean([latitude for _, latitude in ring])))
    return [*corners, (corners[-1][0], pole), (corners[0][0], pole)]


def _continued(ring: list[Point]) -> list[Point]:
    """Longitudes without jumps: each the nearest to the one before."""
    longitudes = np.unwrap([longitude for longitude, _ in ring], period=360)
    return [(float(longitude), latitude) for longitude, (_, latitude) in zip(longitudes, ring, strict=True)]


def _pole_within(dataset: "rasterio.io.DatasetReader", mean_latitude: float) -> float:
    """The latitude of the pole that a raster holds."""
    nearer = float(np.copysign(90, mean_latitude))
    if dataset.crs is None or dataset.gcps[0]:
        return nearer
    within = []
    for pole in (90.0, -90.0):
        try:
            (x,), (y,) = transform(_GLOBE, dataset.crs, [0.0], [pole])
        except (*GDAL_ERRORS, CRSError):
            continue
        column, row = ~dataset.transform @ (x, y)
        if 0 <= column <= dataset.width and 0 <= row <= dataset.height:
            within.append(pole)
    return within[0] if len(within) == 1 else nearer


def _strips(corners: list[Point]) -> Iterator[list[Point]]:
    """Pieces of a polygon between -180° and 180°, from west to east."""
    west = min(longitude for longitude, _ in corners)
    east = min(max(longitude for longitude, _ in corners), west + 360)
    for turn in range(int(np.floor((west + 180) / 360)), int(np.ceil((east + 180) / 360))):
        low, high = max(360 * turn - 180.0, west), min(360 * turn + 180.0, east)
        piece = _clipped(_clipped(corners, low, 1), high, -1)
        yield [(longitude - 360 * turn, latitude) for longitude, latitude in piece]


def _clipped(corners: list[Point], limit: float, side: int) -> list[Point]:
    """The part of a polygon at or beyond a meridian (Sutherland and Hodgman, 1974): east of it for side 1."""
    kept: list[Point] = []
    for (x0, y0), (x1, y1) in pairwise([*corners[-1:], *corners]):
        inside, was_inside = side * (x1 - limit) >= 0, side * (x0 - limit) >= 0
        if inside != was_inside:
            kept.append((limit, y0 + (y1 - y0) * (limit - x0) / (x1 - x0)))
        if inside:
            kept.append((x1, y1))
    return kept


def _closed(corners: list[Point]) -> list[list[float]] | None:
    """A counter-clockwise, closed, rounded ring; None if it has no area after rounding."""
    rounded = [[round(longitude, _DECIMALS) + 0.0, round(latitude, _DECIMALS) + 0.0] for longitude, latitude in corners]
    ring = [point for i, point in enumerate(rounded) if point != rounded[i - 1]]
    area = sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in pairwise([*ring, *ring[:1]]))
    if len(ring) < 3 or abs(area) < 10.0 ** (-2 * _DECIMALS):
        return None
    ring = ring if area > 0 else ring[::-1]
    return [*ring, ring[0]]


def _bounds(pieces: list[list[list[float]]], corners: list[Point]) -> list[float]:
    longitudes = [[point[0] for point in piece] for piece in pieces]
    latitudes = [point[1] for piece in pieces for point in piece]
    south, north = min(latitudes), max(latitudes)
    around = max(longitude for longitude, _ in corners) - min(longitude for longitude, _ in corners)
    if len(pieces) > 1 and around > 360 - 10.0**-_DECIMALS:
        return [-180.0, south, 180.0, north]
    return [min(longitudes[0]), south, max(longitudes[-1]), north]
