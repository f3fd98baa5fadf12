"""A small S3 server in this process, which can be told to fail: for unit tests of what a real one rarely does."""

import hashlib
import threading
from collections import Counter
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

BUCKET = "bucket"


class StubServer(ThreadingHTTPServer):
    """Objects in a dictionary, and faults to answer with first.

    Attributes:
        objects: Content by key.
        storage_class: Of keys that are not STANDARD.
        faults: (method, part of the path and query, status, code, times); each answers so often in place of the real
            answer. The status 0 closes the connection without an answer, 1 after half of the content.
        requests: How often each method was called, by (method, key).
        uploads: Multipart uploads that were begun and neither completed nor aborted, by their number.
        begun: When, where it was not in 2020, by the same number.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.objects, self.storage_class, self.faults = {}, {}, []
        self.requests, self.uploads, self.begun, self.denied = Counter(), {}, {}, set()
        self.lock = threading.Lock()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"

    def fail(self, method, part, status, code="", times=1):
        self.faults.append([method, part, status, code, times])

    def fault(self, method, path):
        with self.lock:
            for one in self.faults:
                if one[0] == method and one[1] in path and one[4] > 0:
                    one[4] -= 1
                    return one[2], one[3]
        return None


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        self._answer("GET")

    def do_HEAD(self):
        self._answer("HEAD")

    def do_PUT(self):
        self._answer("PUT")

    def do_POST(self):
        self._answer("POST")

    def do_DELETE(self):
        self._answer("DELETE")

    def _answer(self, method):
        server, parts = self.server, urlsplit(self.path)
        bucket, _, key = unquote(parts.path).lstrip("/").partition("/")
        query = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        body = self._body()
        server.requests[method, key] += 1
        fault = server.fault(method, self.path)
        if fault and fault[0] == 0:
            self.close_connection = True
        elif fault and fault[0] > 1:
            self._error(*fault)
        elif bucket != BUCKET:
            self._error(404, "NoSuchBucket")
        elif key in server.denied and method in ("GET", "HEAD", "PUT"):
            self._error(403, "AccessDenied")
        elif not key:
            self._bucket(method, query)
        else:
            getattr(self, f"_{method.lower()}")(key, query, body, half=bool(fault))

    def _body(self):
        if self.headers.get("Expect", "").lower() == "100-continue":
            self.send_response_only(100)
            self.end_headers()
        data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if "aws-chunked" not in self.headers.get("Content-Encoding", "") and not self.headers.get(
            "x-amz-content-sha256", ""
        ).startswith("STREAMING"):
            return data
        content = b""
        while data:
            head, _, data = data.partition(b"\r\n")
            size = int(head.partition(b";")[0], 16)
            if size == 0:
                break
            content, data = content + data[:size], data[size + 2 :]
        return content

    def _send(self, status, data=b"", half=False, **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", headers.get("length", str(len(data))))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data[: len(data) // 2] if half else data)
        if half:
            self.close_connection = True

    def _error(self, status, code, extra=""):
        self._send(status, f"<Error><Code>{code}</Code><Message>no</Message>{extra}</Error>".encode())

    def _bucket(self, method, query):
        server = self.server
        if method == "HEAD":
            self._send(200, x_amz_bucket_region="us-east-1")
        elif "uploads" in query:
            entries = "".join(
                f"<Upload><Key>{escape(key)}</Key><UploadId>{number}</UploadId>"
                f"<Initiated>{server.begun.get(number, '2020-01-01T00:00:00.000Z')}</Initiated></Upload>"
                for number, (key, _) in server.uploads.items()
                if key.startswith(query.get("prefix", ""))
            )
            self._send(200, f"<ListMultipartUploadsResult>{entries}</ListMultipartUploadsResult>".encode())
        else:
            prefix, most = query.get("prefix", ""), int(query.get("max-keys", 1000))
            keys = sorted(key for key in server.objects if key.startswith(prefix))[:most]
            entries = "".join(self._entry(key) for key in keys)
            self._send(200, f"<ListBucketResult><KeyCount>{len(keys)}</KeyCount>{entries}</ListBucketResult>".encode())

    def _entry(self, key):
        data = self.server.objects[key]
        kind = self.server.storage_class.get(key, "STANDARD")
        return (
            f"<Contents><Key>{escape(key)}</Key><LastModified>2024-05-06T07:08:09.123Z</LastModified>"
            f"<ETag>&quot;{hashlib.md5(data).hexdigest()}&quot;</ETag><Size>{len(data)}</Size>"
            f"<StorageClass>{kind}</StorageClass></Contents>"
        )

    def _facts(self, key):
        return {
            "ETag": f'"{hashlib.md5(self.server.objects[key]).hexdigest()}"',
            "Last_Modified": "Mon, 06 May 2024 07:08:09 GMT",
        }

    def _head(self, key, query, body, half):
        if key not in self.server.objects:
            self._error(404, "NoSuchKey")
        else:
            self._send(200, length=str(len(self.server.objects[key])), **self._facts(key))

    def _get(self, key, query, body, half):
        data, kind = self.server.objects.get(key), self.server.storage_class.get(key)
        if data is None:
            self._error(404, "NoSuchKey")
        elif kind:
            self._error(403, "InvalidObjectState", f"<StorageClass>{kind}</StorageClass>")
        elif span := self.headers.get("Range"):
            first, _, last = span.removeprefix("bytes=").partition("-")
            part = data[int(first) : int(last) + 1 if last else None]
            where = f"bytes {first}-{int(first) + len(part) - 1}/{len(data)}"
            self._send(206, part, half, Content_Range=where, **self._facts(key))
        else:
            self._send(200, data, half, **self._facts(key))

    def _put(self, key, query, body, half):
        if "uploadId" in query:
            self.server.uploads[int(query["uploadId"])][1][int(query["partNumber"])] = body
        else:
            self.server.objects[key] = body
        self._send(200, ETag=f'"{hashlib.md5(body).hexdigest()}"')

    def _post(self, key, query, body, half):
        server = self.server
        if "uploads" in query:
            number = len(server.uploads) + 1
            server.uploads[number] = (key, {})
            self._send(
                200,
                f"<InitiateMultipartUploadResult><Bucket>{BUCKET}</Bucket><Key>{escape(key)}</Key>"
                f"<UploadId>{number}</UploadId></InitiateMultipartUploadResult>".encode(),
            )
        else:
            parts = server.uploads.pop(int(query["uploadId"]))[1]
            server.objects[key] = b"".join(parts[number] for number in sorted(parts))
            answer = f'<CompleteMultipartUploadResult><ETag>"x-{len(parts)}"</ETag></CompleteMultipartUploadResult>'
            self._send(200, answer.encode())

    def _delete(self, key, query, body, half):
        if "uploadId" in query:
            self.server.uploads.pop(int(query["uploadId"]), None)
        else:
            self.server.objects.pop(key, None)
        self._send(204)


@contextmanager
def serving(monkeypatch):
    """A server that the environment points to, with pauses between tries taken out."""
    import botocore.endpoint

    from orchestrator.foundation import storage
    from orchestrator.foundation.buckets import s3 as objects

    server = StubServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    for name, value in (
        ("AWS_ENDPOINT_URL", server.url),
        ("AWS_ACCESS_KEY_ID", "key"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("AWS_DEFAULT_REGION", "us-east-1"),
    ):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(botocore.endpoint, "time", _NoPauses)
    monkeypatch.setattr(objects, "sleep", _NoPauses.sleep)
    objects.forget_client()
    storage._check_bucket.cache_clear()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        objects.forget_client()
        storage._check_bucket.cache_clear()


class _NoPauses:
    """In place of the module ``time``, where botocore sleeps between tries."""

    @staticmethod
    def sleep(seconds):
        pass
