"""Polygons as well-known binary (OGC 06-103r4, 8.2), little-endian, and back to GeoJSON."""

import math
import struct
from typing import Any

Ring = list[list[float]]
KINDS = {3: "Polygon", 6: "MultiPolygon"}
"""Types of geometries by their number."""

_POLYGON, _MULTIPOLYGON = KINDS


def well_known_binary(geometry: dict[str, Any]) -> bytes:
    """Well-known binary of a GeoJSON polygon or multipolygon of two dimensions.

    Raises:
        ValueError, TypeError: If the geometry is of another type, empty, or holds no numbers.
    """
    if geometry["type"] == KINDS[_POLYGON]:
        return _polygon(geometry["coordinates"])
    if geometry["type"] == KINDS[_MULTIPOLYGON] and geometry["coordinates"]:
        parts = [_polygon(rings) for rings in geometry["coordinates"]]
        return struct.pack("<BII", 1, _MULTIPOLYGON, len(parts)) + b"".join(parts)
    raise ValueError(f"a footprint is a Polygon, or a MultiPolygon that holds one, found {geometry['type']}")


def geometry_of(data: bytes) -> dict[str, Any]:
    """The GeoJSON geometry of what :func:`well_known_binary` gives."""
    kind, count = struct.unpack_from("<II", data, 1)
    if kind == _POLYGON:
        return {"type": KINDS[kind], "coordinates": _rings(data, 0)[0]}
    polygons, at = [], 9
    for _ in range(count):
        rings, at = _rings(data, at)
        polygons.append(rings)
    return {"type": KINDS[kind], "coordinates": polygons}


def _polygon(rings: list[Ring]) -> bytes:
    if not rings:
        raise ValueError("a polygon has a ring, found none")
    parts = [struct.pack("<BII", 1, _POLYGON, len(rings))]
    for ring in rings:
        flat = [coordinate for point in ring for coordinate in point[:2]]
        if not ring or len(flat) != 2 * len(ring) or not all(map(math.isfinite, flat)):
            raise ValueError("a ring has points of two finite coordinates")
        parts.append(struct.pack(f"<I{len(flat)}d", len(ring), *flat))
    return b"".join(parts)


def _rings(data: bytes, at: int) -> tuple[list[Ring], int]:
    """Rings of the polygon that begins at a byte, and the byte after it."""
    (count,) = struct.unpack_from("<I", data, at + 5)
    rings, at = [], at + 9
    for _ in range(count):
        (points,) = struct.unpack_from("<I", data, at)
        flat = struct.unpack_from(f"<{2 * points}d", data, at + 4)
        rings.append([list(point) for point in zip(flat[::2], flat[1::2], strict=True)])
        at += 4 + 16 * points
    return rings, at
