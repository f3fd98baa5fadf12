"""Archives from foreign servers: what is unpacked, and what never is."""

import io
import os
import tarfile
import zipfile

import pytest

from orchestrator.public_sets.unpack import unpack
from trainables.errors import RunError


def zipped(file, entries):
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return file


def tarred(file, entries, kind=None, link=""):
    with tarfile.open(file, "w:gz" if file.suffix == ".tgz" else "w") as archive:
        for name, content in entries.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            if kind is not None:
                info.type, info.linkname, info.size = kind, link, 0
            archive.addfile(info, io.BytesIO(content))
    return file


def files(folder):
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.mark.parametrize(("name", "write"), [("a.zip", zipped), ("a.tar", tarred), ("a.tgz", tarred)])
def test_files_of_all_kinds_of_archives(tmp_path, name, write):
    entries = {"DIV2K/0801.png": b"one", "DIV2K/x/0802.png": b"two" * 1000}
    assert unpack(write(tmp_path / name, entries), tmp_path / "out") == 2
    assert files(tmp_path / "out") == entries


def test_two_archives_share_a_folder(tmp_path):
    unpack(zipped(tmp_path / "a.zip", {"lr/X2/1.png": b"2"}), tmp_path / "out")
    unpack(zipped(tmp_path / "b.zip", {"lr/X4/1.png": b"4"}), tmp_path / "out")
    assert files(tmp_path / "out") == {"lr/X2/1.png": b"2", "lr/X4/1.png": b"4"}


def test_an_interrupted_unpacking_is_repeated(tmp_path):
    archive = zipped(tmp_path / "a.zip", {"1.png": b"one", "2.png": b"two"})
    unpack(archive, tmp_path / "out")
    (tmp_path / "out" / "2.png").rename(tmp_path / "out" / "2.png.part")
    (tmp_path / "out" / "2.png.part").write_bytes(b"t")
    first = (tmp_path / "out" / "1.png").stat().st_mtime_ns
    unpack(archive, tmp_path / "out")
    assert files(tmp_path / "out") == {"1.png": b"one", "2.png": b"two"}
    assert (tmp_path / "out" / "1.png").stat().st_mtime_ns == first


@pytest.mark.parametrize("name", ["../evil", "/evil", "a/../../evil", "..\\evil"])
@pytest.mark.parametrize("write", [zipped, tarred])
def test_nothing_is_written_outside(tmp_path, name, write):
    archive = write(tmp_path / "inner.archive", {"fine.png": b"fine", name: b"evil"})
    with pytest.raises(RunError, match="leads out of the folder"):
        unpack(archive, tmp_path / "deep" / "out")
    assert files(tmp_path).keys() == {"inner.archive"}


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_are_refused(tmp_path, kind):
    archive = tarred(tmp_path / "a.tar", {"link": b""}, kind, "/etc/passwd")
    with pytest.raises(RunError, match="'link' is a link or a special file"):
        unpack(archive, tmp_path / "out")


def test_a_link_in_a_zip_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        info = zipfile.ZipInfo("link")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(RunError, match="'link' is a link or a special file"):
        unpack(tmp_path / "a.zip", tmp_path / "out")


def test_a_link_in_the_folder_is_not_followed(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "inner").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RunError, match="would be written through a link"):
        unpack(zipped(tmp_path / "a.zip", {"inner/1.png": b"1"}), tmp_path / "out")
    assert files(tmp_path / "elsewhere") == {}


def test_a_users_own_file_stays(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "1.png").write_bytes(b"mine, of another size")
    with pytest.raises(RunError, match=r"'1.png' is there already with another content"):
        unpack(zipped(tmp_path / "a.zip", {"1.png": b"1"}), tmp_path / "out")
    assert (tmp_path / "out" / "1.png").read_bytes() == b"mine, of another size"


def test_a_bomb_is_refused_before_anything_is_written(tmp_path):
    archive = zipped(tmp_path / "a.zip", {f"{number}": bytes(30_000_000) for number in range(5)})
    assert archive.stat().st_size < 10**6
    with pytest.raises(RunError, match=r"would unpack to 5 files of 0.1|0.2 GB, which no archive of images does"):
        unpack(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tgz"])
def test_a_damaged_archive(tmp_path, name):
    archive = (zipped if name == "a.zip" else tarred)(tmp_path / name, {"1.png": os.urandom(5000)})
    content = bytearray(archive.read_bytes())
    if name == "a.zip":
        content[2000:2100] = bytes(100)
    else:
        content = content[:3000]
    archive.write_bytes(content)
    with pytest.raises(RunError, match="is damaged"):
        unpack(archive, tmp_path / "out")
    assert not (tmp_path / "out" / "1.png").exists()


def test_no_archive_at_all(tmp_path):
    (tmp_path / "a.zip").write_bytes(b"<html>Log in</html>")
    with pytest.raises(RunError, match="is damaged, or no ZIP or TAR archive"):
        unpack(tmp_path / "a.zip", tmp_path / "out")
