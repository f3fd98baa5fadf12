"""One storage layer for a folder and for a bucket: whole files, plain errors."""

import os
import time
import uuid
from pathlib import Path
from types import SimpleNamespace

import boto3
import pytest
from botocore.exceptions import ClientError

from orchestrator.foundation.storage import Storage
from trainables.errors import StorageError


@pytest.fixture(params=["folder", pytest.param("bucket", marks=pytest.mark.s3)])
def place(request, tmp_path):
    base = str(tmp_path) if request.param == "folder" else request.getfixturevalue("s3_bucket")
    return Storage.at(f"{base}/{uuid.uuid4().hex}")


def test_bytes_come_back_and_are_replaced_whole(place):
    file = place.child("deep", "down", "file.bin")
    assert not file.exists()
    file.write_bytes(b"a long first content")
    file.write_bytes(b"\x00second")
    assert file.read_bytes() == b"\x00second"
    assert file.exists()
    with file.filesystem.open_input_file(file.path) as stream:  # as readers of shards open it
        assert stream.read() == b"\x00second"
    file.delete()
    assert not file.exists()
    with pytest.raises(FileNotFoundError):
        file.read_bytes()


def test_json_comes_back_and_half_a_file_is_none(place):
    value = {"λ": [1e-5, None, True], "name": "×4"}
    file = place.child("a.json")
    assert file.read_json() is None
    file.write_json(value)
    assert file.read_json() == value
    whole = file.read_bytes()
    assert "λ" in whole.decode()
    for cut in (0, 1, len(whole) // 2, len(whole) - 1, whole.index("×".encode()) + 1):
        file.write_bytes(whole[:cut])
        assert file.read_json() is None, whole[:cut]


def test_files_are_sorted_without_hidden_ones(place):
    assert list(place.files()) == []
    for name in ("b/2.png", "b/10.png", "a.png", "c/d/e.png", ".hidden", "b/.a.png.tmp", ".git/config"):
        place.child(name).write_bytes(name.encode())
    found = list(place.files())
    assert [facts.path for facts in found] == ["a.png", "b/10.png", "b/2.png", "c/d/e.png"]
    assert [facts.size for facts in found] == [5, 8, 7, 9]
    assert all(abs(facts.modified - time.time()) < 600 for facts in found)
    assert [facts.path for facts in place.child("b").files()] == ["10.png", "2.png"]


def test_writable_and_readable_places_pass_and_stay_clean(place):
    place.check_writable()
    place.child("x").write_bytes(b"1")
    place.check_readable()
    assert [facts.path for facts in place.files()] == ["x"]


def test_failed_write_keeps_the_old_file_and_leaves_no_other(tmp_path, monkeypatch):
    file = Storage.at(str(tmp_path)).child("file")
    file.write_bytes(b"old")

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        file.write_bytes(b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert file.read_bytes() == b"old"


def test_write_onto_a_folder_leaves_no_temporary(tmp_path):
    (tmp_path / "taken" / "inside").mkdir(parents=True)
    with pytest.raises(OSError):
        Storage.at(str(tmp_path)).child("taken").write_bytes(b"x")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


@pytest.mark.parametrize(("mask", "file_mode", "folder_mode"), [(0o077, 0o600, 0o700), (0o022, 0o644, 0o755)])
def test_modes_are_those_of_the_umask(tmp_path, mask, file_mode, folder_mode):
    """Crops of medical images must not lie open where their owner said so, nor be closed where they did not."""
    before = os.umask(mask)
    try:
        file = Storage.at(str(tmp_path)).child("deep", "er", "file")
        file.write_bytes(b"x")
        file.write_bytes(b"replaced")
    finally:
        os.umask(before)
    modes = [path.stat().st_mode & 0o777 for path in (Path(file.path), tmp_path / "deep", tmp_path / "deep" / "er")]
    assert modes == [file_mode, folder_mode, folder_mode]


def test_names_as_long_as_they_can_be_are_written(tmp_path):
    file = Storage.at(str(tmp_path)).child("x" * 251 + ".png")
    file.write_bytes(b"x")
    assert file.read_bytes() == b"x"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("content", [b"[" * 100_000, b'{"a": ' + b"9" * 5000 + b"}", b"\xff\xfe", b"\x00" * 10])
def test_what_is_no_json_is_none(tmp_path, content):
    file = Storage.at(str(tmp_path)).child("x.json")
    file.write_bytes(content)
    assert file.read_json() is None


def test_half_a_surrogate_pair_comes_back_from_json(tmp_path):
    file = Storage.at(str(tmp_path)).child("x.json")
    file.write_json({"name": "caf\udce9 λ"})
    assert file.read_bytes().decode() == '{\n  "name": "caf\\udce9 λ"\n}'
    assert file.read_json() == {"name": "caf\udce9 λ"}


def test_kinds_of_places(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("folder")
    (tmp_path / "broken").symlink_to("gone")
    os.mkfifo(tmp_path / "pipe")
    place = Storage.at(str(tmp_path))
    kinds = {name: place.child(name).kind() for name in ("folder", "file", "link", "broken", "pipe", "gone")}
    nothing = dict.fromkeys(("broken", "pipe", "gone"), "nothing")
    assert kinds == {"folder": "folder", "file": "file", "link": "folder"} | nothing


def test_removing_a_folder_never_follows_links(tmp_path):
    store, folder = tmp_path / "store", tmp_path / "folder"
    store.mkdir()
    folder.mkdir()
    (store / "kept").touch()
    (folder / "inside").symlink_to(store)
    (tmp_path / "link").symlink_to(store)
    place = Storage.at(str(tmp_path))
    for name in ("folder", "link", "nothing here"):
        place.child(name).delete_folder()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["store"]
    assert (store / "kept").exists()


@pytest.mark.parametrize("uri", ["a\0b", "s3://bucket/a\0b", "caf\udce9"])
def test_locations_that_are_no_text_are_refused(uri):
    with pytest.raises(StorageError, match=r"must be UTF-8 text, found '.*'; rename it"):
        Storage.at(uri)


@pytest.mark.parametrize(
    ("base", "path", "meant"),
    [
        ("/data", "tiles", "/data/tiles"),
        ("/data", "/tiles", "/tiles"),
        ("/data", "~/tiles", str(Path("~/tiles").expanduser())),
        ("/data", "s3://bucket/tiles/", "s3://bucket/tiles"),
        ("s3://bucket/data", "tiles", "s3://bucket/data/tiles"),
        ("s3://bucket/data", "/tiles", "/tiles"),
        ("s3://bucket/data", "s3://other/tiles", "s3://other/tiles"),
        ("S3://bucket/data", "tiles", "s3://bucket/data/tiles"),
    ],
)
def test_resolve(base, path, meant):
    assert Storage.at(base).resolve(path).uri == meant


def test_relative_folders_become_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Storage.at("runs") == Storage.at("./runs") == Storage(str(tmp_path / "runs"))


@pytest.mark.parametrize(
    ("uri", "way"),
    [
        (
            "gs://bucket/x",
            r"write s3://bucket/x with AWS_ENDPOINT_URL=https://storage\.googleapis\.com and an HMAC key",
        ),
        (
            "abfs://box@me.dfs.core.windows.net/x",
            "Azure Blob Storage has no S3 interface: mount the container as a folder",
        ),
        ("az://box/x", "Azure Blob Storage has no S3 interface"),
    ],
)
def test_other_clouds_are_refused_with_the_way_out(uri, way):
    with pytest.raises(StorageError, match=way):
        Storage.at(uri)


@pytest.mark.parametrize("uri", ["file:///tmp", "hdfs://host/x"])
def test_other_schemes_are_refused(uri):
    with pytest.raises(StorageError, match=rf"must be a folder or s3://bucket/prefix, found '{uri}'"):
        Storage.at(uri)


@pytest.mark.parametrize("uri", ["s3://", "s3:///x", "s3:bucket"])
def test_s3_without_a_bucket_is_refused(uri):
    with pytest.raises(StorageError, match="looks like s3://bucket/prefix"):
        Storage.at(uri)


@pytest.mark.parametrize("below", ["a file", "a file/deeper", "/proc"])
def test_places_that_cannot_be_written(tmp_path, below):
    (tmp_path / "a file").write_text("in the way")
    with pytest.raises(
        StorageError, match=r"^Nothing can be written to '[^']*' \([A-Z][a-z ]+\); choose another storage"
    ):
        Storage.at(str(tmp_path)).resolve(below).child("home").check_writable()


@pytest.mark.parametrize("name", ["missing", "file"])
def test_only_a_folder_can_be_read_from(tmp_path, name):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(StorageError, match=f"There is no folder '{tmp_path / name}'"):
        Storage.at(str(tmp_path / name)).check_readable()


def test_json_below_a_file_is_none(tmp_path):
    (tmp_path / "file").write_text("{}")
    assert Storage.at(str(tmp_path / "file")).child("x.json").read_json() is None


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"AWS_ENDPOINT_URL": "localhost:9000"}, "must look like http://host:port, found 'localhost:9000'"),
        ({"AWS_ENDPOINT_URL": "http://localhost:port"}, "`http://localhost:port` was not a valid URI"),
        ({"AWS_PROFILE": "nobody"}, r"profile \(nobody\) could not be found"),
        ({"AWS_SECRET_ACCESS_KEY": ""}, "(?i)partial credentials|No S3 credentials"),
    ],
)
def test_wrong_s3_settings_are_named(monkeypatch, settings, words):
    keys = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_DEFAULT_REGION": "us-east-1"}
    for name, value in (keys | settings).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(StorageError, match=words):
        Storage.at("s3://a-bucket/x").check_readable()


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("404", "There is no bucket '[a-z0-9]*-b' on this S3 server"),
        ("NoSuchBucket", "There is no bucket '[a-z0-9]*-b' on this S3 server"),
        ("403", r"refuses these credentials for bucket '[a-z0-9]*-b' \(403\)"),
        ("AccessDenied", r"refuses these credentials for bucket '[a-z0-9]*-b' \(AccessDenied\)"),
        ("InvalidAccessKeyId", "refuses these credentials"),
        ("SignatureDoesNotMatch", "refuses these credentials"),
        ("500", "s3://500-b cannot be used: the S3 server answered 500"),
    ],
)
def test_a_server_that_refuses_a_bucket_says_why(monkeypatch, code, words):
    keys = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_DEFAULT_REGION": "us-east-1"}
    for name, value in (keys | {"AWS_ENDPOINT_URL": "https://localhost:1"}).items():
        monkeypatch.setenv(name, value)

    def refuse(*_, **__):
        raise ClientError({"Error": {"Code": code}}, "HeadBucket")

    client = SimpleNamespace(head_bucket=refuse)
    client.meta = SimpleNamespace(endpoint_url="https://localhost:1")
    session = SimpleNamespace(get_credentials=lambda: "some", client=lambda *_, **__: client, region_name="here")
    monkeypatch.setattr(boto3, "Session", lambda: session)
    with pytest.raises(StorageError, match=words):
        Storage.at(f"s3://{code.lower()}-b/x").check_readable()


def test_a_name_that_no_bucket_can_have(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    with pytest.raises(StorageError, match="'my_bucket!' cannot be the name of a bucket"):
        Storage.at("s3://my_bucket!/x").check_readable()


@pytest.mark.parametrize(
    ("name", "words"), [("nothing", "There is no file or folder"), ("pipe", "is a device, pipe or")]
)
def test_what_is_neither_file_nor_folder_is_no_input(tmp_path, name, words):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(StorageError, match=words):
        Storage(str(tmp_path / name)).check_found()
    assert Storage(str(tmp_path)).check_found() == "folder"


@pytest.mark.parametrize("uri", ["", " "])
def test_an_empty_location_is_not_the_folder_one_stands_in(uri):
    with pytest.raises(StorageError, match="A location is empty"):
        Storage.at(uri)
