"""The report of an archive: figures of all runs, a page of bounded size, and what leaves it out."""

import functools
import json
import re
from pathlib import Path

import archive_scenes
import pytest
import tiny_models
from affine import Affine

from orchestrator.apply.upscale import Settings
from orchestrator.apply.upscale_inputs import upscale_inputs
from orchestrator.archive.batch import run
from orchestrator.archive.batch.options import Options
from orchestrator.archive.ledger.ledger import Ledger, read_events
from orchestrator.archive.report.record import ArchiveReport
from orchestrator.archive.report.well_known_binary import well_known_binary
from orchestrator.archive.report.write import write_overview
from orchestrator.archive.scene.types import SceneSettings
from orchestrator.cli.upscale_command import _Display
from orchestrator.foundation.storage import Storage
from orchestrator.runtime.task_runner import in_process


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_models.write(tmp_path_factory.mktemp("model") / "model", tiny_models.net(2))


@pytest.fixture(autouse=True)
def no_ray(monkeypatch):
    monkeypatch.setattr(run, "upscale_archive", functools.partial(run.upscale_archive, start=in_process))


def upscale(model, source, out, **options):
    settings = SceneSettings(precision="float32", blocksize=128, labels="filter")
    display = _Display(quiet=True)
    return upscale_inputs(model, str(source), str(out), "cog", Settings(), settings, Options(**options), display)


def archive(folder, **place):
    folder.mkdir()
    for number in range(3):
        archive_scenes.write(folder / f"{number}.tif", archive_scenes.pixels(3, 60, 50, seed=number), **place)
    return folder


def figures(out):
    return ArchiveReport.parse(json.loads((out / "_report" / "report.json").read_text()))


def page(out):
    return (out / "_report" / "index.html").read_text()


def test_three_scenes_and_a_failure_with_map_pictures_and_cost(model, tmp_path):
    source, out = archive(tmp_path / "in"), tmp_path / "out"
    (source / "bad<i>.tif").write_bytes(b"II*\0")
    told = upscale(model, source, out, price_per_hour=3.6)
    report, text = figures(out), page(out)
    assert (report.scenes, report.failed, report.placed) == (3, {"unreadable": 1}, 3)
    assert report.area_km2 == pytest.approx(3 * 60 * 50 * 0.03**2, rel=2e-3)
    assert report.hours_per_1000_km2 == pytest.approx(report.worker_hours / report.area_km2 * 1000)
    (ran,) = report.runs
    assert ran.cost == pytest.approx(told["seconds"] / 1000)
    assert report.cost_per_1000_km2 == pytest.approx(ran.cost / report.area_km2 * 1000)
    assert "bad&lt;i&gt;.tif" in text
    assert "<i>" not in text
    assert len(re.findall("data:image/png;base64", text)) == 9
    assert len(re.findall('<path class="(?:done|flagged)"', text)) == 3
    assert not re.search(r'(?:src|href)="(?!data:)|url\(', text), "it loads nothing"


def test_a_resume_adds_its_run_and_keeps_the_figures(model, tmp_path):
    source, out = archive(tmp_path / "in"), tmp_path / "out"
    upscale(model, source, out, price_per_hour=1.0)
    before = figures(out)
    (out / "_report" / "index.html").unlink()
    upscale(model, source, out)
    after = figures(out)
    assert [(ran.written, ran.skipped) for ran in after.runs] == [(3, 0), (0, 3)]
    assert (after.scenes, after.worker_hours, after.cost) == (3, before.worker_hours, before.cost)
    assert "3 scenes upscaled" in page(out)
    archive_scenes.write(source / "more.tif", archive_scenes.pixels(3, 60, 50))
    upscale(model, source, out)
    assert figures(out).cost is None, "the price of a run that wrote something is not known"


def test_without_georeference_there_is_no_map(model, tmp_path):
    out = tmp_path / "out"
    upscale(model, archive(tmp_path / "in", crs=None, transform=Affine.identity()), out)
    assert figures(out).placed == 0
    assert "<svg" not in page(out)
    assert "km²" not in page(out)


def test_flagged_scenes_come_first_and_a_source_that_is_gone_is_said(model, tmp_path):
    source, out = archive(tmp_path / "in"), tmp_path / "out"
    upscale(model, source, out)
    place = Storage.at(str(out))
    flags = {"2.tif": ["bias"]}
    outcomes = [event for event in read_events(place) if event["event"] == "scene"]
    Ledger.new(place, 9).write(
        {column: value for column, value in outcome.items() if column not in ("run", "number", "order")}
        | {"consistency": {"flags": flags.get(outcome["name"], [])}}
        for outcome in outcomes
    )
    (source / "2.tif").unlink()
    upscale(model, source, out)
    text = page(out)
    assert figures(out).flags == {"bias": 1}
    assert text.index("Flagged outputs") < text.index("Footprints") < text.index("<h3>2.tif") < text.index("<h3>0.tif")
    assert "Source, LR: cannot be read" in text


def many(out, count):
    """A ledger of as many outputs, and their table of items, in place of files."""
    row = {"event": "scene", "key": "k", "status": "ok", "source": "/gone.tif", "width": 400, "height": 400}
    ledger = Ledger.new(out, 1)
    ledger.write(
        row
        | {
            "name": f"{number}.tif",
            "output": out.child(f"{number}.tif").uri,
            "output_bytes": 7,
            "seconds": {"model": 2.0},
            "consistency": {"flags": ["bias"] if number % 3 == 0 else []},
        }
        for number in range(count)
    )


def test_the_page_of_many_scenes_is_small(tmp_path, monkeypatch):
    out, count = Storage.at(str(tmp_path)), 5000
    many(out, count)

    def place(at, outcomes, observe):
        for number, output in enumerate(outcomes):
            x, y = number % 300 - 150, number // 300 * 5 - 60
            ring = [[x, y], [x + 1, y], [x + 1, y + 1], [x, y + 1], [x, y]]
            observe(output, {"geometry": well_known_binary({"type": "Polygon", "coordinates": [ring]})})

    monkeypatch.setattr("orchestrator.archive.report.write.write_collection", place)
    summary = {"model": "m", "scale": 4, "run": "r", "written": count, "skipped": 0, "failed": [], "megapixels": 1.0}
    assert write_overview(out, summary | {"seconds": 1.0, "device": "cpu", "precision": "float32"}) is None
    report, text = figures(tmp_path), page(tmp_path)
    assert (report.scenes, report.placed, report.flagged) == (5000, 5000, 1667)
    assert len(text) < 300_000
    assert re.search(r"<dd>\d+,\d{3},\d{3} km²", text)
    assert "The first 100; the ledger has all." in text
    counted = [int(number) for number in re.findall(r"<title>(\d+) outputs", text)]
    assert sum(counted) == 5000


def test_a_place_that_cannot_be_written_is_said_and_fails_nothing(model, tmp_path, capsys):
    source, out = archive(tmp_path / "in"), tmp_path / "out"
    out.mkdir()
    (out / "_report").write_text("a file")
    assert upscale(model, source, out)["written"] == 3
    assert "could not be written" in capsys.readouterr().err
    assert Path(out / "0.tif").exists()
