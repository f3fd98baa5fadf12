"""Footprints of outputs on earth: area of each, and a map of them all as SVG of bounded size."""

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from markupsafe import Markup

from orchestrator.archive.report.well_known_binary import Ring

Polygon = tuple[Ring, bool]
"""A ring in degrees, and True if its scene is flagged."""

DRAWN = 2000
"""Most footprints that are drawn one by one; more are counted by cell."""

_EARTH_KM = 6371.0072
"""Radius of the sphere with the area of the WGS 84 ellipsoid."""

_WIDTH, _MOST_HEIGHT, _MARGIN = 960.0, 560.0, 0.04
_CLOSE = 1.0
"""Distance in pixels of the drawing below which a point of an outline is left out."""

_CELLS = 96
"""Cells across the map where footprints are counted."""

_STEPS = (30.0, 15.0, 10.0, 5.0, 2.0, 1.0, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01)
"""Degrees between lines of the graticule."""


def area_of(geometry: dict[str, Any]) -> float:
    """Area in km² on a sphere of the earth's area; each edge is straight in longitude and sine of latitude."""
    return sum(_ring_area(ring) for ring in rings_of(geometry))


def rings_of(geometry: dict[str, Any]) -> list[Ring]:
    """Outer rings of a GeoJSON polygon or multipolygon."""
    coordinates = geometry["coordinates"]
    polygons = [coordinates] if geometry["type"] == "Polygon" else coordinates
    return [polygon[0] for polygon in polygons]


def _ring_area(ring: Ring) -> float:
    twice = sum(
        math.radians(x1 - x0) * (math.sin(math.radians(y0)) + math.sin(math.radians(y1)))
        for (x0, y0), (x1, y1) in pairwise(ring)
    )
    return abs(twice) / 2 * _EARTH_KM**2


@dataclass(slots=True)
class FootprintMap:
    """A map to which footprints are added one by one; memory holds the first :data:`DRAWN` and the centres of all.

    Attributes:
        count: Number of footprints.
        area: Their area in km², each counted whole where they overlap.
    """

    count: int = 0
    area: float = 0.0
    _polygons: list[Polygon] = field(default_factory=list)
    _centres: list[tuple[float, float, bool]] = field(default_factory=list)

    def add(self, geometry: dict[str, Any], flagged: bool) -> None:
        """Adds the footprint of an output, a GeoJSON polygon or multipolygon in degrees."""
        self.count += 1
        self.area += area_of(geometry)
        rings = rings_of(geometry)
        if self.count <= DRAWN:
            self._polygons += [(ring, flagged) for ring in rings]
        longitudes, latitudes = zip(*max(rings, key=len), strict=True)
        middle = (min(longitudes) + max(longitudes)) / 2, (min(latitudes) + max(latitudes)) / 2
        self._centres.append((*middle, flagged))

    def svg(self) -> Markup | None:
        """The map; None without footprints."""
        if not self.count:
            return None
        whole = self.count <= DRAWN
        points = [(x, y) for ring, _ in self._polygons for x, y in ring] if whole else []
        frame = _Frame.around(points or [(x, y) for x, y, _ in self._centres])
        body = _outlines(frame, self._polygons) if whole else _cells(frame, self._centres)
        title = f"Footprints of {self.count} outputs" + ("" if whole else ", counted by cell")
        return Markup(
            f'<svg viewBox="0 0 {_WIDTH:g} {frame.height:g}" role="img" aria-label="{title}">'
            f"{''.join(_graticule(frame))}{''.join(body)}</svg>"
        )


@dataclass(frozen=True, slots=True)
class _Frame:
    """The part of the globe that is shown: longitude times the cosine of the middle latitude against latitude."""

    west: float
    north: float
    east: float
    south: float
    scale: float
    squeeze: float
    eastern: bool

    @classmethod
    def around(cls, points: list[tuple[float, float]]) -> "_Frame":
        """The frame around points; from 0 to 360° where that is narrower, as at 180°."""
        longitudes = [x for x, _ in points]
        turned = [_turned(x) for x in longitudes]
        eastern = max(turned) - min(turned) < max(longitudes) - min(longitudes)
        xs, ys = turned if eastern else longitudes, [y for _, y in points]
        margin = max(max(xs) - min(xs), max(ys) - min(ys), 0.002) * _MARGIN
        south, north = max(min(ys) - margin, -90.0), min(max(ys) + margin, 90.0)
        squeeze = max(math.cos(math.radians((south + north) / 2)), 0.1)
        west, east = min(xs) - margin / squeeze, max(xs) + margin / squeeze
        scale = min(_WIDTH / ((east - west) * squeeze), _MOST_HEIGHT / (north - south))
        spare = (_WIDTH / scale / squeeze - (east - west)) / 2
        return cls(west - spare, north, east + spare, south, scale, squeeze, eastern)

    @property
    def height(self) -> float:
        return round((self.north - self.south) * self.scale, 1)

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Position in the drawing."""
        x = _turned(x) if self.eastern else x
        return (x - self.west) * self.squeeze * self.scale, (self.north - y) * self.scale


def _turned(longitude: float) -> float:
    return longitude + 360 if longitude < 0 else longitude


def _outlines(frame: _Frame, polygons: list[Polygon]) -> Iterator[str]:
    # Flagged ones last, so that they lie on top.
    for ring, flagged in sorted(polygons, key=lambda polygon: polygon[1]):
        points = [frame.place(*point) for point in ring[:-1]]
        path = points[:1]
        for x, y in points[1:]:
            if max(abs(x - path[-1][0]), abs(y - path[-1][1])) >= _CLOSE:
                path.append((x, y))
        if len(path) < 3:
            (west, east), (north, south) = ((min(side), max(side)) for side in zip(*points, strict=True))
            path = [(west, north), (east, north), (east, south), (west, south)]
        drawn = "L".join(f"{x:.1f},{y:.1f}" for x, y in path)
        yield f'<path class="{"flagged" if flagged else "done"}" d="M{drawn}Z"/>'


def _cells(frame: _Frame, centres: list[tuple[float, float, bool]]) -> Iterator[str]:
    side = _WIDTH / _CELLS
    counts: Counter[tuple[int, int]] = Counter()
    flagged: Counter[tuple[int, int]] = Counter()
    for x, y, is_flagged in centres:
        column, row = (int(value // side) for value in frame.place(x, y))
        counts[column, row] += 1
        flagged[column, row] += is_flagged
    most = max(counts.values())
    for (column, row), count in sorted(counts.items()):
        bad = flagged[column, row]
        said = f"{count} outputs" + (f", {bad} flagged" if bad else "")
        yield (
            f'<rect class="{"flagged" if bad else "done"}" x="{column * side:g}" y="{row * side:g}" width="{side:g}" '
            f'height="{side:g}" fill-opacity="{0.15 + 0.85 * count / most:.2f}"><title>{said}</title></rect>'
        )


def _graticule(frame: _Frame) -> Iterator[str]:
    widest = max(frame.east - frame.west, frame.north - frame.south)
    step = next((step for step in reversed(_STEPS) if widest / step <= 12), _STEPS[0])
    for number in range(math.ceil(frame.west / step), math.floor(frame.east / step) + 1):
        x = (number * step - frame.west) * frame.squeeze * frame.scale
        longitude = (number * step + 180) % 360 - 180
        yield f'<path class="line" d="M{x:.1f},0V{frame.height:g}"/>'
        yield f'<text x="{x + 3:.1f}" y="{frame.height - 4:.1f}">{_degrees(longitude, "E", "W")}</text>'
    for number in range(math.ceil(frame.south / step), math.floor(frame.north / step) + 1):
        y = (frame.north - number * step) * frame.scale
        yield f'<path class="line" d="M0,{y:.1f}H{_WIDTH:g}"/>'
        yield f'<text x="3" y="{y - 3:.1f}">{_degrees(number * step, "N", "S")}</text>'


def _degrees(value: float, plus: str, minus: str) -> str:
    return f"{abs(round(value, 2)):g}°{plus if value > 0 else minus if value < 0 else ''}"
