"""A run's workspace is private, and only what carries our marker is ever removed."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.archive.places import workspace
from orchestrator.archive.places.workspace import (
    MARKER,
    earlier_workspaces,
    enter_workspace,
    leave_workspace,
    sweep_workspaces,
)
from trainables.errors import StorageError

HOLD = """
import sys, time
from pathlib import Path
from orchestrator.archive.places.workspace import enter_workspace
print(enter_workspace(Path(sys.argv[1]), sys.argv[2]), flush=True)
time.sleep(60)
"""
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="giving a file to another user takes root")


@pytest.fixture(autouse=True)
def forgotten():
    workspace.enter_workspace.cache_clear()


@pytest.fixture
def other_process():
    """Enters workspaces in processes that live until the test ends, or until they are killed."""
    started = []

    def enter(folder, run):
        process = subprocess.Popen([sys.executable, "-c", HOLD, str(folder), run], stdout=subprocess.PIPE, text=True)
        started.append(process)
        return process, Path(process.stdout.readline().strip())

    yield enter
    for process in started:
        process.kill()
        process.communicate()


def dead(folder, run, name=None, text=None):
    """What a killed run left; or something that only looks like it."""
    place = folder / (name or f"rayscale-{run}")
    (place / "deep").mkdir(parents=True)
    (place / "deep" / "rows.tif").write_bytes(b"pixels")
    (place / MARKER).write_bytes(workspace._text(run) if text is None else text)
    return place


def tree(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_workspaces_of_dead_runs_are_swept_and_those_of_live_ones_are_not(tmp_path, other_process):
    folder = tmp_path / "_parts"
    process, live = other_process(folder, "live")
    (live / "rows.tif").write_bytes(b"")
    enter_workspace(folder, "mine")
    assert tree(folder) == [
        "rayscale-live",
        f"rayscale-live/{MARKER}",
        "rayscale-live/rows.tif",
        "rayscale-mine",
        f"rayscale-mine/{MARKER}",
    ]
    assert sweep_workspaces(folder) == 0
    process.kill()
    process.wait()
    assert sweep_workspaces(folder) == 1
    assert [path.name for path in folder.iterdir()] == ["rayscale-mine"]
    leave_workspace(folder, "mine")
    assert not folder.exists()


def test_the_next_run_sweeps_on_its_own(tmp_path):
    dead(tmp_path, "dead")
    enter_workspace(tmp_path, "mine")
    assert [path.name for path in tmp_path.iterdir()] == ["rayscale-mine"]


def test_several_processes_of_a_run_share_a_workspace(tmp_path, other_process):
    mine = enter_workspace(tmp_path, "run")
    _, theirs = other_process(tmp_path, "run")
    assert mine == theirs
    workspace.os.close(workspace._held.pop(mine))
    assert sweep_workspaces(tmp_path) == 0, "the other process still holds it"


FOREIGN = ["db/lock", "db/data", "notes.txt", "rayscale/lock", "rayscale-model/model.safetensors", "rayscale-notes"]


def test_nothing_of_others_is_removed(tmp_path):
    folder = tmp_path / "scratch"
    for name in FOREIGN:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"mine")
    (folder / "empty").mkdir()
    (folder / "rayscale-empty").mkdir()
    (folder / "rayscale-unmarked" / "lock").mkdir(parents=True)
    dead(folder, "a", name="other-name")
    dead(folder, "a", name="rayscale-b")  # the marker of another run
    dead(folder, "c", text=b"")
    dead(folder, "d", text=workspace._text("d") + b"and more")
    dead(folder, "e", text=workspace._text("d"))
    before = tree(folder)
    enter_workspace(folder, "mine")
    leave_workspace(folder, "mine")
    assert sweep_workspaces(folder) == 0
    assert tree(folder) == before


def test_links_are_not_followed(tmp_path):
    folder, victim = tmp_path / "scratch", tmp_path / "victim"
    folder.mkdir()
    real = dead(victim, "a")
    (folder / "rayscale-a").symlink_to(real)  # a marked folder elsewhere
    linked = dead(folder, "b")
    (linked / MARKER).unlink()
    (linked / MARKER).symlink_to(real / MARKER)
    hard = dead(folder, "c")
    os.link(hard / MARKER, tmp_path / "second-name")
    pipe = dead(folder, "d")
    (pipe / MARKER).unlink()
    os.mkfifo(pipe / MARKER)
    before = tree(tmp_path)
    assert sweep_workspaces(folder) == 0
    assert tree(tmp_path) == before


def test_what_a_workspace_links_to_stays(tmp_path):
    victim = tmp_path / "victim"
    (victim / "deep").mkdir(parents=True)
    (victim / "data").write_bytes(b"mine")
    place = dead(tmp_path / "scratch", "a")
    (place / "link").symlink_to(victim)
    (place / "file").symlink_to(victim / "data")
    assert sweep_workspaces(tmp_path / "scratch") == 1
    assert tree(tmp_path) == ["scratch", "victim", "victim/data", "victim/deep"]


def test_a_place_that_is_a_link_already_is_refused(tmp_path):
    victim = tmp_path / "victim"
    (victim / "db").mkdir(parents=True)
    (victim / "db" / "lock").write_bytes(b"")
    (tmp_path / "rayscale-run").symlink_to(victim)
    with pytest.raises(StorageError, match="cannot be entered"):
        enter_workspace(tmp_path, "run")
    (tmp_path / "_parts").symlink_to(victim)
    with pytest.raises(StorageError, match="is a link, which work in progress must not follow"):
        enter_workspace(tmp_path / "_parts", "run")
    leave_workspace(tmp_path / "_parts", "run")
    assert tree(victim) == ["db", "db/lock"]


def test_a_scratch_folder_that_its_user_links_elsewhere_is_used_and_kept(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "scratch").symlink_to(tmp_path / "disk")
    enter_workspace(tmp_path / "scratch", "run")
    assert (tmp_path / "disk" / "rayscale-run" / MARKER).exists()
    leave_workspace(tmp_path / "scratch", "run")
    assert tree(tmp_path) == ["disk", "scratch"]


@pytest.mark.parametrize("content", ["a file", "another marker", "foreign files"])
def test_a_place_that_is_taken_is_refused_and_left_alone(tmp_path, content):
    place = tmp_path / "rayscale-run"
    if content == "a file":
        place.write_bytes(b"mine")
    elif content == "another marker":
        dead(tmp_path, "other", name=place.name)
    else:
        (place / "lock").mkdir(parents=True)
    before = tree(tmp_path)
    with pytest.raises(StorageError, match="remove"):
        enter_workspace(tmp_path, "run")
    assert tree(tmp_path) == before


@AS_ROOT
@pytest.mark.parametrize("what", ["workspace", "marked workspace"])
def test_another_users_folder_is_neither_entered_nor_removed(tmp_path, what):
    place = dead(tmp_path, "run")
    if what == "workspace":
        for path in (place / "deep" / "rows.tif", place / MARKER):
            path.unlink()
        (place / "deep").rmdir()
    os.chown(place, 12345, 12345)
    with pytest.raises(StorageError, match="another user"):
        enter_workspace(tmp_path, "run")
    assert sweep_workspaces(tmp_path) == 0
    leave_workspace(tmp_path, "run")
    assert place.exists()


def test_where_root_is_mapped_to_another_user_what_we_make_is_ours(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 54321)
    assert enter_workspace(tmp_path, "run").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["rayscale-run"]


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_a_workspace_is_private_whatever_the_umask(tmp_path, umask):
    before = os.umask(umask)
    try:
        place = enter_workspace(tmp_path, "run")
    finally:
        os.umask(before)
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    assert stat.S_IMODE((place / MARKER).stat().st_mode) == 0o600


def test_a_workspace_that_was_opened_to_others_is_closed_again(tmp_path):
    (tmp_path / "rayscale-run").mkdir(mode=0o777)
    (tmp_path / "rayscale-run").chmod(0o777)
    assert stat.S_IMODE(enter_workspace(tmp_path, "run").stat().st_mode) == 0o700


def test_what_is_swept_halfway_is_swept_the_next_time(tmp_path, monkeypatch):
    place = dead(tmp_path, "run")
    (place / "more").write_bytes(b"")

    def killed(*_, **__):
        raise OSError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(workspace.shutil, "rmtree", killed)
        assert sweep_workspaces(tmp_path) == 0
    assert (place / MARKER).exists()
    assert sweep_workspaces(tmp_path) == 1
    assert tree(tmp_path) == []


def test_a_folder_that_is_exchanged_while_it_is_swept_stays(tmp_path, monkeypatch):
    folder = tmp_path / "scratch"
    place, real = dead(folder, "run"), workspace.shutil.rmtree

    def exchange(*arguments, **options):
        real(*arguments, **options)
        place.rename(tmp_path / "moved")
        place.mkdir()

    monkeypatch.setattr(workspace.shutil, "rmtree", exchange)
    sweep_workspaces(folder)
    assert tree(tmp_path) == ["moved", "scratch", "scratch/rayscale-run"]


def test_a_workspace_that_is_swept_while_it_is_entered_is_made_again(tmp_path, monkeypatch):
    real, swept = workspace.fcntl.flock, []

    def flock(handle, how):
        if not swept:
            swept.append(handle)
            (tmp_path / "rayscale-run" / MARKER).unlink()
            (tmp_path / "rayscale-run").rmdir()
        return real(handle, how)

    monkeypatch.setattr(workspace.fcntl, "flock", flock)
    place = enter_workspace(tmp_path, "run")
    assert (place / MARKER).read_bytes() == workspace._text("run")


def test_without_locks_of_files_nothing_is_swept(tmp_path, monkeypatch):
    def none(handle, how):
        raise OSError(95, "Operation not supported")

    dead(tmp_path, "dead")
    monkeypatch.setattr(workspace.fcntl, "flock", none)
    enter_workspace(tmp_path, "mine")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rayscale-dead", "rayscale-mine"]


def test_leaving_keeps_the_folder_a_user_named_and_what_lies_in_it(tmp_path):
    for name in ("scratch", "_parts"):
        enter_workspace(tmp_path / name, "run")
    (tmp_path / "_parts" / "mine").write_bytes(b"")
    for name in ("scratch", "_parts"):
        leave_workspace(tmp_path / name, "run")
    assert tree(tmp_path) == ["_parts", "_parts/mine", "scratch"]


def test_workspaces_of_an_earlier_version_are_named_and_left_to_the_user(tmp_path):
    old = tmp_path / "20251128T101112Z-0a1b2c"
    old.mkdir()
    (old / "lock").write_bytes(b"")
    (tmp_path / "20251128").mkdir()
    enter_workspace(tmp_path, "mine")
    assert earlier_workspaces(tmp_path) == [old.name]
    assert (old / "lock").exists()
    assert earlier_workspaces(tmp_path / "none") == []
