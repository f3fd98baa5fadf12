"""Where pixels lie and what they mean: corners within a millionth of a pixel, tags kept or dropped on purpose."""

import archive_scenes as scenes
import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.control import GroundControlPoint
from rasterio.rpc import RPC
from rasterio.transform import AffineTransformer, GCPTransformer, RPCTransformer

from orchestrator.archive.scene.reader import gdal

HEIGHT, WIDTH = 30, 50
CORNERS = [(0, 0), (0, WIDTH), (HEIGHT, 0), (HEIGHT, WIDTH), (7.25, 31.5)]
PLACES = {
    "north-up": scenes.PLACE,
    "rotated": Affine.translation(500000, 5000000) @ Affine.rotation(17) @ Affine.scale(10, -10),
    "south-up": Affine(10, 0, 500000, 0, 10, 4000000),
    "sheared": Affine(10, 2, 500000, 1, -12, 4000000),
}


def source(path, **facts):
    return scenes.write(path, scenes.pixels(1, HEIGHT, WIDTH), **facts)


@pytest.mark.parametrize("point", [False, True])
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("scale", [3, 4])
def test_affine_places_stay(tmp_path, place, scale, point):
    source(tmp_path / "in.tif", transform=PLACES[place])
    if point:
        with gdal(), rasterio.open(tmp_path / "in.tif", "r+") as target:
            target.update_tags(AREA_OR_POINT="Point")
    out = scenes.run(tmp_path / "in.tif", tmp_path, scale=scale)
    with rasterio.open(tmp_path / "in.tif") as lr, rasterio.open(out.path) as hr:
        assert hr.crs == lr.crs
        assert lr.tags()["AREA_OR_POINT"] == hr.tags()["AREA_OR_POINT"] == ("Point" if point else "Area")
        with AffineTransformer(lr.transform) as one, AffineTransformer(hr.transform) as other:
            for row, column in CORNERS:
                x, y = one.xy(row, column, offset="ul")
                back = ~hr.transform @ (x, y)
                np.testing.assert_allclose(np.array(back) / scale, (column, row), atol=1e-6)
                np.testing.assert_allclose(other.xy(row * scale, column * scale, offset="ul"), (x, y), rtol=1e-12)


def test_ground_control_points_stay(tmp_path):
    points = [
        GroundControlPoint(row=row, col=column, x=7 + column / 100 + row / 900, y=45 - row / 100, id=str(i))
        for i, (row, column) in enumerate([*CORNERS, (3, 3)])
    ]
    with gdal():
        source(tmp_path / "in.tif", crs=None, transform=None)
        with rasterio.open(tmp_path / "in.tif", "r+") as target:
            target.gcps = points, rasterio.CRS.from_epsg(4326)
    out = scenes.run(tmp_path / "in.tif", tmp_path)
    with rasterio.open(tmp_path / "in.tif") as lr, rasterio.open(out.path) as hr:
        assert hr.gcps[1] == rasterio.CRS.from_epsg(4326)
        assert [(p.x, p.y, p.id) for p in hr.gcps[0]] == [(p.x, p.y, p.id) for p in lr.gcps[0]]
        with GCPTransformer(lr.gcps[0]) as one, GCPTransformer(hr.gcps[0]) as other:
            for row, column in CORNERS:
                x, y = one.xy(row, column, offset="ul")
                back = other.rowcol([x], [y], op=lambda value: value)
                np.testing.assert_allclose(np.ravel(back) / 4, (row, column), atol=1e-6)
    west, south, east, north = out.item["bbox"]
    assert 6.99 < west < east < 7.6
    assert 44.6 < south < north < 45.01


def rpcs():
    def polynomial(**terms):
        return [terms.get(f"t{i}", 0.0) for i in range(20)]

    return RPC(
        height_off=100.0,
        height_scale=500.0,
        lat_off=45.0,
        lat_scale=0.01,
        long_off=7.0,
        long_scale=0.01,
        line_off=14.5,
        line_scale=15.0,
        samp_off=24.5,
        samp_scale=25.0,
        line_num_coeff=polynomial(t0=0.001, t2=-1.0, t1=0.05, t4=0.01),
        line_den_coeff=polynomial(t0=1.0, t1=0.01),
        samp_num_coeff=polynomial(t1=1.0, t2=0.02, t5=0.003),
        samp_den_coeff=polynomial(t0=1.0, t2=0.02),
        err_bias=1.0,
        err_rand=0.5,
    )


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_rational_polynomials_stay(tmp_path, scale):
    with gdal():
        source(tmp_path / "in.tif", crs=None, transform=None)
        with rasterio.open(tmp_path / "in.tif", "r+") as target:
            target.rpcs = rpcs()
    out = scenes.run(tmp_path / "in.tif", tmp_path, scale=scale)
    with gdal(), rasterio.open(tmp_path / "in.tif") as lr, rasterio.open(out.path) as hr:
        with RPCTransformer(lr.rpcs) as one, RPCTransformer(hr.rpcs) as other:
            for longitude, latitude in [(7.0, 45.0), (7.004, 44.997), (6.995, 45.004)]:
                row, column = one.rowcol([longitude], [latitude], [150.0], op=lambda value: value)
                there = other.rowcol([longitude], [latitude], [150.0], op=lambda value: value)
                np.testing.assert_allclose(np.ravel(there) / scale, np.ravel([row, column]), atol=1e-6)
        assert hr.rpcs.err_bias == 1.0
    assert out.item["geometry"] is not None


def test_a_scene_without_a_place_has_none_and_says_so(tmp_path):
    out = scenes.run(source(tmp_path / "in.tif", crs=None, transform=None), tmp_path)
    with gdal(), rasterio.open(out.path) as hr:
        assert hr.crs is None
        assert hr.transform.is_identity
    assert out.notes == ["georef: none"]


@pytest.mark.parametrize("namespace", [None, "SENSOR"])
@pytest.mark.parametrize("of_band", [{}, {"WAVELENGTH": "665"}])
def test_what_bands_and_tags_say_stays(tmp_path, namespace, of_band):
    values = scenes.pixels(4, HEIGHT, WIDTH, "int16")
    path = scenes.write(tmp_path / "in.tif", values, photometric="minisblack", nodata=-9999)
    with gdal(), rasterio.open(path, "r+") as target:
        target.descriptions = ("B4", "B3", "B2", "B8")
        target.units = ("reflectance",) * 4
        target.scales, target.offsets = (1e-4,) * 4, (-0.1,) * 4
        target.colorinterp = [rasterio.enums.ColorInterp[c] for c in ("red", "green", "blue", "undefined")]
        target.update_tags(MISSION="S2", TIFFTAG_DATETIME="2021:07:05 10:11:12", STATISTICS_MEAN="3")
        target.update_tags(2, STATISTICS_MAXIMUM="9", **of_band)
        if namespace:
            target.update_tags(ns=namespace, GAIN="high")
    out = scenes.run(path, tmp_path)
    with gdal(), rasterio.open(path) as lr, rasterio.open(out.path) as hr:
        for fact in ("crs", "nodata", "descriptions", "units", "scales", "offsets", "colorinterp", "dtypes"):
            assert getattr(hr, fact) == getattr(lr, fact), fact
        tags = hr.tags()
        assert tags["MISSION"] == "S2"
        assert tags["RAYSCALE_NORMALISATION"].startswith("1000 to 11000")
        assert tags["RAYSCALE_BANDS"] == "1,2,3;4"
        assert tags["RAYSCALE_MODEL_SHA256"] == "tiny-4"
        assert not any("STATISTICS" in name for band in (None, 1, 2) for name in (hr.tags(band) if band else tags))
        assert hr.tags(2, ns="BAND" if namespace and of_band else None) == of_band
        if namespace:
            assert hr.tags(ns=namespace) == {"GAIN": "high"}
    assert out.item["properties"]["datetime"] == "2021-07-05T10:11:12Z"
    assert out.item["properties"]["rayscale:datetime_from"] == "TIFFTAG_DATETIME"
