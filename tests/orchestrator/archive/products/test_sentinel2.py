"""Sentinel-2 products give the bytes of a plain GeoTIFF of the same pixels."""

import re
from dataclasses import replace

import archive_scenes
import numpy as np
import product_files
import pytest
import rasterio
import tiny_models

from orchestrator.archive.batch.run import Options, upscale_archive
from orchestrator.archive.places.listing import list_archive
from orchestrator.archive.scene.types import SceneSettings
from orchestrator.runtime.task_runner import in_process

TAGS = {
    "PRODUCT": product_files.SAFE,
    "PROCESSING_BASELINE": "05.11",
    "ACQUISITIONDATETIME": "2024-08-14T10:15:59.024Z",
}


@pytest.mark.parametrize("form", ["folder", "zip"])
def test_a_level_2a_product_has_the_bytes_of_a_geotiff(tmp_path, source, upscale, form):
    product = product_files.in_form(form, product_files.sentinel_l2a(source), tmp_path / "zips")
    summary, events = upscale(product.parent)
    assert (summary["written"], summary["failed"]) == (1, [])
    upscale(product_files.same_pixels(tmp_path / "plain" / "same.tif", TAGS).parent, "other")
    output, geotiff = tmp_path / "out" / f"{product.name}.tif", tmp_path / "other" / "same.tif"
    assert output.read_bytes() == geotiff.read_bytes()
    event = events[product.name]
    assert event["normalisation"].startswith("1000 to 11000")
    assert any(note.startswith("bands left out: B08, SCL;") for note in event["notes"])
    assert "pixels without a value are those of SCL too" in event["notes"]


def test_bands_by_name_go_to_the_coarsest_resolution_of_those_asked_for(tmp_path, source, upscale):
    product_files.sentinel_l2a(source, ("B02", "B03", "B04", "B11"))
    summary, events = upscale(source, bands=("b4", "B11", "SCL"))
    assert summary["failed"] == []
    (event,) = events.values()
    with rasterio.open(tmp_path / "out" / f"{product_files.SAFE}.tif") as output:
        assert output.descriptions == ("B04", "B11", "SCL")
        assert output.transform.a == 10
        assert output.shape == (120, 120)
        np.testing.assert_array_equal(output.read(3), np.kron(product_files.classes(20), np.ones((2, 2))))
    # The product has its own B04 of 20 m, which is taken.
    bands = [np.where(product_files.classes(20) == 0, 0, product_files.band(name, 20)) for name in ("B04", "B11")]
    low = archive_scenes.read(tmp_path / "out" / f"{product_files.SAFE}.tif")[:2].reshape(2, 60, 2, 60, 2)
    assert np.abs(low.mean((2, 4)) - bands).max() <= 1
    assert "bands 3 were repeated, not filtered, as classes or flags ('scl' in its name)" in event["notes"]


def test_a_level_1c_product_without_offsets_is_averaged_where_it_has_no_raster_of_the_resolution(
    tmp_path, source, upscale
):
    product_files.sentinel_l1c(source)
    _, events = upscale(source, bands=("red", "B11"))
    (event,) = events.values()
    assert event["status"] == "ok"
    assert event["normalisation"].startswith("0 to 10000 ")
    assert "bands of finer resolution were averaged: B04 (2×2 pixels)" in event["notes"]
    fine = product_files.band("B04", 10).reshape(60, 2, 60, 2)
    means = np.where((fine == 0).any((1, 3)), 0, (fine.sum((1, 3), dtype=int) + 2) // 4)
    low = archive_scenes.read(tmp_path / "out" / f"{product_files.SAFE_L1C}.tif")[0].reshape(60, 2, 60, 2)
    assert np.abs(low.mean((1, 3)) - means).max() <= 1


def test_a_model_of_named_bands_gets_its_bands_in_its_order(tmp_path, source):
    """Their names and range are in the model's card."""
    names = ("nir", "red", "green", "blue")
    card = {"band_names": names, "value_range": {"uint16": [0, 10000]}}
    model = tiny_models.write(tmp_path / "model", tiny_models.of_bands(*names, scale=2), **card)
    product_files.sentinel_l2a(source)
    scenes = list_archive(str(source), str(tmp_path / "out")).scenes
    settings = SceneSettings(precision="float32", blocksize=128)
    arguments = (model, scenes, str(tmp_path / "out"), settings, Options(), lambda _: None)
    summary = upscale_archive(*arguments, start=in_process)
    assert summary["failed"] == []
    assert "the model's card means 0 to 10000, and the product's metadata 1000 to 11000" in str(summary["notes"])
    with rasterio.open(tmp_path / "out" / f"{product_files.SAFE}.tif") as output:
        assert output.descriptions == ("B08", "B04", "B03", "B02")
        assert output.tags()["RAYSCALE_BANDS"] == "1,2,3,4"


def test_a_product_is_resumed_and_done_again_if_one_of_its_files_changes(source, upscale):
    safe = product_files.sentinel_l2a(source)
    assert upscale(source)[0]["written"] == 1
    assert upscale(source)[0]["skipped"] == 1
    path = next(safe.rglob("*_B04_10m.jp2"))
    product_files.write(path, product_files.band("B09", 10), 10, "JP2OpenJPEG")
    assert upscale(source)[0]["written"] == 1


def _cut(path):
    path.write_bytes(path.read_bytes()[:100])


class TestWrongInput:
    """Each product that cannot be read has one sentence that says what to do."""

    @pytest.mark.parametrize(
        ("spoil", "settings", "kind", "words"),
        [
            (lambda safe: next(safe.rglob("*_B03_10m.jp2")).unlink(), {}, "unreadable", r"B03_10m\.jp2 is missing"),
            (lambda safe: None, {"bands": ("B99",)}, "model_mismatch", r"no band 'B99'; it has B02 \(blue\), B03"),
            (
                lambda safe: _cut(next(safe.rglob("*_B03_10m.jp2"))),
                {},
                "unreadable",
                r"Its file .*B03_10m\.jp2: ",
            ),
            (lambda safe: (safe / "MTD_MSIL2A.xml").unlink(), {}, "unreadable", "MTD_MSIL1C.xml or MTD_MSIL2A.xml"),
            (lambda safe: (safe / "MTD_MSIL2A.xml").write_text("<x"), {}, "unreadable", "no XML"),
            (
                lambda safe: (safe / "MTD_MSIL2A.xml").write_text("<x/>"),
                {},
                "unreadable",
                "no BOA_QUANTIFICATION_VALUE",
            ),
        ],
    )
    def test_is_a_failure_of_the_product(self, source, upscale, spoil, settings, kind, words):
        spoil(product_files.sentinel_l2a(source))
        archive_scenes.write(source / "good.tif", archive_scenes.pixels(3, 20, 20))
        summary, _ = upscale(source, **settings)
        (failure,) = summary["failed"]
        assert (failure["error"], summary["written"]) == (kind, 1)
        assert re.search(words, failure["reason"]), failure["reason"]

    def test_a_new_baseline_without_offsets_is_refused(self, source, upscale):
        product_files.sentinel_l2a(source, offset=None)
        (failure,) = upscale(source)[0]["failed"]
        assert "no BOA_ADD_OFFSET, which processing baseline 05.11 has" in failure["reason"]

    def test_a_damaged_archive_is_said(self, source, upscale):
        source.mkdir()
        (source / f"{product_files.SAFE}.zip").write_bytes(b"PK")
        (failure,) = upscale(source)[0]["failed"]
        assert failure["reason"].startswith("It is no ZIP archive that can be opened")

    def test_other_safe_products_are_refused(self, source, upscale):
        folder = source / "S1A_IW_GRDH_1SDV_20240814T052627.SAFE"
        (folder / "measurement").mkdir(parents=True)
        archive_scenes.write(folder / "measurement" / "a.tiff", archive_scenes.pixels(1, 20, 20))
        (failure,) = upscale(source)[0]["failed"]
        assert failure["reason"].startswith("Of products in the SAFE format, Sentinel-2 levels 1C and 2A are read")


def test_patterns_take_products_or_single_files_of_them(tmp_path, source):
    product_files.sentinel_l2a(source)
    archive_scenes.write(source / "plain.tif", archive_scenes.pixels(1, 20, 20))

    def listed(include=(), exclude=(), as_="auto"):
        found = list_archive(str(source), str(tmp_path / "out"), as_, include, exclude)
        return [scene.name.rpartition("/")[2] for scene in found.scenes], found.plain.counts

    assert listed() == ([product_files.SAFE, "plain.tif"], {})
    assert listed(["*.SAFE"]) == ([product_files.SAFE], {"left out by patterns": 1})
    names, _ = listed(["*_B0[23]_10m.jp2"])
    assert names == ["T32TQM_20240814T101559_B02_10m.jp2", "T32TQM_20240814T101559_B03_10m.jp2"]
    assert listed(exclude=["*.SAFE"])[0] == ["plain.tif"]
    assert listed(exclude=["*SCL*"])[0] == [product_files.SAFE, "plain.tif"]
    direct = list_archive(str(source / product_files.SAFE), str(tmp_path / "out")).scenes
    assert [scene.output for scene in direct] == [str(tmp_path / "out" / f"{product_files.SAFE}.tif")]
    assert replace(direct[0], output="") == replace(
        list_archive(str(source), str(tmp_path / "out"), include=["*.SAFE"]).scenes[0], output=""
    )
