"""Choice between this process and Ray."""

import sys
from types import SimpleNamespace

import pytest

from benchmarks.common import scene_files
from orchestrator.archive.batch import place_of_work
from orchestrator.archive.batch.options import Options
from orchestrator.archive.batch.place_of_work import note_of, threads_here
from orchestrator.archive.batch.plan import Plan, Planned
from orchestrator.archive.ledger.ledger import SceneHistory
from orchestrator.archive.places.listing import Scene, list_archive


@pytest.fixture(autouse=True)
def no_ray(monkeypatch):
    monkeypatch.setattr(place_of_work, "ray_is_started", lambda: False)


@pytest.fixture
def scene(tmp_path):
    scene_files.write(tmp_path / "in" / "a.tif", (40, 36))
    return list_archive(str(tmp_path / "in"), str(tmp_path / "out"), "cog").scenes[0]


def in_this_process(plan, histories, options, device):
    return threads_here(plan, histories, options, device, 4) is not None


def plan_of(*scenes, deaths=0):
    return Plan([Planned(scene, deaths) for scene in scenes], [])


def test_few_small_scenes_stay_in_this_process(scene):
    assert in_this_process(plan_of(scene), {}, Options(), "cpu")
    assert note_of(plan_of(scene)).startswith("1 small scene: ")
    assert note_of(plan_of(scene, scene)).startswith("2 small scenes: ")


@pytest.mark.parametrize(
    ("options", "device"), [({"address": "auto"}, "cpu"), ({"scene_timeout": 60.0}, "cpu"), ({}, "cuda")]
)
def test_a_cluster_a_limit_of_time_and_a_gpu_need_ray(scene, options, device):
    assert not in_this_process(plan_of(scene), {}, Options(**options), device)


def test_a_ray_that_runs_is_used(scene, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(is_initialized=lambda: True))
    assert not in_this_process(plan_of(scene), {}, Options(), "cpu")
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(is_initialized=lambda: False))
    assert in_this_process(plan_of(scene), {}, Options(), "cpu")


def test_many_scenes_go_to_ray(scene):
    assert in_this_process(plan_of(*[scene] * 16), {}, Options(), "cpu")
    assert not in_this_process(plan_of(*[scene] * 17), {}, Options(), "cpu")


def test_large_scenes_go_to_ray_and_files_that_cannot_be_opened_count_nothing(scene, monkeypatch, tmp_path):
    monkeypatch.setattr(place_of_work, "SMALL", 3 * 40 * 36)
    assert in_this_process(plan_of(scene), {}, Options(), "cpu")
    assert not in_this_process(plan_of(scene, scene), {}, Options(), "cpu")
    scene_files.write_bad(tmp_path / "in", "empty.tif")
    bad = [s for s in list_archive(str(tmp_path / "in"), str(tmp_path / "out"), "cog").scenes if "empty" in s.name]
    assert in_this_process(plan_of(scene, *bad), {}, Options(), "cpu")


def test_samples_in_a_bucket_are_guessed_by_bytes():
    small = Scene("a.tif", "s3://b/a.tif", "1", 100_000, 0.0, "s3://b/out/a.tif")
    large = Scene("a.tif", "s3://b/a.tif", "1", 10_000_000, 0.0, "s3://b/out/a.tif")
    assert in_this_process(plan_of(small), {}, Options(), "cpu")
    assert not in_this_process(plan_of(large), {}, Options(), "cpu")


def test_a_scene_that_may_end_its_process_gets_one_of_its_own(scene):
    once, twice = SceneHistory(interrupted=1), SceneHistory(interrupted=2)
    assert in_this_process(plan_of(scene), {scene.output: once}, Options(), "cpu")
    assert not in_this_process(plan_of(scene), {scene.output: twice}, Options(), "cpu")
    assert not in_this_process(plan_of(scene, deaths=1), {}, Options(), "cpu")


def test_another_thread_is_for_another_million_values(scene, monkeypatch):
    assert threads_here(plan_of(scene), {}, Options(), "cpu", 4) == 1
    monkeypatch.setattr(place_of_work, "PER_THREAD", 3 * 40 * 36)
    assert threads_here(plan_of(scene, scene), {}, Options(), "cpu", 4) == 3
    assert threads_here(plan_of(scene, scene), {}, Options(), "cpu", 2) == 2
