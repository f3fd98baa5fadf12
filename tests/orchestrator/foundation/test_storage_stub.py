"""What a bucket's server may answer: busy, broken, denied, archived; against a server that can be told to fail."""

import pickle
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest
import s3_stub
from botocore.exceptions import ClientError

from orchestrator.apply.evaluate_scenes import are_scenes
from orchestrator.archive.batch.listing import list_archive
from orchestrator.archive.batch.plan import PASSING
from orchestrator.foundation import s3 as objects
from orchestrator.foundation.file_listing import list_tree
from orchestrator.foundation.s3 import ATTEMPTS, ObjectError, end_uploads, error_class
from orchestrator.foundation.storage import Storage
from orchestrator.image_sets import set_files as image_sets
from orchestrator.image_sets.set_files import Skipped, list_images, read_image
from trainables.errors import RunError, StorageError, reason_of
from trainables.images.codec import encode_png

BUSY = [(503, "SlowDown"), (500, "InternalError"), (502, ""), (504, ""), (429, "TooManyRequests"), (429, ""), (0, "")]


@pytest.fixture
def server(monkeypatch):
    with s3_stub.serving(monkeypatch) as server:
        yield server


@pytest.fixture
def file(server):
    server.objects["home/file"] = b"content" * 100
    return Storage.at("s3://bucket/home/file")


@pytest.mark.parametrize(("status", "code"), BUSY)
def test_a_busy_server_is_asked_again(server, file, status, code):
    for method in ("GET", "PUT", "HEAD", "DELETE"):
        server.fail(method, "/home/file", status, code, times=ATTEMPTS - 1)
    assert file.read_bytes() == b"content" * 100
    file.write_bytes(b"new")
    assert server.objects["home/file"] == b"new"
    assert file.kind() == "file"
    file.delete()
    assert server.objects == {}
    assert {count for (_, key), count in server.requests.items() if key == "home/file"} == {ATTEMPTS}


def test_an_answer_that_breaks_off_is_read_again(server, file):
    server.fail("GET", "/home/file", 1, times=3)
    assert file.read_bytes() == b"content" * 100
    server.fail("GET", "/home/file", 1, times=99)
    with pytest.raises(ObjectError, match=r"'s3://bucket/home/file' cannot be read: .*after up to 8 tries"):
        file.read_bytes()


@pytest.mark.parametrize(("status", "code"), [(503, "SlowDown"), (429, "TooManyRequests")])
def test_a_server_that_stays_busy_is_given_up_with_the_object_s_name(server, file, status, code):
    server.fail("GET", "/home/file", status, code, times=99)
    with pytest.raises(ObjectError) as raised:
        file.read_bytes()
    assert server.requests["GET", "home/file"] == ATTEMPTS
    assert str(raised.value) == (
        f"'s3://bucket/home/file' cannot be read: the S3 server answered {code}, after up to 8 tries; "
        "run the same command again when the server is well."
    )
    assert error_class(raised.value)[0] == "transient"


def test_pyarrow_is_as_patient(server, file):
    server.fail("HEAD", "/home/file", 429, "TooManyRequests", times=1)
    server.fail("GET", "/home/file", 429, "TooManyRequests", times=1)
    server.fail("GET", "/home/file", 503, "SlowDown", times=3)  # its own number of tries is three
    with file.filesystem.open_input_file(file.path) as stream:
        assert stream.read() == b"content" * 100


@pytest.mark.parametrize(
    ("prepare", "kind", "words"),
    [
        (
            lambda server: server.storage_class.update({"home/file": "GLACIER"}),
            "archived",
            "it lies in GLACIER and must be restored before it can be read.",
        ),
        (
            lambda server: server.denied.add("home/file"),
            "denied",
            "the S3 server refuses access (AccessDenied); check what these credentials may do.",
        ),
        (
            lambda server: server.fail("GET", "/home/file", 400, "ExpiredToken"),
            "transient",
            "the S3 server no longer takes these credentials (ExpiredToken), after up to 8 tries; "
            "run the same command again when the server is well.",
        ),
        (lambda server: server.fail("GET", "/home/file", 418, "Teapot"), "error", "the S3 server answered Teapot."),
    ],
)
def test_errors_name_the_object_and_what_to_do(server, file, prepare, kind, words):
    prepare(server)
    with pytest.raises(ObjectError) as raised:
        file.read_bytes()
    assert str(raised.value) == f"'s3://bucket/home/file' cannot be read: {words}"
    assert (raised.value.kind, error_class(raised.value)[0]) == (kind, kind)
    assert reason_of(raised.value) == str(raised.value)
    assert isinstance(raised.value, RunError)
    assert isinstance(raised.value, OSError)
    again = pickle.loads(pickle.dumps(raised.value))
    assert (type(again), str(again), again.kind) == (ObjectError, str(raised.value), kind)


def test_what_is_missing_is_missing(server):
    place = Storage.at("s3://bucket/home")
    assert place.child("none").read_json() is None
    with pytest.raises(FileNotFoundError) as raised:
        place.child("none").read_bytes()
    assert raised.value.filename == "s3://bucket/home/none"
    assert (place.kind(), place.exists(), list(place.files())) == ("nothing", False, [])
    assert Storage.at("s3://other/x").kind() == "nothing"
    assert Storage.at("s3://bucket").kind() == "folder"


def test_a_denied_write_leaves_the_old_object_and_names_it(server, file):
    server.denied.add("home/file")
    with pytest.raises(ObjectError, match="'s3://bucket/home/file' cannot be written: the S3 server refuses access"):
        file.write_bytes(b"new")
    assert server.objects["home/file"] == b"content" * 100


def test_whole_files_never_begin_an_upload_in_parts(server):
    Storage.at("s3://bucket/home/large").write_bytes(bytes(30 * 2**20))
    assert len(server.objects["home/large"]) == 30 * 2**20
    assert server.requests["POST", "home/large"] == 0


def test_a_very_large_file_that_fails_leaves_no_upload(server, monkeypatch):
    monkeypatch.setattr(objects, "LARGEST_PUT", 1000)
    data = bytes(20 * 2**20)
    file = Storage.at("s3://bucket/home/huge")
    server.fail("PUT", "partNumber=2", 400, "Broken", times=99)
    with pytest.raises(ObjectError, match="'s3://bucket/home/huge' cannot be written: the S3 server answered Broken"):
        file.write_bytes(data)
    assert server.uploads == {}
    server.faults.clear()
    file.write_bytes(data)
    assert server.objects["home/huge"] == data


def test_uploads_of_dead_runs_are_ended(server):
    server.uploads.update({1: ("home/a", {}), 2: ("home", {}), 3: ("homework/b", {}), 4: ("home/new", {})})
    server.begun[4] = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    assert end_uploads("s3://bucket/home") == 1
    assert set(server.uploads) == {2, 3, 4}
    server.fail("GET", "uploads", 501, "NotImplemented")
    assert end_uploads("s3://bucket/home") == 0


def test_a_folder_is_removed_with_all_below_and_nothing_beside(server):
    server.objects.update({"home/a": b"", "home/d/b": b"", "home/": b"", "homework": b"", "home": b""})
    Storage.at("s3://bucket/home").delete_folder()
    assert set(server.objects) == {"homework", "home"}
    with pytest.raises(ValueError, match="is a whole bucket"):
        Storage.at("s3://bucket").delete_folder()
    assert set(server.objects) == {"homework", "home"}


def test_listing_is_as_that_of_pyarrow(server):
    server.objects.update({"home/a": b"12", "home/d/b": b"", "homework": b""})
    place = Storage.at("s3://bucket/home")
    found = place.filesystem.get_file_info(pa.fs.FileSelector(place.path, recursive=True))
    theirs = {
        info.path.removeprefix("bucket/home/"): (info.size, info.mtime_ns / 1e9)
        for info in found
        if info.type == pa.fs.FileType.File
    }
    assert {facts.path: (facts.size, facts.modified) for facts in place.files()} == theirs
    assert set(theirs) == {"a", "d/b"}


def test_odd_keys_are_used_or_named(server):
    odd = ["d/", "d//e.png", "../f.png", "d/./g.png", "x.txt", ".h/i.png", "/j.png"]
    keys = ["a.png", "new\tline.png", "a b&c<d>.png", *odd]
    server.objects.update({f"home/{key}": b"" for key in keys})
    listing = list_tree(Storage.at("s3://bucket/home"), {".png"})
    assert [facts.path for facts in listing.files] == ["a b&c<d>.png", "a.png", "new\tline.png"]
    assert {one.path for one in listing.refused} == {"d//e.png", "../f.png", "d/./g.png", "/j.png"}
    assert {one.reason.partition(":")[0] for one in listing.refused} == {
        "key with an empty part, '.' or '..', which no folder can hold"
    }
    assert listing.counts == {".txt": 1, "hidden": 1}


def test_keys_cannot_write_outside_the_outputs(server, tmp_path):
    server.objects.update({"home/a.tif": b"x", "home/../../b.tif": b"x", "home//etc/c.tif": b"x"})
    listing = list_archive("s3://bucket/home", str(tmp_path / "out"))
    assert {scene.name: scene.problem and scene.problem[0] for scene in listing.scenes} == {
        "a.tif": None,
        "../../b.tif": "unreadable",
        "/etc/c.tif": "unreadable",
    }


def test_a_bucket_that_cannot_be_listed_is_named(server):
    server.fail("GET", "list-type=2", 403, "AccessDenied", times=99)
    with pytest.raises(ObjectError, match="'s3://bucket/home' cannot be listed: the S3 server refuses access"):
        list(Storage.at("s3://bucket/home").files())


def test_a_place_that_takes_nothing_is_said_at_once(server):
    server.denied.add("home/write-check")
    with pytest.raises(StorageError, match=r"^Nothing can be written to 's3://bucket/home' \(.*refuses access.*\); "):
        Storage.at("s3://bucket/home").check_writable()
    server.denied.clear()
    Storage.at("s3://bucket/home").check_writable()
    assert server.objects == {}


def images_of(server, *names):
    server.objects.update({f"home/{name}": encode_png(np.full((24, 24, 3), 99, np.uint8)) for name in names})
    place = Storage.at("s3://bucket/home")
    return {facts.path: read_image(place, facts.path, 8) for facts in list_images(place).files}


def test_one_archived_or_denied_object_of_a_set_is_skipped_by_name(server):
    server.storage_class["home/b.png"] = "DEEP_ARCHIVE"
    server.denied.add("home/c.png")
    server.objects["home/e.png"] = b""
    found = images_of(server, "a.png", "b.png", "c.png", "d.png")
    assert {name: read.reason for name, read in found.items() if isinstance(read, Skipped)} == {
        "b.png": "'s3://bucket/home/b.png' cannot be read: it lies in DEEP_ARCHIVE and must be restored before it can "
        "be read.",
        "c.png": "'s3://bucket/home/c.png' cannot be read: the S3 server refuses access (AccessDenied); check what "
        "these credentials may do.",
        "e.png": found["e.png"].reason,
    }
    assert [name for name, read in found.items() if not isinstance(read, Skipped)] == ["a.png", "d.png"]


@pytest.mark.parametrize(("status", "code"), [(503, "SlowDown"), (400, "ExpiredToken")])
def test_a_server_that_fails_makes_no_set_smaller(server, status, code):
    server.fail("GET", "/home/b.png", status, code, times=99)
    with pytest.raises(ObjectError, match=r"s3://bucket/home/b\.png"):
        images_of(server, "a.png", "b.png")


def test_a_file_that_breaks_the_decoder_is_skipped_by_name(tmp_path, monkeypatch):
    (tmp_path / "a.png").write_bytes(b"x")
    (tmp_path / "b.png").symlink_to("gone")
    place = Storage.at(str(tmp_path))

    def broken(data, least_side):
        raise ZeroDivisionError("in the decoder\nand more")

    monkeypatch.setattr(image_sets, "decode", broken)
    assert read_image(place, "a.png", 8) == Skipped("a.png", "it cannot be read: ZeroDivisionError: in the decoder")
    assert read_image(place, "b.png", 8) == Skipped("b.png", "it cannot be read: No such file or directory")

    def crowded(self):
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(Storage, "read_bytes", crowded)
    with pytest.raises(OSError, match="Too many open files"):
        read_image(place, "a.png", 8)


@pytest.mark.parametrize("kind", ["GLACIER", "DEEP_ARCHIVE"])
def test_an_archived_scene_is_a_class_of_its_own_that_ends_no_run(server, file, kind):
    """It must not count as denied, ten of which in a row end a run of an archive."""
    server.storage_class["home/file"] = kind
    with pytest.raises(ClientError) as raised:
        objects.client().get_object(Bucket="bucket", Key="home/file")
    assert error_class(raised.value) == ("archived", f"it lies in {kind} and must be restored before it can be read")
    assert "archived" in PASSING


def test_a_denied_or_archived_scene_of_a_set_is_no_plain_image_and_stops_nothing(server):
    server.denied.add("home/a.tif")
    server.objects.update({"home/a.tif": b"x", "home/b.tif": b"no TIFF"})
    assert not are_scenes(Storage.at("s3://bucket/home"), ["a.tif", "b.tif"], asked=False)
