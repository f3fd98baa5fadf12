"""Products in buckets and lists, and what they share with other scenes of an archive."""

import io
import json
from dataclasses import replace

import archive_scenes
import product_files
import pytest
import rasterio
from fake_s3 import install

from orchestrator.archive.batch.worker import Failed, Finished, RunContext, SceneWorker
from orchestrator.archive.places import workspace
from orchestrator.archive.places.listing import list_archive
from orchestrator.archive.products import members
from orchestrator.archive.products.members import FolderMembers
from orchestrator.archive.scene.types import SceneSettings
from orchestrator.foundation import storage
from orchestrator.foundation.storage import Storage
from trainables.errors import UsageError


@pytest.fixture
def worker(tmp_path):
    workspace.enter_workspace.cache_clear()
    settings = SceneSettings(precision="float32", blocksize=128)
    context = RunContext(run="run", out=str(tmp_path / "out"), scratch=str(tmp_path / "scratch"), settings=settings)
    model = archive_scenes.model(2)
    return SceneWorker(context, model.facts, lambda: model)


def left(tmp_path):
    files = (tmp_path / "scratch" / "rayscale-run").rglob("*")
    return [path.name for path in files if path.is_file() and path.name != workspace.MARKER]


LANDSAT = f"north/{product_files.LANDSAT}"
NAMES = [product_files.SAFE, f"{product_files.SAFE}.zip", LANDSAT, f"{product_files.PLANET}_3B_AnalyticMS_SR.tif"]


class TestBucket:
    @pytest.fixture
    def server(self, monkeypatch, source):
        server = install(monkeypatch)
        monkeypatch.setattr(Storage, "check_readable", lambda self: None)  # which asks a real server
        product_files.zipped(product_files.sentinel_l2a(source), source / f"{product_files.SAFE}.zip")
        product_files.landsat(source / "north", ("json",))
        product_files.planet(source)
        product_files.planet(source, "AnalyticMS", mask=None)
        for file in sorted(path for path in source.rglob("*") if path.is_file()):
            server.put_object("bucket", f"in/{file.relative_to(source)}", file.read_bytes())
        return server

    @pytest.mark.parametrize("name", NAMES)
    def test_a_product_has_the_bytes_of_one_on_disk_and_only_its_bands_are_fetched(
        self, server, worker, source, tmp_path, name
    ):
        scenes = {scene.name: scene for scene in list_archive("s3://bucket/in", str(tmp_path / "out")).scenes}
        (local,) = [s for s in list_archive(str(source), str(tmp_path / "local")).scenes if s.name == name]
        here = worker.begin(scenes[name], 0)
        assert isinstance(here, Finished), here
        assert left(tmp_path) == []
        fetched = {key for operation, key in server.calls if operation == "get_object"}
        assert not any("B08" in key or "QI_DATA" in key or "SR_B5" in key for key in fetched)
        with rasterio.open(scenes[name].output) as output:
            pixels = output.read()
        assert isinstance(worker.begin(replace(local, output=scenes[name].output), 0), Finished)
        with rasterio.open(scenes[name].output) as output:
            assert (output.read() == pixels).all()

    def test_a_stac_item_lies_in_a_bucket_with_its_assets(self, server, worker, source, tmp_path):
        names = ("red", "green", "blue")
        bands = {"red": "SR_B4", "green": "SR_B3", "blue": "SR_B2"}
        assets = {name: {"href": f"../north/{product_files.LANDSAT}_{bands[name]}.TIF"} for name in names}
        item = product_files.item("one", assets)
        server.put_object("bucket", "in/items/one.json", json.dumps(item).encode())
        (scene,) = list_archive("s3://bucket/in/items/one.json", str(tmp_path / "out")).scenes
        assert (scene.problem, scene.source) == (None, "s3://bucket/in/items/one.json#one")
        assert scene.size > sum(path.stat().st_size for path in (source / "north").glob("*_SR_B[234].TIF"))
        outcome = worker.begin(replace(scene, normalisation=(7273, 43636)), 0)
        assert isinstance(outcome, Finished), outcome
        with rasterio.open(tmp_path / "out" / "one.tif") as output:
            assert output.descriptions == names

    def test_a_product_that_changed_since_it_was_listed_is_not_taken(self, server, worker, tmp_path):
        scenes = {scene.name: scene for scene in list_archive("s3://bucket/in", str(tmp_path / "out")).scenes}
        assert {*NAMES} <= {*scenes}
        server.put_object("bucket", f"in/{LANDSAT}_SR_B4.TIF", b"other")
        outcome = worker.begin(scenes[LANDSAT], 0)
        assert outcome == Failed("transient", "one of its files changed since it was listed")

    @pytest.mark.parametrize("name", [LANDSAT, NAMES[3]])
    def test_files_of_other_products_are_not_listed_for_one(self, server, worker, tmp_path, name):
        scenes = {scene.name: scene for scene in list_archive("s3://bucket/in", str(tmp_path / "out")).scenes}
        server.calls.clear()
        assert isinstance(worker.begin(scenes[name], 0), Finished)
        listed = {prefix for operation, prefix in server.calls if operation == "list_objects_v2"}
        assert listed == {f"in/{name.removesuffix('_3B_AnalyticMS_SR.tif')}"}

    def test_an_archive_beside_the_files_that_were_unpacked_from_it_is_no_part_of_them(self, server, worker, tmp_path):
        server.put_object("bucket", f"in/{LANDSAT}.tar", b"")
        scenes = {scene.name: scene for scene in list_archive("s3://bucket/in", str(tmp_path / "out")).scenes}
        assert f"{LANDSAT}.tar" in scenes
        outcome = worker.begin(scenes[LANDSAT], 0)
        assert isinstance(outcome, Finished), outcome

    def test_what_is_too_large_for_metadata_is_not_read(self, server, worker, tmp_path, monkeypatch):
        scenes = {scene.name: scene for scene in list_archive("s3://bucket/in", str(tmp_path / "out")).scenes}
        monkeypatch.setattr(members, "MOST_METADATA", 2**10)
        server.calls.clear()
        outcome = worker.begin(scenes[product_files.SAFE], 0)
        assert isinstance(outcome, Failed), outcome
        assert (outcome.error, "MTD_MSIL2A.xml is larger than" in outcome.message) == ("unreadable", True)
        assert "get_object" not in {operation for operation, _ in server.calls}


def test_parts_of_a_product_share_one_raster(worker, source, tmp_path, monkeypatch):
    product_files.sentinel_l2a(source)
    (scene,) = list_archive(str(source), str(tmp_path / "out")).scenes
    assert worker.samples(scene) is None
    whole = worker.begin(scene, 0)
    done = [worker.part(scene, rows) for rows in ((0, 64), (64, 120))]
    assert left(tmp_path).count("product.tif") == 1
    joined = worker.finish(scene, done)
    assert joined.columns["sha256"] == whole.columns["sha256"]
    assert joined.columns["notes"] == whole.columns["notes"]
    assert left(tmp_path) == []


def test_parts_of_a_product_may_fetch_one_file_at_once(tmp_path, monkeypatch):
    place, fetched = Storage("s3://bucket/in"), []

    class Body(io.BytesIO):
        def read(self, *size):
            if not fetched:
                fetched.append("begun")
                fetched.append(FolderMembers(place).local("B04.TIF", tmp_path))
            return super().read(*size)

    monkeypatch.setattr(storage, "open_object", lambda uri: Body(b"pixels"))
    path = FolderMembers(place).local("B04.TIF", tmp_path)
    assert fetched == ["begun", path]
    assert [(file, file.read_bytes()) for file in tmp_path.iterdir()] == [(path, b"pixels")]


def test_rows_of_a_list_name_products(source, tmp_path):
    product_files.sentinel_l2a(source / "a")
    product_files.landsat(source / "b")
    landsat = f"b/{product_files.LANDSAT}_MTL.txt"
    rows = [f"a/{product_files.SAFE},,", f'{landsat},north/one,"uint16=7273,43636"', "a/gone.SAFE,,"]
    (source / "list.csv").write_text("\n".join(["scene,output,normalisation", *rows]))
    scenes = {scene.name: scene for scene in list_archive(str(source / "list.csv"), str(tmp_path / "out")).scenes}
    assert scenes[f"a/{product_files.SAFE}"].output == str(tmp_path / "out" / "a" / f"{product_files.SAFE}.tif")
    assert scenes[landsat].output == str(tmp_path / "out" / "north" / "one.tif")
    assert scenes[landsat].normalisation == {"uint16": (7273.0, 43636.0)}
    assert scenes["a/gone.SAFE"].problem[0] == "unreadable"


def test_a_range_is_measured_on_the_bands_that_are_taken(source, upscale):
    product_files.sentinel_l2a(source)
    _, events = upscale(source, normalisation="measured")
    (event,) = events.values()
    low, high = (float(value) for value in event["normalisation"].split(" (")[0].split(" to "))
    assert 1000 <= low < 1100
    assert 8900 < high < 9000


def test_chosen_bands_that_concern_no_scene_are_an_error(source, upscale):
    source.mkdir()
    archive_scenes.write(source / "a.tif", archive_scenes.pixels(3, 20, 20))
    with pytest.raises(UsageError, match=r"--bands chooses bands of products.* and INPUT has none"):
        upscale(source, bands=("B04",))
