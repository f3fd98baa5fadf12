"""The STAC collection of an archive's outputs, and its table."""

import json
import re
from pathlib import Path

import archive_scenes
import duckdb
import pystac
import pytest
import tiny_models
from affine import Affine
from pyarrow import parquet as pq
from pystac.validation.stac_validator import JsonSchemaSTACValidator

from orchestrator.archive.batch.options import Options
from orchestrator.archive.batch.run import upscale_archive
from orchestrator.archive.places.listing import list_archive
from orchestrator.archive.report import collection
from orchestrator.archive.report.collection import write_collection
from orchestrator.archive.report.item_table import item_of, rows_of
from orchestrator.archive.report.outcomes import read_latest_outcomes
from orchestrator.archive.scene.types import SceneSettings
from orchestrator.foundation.storage import Storage
from orchestrator.runtime.task_runner import in_process

AT_180 = Affine(3000, 0, 800000, 0, -3000, 8120000)
OWN_CRS = "+proj=laea +lat_0=51 +lon_0=8.5 +ellps=GRS80 +units=m +no_defs"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    card = {"value_range": {"float32": [0, 1]}}
    return tiny_models.write(tmp_path_factory.mktemp("model") / "model", tiny_models.net(2), **card)


def upscale(model, source, out, **options):
    scenes = list_archive(str(source), str(out), "cog").scenes
    settings = SceneSettings(precision="float32", blocksize=128, labels="filter")
    return upscale_archive(model, scenes, str(out), settings, Options(**options), lambda _: None, start=in_process)


def scenes(source):
    """Two scenes in their places, one of which crosses 180°, one without, one of a system without code, one bad."""
    values = archive_scenes.pixels(3, 24, 30)
    for folder in (source, source / "deep"):
        folder.mkdir()
    archive_scenes.write(source / "utm.tif", values, nodata=7)
    archive_scenes.write(source / "deep" / "dateline.tif", values, crs="EPSG:32760", transform=AT_180)
    archive_scenes.write(source / "own.tif", values, crs=OWN_CRS)
    archive_scenes.write(
        source / "none.tif", archive_scenes.pixels(1, 24, 30, "float32"), crs=None, transform=None, nodata=float("nan")
    )
    (source / "bad.tif").write_bytes(b"II*\0")
    return source


def written(out):
    place = Storage.at(str(out))
    write_collection(place, read_latest_outcomes(place))
    return json.loads((out / "_stac" / "collection.json").read_text()), out / "_stac" / "items.parquet"


def checked(item):
    JsonSchemaSTACValidator().validate_core(item, pystac.STACObjectType.ITEM, item["stac_version"])
    return pystac.Item.from_dict(item)


@pytest.fixture(scope="module")
def out(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("archive")
    upscale(model, scenes(folder / "in"), folder / "out")
    return folder / "out"


class TestArchive:
    def test_the_collection_is_valid_and_leads_to_every_output(self, out):
        told, _ = written(out)
        JsonSchemaSTACValidator().validate_core(told, pystac.STACObjectType.COLLECTION, told["stac_version"])
        west, south, east, north = told["extent"]["spatial"]["bbox"][0]
        assert (west, east) == (-180, 180)
        assert south < -16 < 45 < north
        found = pystac.Collection.from_file(str(out / "_stac" / "collection.json"))
        items = {item.id: item for item in found.get_items()}
        assert set(items) == {"utm", "deep_dateline", "own", "none"}
        assert Path(items["deep_dateline"].assets["data"].get_absolute_href()) == out / "deep" / "dateline.tif"
        assert (out / "_stac" / found.assets["items"].href).exists()

    def test_rows_are_the_items_beside_the_outputs(self, out):
        told, table = written(out)
        rows = {row["id"]: item_of(row) for row in rows_of(table)}
        for name in ("utm", "deep/dateline", "own", "none"):
            item = json.loads((out / f"{name}.tif.json").read_text())
            row = rows[item["id"]]
            checked(row)
            assert row["assets"]["data"].pop("href") == f"../{name}.tif"
            assert item["assets"]["data"].pop("href") == f"{Path(name).name}.tif"
            assert row.pop("collection") == told["id"] == "out"
            assert row["links"].pop(0) == {"rel": "collection", "href": "./collection.json", "type": "application/json"}
            known = {name: value for name, value in item["properties"].items() if value is not None}
            assert row == item | {"properties": known}

    def test_the_query_of_the_page_finds_what_lies_there(self, out):
        _, table = written(out)
        page = (Path(__file__).parents[4] / "docs" / "archive.md").read_text(encoding="utf-8")
        [query] = [query for query in re.findall(r"```sql\n(.*?)```", page, re.DOTALL) if "items.parquet" in query]
        found = duckdb.connect().execute(query.replace("OUTPUT/_stac/items.parquet", str(table))).fetchall()
        assert [(name, href) for name, _, href in found] == [("utm", "../utm.tif")]

    def test_the_table_is_geoparquet(self, out):
        told, table = written(out)
        with pq.ParquetFile(table) as file:
            metadata, schema = file.metadata.metadata, file.schema_arrow
        geo = json.loads(metadata[b"geo"])
        assert (geo["version"], geo["primary_column"]) == ("1.1.0", "geometry")
        column = geo["columns"]["geometry"]
        assert column["encoding"] == "WKB"
        assert column["geometry_types"] == ["MultiPolygon", "Polygon"]
        assert column["covering"]["bbox"]["xmin"] == ["bbox", "xmin"]
        assert json.loads(metadata[b"stac-geoparquet"]) == {"version": "1.1.0", "collections": {"out": told}}
        assert str(schema.field("datetime").type) == "timestamp[us, tz=UTC]"
        boxes = {row["id"]: row["bbox"] for row in rows_of(table)}
        assert boxes["none"] is None
        assert boxes["deep_dateline"]["xmin"] > boxes["deep_dateline"]["xmax"]


def test_rows_that_hold_are_kept_and_others_are_read_again(model, tmp_path, monkeypatch):
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    for name in ("a", "b", "gone"):
        archive_scenes.write(source / f"{name}.tif", archive_scenes.pixels(3, 24, 30))
    upscale(model, source, out)
    written(out)
    archive_scenes.write(source / "b.tif", archive_scenes.pixels(3, 24, 40))
    archive_scenes.write(source / "new.tif", archive_scenes.pixels(3, 24, 30))
    (source / "gone.tif").unlink()
    (out / "gone.tif").unlink()
    upscale(model, source, out)
    read = []
    row = collection.row_of
    monkeypatch.setattr(collection, "row_of", lambda item, *rest: read.append(item["id"]) or row(item, *rest))
    _, table = written(out)
    assert {row["id"]: row["proj:shape"] for row in rows_of(table)} == {"a": [48, 60], "b": [48, 80], "new": [48, 60]}
    assert sorted(read) == ["b", "new"]


@pytest.mark.parametrize("content", [b"", b"PAR1 and nothing"])
def test_a_table_that_is_damaged_is_written_anew(model, tmp_path, content):
    (tmp_path / "in").mkdir()
    archive_scenes.write(tmp_path / "in" / "a.tif", archive_scenes.pixels(3, 24, 30))
    upscale(model, tmp_path / "in", tmp_path / "out")
    (tmp_path / "out" / "_stac").mkdir()
    (tmp_path / "out" / "_stac" / "items.parquet").write_bytes(content)
    _, table = written(tmp_path / "out")
    assert [row["id"] for row in rows_of(table)] == ["a"]


def edited(item, path, value):
    """An item as somebody has changed it."""
    *folders, name = path
    place = item
    for folder in folders:
        place = place[folder]
    place[name] = value
    return item


POLYGON = {"type": "Polygon", "coordinates": []}
EDITS = (
    (("geometry",), POLYGON),
    (("geometry",), POLYGON | {"coordinates": [[]]}),
    (("geometry",), POLYGON | {"coordinates": [[[0], [1, 1], [2, 2]]]}),
    (("geometry",), POLYGON | {"coordinates": [[["east", 0], [1, 1], [2, 2]]]}),
    (("geometry",), POLYGON | {"coordinates": [[[float("nan"), 0], [1, 1], [2, 2]]]}),
    (("geometry",), {"type": "MultiPolygon", "coordinates": []}),
    (("bbox",), [None, 0, 1, 1]),
    (("bbox",), ["west", 0, 1, 1]),
    (("properties", "datetime"), "2026-01-01T00:00:00"),
    (("properties", "datetime"), None),
    (("properties", "proj:shape"), "wide"),
    (("properties", "rayscale:scale"), 2**40),
    (("assets", "data", "roles"), 7),
    (("assets", "data", "bands"), ["red"]),
    (("links",), None),
)


def test_an_item_that_is_damaged_is_left_out(model, tmp_path):
    (tmp_path / "in").mkdir()
    for name in ("a", "b", "c", *map(str, range(len(EDITS)))):
        archive_scenes.write(tmp_path / "in" / f"{name}.tif", archive_scenes.pixels(3, 24, 30))
    upscale(model, tmp_path / "in", tmp_path / "out")
    (tmp_path / "out" / "b.tif.json").write_text("{}")
    (tmp_path / "out" / "c.tif.json").unlink()
    for number, edit in enumerate(EDITS):
        place = tmp_path / "out" / f"{number}.tif.json"
        place.write_text(json.dumps(edited(json.loads(place.read_text()), *edit)))
    told, table = written(tmp_path / "out")
    assert [row["id"] for row in rows_of(table)] == ["a"]
    assert [link["href"] for link in told["links"] if link["rel"] == "item"] == ["../a.tif.json"]


def test_an_archive_without_outputs_has_an_empty_collection(tmp_path):
    told, table = written(tmp_path)
    assert list(rows_of(table)) == []
    JsonSchemaSTACValidator().validate_core(told, pystac.STACObjectType.COLLECTION, told["stac_version"])
