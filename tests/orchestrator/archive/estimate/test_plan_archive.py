"""The estimate of a run: from parts of some scenes, with nothing left behind, and its arithmetic."""

import functools
from dataclasses import replace

import archive_scenes
import numpy as np
import pytest
import rasterio
import tiny_models
from affine import Affine

from orchestrator.apply.upscale import Settings
from orchestrator.apply.upscale_inputs import plan_inputs, upscale_inputs
from orchestrator.archive.batch import machines, run
from orchestrator.archive.batch.options import Options
from orchestrator.archive.estimate import crop, plan_archive
from orchestrator.archive.estimate.crop import crop_of
from orchestrator.archive.estimate.extrapolate import choose, extrapolate, makespan, strata_of
from orchestrator.archive.estimate.sampling_worker import Sample
from orchestrator.archive.places import workspace
from orchestrator.archive.places.listing import Scene
from orchestrator.archive.scene.types import SceneSettings
from orchestrator.cli.upscale_command import _Display
from orchestrator.runtime.task_runner import in_process
from trainables.errors import UsageError

SETTINGS = SceneSettings(precision="float32", blocksize=128, labels="filter")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_models.write(tmp_path_factory.mktemp("model") / "model", tiny_models.net(2))


@pytest.fixture(autouse=True)
def no_ray(monkeypatch):
    monkeypatch.setattr(run, "upscale_archive", functools.partial(run.upscale_archive, start=in_process))
    monkeypatch.setattr(machines, "on_ray", in_process)


def archive(folder, sizes, dtype="uint8"):
    folder.mkdir()
    for number, (height, width) in enumerate(sizes):
        archive_scenes.write(folder / f"{number}.tif", archive_scenes.pixels(3, height, width, dtype, seed=number))
    return folder


def planned(model, source, out, settings=SETTINGS, **options):
    display = _Display(quiet=True)
    return plan_inputs(model, str(source), str(out), "cog", settings, Options(**options), display)


def upscale(model, source, out, settings=SETTINGS, **options):
    display = _Display(quiet=True)
    return upscale_inputs(model, str(source), str(out), "cog", Settings(), settings, Options(**options), display)


def test_parts_of_scenes_stand_for_the_archive_and_nothing_is_left(model, tmp_path, monkeypatch):
    monkeypatch.setattr(crop, "SIDE", 96)
    monkeypatch.setattr(plan_archive, "SAMPLED", 2)
    sizes = [(300, 260), (200, 310), (90, 80), (250, 250), (150, 200)]
    source, out = archive(tmp_path / "in", sizes), tmp_path / "out"
    told = planned(model, source, out, price_per_hour=10.0, cpus=1)
    assert not out.exists()
    assert (told["scenes"], told["finished"], told["sampled"], told["sampled_failed"]) == (5, 0, 3, {})
    assert 0 < told["sampled_share"] < 1
    upscale(model, source, out)
    bytes_written = sum(path.stat().st_size for path in out.glob("*.tif"))
    pixels = sum(height * width for height, width in sizes)
    assert told["output_bytes"] == pytest.approx(bytes_written, rel=0.1)
    assert told["megapixels"] == pytest.approx(4 * pixels / 1e6, rel=1e-3)
    assert told["area_km2"] == pytest.approx(pixels * 0.03**2, rel=0.01)
    assert told["price"] == pytest.approx(10 * told["hours"], abs=1e-3)
    assert told["hours"] >= told["core_hours"] / told["workers"] - 1e-4


def test_finished_scenes_are_left_out(model, tmp_path):
    source, out = archive(tmp_path / "in", [(40, 50), (60, 50)]), tmp_path / "out"
    upscale(model, source, out)
    archive_scenes.write(source / "new.tif", archive_scenes.pixels(3, 40, 50))
    before = sorted(out.rglob("*"))
    assert (planned(model, source, out)["scenes"], planned(model, source, out)["finished"]) == (1, 2)
    assert planned(model, source, out, overwrite=True)["scenes"] == 3
    assert sorted(out.rglob("*")) == before


def test_scenes_that_a_run_would_do_again_are_not_finished(model, tmp_path):
    source, out = archive(tmp_path / "in", [(40, 50), (60, 50)]), tmp_path / "out"
    upscale(model, source, out)
    deflate = planned(model, source, out, replace(SETTINGS, compression="deflate"))
    assert (deflate["scenes"], deflate["finished"]) == (2, 0)
    other = tiny_models.write(tmp_path / "other", tiny_models.net(3))
    assert planned(other, source, out)["scenes"] == 2


def test_scenes_that_a_run_would_not_try_are_said(model, tmp_path):
    source, out = archive(tmp_path / "in", [(40, 50)]), tmp_path / "out"
    (source / "bad.tif").write_bytes(b"II*\0")
    upscale(model, source, out)
    left = planned(model, source, out)
    assert (left["scenes"], left["finished"], left["not_tried"], left["hours"]) == (0, 1, 1, 0.0)
    again = planned(model, source, out, retry_failed=True)
    assert (again["scenes"], again["not_tried"], again["sampled_failed"]) == (1, 0, {"unreadable": 1})


def test_the_measured_range_of_a_run_is_that_of_the_estimate_which_records_none(model, tmp_path):
    source, out = archive(tmp_path / "in", [(40, 50), (60, 50)], "uint16"), tmp_path / "out"
    settings = replace(SETTINGS, normalisation="measured")
    assert planned(model, source, out, settings)["sampled_failed"] == {}
    assert not out.exists()
    upscale(model, source, out, settings)
    archive_scenes.write(source / "0.tif", archive_scenes.pixels(3, 40, 50, "uint16") // 2)
    told = planned(model, source, out, settings)
    assert (told["scenes"], told["finished"]) == (1, 1)


@pytest.mark.parametrize("begin", [planned, upscale])
def test_what_a_killed_estimate_left_goes_with_the_next_one_or_a_run(begin, model, tmp_path):
    source, out = archive(tmp_path / "in", [(40, 50)]), tmp_path / "out"
    left = out / "_parts" / "rayscale-plan-0a1b2c3d"
    left.mkdir(parents=True)
    (left / workspace.MARKER).write_bytes(workspace._text("plan-0a1b2c3d"))
    begin(model, source, out, scratch=str(tmp_path / "scratch"))
    assert not (out / "_parts").exists()


def test_scenes_that_fail_are_counted_and_take_nothing(model, tmp_path):
    source, out = archive(tmp_path / "in", [(40, 50)]), tmp_path / "out"
    (source / "bad.tif").write_bytes(b"II*\0")
    told = planned(model, source, out)
    assert (told["sampled"], told["sampled_failed"]) == (2, {"unreadable": 1})
    assert told["megapixels"] == pytest.approx(4 * 40 * 50 / 1e6, abs=1e-3)
    assert told["price"] is None


def test_a_run_that_would_cost_more_does_not_begin(model, tmp_path):
    source, out = archive(tmp_path / "in", [(40, 50)]), tmp_path / "out"
    with pytest.raises(UsageError, match=r"would cost about .*--max-cost allows 1e-06.*Nothing was upscaled"):
        upscale(model, source, out, price_per_hour=1e6, max_cost=1e-6)
    assert not list(out.glob("*.tif"))
    assert upscale(model, source, out, price_per_hour=1.0, max_cost=1e6)["written"] == 1
    with pytest.raises(UsageError, match="give --price-per-hour"):
        Options(max_cost=1.0)


def test_a_place_without_scenes_is_refused(model, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_bytes(b"")
    source, out = str(tmp_path / "in"), str(tmp_path / "out")
    with pytest.raises(UsageError, match="--plan is for scenes"):
        plan_inputs(model, source, out, "auto", SETTINGS, Options(), _Display(quiet=True))


def test_a_part_is_the_scene_in_all_but_size(tmp_path, monkeypatch):
    monkeypatch.setattr(crop, "SIDE", 32)
    values = archive_scenes.pixels(4, 100, 120, "uint16")
    names, colours = ("red", "green", "blue", "nir"), ("red", "green", "blue", "undefined")
    source = archive_scenes.write(tmp_path / "a_B04.tif", values, nodata=7, names=names, colours=colours)
    part = crop_of(source, tmp_path, "seed")
    assert (part.path.name, part.pixels, part.facts.pixels) == ("a_B04.tif", 1024, 12000)
    assert part.area_km2 == pytest.approx(12000 * 0.03**2, rel=0.01)
    with rasterio.open(part.path) as found, rasterio.open(source) as whole:
        assert (found.descriptions, found.colorinterp, found.nodata) == (names, whole.colorinterp, 7)
        column, row = (round(place) for place in ~whole.transform @ (found.transform.c, found.transform.f))
        np.testing.assert_array_equal(found.read(), values[:, row : row + 32, column : column + 32])
    again = crop_of(source, tmp_path, "seed")
    with rasterio.open(again.path) as found:
        assert found.transform == Affine(30, 0, 500000 + 30 * column, 0, -30, 5000000 - 30 * row)


def test_a_part_has_as_large_a_share_without_values_as_its_scene(tmp_path, monkeypatch):
    monkeypatch.setattr(crop, "SIDE", 48)
    values = archive_scenes.pixels(2, 150, 150, "uint16") + 1
    values[:, :, :50] = 0
    source = archive_scenes.write(tmp_path / "a.tif", values, nodata=0)
    corners = set()
    for seed in range(5):
        with rasterio.open(crop_of(source, tmp_path, str(seed)).path) as part:
            assert (part.read(1) == 0).mean() == pytest.approx(1 / 3, abs=0.03)
            corners.add((part.transform.c, part.transform.f))
    assert len(corners) > 1


class TestArithmetic:
    scenes = tuple(Scene(f"{n}.tif", f"/in/{n}.tif", "", 100 * n, 0.0, f"/out/{n}.tif") for n in range(1, 9))

    def test_each_kind_is_sampled_by_its_share(self):
        headers = {f"{n}.tif": (100 * n, 3 if n > 2 else 1, "uint8") for n in range(1, 9)}
        strata = strata_of(self.scenes, headers)
        assert {kind: len(found) for kind, found in strata.items()} == {"1 × uint8": 2, "3 × uint8": 6}
        chosen = choose(strata, lambda scene: float(scene.size), 4)
        assert len(chosen) == 5
        assert sum(headers[scene.name][1] == 1 for scene in chosen) == 1

    def test_totals_are_in_proportion_to_the_weights(self):
        strata = {".tif": list(self.scenes)}
        facts = {"size": 0, "pixels": 1000, "samples": 3000, "measured": 10, "scratch_bytes": 50, "wall": 1.0}
        sample = Sample(name="2.tif", seconds=4.0, output_bytes=60.0, area_km2=2.0, **facts)
        totals = extrapolate(strata, lambda scene: float(scene.size), {"2.tif": sample}, 2)
        assert (totals.work_seconds, totals.output_bytes, totals.area_km2) == (72.0, 1080.0, 36.0)
        assert totals.busy_seconds == 36.0
        assert totals.scratch_bytes == 25 * (8 + 7)
        unplaced = {"2.tif": sample.model_copy(update={"area_km2": None})}
        assert extrapolate(strata, lambda scene: 1.0, unplaced, 2).area_km2 is None

    def test_a_scene_of_many_parts_keeps_no_worker_waiting(self):
        large = [replace(self.scenes[0], name="large.tif")]
        facts = {"size": 0, "measured": 10, "scratch_bytes": 100, "wall": 1.0, "output_bytes": 1.0}
        sample = Sample(name="large.tif", seconds=80.0, pixels=64 * 2**20, samples=64 * 2**20, **facts)
        totals = extrapolate({"x": large}, lambda scene: 1.0, {"large.tif": sample}, 4)
        assert totals.busy_seconds == pytest.approx(20.0)
        assert totals.scratch_bytes == pytest.approx(100 * 2.35 / 1.35)

    @pytest.mark.parametrize(("pieces", "slots", "expected"), [([], 2, 0), ([3, 3, 2, 2, 2], 2, 7), ([5, 1, 1], 3, 5)])
    def test_the_makespan_is_that_of_the_longest_first(self, pieces, slots, expected):
        assert makespan(pieces, slots) == expected
