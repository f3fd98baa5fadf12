"""Outputs appear whole, only where they belong, and what a killed commit left goes away."""

import errno
import os
import stat
from pathlib import Path

import pytest
from botocore.exceptions import ClientError
from fake_s3 import install

from orchestrator.archive.batch import commit
from orchestrator.archive.scene.types import SceneError
from orchestrator.foundation.storage import Storage


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


def test_a_commit_from_another_disk(tmp_path):
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


TOKEN = "0a1b2c3d"


def test_a_commit_that_was_killed_is_swept_and_one_that_goes_on_is_not(tmp_path):
    dead, live = (tmp_path / f".{name}.tif.{TOKEN}{commit._TEMPORARY}" for name in ("dead", "live"))
    dead.write_bytes(b"")
    with live.open("wb") as stream:
        commit.fcntl.flock(stream, commit.fcntl.LOCK_SH)
        assert commit.sweep_commits(Storage(str(tmp_path))) == 1
        assert list(tmp_path.iterdir()) == [live]


@pytest.fixture
def other_disk(monkeypatch):
    """Renames fail between folders, as between disks."""
    real = Path.replace

    def replace(self, target):
        if self.parent != Path(target).parent:
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        return real(self, target)

    monkeypatch.setattr(Path, "replace", replace)


@pytest.mark.usefixtures("other_disk")
def test_a_copy_that_fails_leaves_no_temporary_and_what_was_made(tmp_path, monkeypatch):
    def full(source, target, size):
        target.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(commit.shutil, "copyfileobj", full)
    target = tmp_path / "out" / "a.tif"
    with pytest.raises(OSError, match="No space"):
        commit.publish(made(tmp_path), Storage(str(target)), "image/tiff")
    assert list(target.parent.iterdir()) == []
    assert (tmp_path / "made.tif").read_bytes() == b"pixels"


@pytest.mark.usefixtures("other_disk")
def test_a_copy_is_locked_and_hidden_until_it_takes_its_place(tmp_path, monkeypatch):
    target, seen = tmp_path / "out" / "a.tif", []
    real = commit.shutil.copyfileobj

    def copy(source, stream, size):
        seen.append([path.name for path in target.parent.iterdir()])
        assert commit.sweep_commits(Storage(str(tmp_path))) == 0, "a copy that goes on is held"
        real(source, stream, size)

    monkeypatch.setattr(commit.shutil, "copyfileobj", copy)
    commit.publish(made(tmp_path), Storage(str(target)), "image/tiff")
    assert len(seen[0]) == 1
    assert commit._OUR_TEMPORARY.fullmatch(seen[0][0])
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "a.tif"]


def test_a_file_that_is_written_in_a_block_is_an_output_only_if_the_block_ends_well(tmp_path):
    out = Storage(str(tmp_path / "out" / "a.npy"))
    for error in (ValueError("half"), None):
        try:
            with commit.whole_file(out, "application/octet-stream") as local:
                local.write_bytes(b"pixels")
                if error:
                    raise error
        except ValueError:
            assert not (tmp_path / "out").exists()
    assert (local.name, out.read_bytes()) == ("a.npy", b"pixels")
    assert not local.parent.exists()


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("umask", [0o077, 0o022, 0o002])
@pytest.mark.parametrize("disk", ["same", "other"])
def test_outputs_follow_the_umask(tmp_path, request, umask, disk):
    if disk == "other":
        request.getfixturevalue("other_disk")
    before = os.umask(umask)
    try:
        assert commit.output_mode() == 0o666 & ~umask
        commit.publish(made(tmp_path), Storage(str(tmp_path / "out" / "a.tif")), "image/tiff")
    finally:
        os.umask(before)
    assert mode(tmp_path / "out" / "a.tif") == 0o666 & ~umask
    assert mode(tmp_path / "out") == 0o777 & ~umask


@pytest.mark.parametrize("disk", ["same", "other"])
def test_a_worker_with_a_wider_umask_writes_what_the_drivers_lets_through(tmp_path, request, disk):
    if disk == "other":
        request.getfixturevalue("other_disk")
    target = tmp_path / "out" / "a.tif"
    commit.publish(made(tmp_path), Storage(str(target)), "image/tiff", mode=0o600)
    assert mode(target) == 0o600


def test_the_umask_is_read_without_setting_it_which_other_threads_would_see(monkeypatch):
    monkeypatch.setattr(os, "umask", lambda mask: pytest.fail("it was set"))
    assert commit.output_mode() & 0o400


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_without_proc_the_umask_is_set_back(monkeypatch, request, umask):
    before = os.umask(umask)
    request.addfinalizer(lambda: os.umask(before))
    monkeypatch.setattr(Path, "read_text", lambda path: (_ for _ in ()).throw(FileNotFoundError(path)))
    assert [commit.output_mode(), commit.output_mode()] == [0o666 & ~umask] * 2


def test_only_temporaries_of_commits_are_swept(tmp_path):
    kept = {
        f"mine{commit._TEMPORARY}",  # not hidden
        f".mine{commit._TEMPORARY}",  # no token
        f".mine.0a1b2c3{commit._TEMPORARY}",
        f".mine.{TOKEN.upper()}{commit._TEMPORARY}",
        f".mine.{TOKEN}{commit._TEMPORARY}.bak",
    }
    for name in kept:
        (tmp_path / name).write_bytes(b"mine")
    (tmp_path / f".folder.{TOKEN}{commit._TEMPORARY}").mkdir()
    (tmp_path / f".link.{TOKEN}{commit._TEMPORARY}").symlink_to(tmp_path / f".mine{commit._TEMPORARY}")
    os.mkfifo(tmp_path / f".pipe.{TOKEN}{commit._TEMPORARY}")
    before = sorted(tmp_path.iterdir())
    ours = tmp_path / f".{TOKEN}{commit._TEMPORARY}"
    ours.write_bytes(b"")
    assert commit.sweep_commits(Storage(str(tmp_path))) == 1
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.skipif(os.geteuid() != 0, reason="giving a file to another user takes root")
def test_another_users_temporary_is_not_swept(tmp_path):
    theirs = tmp_path / f".{TOKEN}{commit._TEMPORARY}"
    theirs.write_bytes(b"")
    os.chown(theirs, 12345, 12345)
    assert commit.sweep_commits(Storage(str(tmp_path))) == 0
    assert theirs.exists()


@pytest.mark.parametrize("key", ["../a.tif", "_parts/a.tif", "_Ledger/a.tif", "deep/../../a.tif", "away/a.tif"])
def test_nothing_is_published_where_no_output_belongs(tmp_path, key):
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    out.mkdir()
    elsewhere.mkdir()
    (out / "away").symlink_to(elsewhere)
    with pytest.raises(SceneError) as error:
        commit.publish(made(tmp_path), Storage(f"{out}/{key}"), "image/tiff", Storage(str(out)))
    assert error.value.kind == "outside"
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["away", "elsewhere", "made.tif", "out"]


def test_an_object_of_another_size_than_was_sent_is_no_output_and_what_was_made_is_kept(tmp_path, monkeypatch):
    server = install(monkeypatch)
    file = made(tmp_path)
    monkeypatch.setattr(server, "head_object", lambda Bucket, Key: {"ContentLength": 3})
    with pytest.raises(ClientError, match="3 bytes of 6"):
        commit.publish(file, Storage("s3://bucket/out/a.tif"), "image/tiff")
    assert file.read_bytes() == b"pixels"


def test_a_published_object_has_its_type_and_takes_the_place_of_what_was_made(tmp_path, monkeypatch):
    server = install(monkeypatch)
    file = made(tmp_path)
    commit.publish(file, Storage("s3://bucket/out/a.tif"), "image/tiff")
    assert server.objects["bucket", "out/a.tif"] == b"pixels"
    assert not file.exists()
