"""What a worker makes of one scene: an outcome, whatever is raised, and nothing left on its disk."""

import os
from dataclasses import replace
from pathlib import Path

import archive_scenes as scenes
import pytest
from fake_s3 import install, refused

from orchestrator.archive.batch import worker as work
from orchestrator.archive.batch.worker import Failed, Finished, RunContext, SceneWorker, Split, Unfit, _parts
from orchestrator.archive.places import workspace
from orchestrator.archive.places.listing import list_archive
from orchestrator.archive.scene.types import SceneError, SceneSettings
from trainables.errors import StorageError


@pytest.fixture
def context(tmp_path):
    workspace.enter_workspace.cache_clear()
    settings = SceneSettings(precision="float32", blocksize=128)
    return RunContext(run="run", out=str(tmp_path / "out"), scratch=str(tmp_path / "scratch"), settings=settings)


@pytest.fixture
def worker(context):
    made = scenes.model()
    return SceneWorker(context, made.facts, lambda: made)


@pytest.fixture
def scene(tmp_path):
    (tmp_path / "in").mkdir()
    scenes.write(tmp_path / "in" / "a.tif", scenes.pixels(3, 40, 50), photometric="rgb")
    return list_archive(str(tmp_path / "in"), str(tmp_path / "out")).scenes[0]


def left(tmp_path):
    """What lies in the workspace beside its marker."""
    return sorted(
        path.name for path in (tmp_path / "scratch" / "rayscale-run").iterdir() if path.name != workspace.MARKER
    )


def test_a_scene_and_its_item_are_stored_and_its_folder_is_gone(worker, scene, tmp_path):
    outcome = worker.begin(scene, 0)
    assert isinstance(outcome, Finished)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.tif", "a.tif.json"]
    assert left(tmp_path) == []
    assert outcome.columns["output_bytes"] == (tmp_path / "out" / "a.tif").stat().st_size


@pytest.mark.parametrize("umask", [0o077, 0o027])
def test_outputs_and_items_have_what_the_drivers_umask_lets_through(worker, scene, tmp_path, umask):
    worker = replace(worker, context=replace(worker.context, mode=0o666 & ~umask))
    assert isinstance(worker.begin(scene, 0), Finished)
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "out").iterdir()} == {0o666 & ~umask & 0o644}


ERRORS = [
    (SceneError("corrupt", "Its pixels cannot be read."), ("corrupt", "Its pixels cannot be read.")),
    (MemoryError(), ("memory", "there is not enough memory")),
    (OSError(28, "No space left on device"), ("disk", "the disk is full")),
    (PermissionError(13, "Permission denied"), ("denied", "Permission denied")),
    (StorageError("The workspace is another user's."), ("denied", "The workspace is another user's.")),
    (ZeroDivisionError("division by zero"), ("error", "ZeroDivisionError: division by zero")),
    (KeyError("x"), ("error", "KeyError: 'x'")),
    (RecursionError("deep"), ("error", "RecursionError: deep")),
    (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "why"), ("error", "UnicodeDecodeError: ")),
    (type("UnheardOfError", (Exception,), {})("first\nsecond"), ("error", "UnheardOfError: first")),
]


@pytest.mark.parametrize(("error", "expected"), ERRORS, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("step", ["begin", "part", "finish"])
def test_whatever_is_raised_is_a_named_failure(worker, scene, tmp_path, monkeypatch, step, error, expected):
    def raises(*_, **__):
        raise error

    monkeypatch.setattr(
        work, {"begin": "upscale_scene", "part": "upscale_part", "finish": "finish_scene"}[step], raises
    )
    arguments = {"begin": (0,), "part": ((0, 40),), "finish": ([],)}[step]
    outcome = getattr(worker, step)(scene, *arguments)
    assert isinstance(outcome, Failed)
    assert outcome.error == expected[0]
    assert outcome.message.startswith(expected[1])
    assert "\n" not in outcome.message
    if step == "begin":
        assert left(tmp_path) == []


def test_a_gpu_that_cannot_be_used_is_the_nodes_fault(worker, scene):
    def no_gpu():
        raise RuntimeError("Found no NVIDIA driver on your system.")

    worker = replace(worker, model=no_gpu)
    assert isinstance(worker.begin(scene, 0), Failed)
    worker = replace(worker, context=replace(worker.context, settings=SceneSettings(device="cuda")))
    for outcome in (worker.begin(scene, 0), worker.part(scene, (0, 8))):
        assert isinstance(outcome, Unfit)
        assert "RuntimeError: Found no NVIDIA driver" in outcome.reason


def test_a_link_that_appears_after_planning_is_not_written_through(worker, scene, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "elsewhere")
    assert isinstance(worker.begin(scene, 0), Finished), "OUTPUT itself may be a link"
    inner = replace(scene, output=f"{worker.context.out}/deep/a.tif")
    (tmp_path / "third").mkdir()
    (tmp_path / "elsewhere" / "deep").symlink_to(tmp_path / "third")
    assert worker.begin(inner, 0).error == "outside"
    assert list((tmp_path / "third").iterdir()) == []


def test_a_source_that_changes_meanwhile_is_not_stored(worker, scene, tmp_path):
    path = Path(scene.source)
    os.utime(path, ns=(1, 1))
    outcome = worker.begin(scene, 0)
    assert (outcome.error, outcome.message) == ("transient", "it changed while it was upscaled")
    assert not (tmp_path / "out").exists()


def test_too_little_room_is_said_before_the_work(worker, scene, monkeypatch):
    monkeypatch.setattr(work.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10})())
    assert worker.begin(scene, 0).error == "disk"


def test_samples_come_from_the_header(worker, scene):
    assert worker.samples(scene) == 40 * 50 * 3
    assert worker.samples(replace(scene, source="s3://bucket/a.tif")) is None


@pytest.mark.parametrize(
    ("pixels", "workers", "parts"),
    [(1, 0, 1), (10**9, 0, 1), (1, 1, 1), (2**20, 4, 1), (2**20 + 1, 4, 2), (10 * 2**20, 4, 4), (2**24 + 1, 1, 2)],
)
def test_in_how_many_parts_a_scene_goes(pixels, workers, parts):
    assert _parts(pixels, workers) == parts


def test_where_all_goes_in_parts_even_a_small_scene_does(worker, scene):
    parts = replace(worker, context=replace(worker.context, only_parts=True))
    assert parts.begin(scene, 0) == Split([(0, 40)])
    done = parts.part(scene, (0, 40))
    assert isinstance(parts.finish(scene, [done]), Finished)


class TestFromABucket:
    """Scenes that are fetched first."""

    @pytest.fixture
    def server(self, monkeypatch):
        return install(monkeypatch)

    @pytest.fixture
    def remote(self, server, scene):
        server.put_object("bucket", "in/a.tif", Path(scene.source).read_bytes())
        version = server.head_object("bucket", "in/a.tif")["ETag"].strip('"')
        return replace(scene, source="s3://bucket/in/a.tif", version=version, modified=1e9)

    def test_a_scene_is_fetched_and_stored(self, worker, remote, tmp_path):
        assert isinstance(worker.begin(remote, 0), Finished)
        assert left(tmp_path) == []

    def test_another_version_than_was_listed_is_not_taken(self, worker, remote, server):
        server.put_object("bucket", "in/a.tif", b"other")
        outcome = worker.begin(remote, 0)
        assert outcome.error == "transient"
        assert "s3://bucket/in/a.tif" in outcome.message

    def test_it_is_fetched_once_for_all_parts_on_a_node(self, worker, remote, server):
        rows = [(0, 32), (32, 40)]
        done = [worker.part(remote, each) for each in rows]
        assert isinstance(worker.finish(remote, done), Finished)
        assert server.calls.count(("get_object", "in/a.tif")) == 1

    @pytest.mark.parametrize(
        ("code", "status", "kind"),
        [("AccessDenied", 403, "denied"), ("SlowDown", 503, "transient"), ("InvalidObjectState", 403, "archived")],
    )
    def test_a_refusal_names_the_object(self, worker, remote, server, code, status, kind):
        server.fail["get_object"] = [refused(code, status)]
        outcome = worker.begin(remote, 0)
        assert outcome.error == kind
        assert "s3://bucket/in/a.tif" in outcome.message

    def test_an_upload_that_is_refused_is_classed_by_what_the_server_said(self, worker, scene, server):
        worker = replace(worker, context=replace(worker.context, out="s3://bucket/out"))
        server.fail["upload_file"] = [None, refused("SlowDown", 503)]
        outcome = worker.begin(replace(scene, output="s3://bucket/out/a.tif"), 0)
        assert outcome.error == "transient"
        assert "s3://bucket/out/a.tif" in outcome.message
        assert server.keys() == ["out/a.tif.json"], "the item comes first"
