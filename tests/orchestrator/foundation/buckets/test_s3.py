"""What a bucket or a disk answers, in the ledger's classes and with the object's name."""

import errno

import pytest
from boto3.exceptions import S3UploadFailedError
from botocore import exceptions
from fake_s3 import install, refused

from orchestrator.archive.batch import commit
from orchestrator.foundation.buckets import s3 as objects
from orchestrator.foundation.buckets.s3 import (
    ObjectError,
    delete_object,
    error_class,
    objects_below,
    open_object,
    read_object,
    write_object,
)
from orchestrator.foundation.storage import Storage
from trainables.errors import StorageError, UsageError


def wrapped(error):
    """As boto3's transfers raise it."""
    try:
        try:
            raise error
        except Exception:
            raise S3UploadFailedError(f"Failed to upload: {error}")  # noqa: B904
    except S3UploadFailedError as failed:
        return failed


CLASSES = [
    *((refused(code, 403), "denied") for code in ("AccessDenied", "InvalidAccessKeyId", "KMS.Disabled", "")),
    (refused("InvalidToken", 400), "denied"),
    *((refused("SlowDown", status), "transient") for status in (503, 429, 400)),
    *((refused("Anything", status), "transient") for status in (500, 502, 504, 429)),
    *((refused(code, 400), "transient") for code in ("RequestTimeout", "IncompleteBody", "BadDigest", "ExpiredToken")),
    (refused("OperationAborted", 409), "transient"),
    (refused("PreconditionFailed", 412), "transient"),
    (refused("NoSuchUpload", 404), "transient"),
    (refused("NoSuchKey", 404), "unreadable"),
    (refused("404", 404), "unreadable"),
    (refused("InvalidObjectState", 403), "archived"),
    (refused("QuotaExceeded", 403), "disk"),
    (refused("XMinioStorageFull", 507), "disk"),
    (refused("InvalidRequest", 400), "error"),
    (refused("EntityTooLarge", 400), "error"),
    (wrapped(refused("AccessDenied", 403)), "denied"),
    (wrapped(refused("SlowDown", 503)), "transient"),
    (exceptions.NoCredentialsError(), "denied"),
    (exceptions.CredentialRetrievalError(provider="x", error_msg="y"), "denied"),
    (exceptions.EndpointConnectionError(endpoint_url="x"), "transient"),
    (exceptions.ConnectTimeoutError(endpoint_url="x"), "transient"),
    (exceptions.ReadTimeoutError(endpoint_url="x"), "transient"),
    (exceptions.ConnectionClosedError(endpoint_url="x"), "transient"),
    (exceptions.ResponseStreamingError(error="x"), "transient"),
    (exceptions.IncompleteReadError(actual_bytes=1, expected_bytes=2), "transient"),
    (wrapped(exceptions.EndpointConnectionError(endpoint_url="x")), "transient"),
    (OSError(errno.ENOSPC, "No space left on device"), "disk"),
    (OSError(errno.EDQUOT, "Disk quota exceeded"), "disk"),
    (OSError(errno.EFBIG, "File too large"), "disk"),
    (OSError(errno.EROFS, "Read-only file system"), "denied"),
    (PermissionError(errno.EACCES, "Permission denied"), "denied"),
    (OSError(errno.EIO, "Input/output error"), "transient"),
    (OSError(errno.ESTALE, "Stale file handle"), "transient"),
    (TimeoutError(errno.ETIMEDOUT, "Connection timed out"), "transient"),
    (FileNotFoundError(errno.ENOENT, "No such file or directory"), "unreadable"),
    (OSError(errno.ENAMETOOLONG, "File name too long"), "error"),
    (OSError("odd"), "error"),
    (StorageError("a workspace is a link"), "denied"),
    (UsageError("a card makes no sense"), "error"),
    (RecursionError("deep"), "error"),
    (KeyError("x"), "error"),
]


@pytest.mark.parametrize(("error", "kind"), CLASSES, ids=lambda value: str(value)[:40])
def test_every_failure_has_a_class(error, kind):
    found, reason = error_class(error)
    assert found == kind
    assert reason
    assert "\n" not in reason


def test_reasons_are_for_people():
    assert error_class(OSError(errno.ENOSPC, "x"))[1] == "the disk is full"
    assert error_class(OSError(errno.EIO, "Input/output error"))[1] == "Input/output error"
    assert error_class(ZeroDivisionError("division by zero"))[1] == "ZeroDivisionError: division by zero"
    assert error_class(UsageError("One sentence."))[1] == "One sentence."


@pytest.fixture
def server(monkeypatch):
    return install(monkeypatch)


def test_objects_are_written_read_listed_and_removed(server):
    for name in ("b", "deep/a"):
        write_object(f"s3://bucket/out/{name}", name.encode())
    server.put_object("bucket", "outer/c", b"")
    assert [(facts.path, facts.size) for facts in objects_below("s3://bucket/out")] == [("b", 1), ("deep/a", 6)]
    assert [facts.path for facts in objects_below("s3://bucket/out", "de")] == ["deep/a"]
    with open_object("s3://bucket/out/b") as stream:
        assert stream.read() == b"b"
    for _ in range(2):
        delete_object("s3://bucket/out/b")
    assert server.keys() == ["out/deep/a", "outer/c"]


@pytest.mark.parametrize(
    ("operation", "function"),
    [
        ("get_object", read_object),
        ("get_object", open_object),
        ("put_object", lambda uri: write_object(uri, b"")),
        ("delete_object", delete_object),
        ("list_objects_v2", lambda uri: list(objects_below(uri))),
    ],
)
def test_what_is_refused_names_bucket_and_key(server, operation, function):
    server.put_object("bucket", "deep/key", b"")
    server.fail[operation] = [refused("AccessDenied", 403)]
    with pytest.raises(ObjectError, match=r"'s3://bucket/deep/key' cannot be .*refuses access") as error:
        function("s3://bucket/deep/key")
    assert error_class(error.value)[0] == "denied"


class TestCommit:
    """Outputs that go to a bucket."""

    @pytest.fixture
    def made(self, tmp_path):
        path = tmp_path / "made.tif"
        path.write_bytes(b"pixels")
        return path

    def test_it_is_uploaded_and_gone_here(self, server, made):
        commit.publish(made, Storage("s3://bucket/out/a.tif"), "image/tiff", Storage("s3://bucket/out"))
        assert (server.objects["bucket", "out/a.tif"], made.exists()) == (b"pixels", False)

    def test_another_size_than_was_sent_is_an_error(self, server, made):
        real = server.upload_file

        def cut(Filename, Bucket, Key, **options):
            real(Filename, Bucket, Key, **options)
            server.objects[Bucket, Key] = b"pix"

        server.upload_file = cut
        with pytest.raises(exceptions.ClientError, match="3 bytes of 6"):
            commit.publish(made, Storage("s3://bucket/out/a.tif"), "image/tiff")
        assert made.exists()

    def test_one_that_is_refused_stays_here(self, server, made):
        server.fail["upload_file"] = [refused("SlowDown", 503)]
        with pytest.raises(S3UploadFailedError):
            commit.publish(made, Storage("s3://bucket/out/a.tif"), "image/tiff")
        assert (server.keys(), made.exists()) == ([], True)

    @pytest.mark.parametrize("key", ["_parts/a.tif", "_ledger/a.tif", "../a.tif"])
    def test_it_goes_nowhere_but_below_the_outputs(self, server, made, key):
        with pytest.raises(commit.SceneError):
            commit.publish(made, Storage(f"s3://bucket/out/{key}"), "image/tiff", Storage("s3://bucket/out"))
        assert server.calls == []


class TestAbandonedUploads:
    """Uploads that a killed run began; those of other programs are not ours."""

    OUT = Storage("s3://bucket/out")
    OUTPUTS = ("s3://bucket/out/a.tif", "s3://bucket/out/deep/b.tif")

    def begin(self, server, *keys):
        for key in keys:
            server.create_multipart_upload("bucket", key)

    def left(self, server):
        return sorted(upload["Key"] for upload in server.uploads)

    def test_those_of_outputs_that_the_ledger_knows_are_ended(self, server):
        self.begin(
            server, "out/a.tif", "out/a.tif.json", "out/deep/b.tif", "out/mine.zip", "out/a.tif.bak", "outer/a.tif"
        )
        assert commit.abort_uploads(self.OUT, True, self.OUTPUTS) == 3
        assert self.left(server) == ["out/a.tif.bak", "out/mine.zip", "outer/a.tif"]

    def test_while_another_run_may_be_alive_only_those_that_are_a_day_old(self, server, monkeypatch):
        class Clock:
            @staticmethod
            def now(zone):
                return server.now

        monkeypatch.setattr(objects, "datetime", Clock)
        self.begin(server, "out/a.tif")
        server.pass_time(hours=23)
        self.begin(server, "out/deep/b.tif")
        assert commit.abort_uploads(self.OUT, False, self.OUTPUTS) == 0
        server.pass_time(hours=2)
        assert commit.abort_uploads(self.OUT, False, self.OUTPUTS) == 1
        assert self.left(server) == ["out/deep/b.tif"]
        assert commit.abort_uploads(self.OUT, True, self.OUTPUTS) == 1

    def test_a_server_that_cannot_list_or_end_them_stops_nothing(self, server):
        self.begin(server, "out/a.tif")
        server.fail = {"list_multipart_uploads": [refused("NotImplemented", 501)]}
        assert commit.abort_uploads(self.OUT, True, self.OUTPUTS) == 0
        server.fail = {"abort_multipart_upload": [refused("NoSuchUpload", 404)]}
        commit.abort_uploads(self.OUT, True, self.OUTPUTS)
        assert self.left(server) == ["out/a.tif"]
