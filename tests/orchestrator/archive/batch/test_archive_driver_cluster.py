"""An archive on a real Ray: every kind of bad scene, resume, and workers that die."""

import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import rasterio
import ray
import tiny_models

from benchmarks.common import scene_files
from orchestrator.archive.batch import run as running
from orchestrator.archive.batch.run import Options, upscale_archive
from orchestrator.archive.batch.worker import SceneWorker, Split
from orchestrator.archive.ledger.ledger import read_events
from orchestrator.archive.places.listing import list_archive
from orchestrator.archive.scene.types import SceneSettings
from orchestrator.archive.scene.upscale import describe_scene, part_rows
from orchestrator.foundation.storage import Storage

pytestmark = pytest.mark.usefixtures("ray_session")
GOOD = 22


@dataclass
class Poisoned:
    """A worker whose process dies of any scene called poison, and which divides scenes called wide."""

    worker: SceneWorker

    def begin(self, scene: Any, workers: int) -> Any:
        if "poison" in scene.name:
            os._exit(1)
        if "slow" in scene.name:
            time.sleep(300)
        if "wide" in scene.name:
            facts, settings = describe_scene(scene.source), self.worker.context.settings
            return Split(part_rows(facts, self.worker.facts.scale, settings, 3))
        return self.worker.begin(scene, workers)

    def part(self, scene: Any, rows: Any) -> Any:
        return self.worker.part(scene, rows)

    def finish(self, scene: Any, parts: Any) -> Any:
        assert len(parts) == 3
        return self.worker.finish(scene, parts)


# Workers cannot import a test.
ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny_models.write(tmp_path_factory.mktemp("model"), tiny_models.net(2))


def upscale(model: str, source: Path, out: Path, worker: Any = Poisoned, **options: Any) -> dict[str, Any]:
    scenes = list_archive(str(source), str(out), "cog").scenes
    settings = SceneSettings(precision="float32", blocksize=128)
    return upscale_archive(model, scenes, str(out), settings, Options(**options), lambda told: None, worker)


def outputs(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*.tif*")}


def rows(out: Path, run: str) -> dict[str, dict[str, Any]]:
    events = [event for event in read_events(Storage(str(out))) if event["run"] == run and event["event"] == "scene"]
    assert len({event["name"] for event in events}) == len(events), "one row for each scene"
    return {event["name"]: event for event in events}


def test_an_archive_with_every_kind_of_bad_scene(model: str, tmp_path: Path) -> None:
    archive, out = tmp_path / "archive", tmp_path / "out"
    good = scene_files.write_many(archive, GOOD)
    for name in scene_files.BAD:
        scene_files.write_bad(archive, name)
    for name in ("same.tif", "Same.tif", "poison.tif"):
        scene_files.write(archive / name)
    expected = scene_files.BAD | {"same.tif": "collision", "Same.tif": "collision", "poison.tif": "crashed"}

    told = upscale(model, archive, out)
    assert {entry["file"]: entry["error"] for entry in told["failed"]} == expected
    assert (told["written"], told["skipped"], told["stopped"]) == (GOOD, 0, None)
    ledger = rows(out, told["run"])
    assert len(ledger) == GOOD + len(expected)
    assert ledger["poison.tif"]["attempts"] == 2
    made = outputs(out)
    assert len(made) == 2 * GOOD  # each with its STAC item
    assert [path for path in out.iterdir() if path.name == "_parts"] == []
    with rasterio.open(out / "east" / "scene-0001.tif") as output:
        assert (output.shape, output.crs.to_epsg(), output.transform.a) == ((48, 64), 32633, 5.0)
    row = ledger["east/scene-0001.tif"]
    assert row["output_bytes"] == (out / "east" / "scene-0001.tif").stat().st_size
    assert {"fetch", "model", "encode", "upload"} < row["seconds"].keys()
    assert row["consistency"]["pixels"] == 24 * 32
    assert json.loads((out / "east" / "scene-0001.tif.json").read_bytes())["type"] == "Feature"

    scene_files.write(good[0], (20, 20))
    (out / "east" / "scene-0003.tif").unlink()
    again = upscale(model, archive, out)
    assert (again["written"], again["skipped"]) == (2, GOOD - 2)
    assert {entry["file"]: entry["error"] for entry in again["failed"]} == expected
    with rasterio.open(out / "west" / "scene-0000.tif") as output:
        assert output.shape == (40, 40)
    remade = outputs(out)
    assert [name for name in made if remade[name] != made[name]] == ["west/scene-0000.tif", "west/scene-0000.tif.json"]

    (archive / "cut.tif").unlink()
    scene_files.write(archive / "cut.tif")
    retried = upscale(model, archive, out, retry_failed=True)
    assert (retried["written"], retried["skipped"], len(retried["failed"])) == (1, GOOD, len(expected) - 1)


def test_a_shared_scene_has_the_bytes_that_one_worker_alone_makes(model: str, tmp_path: Path) -> None:
    archive, out = tmp_path / "archive", tmp_path / "out"
    scene_files.write(archive / "wide.tif", (200, 40))
    assert upscale(model, archive, out, worker=lambda worker: worker)["written"] == 1
    alone = outputs(out)
    told = upscale(model, archive, out, overwrite=True)
    assert rows(out, told["run"])["wide.tif"]["status"] == "ok"
    assert outputs(out) == alone


def test_this_process_makes_the_bytes_and_rows_that_ray_makes(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive, made, told = tmp_path / "archive", {}, {}
    scene_files.write_many(archive, 3)
    scene_files.write(archive / "large.tif", (300, 200))
    scene_files.write_bad(archive, "cut.tif")
    for place in ("here", "ray"):
        out = tmp_path / place
        monkeypatch.setattr(running, "threads_here", lambda *_, threads=2 if place == "here" else None: threads)
        run = upscale(model, archive, out, worker=lambda worker: worker)["run"]
        made[place], told[place] = outputs(out), rows(out, run)
    assert len(made["here"]) == 8
    assert made["here"] == made["ray"]
    assert {row["node"] for row in told["here"].values() if row["status"] == "ok"} == {"here"}
    free = {"run", "number", "order", "at", "node", "seconds", "output"}
    kept = {
        place: {name: {key: row[key] for key in row.keys() - free} for name, row in of.items()}
        for place, of in told.items()
    }
    assert kept["here"] == kept["ray"]


def test_work_in_progress_may_lie_on_another_disk(model: str, tmp_path: Path) -> None:
    scene_files.write(tmp_path / "archive" / "wide.tif", (200, 40))
    scratch = tmp_path / "scratch"
    told = upscale(model, tmp_path / "archive", tmp_path / "out", scratch=str(scratch))
    assert (told["written"], told["failed"]) == (1, [])
    assert not scratch.exists()


def test_a_scene_over_its_time_is_cancelled_and_the_others_go_on(model: str, tmp_path: Path) -> None:
    archive, out = tmp_path / "archive", tmp_path / "out"
    scene_files.write_many(archive, 4)
    scene_files.write(archive / "slow.tif", (200, 40))  # the largest, which starts first
    started = time.monotonic()
    told = upscale(model, archive, out, scene_timeout=15.0)
    assert time.monotonic() - started < 200
    assert [(entry["file"], entry["error"]) for entry in told["failed"]] == [("slow.tif", "timeout")]
    assert "longer than 15 s" in told["failed"][0]["reason"]
    assert (told["written"], told["stopped"]) == (4, None)
    assert not (out / "_parts").exists()
