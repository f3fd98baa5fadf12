"""Landsat, PlanetScope and NAIP products, STAC items, VRTs, NITF and what is refused."""

import json
import tarfile

import archive_scenes
import numpy as np
import product_files
import pytest
import rasterio

from orchestrator.archive.places.listing import list_archive
from orchestrator.archive.products.find import product_of_file
from orchestrator.archive.products.landsat import read_mtl
from orchestrator.archive.products.members import FolderMembers
from orchestrator.archive.products.read import assemble_product, range_note
from orchestrator.archive.products.stac_items import reference
from orchestrator.archive.products.types import ModelBands, Product
from orchestrator.archive.scene.types import SceneError, SceneSettings
from orchestrator.foundation.storage import Storage
from trainables.errors import UsageError


@pytest.fixture
def assemble(tmp_path):
    def run(product, *bands, channels=3, local=None):
        folder = tmp_path / f"scratch-{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        assembled = assemble_product(product, local, bands, ModelBands(channels), folder, 0.0)
        with rasterio.open(assembled.path) as dataset:
            return (
                dataset.read(),
                dataset.profile | {"names": dataset.descriptions, "scales": dataset.scales},
                assembled,
            )

    return run


def at(path):
    """The product that a file leads to."""
    return product_of_file(path.name, Storage(str(path)))


class TestLandsat:
    def test_it_has_the_bytes_of_a_geotiff(self, tmp_path, source, upscale):
        bands = product_files.landsat(source / "path193")
        summary, events = upscale(source)
        assert (summary["written"], summary["failed"]) == (1, [])
        (event,) = events.values()
        assert event["name"] == f"path193/{product_files.LANDSAT}"
        assert event["normalisation"].startswith("7272.73 to 43636.4 ")
        assert "bands left out: SR_B5, ST_B10, QA_PIXEL; --bands names those that are wanted" in event["notes"]
        rgb = [np.where(bands["QA_PIXEL"] & 1, 0, bands[name]) for name in ("SR_B4", "SR_B3", "SR_B2")]
        tags = {
            "PRODUCT": product_files.LANDSAT,
            "ACQUISITIONDATETIME": "2020-07-11T10:10:24Z",
            "AREA_OR_POINT": "Point",
        }
        product_files.plain(
            tmp_path / "plain" / "same.tif", rgb, 30, ("SR_B4", "SR_B3", "SR_B2"), scale=2.75e-5, offset=-0.2, tags=tags
        )
        upscale(tmp_path / "plain", "other")
        product = tmp_path / "out" / "path193" / f"{product_files.LANDSAT}.tif"
        assert product.read_bytes() == (tmp_path / "other" / "same.tif").read_bytes()

    def test_metadata_are_the_same_in_all_three_forms(self, tmp_path):
        product_files.landsat(tmp_path, ("txt", "json", "xml"))
        names = [f"{product_files.LANDSAT}_MTL.{form}" for form in ("txt", "json", "xml")]
        text, *others = [read_mtl((tmp_path / name).read_bytes(), name) for name in names]
        assert others == [text, text]
        assert text["LEVEL2_SURFACE_REFLECTANCE_PARAMETERS"]["REFLECTANCE_MULT_BAND_4"] == "2.75e-05"

    def test_an_archive_and_single_bands_are_read(self, tmp_path, assemble):
        folder = tmp_path / "folder"
        bands = product_files.landsat(folder, ("xml",))
        packed = tmp_path / f"{product_files.LANDSAT}.tar"
        with tarfile.open(packed, "w") as archive:
            for file in sorted(folder.iterdir()):
                archive.add(file, file.name)
        values, facts, assembled = assemble(at(packed), "nir", "ST_B10", "QA_PIXEL", local=packed)
        assert (facts["names"], facts["nodata"]) == (("SR_B5", "ST_B10", "QA_PIXEL"), 0)
        assert facts["scales"] == (2.75e-5, 0.00341802, 1)
        np.testing.assert_array_equal(values[2], bands["QA_PIXEL"])
        assert (values[0][:, 7] == 0).all()
        assert "pixels without a value are those of QA_PIXEL too" in assembled.notes

    def test_files_without_metadata_are_scenes_of_their_own(self, source, tmp_path):
        product_files.landsat(source, ())
        names = {scene.name for scene in list_archive(str(source), str(tmp_path / "out")).scenes}
        assert f"{product_files.LANDSAT}_SR_B4.TIF" in names

    def test_damaged_metadata_are_said(self, source, assemble):
        product_files.landsat(source, ("json",))
        path = source / f"{product_files.LANDSAT}_MTL.json"
        path.write_text("{}")
        with pytest.raises(SceneError, match=r"_MTL\.json cannot be read"):
            assemble(at(path))


class TestPlanetAndNaip:
    @pytest.mark.parametrize("mask", ["udm2", "udm"])
    def test_surface_reflectance_has_named_bands_and_blackfill_has_no_value(self, source, tmp_path, assemble, mask):
        values = product_files.planet(source, mask=mask)
        (scene,) = list_archive(str(source), str(tmp_path / "out")).scenes
        assert scene.name == f"{product_files.PLANET}_3B_AnalyticMS_SR.tif"
        pixels, facts, assembled = assemble(scene.product)
        assert (facts["names"], facts["scales"]) == (("blue", "green", "red", "nir"), (1e-4,) * 4)
        values[:, :, 5] = 0
        np.testing.assert_array_equal(pixels, values)
        assert assembled.notes == (f"pixels without a value are those of {mask} too",)
        reordered, facts, _ = assemble(scene.product, channels=4)
        assert facts["names"] == ("red", "green", "blue", "nir")
        np.testing.assert_array_equal(reordered, values[[2, 1, 0, 3]])

    def test_radiance_becomes_reflectance_by_the_coefficients_beside_it(self, source, tmp_path, assemble):
        product_files.planet(source, "AnalyticMS", mask=None)
        product_files.planet_metadata(source / f"{product_files.PLANET}_3B_AnalyticMS_8b_metadata.xml", 8, 3e-5)
        (scene,) = list_archive(str(source), str(tmp_path / "out")).scenes
        _, facts, assembled = assemble(scene.product)
        assert facts["scales"] == pytest.approx((2e-5, 4e-5, 6e-5, 8e-5))
        assert assembled.notes == ("there is no usable data mask (udm2) beside it",)

    def test_near_infrared_of_an_aerial_photograph_is_no_transparency(self, source, tmp_path, upscale):
        values = product_files.naip(source)
        with rasterio.open(source / "m_3807708_ne_18_060_20210619.tif") as photograph:
            assert photograph.colorinterp[3].name == "alpha"
        summary, _ = upscale(source)
        assert summary["written"] == 1
        with rasterio.open(tmp_path / "out" / "m_3807708_ne_18_060_20210619.tif") as output:
            assert "alpha" not in [colour.name for colour in output.colorinterp]
            assert output.descriptions == ("red", "green", "blue", "nir")
            means = output.read(4).reshape(40, 2, 40, 2).mean((1, 3))
        assert np.abs(means - values[3]).max() <= 0.5


class TestStac:
    @pytest.fixture
    def items(self, source):
        """Bands as assets of their own, in version 1.0, and one asset of four bands, in version 1.1."""
        colours = {"B04": "red", "B03": "green", "B02": "blue", "B08": "nir"}
        assets = {}
        for name, common in colours.items():
            product_files.write(source / "data" / f"{name}.tif", product_files.band(name, 10), 10, nodata=0)
            bands = {"eo:bands": [{"name": name, "common_name": common}]}
            assets[name] = {"href": f"../in/data/{name}.tif", "roles": ["data"], "type": "image/tiff; profile=x"}
            assets[name] |= bands | {"raster:bands": [{"nodata": 0, "scale": 0.0001, "offset": -0.1}]}
        assets["thumbnail"] = {"href": "a.jpg", "roles": ["thumbnail"]}
        values = archive_scenes.pixels(4, 30, 30, "uint16")
        archive_scenes.write(source / "data" / "four.tif", values)
        bands = [{"name": name, "eo:common_name": name} for name in ("red", "green", "blue", "nir")]
        whole = {"image": {"href": "data/four.tif", "bands": bands, "raster:scale": 0.0001}}
        (source / "items.json").write_text(
            json.dumps(
                {
                    "type": "FeatureCollection",
                    "features": [product_files.item("single", assets), product_files.item("whole", whole)],
                }
            )
        )
        return source / "items.json"

    def test_items_are_scenes(self, items, tmp_path, upscale):
        summary, events = upscale(items)
        assert (summary["written"], summary["failed"]) == (2, [])
        assert events["single"]["normalisation"].startswith("1000 to 11000")
        with rasterio.open(tmp_path / "out" / "single.tif") as output:
            assert output.descriptions == ("B04", "B03", "B02")
        with rasterio.open(tmp_path / "out" / "whole.tif") as output:
            assert output.descriptions == ("red", "green", "blue", "nir")
        assert json.loads((tmp_path / "out" / "single.tif.json").read_text())["properties"]["datetime"][:4] == "2024"
        assert upscale(items)[0]["skipped"] == 2
        product_files.write(items.parent / "data" / "B04.tif", product_files.band("B09", 10), 10, nodata=0)
        again, _ = upscale(items)
        assert (again["skipped"], again["written"]) == (1, 1)

    def test_patterns_are_compared_with_identifiers(self, items, tmp_path):
        scenes = list_archive(str(items), str(tmp_path / "out"), include=["sing*"]).scenes
        assert [scene.name for scene in scenes] == ["single"]

    def test_addresses_of_the_web_are_refused(self, source, tmp_path, assemble):
        source.mkdir()
        assets = {"red": {"href": "https://example.com/red.tif"}}
        (source / "item.json").write_text(json.dumps(product_files.item("a", assets)))
        (scene,) = list_archive(str(source / "item.json"), str(tmp_path / "out")).scenes
        with pytest.raises(SceneError, match=r"Its band red lies at 'https://example\.com/red\.tif'.*download"):
            assemble(scene.product, "red")

    @pytest.mark.parametrize(
        ("href", "followed"),
        [
            ("../north/a.tif", "../north/a.tif"),
            ("s3://bucket/a%20b.tif", "s3://bucket/a%20b.tif"),
            ("file:///north%20west/a.tif", "/north west/a.tif"),
            ("https://example.com/a.tif", None),
        ],
    )
    def test_references_lead_to_folders_and_buckets(self, href, followed):
        assert reference(href) == followed

    @pytest.mark.parametrize("nodata", [-9999, "nan"])
    def test_a_value_that_its_bands_cannot_hold_marks_no_pixel(self, source, tmp_path, assemble, nodata):
        values = product_files.band("B04", 10)
        product_files.write(source / "red.tif", values, 10)
        assets = {"red": {"href": "red.tif", "raster:bands": [{"nodata": nodata}]}}
        (source / "item.json").write_text(json.dumps(product_files.item("a", assets)))
        (scene,) = list_archive(str(source / "item.json"), str(tmp_path / "out")).scenes
        pixels, facts, _ = assemble(scene.product, "red")
        assert facts["nodata"] is None
        np.testing.assert_array_equal(pixels[0], values)

    @pytest.mark.parametrize("name", ["nodata", "raster:scale"])
    def test_a_word_in_place_of_a_number_is_said(self, source, tmp_path, assemble, name):
        source.mkdir()
        (source / "item.json").write_text(json.dumps(product_files.item("a", {"red": {"href": "a.tif", name: "few"}})))
        (scene,) = list_archive(str(source / "item.json"), str(tmp_path / "out")).scenes
        with pytest.raises(SceneError, match=f"states 'few' for {name}, which is no number"):
            assemble(scene.product)

    def test_an_asset_that_leads_nowhere_is_no_band(self, source, tmp_path, assemble):
        source.mkdir()
        assets = {"red": {"type": "image/tiff"}}
        (source / "item.json").write_text(json.dumps(product_files.item("a", assets)))
        (scene,) = list_archive(str(source / "item.json"), str(tmp_path / "out")).scenes
        with pytest.raises(SceneError, match="has no asset of raster data"):
            assemble(scene.product)

    @pytest.mark.parametrize(
        "text",
        [
            *("{", "[]", '{"type": "Catalog"}', '{"type": "Feature", "id": 3}'),
            '{"type": "Feature", "id": "a", "assets": {"red": "red.tif"}}',
            '{"type": "Feature", "id": "a", "assets": {}, "properties": "2024"}',
        ],
    )
    def test_other_json_is_refused(self, source, tmp_path, text):
        source.mkdir()
        (source / "item.json").write_text(text)
        with pytest.raises(UsageError, match="no STAC item or item collection"):
            list_archive(str(source / "item.json"), str(tmp_path / "out"))


class TestDescriptions:
    VRT = """<VRTDataset rasterXSize="24" rasterYSize="20"><SRS>EPSG:32633</SRS>
      <GeoTransform>500000, 30, 0, 5000000, 0, -30</GeoTransform><VRTRasterBand dataType="Byte" band="1">
      <NoDataValue>7</NoDataValue><SimpleSource><SourceFilename relativeToVRT="1">a.tif</SourceFilename>
      <SourceBand>1</SourceBand></SimpleSource></VRTRasterBand></VRTDataset>"""

    def test_a_vrt_is_read_where_it_is_named(self, source, tmp_path, assemble):
        source.mkdir()
        values = archive_scenes.pixels(1, 20, 24)
        archive_scenes.write(source / "a.tif", values)
        (source / "mosaic.vrt").write_text(self.VRT)
        listed = list_archive(str(source), str(tmp_path / "out"))
        assert ([scene.name for scene in listed.scenes], listed.plain.counts) == (["a.tif"], {".vrt": 1})
        (scene,) = list_archive(str(source / "mosaic.vrt"), str(tmp_path / "out")).scenes
        pixels, facts, _ = assemble(scene.product, local=source / "mosaic.vrt")
        assert facts["nodata"] == 7
        np.testing.assert_array_equal(pixels, values)
        archive_scenes.write(source / "a.tif", values[:, ::-1])
        (changed,) = list_archive(str(source / "mosaic.vrt"), str(tmp_path / "out")).scenes
        assert changed.version != scene.version
        (source / "a.tif").unlink()
        with pytest.raises(SceneError, match="with all its files"):
            assemble(scene.product, local=source / "mosaic.vrt")

    def test_nitf_is_read(self, source, tmp_path, assemble):
        values = archive_scenes.pixels(1, 20, 24)
        path = product_files.write(source / "a.ntf", values, 10, driver="NITF", crs="EPSG:32632", ICORDS="N")
        (scene,) = list_archive(str(source), str(tmp_path / "out")).scenes
        assert (scene.name, scene.output) == ("a.ntf", str(tmp_path / "out" / "a.ntf.tif"))
        pixels, _, _ = assemble(scene.product, local=path)
        np.testing.assert_array_equal(pixels, values)

    @pytest.mark.parametrize("dtype", ["uint32", "float64"])
    def test_types_that_no_output_has_are_refused_with_a_remedy(self, source, upscale, dtype):
        product_files.write(source / "a.tif", np.ones((20, 20), dtype), 10)
        (failure,) = upscale(source)[0]["failed"]
        assert failure["error"] == "unsupported"
        assert f"Its data type is {dtype}" in failure["reason"]
        assert "gdal_translate -ot Float32" in failure["reason"]


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "s3://other/key", "~/x"])
def test_metadata_name_no_file_outside_the_product(tmp_path, name):
    with pytest.raises(SceneError, match="outside the product"):
        FolderMembers(Storage(str(tmp_path))).local(name, tmp_path)


def test_bands_of_different_grids_are_refused(source, assemble):
    product_files.landsat(source)
    product_files.write(source / f"{product_files.LANDSAT}_SR_B4.TIF", product_files.band("x", 60), 60)
    product_files.write(source / f"{product_files.LANDSAT}_SR_B3.TIF", product_files.band("x", 30)[1:], 30)
    with pytest.raises(SceneError, match="do not lie on one grid; name bands of one grid by --bands"):
        assemble(Product("landsat", str(source), f"{product_files.LANDSAT}_MTL.txt"), "SR_B4", "SR_B3")


def test_a_card_that_means_another_range_is_said_whatever_band_comes_first(tmp_path):
    path = archive_scenes.write(tmp_path / "a.tif", archive_scenes.pixels(2, 20, 20, "uint16"))
    with rasterio.open(path, "r+") as product:
        product.scales, product.offsets = (1.0, 1e-4), (0.0, -0.1)
    model = archive_scenes.model_with(value_range={"uint16": [0, 10000]}).facts
    assert "card means 0 to 10000, and the product's metadata 1000 to 11000" in range_note(path, model, SceneSettings())
    other = SceneSettings(normalisation="scales")
    assert range_note(path, model, other) is None
