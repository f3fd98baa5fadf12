"""What a raster file may make us read: its own pixels and plain text beside it, nothing that it refers to."""

import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import archive_scenes as scenes
import numpy as np
import pytest
import rasterio
from PIL import Image

from orchestrator.archive.scene.open_raster import gdal, open_raster
from orchestrator.archive.scene.reader import Scene
from orchestrator.archive.scene.types import SceneError, SceneSettings
from orchestrator.archive.scene.upscale import describe_scene

SECRET = 77


@pytest.fixture
def server():
    """A web server that answers with a TIFF of secrets and remembers who asked."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(404)
            self.end_headers()

        do_HEAD = do_POST = do_GET

        def log_message(self, *_):
            pass

    served = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=served.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{served.server_port}", asked
    served.shutdown()
    thread.join()
    served.server_close()


@pytest.fixture
def secret(tmp_path):
    """A raster outside the archive."""
    (tmp_path / "private").mkdir()
    return scenes.write(tmp_path / "private" / "secret.tif", np.full((1, 40, 40), SECRET, np.uint8))


@pytest.fixture
def archive(tmp_path):
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


def vrt(source):
    return f"""<VRTDataset rasterXSize="40" rasterYSize="40"><VRTRasterBand dataType="Byte" band="1"><SimpleSource>
    <SourceFilename>{source}</SourceFilename><SourceBand>1</SourceBand></SimpleSource></VRTRasterBand></VRTDataset>"""


def descriptions(url, secret):
    """Texts that GDAL by itself opens as rasters, some of which fetch or read elsewhere."""
    return {
        "vrt-file": vrt(secret),
        "vrt-http": vrt(f"/vsicurl/{url}/a.tif"),
        "vrt-raw": f"""<VRTDataset rasterXSize="4" rasterYSize="4"><VRTRasterBand dataType="Byte" band="1"
            subClass="VRTRawRasterBand"><SourceFilename>{secret}</SourceFilename></VRTRasterBand></VRTDataset>""",
        "wms": f"""<GDAL_WMS><Service name="TMS"><ServerUrl>{url}/${{z}}/${{x}}/${{y}}.png</ServerUrl></Service>
            <DataWindow><UpperLeftX>0</UpperLeftX><UpperLeftY>1</UpperLeftY><LowerRightX>1</LowerRightX>
            <LowerRightY>0</LowerRightY><TileLevel>1</TileLevel></DataWindow></GDAL_WMS>""",
        "wcs": f"<WCS_GDAL><ServiceURL>{url}?</ServiceURL><CoverageName>a</CoverageName></WCS_GDAL>",
        "stac": f'{{"type": "Feature", "stac_version": "1.0.0", "assets": {{"a": {{"href": "{url}/a.tif"}}}}}}',
        "postscript": "%!PS-Adobe-3.0\n(x) print",
    }


@pytest.mark.parametrize("ending", [".tif", ".tiff", ".jp2", ".j2k", ".png", ".jpg", ".bmp", ".webp"])
@pytest.mark.parametrize("kind", descriptions("", ""))
def test_a_text_is_no_raster_whatever_its_ending(archive, secret, server, kind, ending):
    url, asked = server
    path = archive / f"x{ending}"
    path.write_text(descriptions(url, secret)[kind])
    with pytest.raises(SceneError, match=r"expected .*which hold their own pixels.*, found .*gdal_translate") as error:
        scenes.run(path, archive)
    assert error.value.kind == "unreadable"
    assert asked == []


def test_without_the_check_gdal_would_read_and_ask(archive, secret, server):
    """What the tests here guard against is real."""
    url, asked = server
    (archive / "a.tif").write_text(vrt(secret))
    (archive / "b.tif").write_text(vrt(f"/vsicurl/{url}/a.tif"))
    with rasterio.open(archive / "a.tif") as opened:
        assert (opened.read() == SECRET).all()
    with rasterio.open(archive / "b.tif") as opened, pytest.raises(rasterio.RasterioIOError):
        opened.read()
    assert asked


def test_virtual_rasters_and_other_endings_are_refused_with_a_way_out(archive, secret):
    for name in ("x.vrt", "x.xml", "x.nc", "x"):
        (archive / name).write_text(vrt(secret))
        with pytest.raises(SceneError, match=r"expected one of \.tif.*gdal_translate") as error:
            describe_scene(archive / name)
        assert error.value.kind == "unsupported"


@pytest.mark.parametrize("name", ["/vsicurl/{url}/x.tif", "/vsis3/bucket/x.tif", "/vsizip/{secret}.zip/x.tif", "{url}"])
def test_virtual_file_systems_are_not_entered(server, secret, name):
    url, asked = server
    with pytest.raises(SceneError) as error:
        describe_scene(name.format(url=url, secret=secret))
    assert error.value.kind == "unreadable"
    assert asked == []


@pytest.mark.parametrize("first", [b"II*\0", b"\x89PNG\r\n\x1a\n"])
def test_what_begins_as_one_format_is_not_opened_as_another(archive, secret, first):
    path = archive / ("x.tif" if first[:2] == b"II" else "x.png")
    path.write_bytes(first + vrt(secret).encode())
    with pytest.raises(SceneError) as error:
        describe_scene(path)
    assert error.value.kind == "unreadable"


def test_a_picture_under_another_ending_is_opened_as_what_it_is(archive):
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(archive / "a.png")
    (archive / "a.png").rename(archive / "a.tif")
    assert describe_scene(archive / "a.tif").driver == "PNG"


def test_folders_pipes_and_missing_files_are_no_scenes(archive):
    (archive / "folder.tif").mkdir()
    os.mkfifo(archive / "pipe.tif")
    for name, reason in (("folder.tif", "a pipe"), ("pipe.tif", "a pipe"), ("missing.tif", "no such file")):
        with pytest.raises(SceneError, match=reason):
            describe_scene(archive / name)


@pytest.mark.parametrize("ending", [".msk", ".MSK", ".ovr", ".aux.xml", ".aux"])
@pytest.mark.parametrize("kind", ["vrt-file", "vrt-http", "wms"])
def test_companions_lead_nowhere(archive, secret, server, ending, kind):
    url, asked = server
    path = scenes.write(archive / "x.tif", scenes.pixels(1, 40, 40))
    (archive / f"x.tif{ending}").write_text(descriptions(url, secret)[kind])
    if ending.lower() == ".msk":
        with pytest.raises(SceneError, match="no TIFF; mend it or take it away"):
            scenes.run(path, archive)
    else:
        out = scenes.run(path, archive)
        with gdal(), rasterio.open(out.path) as target:
            assert len(target.overviews(1)) == 1
    assert asked == []


@pytest.mark.parametrize("place", ["http", "vsicurl", "vrt"])
def test_metadata_that_names_files_is_followed_neither_in_a_companion_nor_in_the_file(archive, secret, server, place):
    url, asked = server
    (archive / "o.vrt").write_text(vrt(secret))
    target = {"http": f"{url}/a.tif", "vsicurl": f"/vsicurl/{url}/a.tif", "vrt": str(archive / "o.vrt")}[place]
    inside = scenes.write(archive / "a.tif", scenes.pixels(1, 300, 300))
    with gdal(), rasterio.open(inside, "r+") as opened:
        opened.update_tags(ns="OVERVIEWS", OVERVIEW_FILE=target)
        opened.update_tags(ns="GEOLOCATION", X_DATASET=target)
    beside = scenes.write(archive / "b.tif", scenes.pixels(1, 300, 300), crs=None, transform=None)
    (archive / "b.tif.aux.xml").write_text(
        f"<PAMDataset><Metadata domain='OVERVIEWS'><MDI key='OVERVIEW_FILE'>{target}</MDI></Metadata>"
        f"<Metadata domain='overviews'><MDI key='OVERVIEW_FILE'>{target}</MDI></Metadata>"
        "<PAMRasterBand band='1'><Description>red</Description></PAMRasterBand></PAMDataset>"
    )
    for path in (inside, beside):
        out = scenes.run(path, archive, name=f"out-{path.name}")
        with gdal(), rasterio.open(out.path) as opened:
            assert opened.tags(ns="OVERVIEWS") in ({}, opened.tags(ns="OVERVIEWS", bidx=1))
            assert "OVERVIEW_FILE" not in str([opened.tags(ns=name) for name in opened.tag_namespaces()])
            assert not (opened.read() == SECRET).all()
        with rasterio.open(out.path, overview_level=0) as small:
            assert not (small.read() == SECRET).all()
    assert asked == []


@pytest.mark.parametrize("system", ["{url}/a.wkt", "/vsicurl/{url}/a", "{secret}", "./secret.prj"])
def test_a_reference_system_is_not_fetched(archive, secret, server, system):
    url, asked = server
    path = scenes.write(archive / "x.tif", scenes.pixels(1, 20, 20), crs=None, transform=None)
    text = system.format(url=url, secret=secret)
    (archive / "x.tif.aux.xml").write_text(f"<PAMDataset><SRS>{text}</SRS></PAMDataset>")
    with pytest.raises(SceneError, match="names a reference system by an address or a file"):
        describe_scene(path)
    assert asked == []


def test_entities_of_a_companion_are_not_expanded(archive, secret):
    path = scenes.write(archive / "x.tif", scenes.pixels(1, 20, 20))
    (archive / "x.tif.aux.xml").write_text(
        f'<!DOCTYPE a [<!ENTITY b SYSTEM "file://{secret}">]><PAMDataset><Metadata><MDI key="k">&b;</MDI></Metadata>'
        "</PAMDataset>"
    )
    with pytest.raises(SceneError, match="defines entities"):
        describe_scene(path)
    (archive / "x.tif.aux.xml").write_text("<PAMDataset")
    with pytest.raises(SceneError, match=r"x\.tif\.aux\.xml beside it cannot be read"):
        describe_scene(path)


def test_what_lies_beside_is_read_and_nothing_is_left(archive, tmp_path, monkeypatch):
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    hidden = np.zeros((20, 30), bool)
    hidden[3:9, 4:11] = True
    path = scenes.write(archive / "x.y.tif", scenes.pixels(1, 20, 30), crs=None, transform=None)
    (archive / "x.y.tfw").write_text("10\n0\n0\n-10\n500005\n4999995\n")
    (archive / "x.y.tif.aux.xml").write_text("<PAMDataset><SRS>EPSG:32633</SRS></PAMDataset>")
    with rasterio.open(
        archive / "x.y.tif.msk", "w", driver="GTiff", width=30, height=20, count=1, dtype="uint8"
    ) as target:
        target.write(np.where(hidden, 0, 255).astype(np.uint8), 1)
        target.update_tags(INTERNAL_MASK_FLAGS_1="2")
    with gdal(), Scene(path) as scene:
        assert scene.masked
        assert scene.dataset.crs == rasterio.CRS.from_epsg(32633)
        assert scene.dataset.transform == rasterio.Affine(10, 0, 500000, 0, -10, 5000000)
        np.testing.assert_array_equal(scene.strip(0, 20).mask, ~hidden)
        assert len(list(temporary.iterdir())) == 1
    assert list(temporary.iterdir()) == []


def test_names_that_are_not_text_can_be_opened_where_something_lies_beside(archive):
    path = scenes.write(archive / "x.tif", scenes.pixels(1, 20, 30), crs=None, transform=None)
    odd = archive / os.fsdecode(b"caf\xe9.tif")
    path.rename(odd)
    (archive / os.fsdecode(b"caf\xe9.tfw")).write_text("10\n0\n0\n-10\n5\n-5\n")
    with gdal(), open_raster(odd) as opened:
        assert opened.transform == rasterio.Affine(10, 0, 0, 0, -10, 0)


@pytest.mark.parametrize("kind", ["png", "jpg", "webp", "bmp", "jp2"])
def test_each_format_is_opened_by_its_own_driver(archive, kind):
    pixels = np.moveaxis(scenes.pixels(3, 40, 50), 0, -1)
    options = {"jp2": {"irreversible": False}, "webp": {"lossless": True}}.get(kind, {})
    Image.fromarray(pixels).save(archive / f"a.{kind}", **options)
    with gdal(), Scene(archive / f"a.{kind}") as scene:
        assert scene.facts.driver.lower().startswith(kind.replace("jpg", "jpeg"))
        if kind != "jpg":
            np.testing.assert_array_equal(scene.strip(0, 40).pixels, np.moveaxis(pixels, -1, 0))


@pytest.mark.parametrize("umask", [0o077, 0o027])
def test_outputs_follow_the_umask(archive, umask):
    path = scenes.write(archive / "x.tif", scenes.pixels(1, 20, 20))
    before = os.umask(umask)
    try:
        out = scenes.run(path, archive, SceneSettings(blocksize=128))
    finally:
        os.umask(before)
    assert out.path.stat().st_mode & 0o777 == 0o666 & ~umask
