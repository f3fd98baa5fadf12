"""An S3 server in memory behind boto3's client: what the archive's code asks of one, and failures on demand."""

import io
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

from boto3.exceptions import S3UploadFailedError
from botocore.exceptions import ClientError


def refused(code, status, operation="GetObject"):
    """The answer of a server that refuses."""
    answer = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(answer, operation)


class FakeS3:
    """Objects of one server; ``now`` is its clock, ``fail`` maps an operation to errors that are raised in turn."""

    def __init__(self):
        self.objects, self.modified, self.uploads, self.fail, self.calls = {}, {}, [], {}, []
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def pass_time(self, **span):
        self.now += timedelta(**span)

    def _asked(self, operation, key=""):
        self.calls.append((operation, key))
        errors = self.fail.get(operation, [])
        if errors and (error := errors.pop(0)) is not None:
            raise error

    def put_object(self, Bucket, Key, Body, IfNoneMatch=None):
        self._asked("put_object", Key)
        if IfNoneMatch == "*" and (Bucket, Key) in self.objects:
            raise refused("PreconditionFailed", 412, "PutObject")
        self.objects[Bucket, Key] = bytes(Body)
        self.modified[Bucket, Key] = self.now

    def get_object(self, Bucket, Key, IfMatch=None):
        self._asked("get_object", Key)
        if (Bucket, Key) not in self.objects:
            raise refused("NoSuchKey", 404)
        if IfMatch is not None and IfMatch != self._etag(Bucket, Key):
            raise refused("PreconditionFailed", 412)
        return {"Body": io.BytesIO(self.objects[Bucket, Key])}

    def head_object(self, Bucket, Key):
        self._asked("head_object", Key)
        if (Bucket, Key) not in self.objects:
            raise refused("404", 404, "HeadObject")
        facts = {"ContentLength": len(self.objects[Bucket, Key]), "ETag": self._etag(Bucket, Key)}
        return facts | {"LastModified": self.modified[Bucket, Key]}

    def delete_object(self, Bucket, Key):
        self._asked("delete_object", Key)
        self.objects.pop((Bucket, Key), None)

    def upload_file(self, Filename, Bucket, Key, ExtraArgs, Config):
        try:
            with Path(Filename).open("rb") as file:
                self._asked("upload_file", Key)
                self.objects[Bucket, Key] = file.read()
                self.modified[Bucket, Key] = self.now
        except ClientError as error:
            raise S3UploadFailedError(f"Failed to upload {Filename} to {Bucket}/{Key}: {error}")  # noqa: B904 as boto3 does

    def create_multipart_upload(self, Bucket, Key):
        self.uploads.append({"Bucket": Bucket, "Key": Key, "UploadId": str(len(self.uploads)), "Initiated": self.now})

    def abort_multipart_upload(self, Bucket, Key, UploadId):
        self._asked("abort_multipart_upload", Key)
        self.uploads = [one for one in self.uploads if (one["Key"], one["UploadId"]) != (Key, UploadId)]

    def list_objects_v2(self, Bucket, Prefix, MaxKeys):
        self._asked("list_objects_v2", Prefix)
        found = [{"Key": key} for bucket, key in sorted(self.objects) if bucket == Bucket and key.startswith(Prefix)]
        return {"Contents": found[:MaxKeys]}

    def get_paginator(self, operation):
        return _Pages(self, operation)

    def keys(self, prefix=""):
        return sorted(key for _, key in self.objects if key.startswith(prefix))

    def _etag(self, bucket, key):
        return f'"{re.sub("[^0-9a-z]", "", str(hash(self.objects[bucket, key])))}"'


class _Pages:
    def __init__(self, server, operation):
        self.server, self.operation = server, operation

    def paginate(self, Bucket, Prefix):
        self.server._asked(self.operation, Prefix)
        if self.operation == "list_multipart_uploads":
            yield {"Uploads": [one for one in self.server.uploads if one["Key"].startswith(Prefix)]}
            yield {}
            return
        for bucket, key in sorted(self.server.objects):  # one a page
            if bucket == Bucket and key.startswith(Prefix):
                size, modified = len(self.server.objects[bucket, key]), self.server.modified[bucket, key]
                etag = self.server._etag(bucket, key)
                yield {"Contents": [{"Key": key, "Size": size, "LastModified": modified, "ETag": etag}]}
        yield {}


def install(monkeypatch):
    """Puts a server in the place of boto3's client, wherever the archive's code asks for one."""
    server = FakeS3()
    for module in ("foundation.buckets.s3", "archive.batch.commit", "archive.batch.worker", "archive.places.listing"):
        monkeypatch.setattr(f"orchestrator.{module}.client", lambda: server)
    return server
