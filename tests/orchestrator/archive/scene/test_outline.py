"""Where scenes lie on the globe, across 180 degrees and at the poles included."""

import json
from itertools import pairwise

import archive_scenes as scenes
import numpy as np
import pystac
import pytest
import rasterio
from affine import Affine
from pystac.validation.stac_validator import JsonSchemaSTACValidator
from rasterio.control import GroundControlPoint
from rasterio.warp import transform

from orchestrator.archive.scene.outline import outline


def raster(crs, affine, width=100, height=80, **more):
    memory = rasterio.MemoryFile()
    with memory.open(driver="GTiff", count=1, dtype="uint8", width=width, height=height, **more) as made:
        if crs is not None:
            made.crs = crs
        if affine is not None:
            made.transform = affine
    return memory.open()


def found(crs, affine, width=100, height=80):
    with raster(crs, affine, width, height) as dataset:
        made = outline(dataset)
        if made.geometry is None:
            assert made.bbox is None
            return made
        check(made, dataset)
    return made


def rings(made):
    if made.geometry["type"] == "Polygon":
        return [made.geometry["coordinates"][0]]
    assert made.geometry["type"] == "MultiPolygon"
    return [polygon[0] for polygon in made.geometry["coordinates"]]


def holds(ring, longitude, latitude):
    inside = False
    for (x0, y0), (x1, y1) in pairwise(ring):
        if (y0 > latitude) != (y1 > latitude) and longitude < x0 + (latitude - y0) * (x1 - x0) / (y1 - y0):
            inside = not inside
    return inside


def check(made, dataset):
    """What RFC 7946 asks of any geometry, and that it holds the raster's inner points and none outside."""
    west, south, east, north = made.bbox
    assert -180 <= west <= 180
    assert -180 <= east <= 180
    assert -90 <= south < north <= 90
    for ring in rings(made):
        assert ring[0] == ring[-1]
        assert len(ring) >= 4
        longitudes, latitudes = np.array(ring).T
        assert np.abs(longitudes).max() <= 180
        assert np.abs(latitudes).max() <= 90
        area = (longitudes[:-1] * latitudes[1:] - longitudes[1:] * latitudes[:-1]).sum()
        assert area > 0  # counter-clockwise
    if dataset.crs is None or dataset.gcps[0]:
        return
    for share_x, share_y, inside in (
        *((0.1, 0.1, True), (0.9, 0.2, True), (0.48, 0.53, True), (0.13, 0.88, True), (0.93, 0.93, True)),
        *((-0.2, 0.5, False), (1.2, 0.4, False), (0.5, 1.3, False), (0.45, -0.3, False)),
    ):
        x, y = dataset.transform @ (share_x * dataset.width, share_y * dataset.height)
        if dataset.crs.is_geographic and abs(y) > 90:
            continue
        if not inside and east - west == 360 and abs(south) != 90 != north:  # beside the globe's map is its other side
            continue
        (longitude,), (latitude,) = transform(dataset.crs, "OGC:CRS84", [x], [y])
        if not np.isfinite(longitude + latitude):
            continue
        longitude = (longitude + 180) % 360 - 180
        assert any(holds(ring, longitude, latitude) for ring in rings(made)) is inside, (share_x, share_y)
        if inside:
            assert south <= latitude <= north
            assert west <= longitude <= east if west < east else longitude >= west or longitude <= east


@pytest.mark.parametrize(
    ("crs", "affine", "west", "east"),
    [
        ("EPSG:32760", Affine(300, 0, 800000, 0, -300, 8120000), 179.81, -179.9),
        ("EPSG:32601", Affine(300, 0, 163000, 0, -300, 1880000), 179.83, -179.89),
        ("EPSG:4326", Affine(0.008, 0, 179.5, 0, -0.008, -16), 179.5, -179.7),
        ("EPSG:4326", Affine(0.008, 0, -180.3, 0, -0.008, -16), 179.7, -179.5),
        ("EPSG:3857", Affine(500, 0, 20010000, 0, -500, -1800000), 179.75, -179.79),
        ("EPSG:3857", Affine(500, 0, -20060000, 0, -500, -1800000), 179.79, -179.75),
        ("EPSG:3832", Affine(500, 0, 3300000, 0, -500, -1800000), 179.64, -179.9),
        ("EPSG:2193", Affine(8000, 0, 1500000, 0, -8000, 5500000), 171.7, -177.95),
    ],
)
def test_across_180_degrees_west_is_greater_than_east_and_the_geometry_is_split(crs, affine, west, east):
    made = found(crs, affine)
    assert made.geometry["type"] == "MultiPolygon"
    assert len(rings(made)) == 2
    assert made.bbox[0] > made.bbox[2]
    assert made.bbox[0] == pytest.approx(west, abs=0.6)
    assert made.bbox[2] == pytest.approx(east, abs=0.6)
    eastern, western = rings(made)
    assert max(x for x, _ in eastern) == 180
    assert min(x for x, _ in western) == -180
    assert min(x for x, _ in eastern) == made.bbox[0]
    assert max(x for x, _ in western) == made.bbox[2]


def test_an_edge_is_cut_at_180_degrees_where_it_crosses_it():
    made = found("EPSG:4326", Affine.translation(179.6, -16) @ Affine.rotation(20) @ Affine.scale(0.008, -0.008))
    eastern, western = rings(made)
    cuts = [sorted({y for x, y in ring if abs(x) == 180}) for ring in (eastern, western)]
    assert cuts[0] == pytest.approx(cuts[1])
    edge = 0.4 * np.tan(np.radians(20))  # from the corner at 179.6 to 180 degrees
    assert cuts[0][1] == pytest.approx(-16 + edge)


@pytest.mark.parametrize(
    ("affine", "bbox"),
    [
        (Affine(0.01, 0, 179, 0, -0.01, 5), [179, 4.2, 180, 5]),
        (Affine(0.01, 0, -180, 0, -0.01, 5), [-180, 4.2, -179, 5]),
        (Affine(0.01, 0, 180, 0, -0.01, 5), [-180, 4.2, -179, 5]),
        (Affine(0.01, 0, 200, 0, -0.01, 5), [-160, 4.2, -159, 5]),
        (Affine(-0.01, 0, 10, 0, 0.01, 5), [9, 5, 10, 5.8]),
        (Affine(0.01, 0, -0.5, 0, -0.01, 0.4), [-0.5, -0.4, 0.5, 0.4]),
        (Affine(0.0, 0.01, 10, 0.01, 0.0, 5), [10, 5, 10.8, 6]),
    ],
)
def test_no_more_than_touching_180_degrees_is_one_polygon(affine, bbox):
    made = found("EPSG:4326", affine)
    assert made.geometry["type"] == "Polygon"
    assert made.bbox == pytest.approx(bbox)


@pytest.mark.parametrize(
    ("affine", "width"),
    [
        (Affine(3.6, 0, -180, 0, -2.25, 90), 100),
        (Affine(3.6, 0, 0, 0, -2.25, 90), 100),
        (Affine(4, 0, -2, 0, -2.25, 91), 90),
    ],
)
def test_the_whole_globe(affine, width):
    with raster("EPSG:4326", affine, width) as dataset:
        made = outline(dataset)
    assert made.bbox[:3:2] == [-180, 180]
    assert made.bbox[3] == 90
    for longitude in (-170.0, -1.0, 1.0, 170.0):
        assert any(holds(ring, longitude, 0.5) for ring in rings(made))


def test_the_whole_of_web_mercator():
    edge = 20037508.342789244
    made = found("EPSG:3857", Affine(edge / 50, 0, -edge, 0, -edge / 40, edge))
    assert made.geometry["type"] == "Polygon"
    assert made.bbox == pytest.approx([-180, -85.0511288, 180, 85.0511288])


@pytest.mark.parametrize(("crs", "sign"), [("EPSG:3413", 1), ("EPSG:3031", -1), ("EPSG:3995", 1), ("EPSG:32661", 1)])
@pytest.mark.parametrize("turned", [0, 30])
def test_a_scene_that_holds_a_pole(crs, sign, turned):
    centre = 2000000.0 if crs == "EPSG:32661" else 0.0
    affine = (
        Affine.translation(centre, centre) @ Affine.rotation(turned) @ Affine.scale(5000, -5000)
        @ Affine.translation(-40, -35)
    )  # fmt: skip
    made = found(crs, affine)
    west, south, east, north = made.bbox
    assert (west, east) == (-180, 180)
    assert (north if sign > 0 else south) == 90 * sign
    for longitude in range(-175, 180, 10):
        assert any(holds(ring, longitude, 89.99 * sign) for ring in rings(made)), longitude


def test_the_pole_that_is_held_is_not_always_the_nearer_one():
    """Antarctica out to 30 degrees north."""
    made = found("EPSG:3031", Affine(450000, 0, -22500000, 0, -450000, 22500000), 100, 100)
    assert made.bbox[1] == -90
    assert any(holds(ring, 0.0, -89.0) for ring in rings(made))


@pytest.mark.parametrize(("column", "row"), [(0, 50), (100, 50), (50, 0), (50, 100)])
def test_a_pole_on_an_edge_is_held_though_the_other_one_is_nearer(column, row):
    made = found("EPSG:3031", Affine(450000, 0, -450000 * column, 0, -450000, 450000 * row), 100, 100)
    assert made.bbox[1] == -90


@pytest.mark.parametrize("crs", ["EPSG:3413", "EPSG:3031"])
@pytest.mark.parametrize(("column", "row"), [(0, 0), (100, 0), (0, 80), (100, 80)])
def test_a_tile_with_a_corner_at_the_pole(crs, column, row):
    made = found(crs, Affine(5000, 0, -5000 * column, 0, -5000, 5000 * row))
    west, south, east, north = made.bbox
    assert max(abs(south), abs(north)) == 90
    assert (east - west) % 360 == pytest.approx(90)
    pole = 90.0 if crs == "EPSG:3413" else -90.0
    along = [[x for x, y in ring if y == pole] for ring in rings(made)]
    assert sum(max(longitudes) - min(longitudes) for longitudes in along) == pytest.approx(90)


@pytest.mark.parametrize("crs", ["EPSG:3413", "EPSG:3031"])
def test_a_tile_with_the_pole_on_an_edge(crs):
    made = found(crs, Affine(5000, 0, -250000, 0, -5000, 0))
    west, south, east, north = made.bbox
    assert max(abs(south), abs(north)) == 90
    assert (east - west) % 360 == pytest.approx(180, abs=0.01)


def test_a_polar_tile_beside_the_pole_and_across_180_degrees():
    made = found("EPSG:3413", Affine(5000, 0, -900000, 0, -5000, 1000000))
    assert made.bbox[3] < 90


@pytest.mark.parametrize(
    ("crs", "affine", "why"),
    [
        ("EPSG:32633", Affine(0, 0, 500000, 0, 0, 5000000), "its transform is degenerate"),
        ("EPSG:32633", Affine(10, 20, 500000, 5, 10, 5000000), "its transform is degenerate"),
        ("EPSG:32633", Affine(float("nan"), 0, 500000, 0, -10, 5000000), "its transform is degenerate"),
        ("EPSG:32633", Affine(10, 0, float("inf"), 0, -10, 5000000), "its transform is degenerate"),
        ("EPSG:32633", Affine(1e9, 0, 500000, 0, -1e9, 5000000), "off the globe"),
        ("EPSG:4326", Affine(1, 0, 0, 0, -3, 100), "beyond a latitude of 90 degrees"),
        ("EPSG:32633", None, "it has a coordinate system, but no transform"),
        (None, Affine(10, 0, 500000, 0, -10, 5000000), "it has a transform, but no coordinate system"),
        ("EPSG:4326", Affine(1e-12, 0, 10, 0, -1e-12, 5), "it has no area"),
        ("+proj=geos +h=35785831 +a=6378137 +b=6356752", Affine(140000, 0, -7e6, 0, -140000, 5.6e6), "off the globe"),
    ],
)
def test_without_a_sound_place_there_is_no_geometry_and_a_reason(crs, affine, why):
    made = found(crs, affine)
    assert made.geometry is None
    assert why in made.why


def test_a_file_without_any_place_has_none_and_no_reason():
    made = found(None, None)
    assert (made.geometry, made.bbox, made.why) == (None, None, None)


def test_another_planet_is_not_on_the_globe():
    made = found("IAU_2015:49900", Affine(0.01, 0, 10, 0, -0.01, 5))
    assert made.geometry is None
    assert "cannot be transformed" in made.why


def test_edges_are_straight_in_the_scene_s_own_projection():
    """A wide scene far from its central meridian: the middle of its northern edge lies off the line of its corners."""
    made = found("EPSG:3035", Affine(30000, 0, 2500000, 0, -30000, 5000000))
    ring = np.array(rings(made)[0])
    (middle_x,), (middle_y,) = transform("EPSG:3035", "OGC:CRS84", [4000000.0], [5000000.0])
    assert np.hypot(*(ring - [middle_x, middle_y]).T).min() < 1e-6


def test_ground_control_points_across_180_degrees(tmp_path):
    points = [
        GroundControlPoint(row=row, col=column, x=(179.6 + column / 100 + 180) % 360 - 180, y=10 - row / 100)
        for row in (0, 40, 80)
        for column in (0, 50, 100)
    ]
    scenes.write(tmp_path / "in.tif", scenes.pixels(1, 80, 100), crs=None, transform=None)
    with rasterio.open(tmp_path / "in.tif", "r+") as target:
        target.gcps = points, rasterio.CRS.from_epsg(4326)
    with rasterio.open(tmp_path / "in.tif") as dataset:
        made = outline(dataset)
    assert made.bbox == pytest.approx([179.6, 9.2, -179.4, 10], abs=1e-6)


@pytest.mark.parametrize(
    ("crs", "affine", "notes"),
    [
        ("EPSG:32760", Affine(300, 0, 800000, 0, -300, 8120000), []),
        ("EPSG:3031", Affine(3000, 0, -30000, 0, -3000, 30000), []),
        ("EPSG:32633", Affine(1e9, 0, 500000, 0, -1e9, 5000000), ["its edge lies partly off the globe"]),
    ],
)
def test_the_item_of_such_a_scene_is_valid(tmp_path, crs, affine, notes):
    source = scenes.write(tmp_path / "in.tif", scenes.pixels(1, 24, 30), crs=crs, transform=affine)
    out = scenes.run(source, tmp_path, scale=2)
    item = json.loads(json.dumps(out.item, allow_nan=False))
    JsonSchemaSTACValidator().validate_core(item, pystac.STACObjectType.ITEM, item["stac_version"])
    assert out.notes == [f"its STAC item has no geometry: {why}" for why in notes]
    assert item["properties"].get("rayscale:no_geometry") == (notes[0] if notes else None)
    assert pystac.Item.from_dict(item).bbox == item.get("bbox")
