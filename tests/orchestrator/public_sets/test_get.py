"""The commands `rayscale data list` and `rayscale data get`, on a real local server."""

import hashlib
import io
import json
import re
import tarfile
import zipfile
from dataclasses import replace

import noise_images
import numpy as np
import pytest
import range_server

from orchestrator.protocols.all_protocols import PROTOCOLS
from orchestrator.public_sets import catalogue, download
from orchestrator.public_sets.catalogue import SETS, HRFolder, PublicSet, RemoteFile
from orchestrator.public_sets.get import RECORD
from orchestrator.public_sets.pack import pack
from trainables.errors import UsageError


def archive_of(names, size=(200, 200)):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, noise_images.png(name, size))
    return buffer.getvalue()


@pytest.fixture
def home(monkeypatch):
    monkeypatch.setattr(download, "PAUSE", 0)
    with range_server.serve() as server:
        server.files["hr.zip"] = archive_of([f"hr/{number}.png" for number in range(12)])
        server.files["notes.bin"] = b"notes" * 1000
        digest = hashlib.sha256(server.files["notes.bin"]).hexdigest()
        public_set = PublicSet(
            name="tiny",
            content="twelve images of noise",
            size="1 MB",
            licence="CC0",
            home=server.url(""),
            benchmarks=("set5",),
            files=(
                RemoteFile(server.url("hr.zip"), "hr.zip", unpacked=True),
                RemoteFile(server.url("notes.bin"), "more/notes.bin", f"sha256:{digest}"),
            ),
            hr=(HRFolder("hr"),),
        )
        monkeypatch.setitem(catalogue.SETS, "tiny", public_set)
        yield server


def test_the_list_needs_no_network(rayscale, monkeypatch):
    monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: pytest.fail("the list asked a server"))
    code, out, _ = rayscale("data", "list")
    assert code == 0
    for public_set in SETS.values():
        assert public_set.name in out
        assert public_set.home in out
        assert public_set.licence in out
    code, out, _ = rayscale("data", "list", "--json")
    assert [entry["name"] for entry in json.loads(out)["sets"]] == list(SETS)


def test_every_benchmark_has_a_set_and_every_address_is_sound():
    assert {name for public_set in SETS.values() for name in public_set.benchmarks} == set(PROTOCOLS)
    for public_set in SETS.values():
        assert bool(public_set.files) != bool(public_set.manual)
        assert public_set.home.startswith("https://")
        assert len({file.path for file in public_set.files}) == len(public_set.files)
        for file in public_set.files:
            assert file.url.startswith("https://")
            assert re.fullmatch(r"|sha256:[0-9a-f]{64}|md5:[0-9a-f]{32}", file.digest)


def test_a_set_is_fetched_verified_and_recorded(rayscale, home, tmp_path):
    code, out, _ = rayscale("data", "get", "tiny", tmp_path / "out", "--yes")
    assert code == 0
    assert out.index("Licence: CC0") < out.index("hr.zip: ") < out.index("To fetch:") < out.index("; verified by")
    assert "hr.zip: 1.4 MB, no checksum published: verified by size" in out
    assert "more/notes.bin: 0.0 MB, sha256 " in out
    assert f"Next: rayscale benchmark set5 --data {tmp_path / 'out'}" in out
    assert len(list((tmp_path / "out" / "hr").iterdir())) == 12
    assert not (tmp_path / "out" / "hr.zip").exists()
    record = json.loads((tmp_path / "out" / RECORD).read_text())["files"]
    assert [(entry["path"], entry["unpacked_files"], entry["size"]) for entry in record] == [
        ("hr.zip", 12, len(home.files["hr.zip"])),
        ("more/notes.bin", 0, 5000),
    ]
    assert record[0]["sha256"] == hashlib.sha256(home.files["hr.zip"]).hexdigest()
    assert record[1]["verified"] == "SHA-256 as published"


def test_a_second_run_fetches_nothing(rayscale, home, tmp_path):
    rayscale("data", "get", "tiny", tmp_path, "--yes")
    home.asked = []
    code, out, _ = rayscale("data", "get", "tiny", tmp_path)
    assert code == 0
    assert "Nothing to fetch." in out
    assert home.asked == []


def test_a_file_that_was_removed_is_fetched_again(rayscale, home, tmp_path):
    rayscale("data", "get", "tiny", tmp_path, "--yes")
    (tmp_path / "more" / "notes.bin").unlink()
    home.asked = []
    rayscale("data", "get", "tiny", tmp_path, "--yes")
    assert [path for method, path, _ in home.asked if method == "GET"] == ["notes.bin"]


def test_nothing_starts_without_consent(rayscale, home, tmp_path):
    code, out, err = rayscale("data", "get", "tiny", tmp_path / "out")
    assert code == 2
    assert "Licence: CC0" in out
    assert "Nothing was fetched: add --yes to accept the licence and start" in err
    assert home.downloads == []
    assert not (tmp_path / "out").exists()


def test_an_interrupted_set_goes_on(rayscale, home, tmp_path):
    home.cut_after = [500_000] + [0] * 10
    code, _, err = rayscale("data", "get", "tiny", tmp_path, "--yes")
    assert code == 1
    assert "500,000 bytes are here" in err
    assert err.strip().endswith("the same command goes on from there.")
    home.cut_after, home.asked = [], []
    code, _, _ = rayscale("data", "get", "tiny", tmp_path, "--yes")
    assert code == 0
    assert home.downloads == ["bytes=500000-", ""]


def test_an_archive_whose_unpacking_was_interrupted_is_not_fetched_again(rayscale, home, tmp_path, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("orchestrator.public_sets.get.unpack", killed)
        assert rayscale("data", "get", "tiny", tmp_path, "--yes")[0] == 130
    assert (tmp_path / "hr.zip").exists()
    home.asked = []
    assert rayscale("data", "get", "tiny", tmp_path, "--yes")[0] == 0
    assert [path for method, path, _ in home.asked if method == "GET"] == ["notes.bin"]
    assert len(list((tmp_path / "hr").iterdir())) == 12


def test_a_users_own_file_is_not_overwritten(rayscale, home, tmp_path):
    (tmp_path / "hr.zip").write_bytes(b"mine")
    code, _, err = rayscale("data", "get", "tiny", tmp_path, "--yes")
    assert code == 2
    assert "hr.zip' is there and is another file than its home has" in err
    assert (tmp_path / "hr.zip").read_bytes() == b"mine"


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(("answer", "code", "fetched"), [("y\n", 0, True), ("n\n", 1, False), ("", 1, False)])
def test_a_terminal_is_asked(rayscale, home, tmp_path, monkeypatch, answer, code, fetched):
    monkeypatch.setattr("sys.stdin", Terminal(answer))
    assert rayscale("data", "get", "tiny", tmp_path / "out")[0] == code
    assert (tmp_path / "out" / "hr").exists() == fetched
    assert bool(home.downloads) == fetched


def test_some_files_alone(rayscale, home, tmp_path):
    code, _, _ = rayscale("data", "get", "tiny", tmp_path, "--only", "notes*", "--yes")
    assert code == 0
    assert not (tmp_path / "hr").exists()
    code, _, err = rayscale("data", "get", "tiny", tmp_path, "--only", "lr*", "--yes")
    assert code == 2
    assert "No file of 'tiny' matches lr*; it has hr.zip, notes.bin" in err


def test_straight_into_shards(rayscale, home, tmp_path):
    code, out, _ = rayscale("data", "get", "tiny", tmp_path, "--yes", "--shards")
    assert code == 0
    assert "validation" in out
    code, out, _ = rayscale("shards", "verify", tmp_path / "shards")
    assert code == 0
    assert "12 images in good order" in out


def volumes_of(names):
    """A TAR of volumes of three slices."""
    import nibabel

    buffer, rng = io.BytesIO(), np.random.default_rng(0)
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in names:
            volume = rng.integers(0, 800, (200, 192, 3)).astype(np.int16)
            data = nibabel.Nifti1Image(volume, np.eye(4)).to_bytes()
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def test_volumes_and_several_folders_have_shards_of_their_own(rayscale, home, tmp_path, monkeypatch):
    for kind in ("T1", "T2"):
        home.files[f"{kind}.tar"] = volumes_of([f"IXI00{number}-Guys-{kind}.nii" for number in range(3)])
    parts = [
        HRFolder("hr", "pictures"),
        *(HRFolder(f"IXI-{kind}", f"IXI-{kind}", volumes=True) for kind in ("T1", "T2")),
    ]
    files = [RemoteFile(home.url(f"{kind}.tar"), f"IXI-{kind}/{kind}.tar", unpacked=True) for kind in ("T1", "T2")]
    several = replace(SETS["tiny"], name="several", files=(SETS["tiny"].files[0], *files), hr=tuple(parts))
    monkeypatch.setitem(catalogue.SETS, "several", several)
    code, _, _ = rayscale("data", "get", "several", tmp_path, "--only", "hr.zip", "--only", "T2*", "--yes", "--shards")
    assert code == 0
    assert {place.name for place in (tmp_path / "shards").iterdir()} == {"pictures", "IXI-T2"}
    manifest = json.loads((tmp_path / "shards/IXI-T2/manifest.json").read_text())
    assert manifest["images"] == {"train": 6, "validation": 3}
    assert manifest["pixel_format"]["dtype"] == "int16"
    low, high = manifest["pixel_format"]["low"], manifest["pixel_format"]["high"]
    assert 0 <= low < high <= 800


def test_nothing_to_pack_is_said(home, tmp_path):
    with pytest.raises(UsageError, match="has no folder of HR images to pack; expected IXI-T1, IXI-T2, IXI-PD"):
        pack(SETS["ixi"], tmp_path)


def test_every_folder_of_hr_images_has_a_place_of_its_own():
    for public_set in SETS.values():
        assert len({folder.name for folder in public_set.hr}) == len(public_set.hr)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["fastmri", "OUT"],
            r"'fastmri' cannot be fetched by a command: fill in the form .* https://fastmri.med.nyu.edu/",
        ),
        (["realsr", "OUT"], "cannot be fetched by a command: open the link 'Version 3'"),
        (["sen2venus", "OUT", "--shards"], "'sen2venus' has no folder of HR images to pack"),
        (["div2", "OUT"], r"There is no data set 'div2'; known are .* Did you mean 'div2k'\?"),
        (["tiny", "s3://bucket/set"], "OUT must be a folder, found 's3://bucket/set'"),
        (["tiny", "FILE"], "OUT must be a folder, and '.*' is a file"),
    ],
)
def test_wrong_usage(rayscale, home, tmp_path, arguments, words):
    (tmp_path / "file").write_text("")
    places = {"OUT": tmp_path / "out", "FILE": tmp_path / "file"}
    code, _, err = rayscale("data", "get", *(places.get(word, word) for word in arguments), "--yes")
    assert code == 2
    assert re.search(words, err), err
    assert err.count("\n") == 1
    assert home.asked == []


def test_a_damaged_record(rayscale, home, tmp_path):
    (tmp_path / RECORD).write_text("{}")
    code, _, err = rayscale("data", "get", "tiny", tmp_path, "--yes")
    assert code == 1
    assert "is damaged: remove it" in err
