"""Outputs appear whole; what dead processes left goes away, what live ones hold stays."""

import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.archive import commit
from orchestrator.storage import Storage

HOLD = """
import sys, time
from pathlib import Path
from orchestrator.archive.commit import enter_workspace
print(enter_workspace(Path(sys.argv[1]), "live"), flush=True)
time.sleep(60)
"""


@pytest.fixture(autouse=True)
def forgotten():
    commit.enter_workspace.cache_clear()


def made(tmp_path, content=b"pixels"):
    path = tmp_path / "made.tif"
    path.write_bytes(content)
    return path


def test_a_commit_replaces_and_leaves_nothing_else(tmp_path):
    target = tmp_path / "out" / "deep" / "a.tif"
    for content in (b"old", b"new"):
        commit.publish(made(tmp_path, content), Storage(str(target)), "image/tiff")
    assert target.read_bytes() == b"new"
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.tif", "deep", "out"]


def test_a_commit_from_another_disk(tmp_path, monkeypatch):
    shm = Path("/dev/shm")
    if not shm.is_dir() or shm.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("needs a second file system")
    source = shm / f"rayscale-test-{tmp_path.name}.tif"
    source.write_bytes(b"pixels")
    commit.publish(source, Storage(str(tmp_path / "a.tif")), "image/tiff")
    assert not source.exists()
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a.tif", b"pixels")]


def test_a_commit_that_fails_leaves_what_was_there(tmp_path, monkeypatch):
    target = tmp_path / "out" / "a.tif"
    target.mkdir(parents=True)
    with pytest.raises(OSError):
        commit.publish(made(tmp_path), Storage(str(target)), "image/tiff")
    assert list((tmp_path / "out").iterdir()) == [target]


def test_workspaces_of_dead_runs_are_swept_and_those_of_live_ones_are_not(tmp_path):
    folder = tmp_path / "_parts"
    command = [sys.executable, "-c", HOLD, str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        live = Path(process.stdout.readline().strip())
        (live / "rows.tif").write_bytes(b"")
        commit.enter_workspace(folder, "mine")
        assert sorted(path.name for path in folder.iterdir()) == ["live", "mine"]
        assert commit.sweep_workspaces(folder) == 0
    finally:
        process.kill()
        process.communicate()
    assert commit.sweep_workspaces(folder) == 1
    assert [path.name for path in folder.iterdir()] == ["mine"]
    commit.leave_workspace(folder, "mine")
    assert not folder.exists()


def test_a_commit_that_was_killed_is_swept_and_one_that_goes_on_is_not(tmp_path):
    dead, live = (tmp_path / f".{name}.tif.00{commit._TEMPORARY}" for name in ("dead", "live"))
    dead.write_bytes(b"")
    with live.open("wb") as stream:
        commit.fcntl.flock(stream, commit.fcntl.LOCK_SH)
        assert commit.sweep_commits(Storage(str(tmp_path))) == 1
        assert list(tmp_path.iterdir()) == [live]
