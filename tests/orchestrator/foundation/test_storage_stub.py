"""What a bucket's server may answer: busy, broken, denied, archived; against a server that can be told to fail."""

import pickle
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest
import s3_stub
from botocore.exceptions import ClientError

from orchestrator.apply.evaluation.evaluate_scenes import are_scenes
from orchestrator.archive.batch.plan import PASSING
from orchestrator.archive.places.listing import list_archive
from orchestrator.foundation.buckets import s3 as objects
from orchestrator.foundation.buckets.s3 import ATTEMPTS, ObjectError, end_uploads, error_class
from orchestrator.foundation.file_listing import list_tree
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


def through_ray(file):
    """A file's content as Ray and the readers of shards get it."""
    with file.filesystem.open_input_file(file.path) as stream:
        return stream.read()


@pytest.mark.parametrize(("status", "code"), BUSY)
def test_a_busy_server_is_asked_again_for_ray_too(server, file, status, code):
    for method in ("HEAD", "GET"):
        server.fail(method, "/home/file", status, code, times=ATTEMPTS - 1)
    assert through_ray(file) == b"content" * 100
    assert (server.requests["HEAD", "home/file"], server.requests["GET", "home/file"]) == (ATTEMPTS, ATTEMPTS)


def test_what_ray_cannot_read_or_write_is_named(server, file):
    server.fail("GET", "/home/file", 429, "TooManyRequests", times=99)
    with pytest.raises(
        ObjectError, match=r"'s3://bucket/home/file' cannot be read: .* answered TooManyRequests, after"
    ):
        through_ray(file)
    server.denied.add("home/new")
    new = file.filesystem.open_output_stream("bucket/home/new")
    new.write(b"x")
    with pytest.raises(ObjectError, match="'s3://bucket/home/new' cannot be written: the S3 server refuses access"):
        new.close()
    with pytest.raises(FileNotFoundError, match="there is no object 's3://bucket/home/none'"):
        file.filesystem.open_input_file("bucket/home/none")


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


def test_ray_sees_what_pyarrow_s_own_client_sees(server):
    server.objects.update({"home/a": b"12", "home/d/b": b"", "home/d/e/c": b"3", "homework": b""})
    place = Storage.at("s3://bucket/home")
    theirs = pa.fs.S3FileSystem(endpoint_override=server.url.removeprefix("http://"), scheme="http", region="us-east-1")

    def seen(filesystem, asked):
        found = filesystem.get_file_info(asked)
        return sorted(
            (info.path, info.type.name, info.size, info.mtime_ns)
            for info in found
            if info.type != pa.fs.FileType.Directory
        )

    whole = pa.fs.FileSelector(place.path, recursive=True)
    paths = ["bucket/home/a", "bucket/home/none", "bucket/home/d", "bucket"]
    for asked in (whole, paths, pa.fs.FileSelector("bucket/home/none", allow_not_found=True)):
        assert seen(place.filesystem, asked) == seen(theirs, asked)
    assert [facts.path for facts in place.files()] == ["a", "d/b", "d/e/c"]
    folders = [info.path for info in place.filesystem.get_file_info(whole) if info.type == pa.fs.FileType.Directory]
    assert folders == ["bucket/home/d", "bucket/home/d/e"]
    level = [info.path for info in place.filesystem.get_file_info(pa.fs.FileSelector("bucket/home"))]
    assert sorted(level) == ["bucket/home/a", "bucket/home/d"]
    with pytest.raises(FileNotFoundError, match="there is no folder 's3://bucket/home/none'"):
        place.filesystem.get_file_info(pa.fs.FileSelector("bucket/home/none"))


def test_ray_s_checkpoints_come_and_go(server, tmp_path):
    """As Ray Train and Tune use a file system: a pickled one, whole folders, streams."""
    (tmp_path / "in" / "deep").mkdir(parents=True)
    (tmp_path / "in" / "deep" / "large").write_bytes(np.random.default_rng(0).bytes(20 * 2**20))
    (tmp_path / "in" / "small").write_bytes(b"1")
    bucket = pickle.loads(pickle.dumps(Storage.at("s3://bucket/home").filesystem))
    assert bucket == Storage.at("s3://bucket/other").filesystem
    bucket.create_dir("bucket/home/run")
    pa.fs.copy_files(str(tmp_path / "in"), "bucket/home/run", destination_filesystem=bucket)
    assert set(server.objects) == {"home/run/deep/large", "home/run/small"}
    assert server.uploads == {}
    pa.fs.copy_files("bucket/home/run", str(tmp_path / "out"), source_filesystem=bucket)
    assert (tmp_path / "out" / "deep" / "large").read_bytes() == (tmp_path / "in" / "deep" / "large").read_bytes()
    with bucket.open_input_file("bucket/home/run/deep/large") as stream:
        stream.seek(7)
        assert (
            stream.read(3) + stream.read_at(2, 1)
            == server.objects["home/run/deep/large"][7:10] + (server.objects["home/run/deep/large"][1:3])
        )
        assert stream.size() == 20 * 2**20
    bucket.delete_file("bucket/home/run/small")
    bucket.delete_dir("bucket/home/run")
    assert server.objects == {}
    with pytest.raises(ValueError, match="is a whole bucket"):
        bucket.delete_dir_contents("bucket")


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


CONFIGURED = {
    "endpoint of the profile": ("[profile p]\nendpoint_url = {url}\n", {}),
    "endpoint of a service": ("[profile p]\nservices = s\n[services s]\ns3 =\n  endpoint_url = {url}\n", {}),
    "addressing style": ("[profile p]\nendpoint_url = {url}\ns3 =\n  addressing_style = path\n", {}),
    "proxy": ("[profile p]\nendpoint_url = http://s3.nowhere.invalid\n", {"HTTP_PROXY": "{url}"}),
    "keys of a program": ("[profile p]\nendpoint_url = {url}\ncredential_process = {program}\n", {"no keys": ""}),
}


@pytest.mark.parametrize("where", CONFIGURED)
def test_what_the_aws_configuration_says_holds_for_the_check_for_whole_files_and_for_ray(
    server, file, monkeypatch, tmp_path, where
):
    content, variables = CONFIGURED[where]
    program = tmp_path / "keys"
    program.write_text('#!/bin/sh\necho \'{"Version": 1, "AccessKeyId": "a", "SecretAccessKey": "b"}\'\n')
    program.chmod(0o755)
    (tmp_path / "config").write_text(content.format(url=server.url, program=program))
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_PROFILE", "p")
    for name, value in variables.items():
        if name == "no keys":
            monkeypatch.delenv("AWS_ACCESS_KEY_ID")
            monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        else:
            monkeypatch.setenv(name, value.format(url=server.url))
    objects.forget_client()
    Storage.at("s3://bucket/home").check_writable()
    assert file.read_bytes() == through_ray(file) == b"content" * 100
    assert [facts.path for facts in Storage.at("s3://bucket/home").files()] == ["file"]


@pytest.mark.parametrize("endpoint", ["ftp://host", "http://user:secret@host:9000"])
def test_an_endpoint_of_the_configuration_file_is_checked_too(server, monkeypatch, tmp_path, endpoint):
    (tmp_path / "config").write_text(f"[default]\nendpoint_url = {endpoint}\n")
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    objects.forget_client()
    for use in (lambda: Storage.at("s3://bucket").check_readable(), lambda: Storage.at("s3://bucket/x").read_bytes()):
        with pytest.raises(StorageError, match="endpoint_url in the AWS configuration must") as refused:
            use()
        assert "secret" not in str(refused.value)


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
