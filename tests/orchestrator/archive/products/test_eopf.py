"""Sentinel-2 products in EOPF's Zarr format give the bytes of a plain GeoTIFF of the same pixels."""

import json
import re
import shutil
import zipfile

import archive_scenes
import numpy as np
import product_files
import pytest
import rasterio
import zarr
from fake_s3 import install

from orchestrator.archive.places.listing import list_archive
from orchestrator.archive.products.eopf import EopfProduct
from orchestrator.archive.products.find import may_belong, product_of_file
from orchestrator.archive.products.members import FolderMembers, PackedMembers
from orchestrator.archive.scene.types import SceneError
from orchestrator.foundation.storage import Storage

TAGS = {
    "PRODUCT": product_files.EOPF.removesuffix(".zarr"),
    "PROCESSING_BASELINE": "05.11",
    "ACQUISITIONDATETIME": product_files.TIME,
}
RED = "measurements/reflectance/r10m/b04"


@pytest.mark.parametrize(
    ("form", "zarr_format", "consolidated"),
    [("folder", 2, True), ("folder", 3, False), ("zip", 2, False), ("zip", 3, True)],
)
def test_a_product_has_the_bytes_of_a_geotiff(tmp_path, source, upscale, form, zarr_format, consolidated):
    folder = product_files.eopf_l2a(source, zarr_format, consolidated)
    product = product_files.in_form(form, folder, tmp_path / "zips")
    summary, events = upscale(product.parent)
    assert (summary["written"], summary["failed"]) == (1, [])
    upscale(product_files.same_pixels(tmp_path / "plain" / "same.tif", TAGS).parent, "other")
    output = tmp_path / "out" / f"{product.name}.tif"
    assert output.read_bytes() == (tmp_path / "other" / "same.tif").read_bytes()
    event = events[product.name]
    assert event["normalisation"].startswith("1000 to 11000")
    assert any(note.startswith("bands left out: B08, SCL;") for note in event["notes"])
    assert "pixels without a value are those of SCL too" in event["notes"]


def test_it_has_the_pixels_of_the_same_product_in_safe(tmp_path, source, upscale):
    product_files.eopf_l2a(source)
    product_files.sentinel_l2a(source)
    assert upscale(source, bands=("B04", "B08", "SCL"))[0]["failed"] == []
    here, there = (
        archive_scenes.read(tmp_path / "out" / f"{name}.tif") for name in (product_files.EOPF, product_files.SAFE)
    )
    np.testing.assert_array_equal(here, there)


def test_nothing_of_a_product_is_hidden_and_a_change_of_its_metadata_is_noticed(source, upscale, tmp_path):
    product = product_files.eopf_l2a(source)
    listed = list_archive(str(source), str(tmp_path / "out"))
    assert (len(listed.scenes), listed.plain.counts) == (1, {})
    assert upscale(source)[0]["written"] == 1
    assert upscale(source)[0]["skipped"] == 1
    product_files.eopf_l2a(source, attributes={"add_offset": 0})
    assert (product / ".zmetadata").exists()
    _, events = upscale(source)
    assert events[product.name]["normalisation"].startswith("0 to 10000")


def test_a_bucket_gives_the_arrays_that_are_asked_for_and_no_others(tmp_path, source, monkeypatch):
    server = install(monkeypatch)
    product = product_files.eopf_l2a(source)
    for file in sorted(path for path in product.rglob("*") if path.is_file()):
        server.put_object("bucket", f"in/{file.relative_to(source)}", file.read_bytes())
    there = EopfProduct(FolderMembers(Storage(f"s3://bucket/in/{product.name}")))
    assert [layer.name for layer in there.layers().layers if layer.resolution == 10] == ["B02", "B03", "B04", "B08"]
    fetched = [key for operation, key in server.calls if operation == "get_object"]
    assert fetched == [f"in/{product.name}/.zmetadata"]
    band = there.locate(RED, tmp_path)
    with rasterio.open(band) as written:
        np.testing.assert_array_equal(written.read(1), product_files.band("B04", 10))
        assert (written.crs.to_epsg(), written.nodata) == (32632, 0)
        assert written.transform == product_files._PLACE[10.0]
    assert not any("b08/" in key for operation, key in server.calls if operation == "get_object")
    before = len(server.calls)
    assert there.locate(RED, tmp_path) == band
    assert len(server.calls) == before


def test_chunks_that_are_not_there_are_said_and_have_no_value(tmp_path, source, upscale):
    product = product_files.eopf_l2a(source)
    next((product / RED).glob("1.1")).unlink()
    _, events = upscale(source)
    assert f"1 of 9 chunks of {RED} are not in the product: without values" in events[product.name]["notes"]


def test_big_endian_values_and_a_fill_value_that_none_has(tmp_path, source):
    product = product_files.eopf_l2a(source, attributes={"_FillValue": "NaN"})
    shutil.rmtree(product / RED)
    (product / ".zmetadata").unlink()
    root = zarr.open_group(str(product), mode="r+", zarr_format=2)
    values = product_files.band("B04", 10)
    made = root.create_array(RED, shape=values.shape, chunks=(70, 70), dtype=">u2", fill_value=0)
    made[:] = values
    made.attrs.update({"scale_factor": 1e-4, "_FillValue": "NaN"})
    with rasterio.open(EopfProduct(FolderMembers(Storage(str(product)))).locate(RED, tmp_path)) as written:
        np.testing.assert_array_equal(written.read(1), values)
        assert written.nodata is None


def test_floats_are_reflectance_as_they_are(tmp_path, source):
    product = product_files.eopf_l2a(source)
    shutil.rmtree(product / RED)
    (product / ".zmetadata").unlink()
    root = zarr.open_group(str(product), mode="r+", zarr_format=2)
    values = product_files.band("B04", 10).astype("float32") * np.float32(1e-4)
    made = root.create_array(RED, shape=values.shape, chunks=values.shape, dtype="float32", fill_value=np.nan)
    made[:] = values
    made.attrs["_eopf_attrs"] = {"scale_factor": 1e-4, "add_offset": -0.1}
    read = EopfProduct(FolderMembers(Storage(str(product))))
    (red,) = [layer for layer in read.layers().layers if layer.file == RED]
    assert (red.scale, red.offset) == (1, 0)
    with rasterio.open(read.locate(RED, tmp_path)) as written:
        np.testing.assert_array_equal(written.read(1), values)


@pytest.mark.parametrize(
    ("where", "stated"),
    [
        ("array", {"proj:code": "EPSG:32632"}),
        ("array", {"_eopf_attrs": {"proj:epsg": 32632}}),
        ("root", {"other_metadata": {"horizontal_CRS_code": "EPSG:32632"}}),
        ("root", {"stac_discovery": {"properties": {"proj:wkt2": rasterio.CRS.from_epsg(32632).to_wkt()}}}),
    ],
)
def test_the_coordinate_system_is_found_wherever_products_state_it(tmp_path, source, where, stated):
    product = product_files.eopf_l2a(source, consolidated=False)
    root = zarr.open_group(str(product), mode="r+", zarr_format=2)
    root.attrs["stac_discovery"] = {}
    (root if where == "root" else root[RED]).attrs.update(stated)
    with rasterio.open(EopfProduct(FolderMembers(Storage(str(product)))).locate(RED, tmp_path)) as written:
        assert written.crs.to_epsg() == 32632


def _edit(path, change):
    facts = json.loads(path.read_text())
    change(facts)
    path.write_text(json.dumps(facts))


class TestWrongInput:
    """Each product that cannot be read has one sentence that says what to do."""

    @pytest.mark.parametrize(
        ("spoil", "kind", "words"),
        [
            (lambda p: (p / ".zgroup").unlink(), "unreadable", r"no \.zgroup or zarr\.json"),
            (lambda p: shutil.rmtree(p / "measurements"), "unreadable", r"no band in measurements/reflectance/r10m"),
            (lambda p: (p / RED / ".zattrs").write_text("{"), "unreadable", r"b04/\.zattrs are no JSON"),
            (lambda p: (p / RED / ".zattrs").unlink(), "unreadable", r"states no scale_factor"),
            (
                lambda p: _edit(p / RED / ".zattrs", lambda facts: facts.update(scale_factor="NaN")),
                "unreadable",
                r"states no scale_factor",
            ),
            (
                lambda p: _edit(p / RED / ".zarray", lambda facts: facts.update(dtype="<f2", fill_value=0)),
                "unreadable",
                r"2 dimensions of float16, expected 2 of numbers",
            ),
            (
                lambda p: _edit(p / RED / ".zarray", lambda facts: facts.update(chunks=[30000, 30000])),
                "unreadable",
                r"its chunks have more than 512 MB",
            ),
            (lambda p: (p / RED / ".zarray").write_text("{}"), "unreadable", r"Its array .*b04 cannot be opened"),
            (lambda p: (p / RED / "0.0").write_bytes(b"cut"), "corrupt", r"Chunks of its array .*b04 cannot be read"),
            (lambda p: shutil.rmtree((p / RED).with_name("x")), "unreadable", r"Its array .*r10m/x cannot be opened"),
            (
                lambda p: _edit(p / ".zattrs", lambda facts: facts["stac_discovery"].pop("properties")),
                "unreadable",
                r"states a coordinate system \(proj:code\)",
            ),
            (
                lambda p: _edit(
                    p / ".zattrs", lambda facts: facts["stac_discovery"]["properties"].update({"proj:epsg": 1})
                ),
                "unreadable",
                r"cannot be used: 1",
            ),
        ],
    )
    def test_a_damaged_product(self, source, upscale, spoil, kind, words):
        spoil(product_files.eopf_l2a(source, consolidated=False))
        (failure,) = upscale(source)[0]["failed"]
        assert failure["error"] == kind
        assert "\n" not in failure["reason"]
        assert re.search(words, failure["reason"]), failure["reason"]

    def test_an_uneven_grid(self, source, tmp_path):
        product = product_files.eopf_l2a(source)
        x = zarr.open_array(str((product / RED).with_name("x")), mode="r+", zarr_format=2)
        x[5] += 1
        with pytest.raises(SceneError, match="no even grid of 120×120 pixels with north at the top"):
            EopfProduct(FolderMembers(Storage(str(product)))).locate(RED, tmp_path)

    def test_a_name_that_leads_out_of_an_archive(self, source, tmp_path):
        packed = product_files.zipped(product_files.eopf_l2a(source), tmp_path / f"{product_files.EOPF}.zip")
        with zipfile.ZipFile(packed, "a") as archive:
            archive.writestr(f"{product_files.EOPF}/{RED}/../../../../../../out", b"x")
        with pytest.raises(SceneError, match="whose name leads out of the product"):
            EopfProduct(PackedMembers(packed)).locate(RED, tmp_path / "scratch")

    @pytest.mark.parametrize("name", ["S3A_OL_1_EFR____20240101.zarr", "weather.zarr"])
    def test_of_another_mission(self, source, upscale, name):
        product_files.eopf_l2a(source, name=name)
        assert may_belong(f"{name}/zarr.json")
        (failure,) = upscale(source)[0]["failed"]
        assert failure["error"] == "unsupported"
        assert "Sentinel-2 levels 1C and 2A of EOPF are read" in failure["reason"]


@pytest.mark.parametrize(
    "name", ["S2B_MSIL2A_x.zarr", "S02MSIL1C_20250530T101559_0000_B065_T1.zarr", "S2B_MSIL2A_x.zarr.zip"]
)
def test_names_of_products(name, source, tmp_path):
    product = product_of_file(name, Storage(str(tmp_path / name)))
    assert product is not None
    assert product.kind == "eopf"
