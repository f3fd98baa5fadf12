"""A real HTTP server on this machine that behaves like the homes of data sets, good and bad ones."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Home:
    """Files by path, and the server's manners.

    Attributes:
        files: Content by path.
        ranges: Whether a part of a file can be asked for.
        versions: Whether it states an ETag.
        sizes: Whether it states the size.
        head: Whether it answers HEAD.
        cut_after: Bytes of the next answers after which the connection ends; one is taken for each answer.
        redirects: Other addresses by path.
        asked: Method, path and Range of every request.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    ranges: bool = True
    versions: bool = True
    sizes: bool = True
    head: bool = True
    cut_after: list[int] = field(default_factory=list)
    redirects: dict[str, str] = field(default_factory=dict)
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    address: str = ""

    def url(self, path: str) -> str:
        return f"{self.address}/{path}"

    @property
    def downloads(self) -> list[str]:
        """Ranges of all GET requests."""
        return [span for method, _, span in self.asked if method == "GET"]


@contextmanager
def serve() -> Iterator[Home]:
    home = Home()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self._answer(body=False)

        def do_GET(self) -> None:
            self._answer(body=True)

        def _answer(self, body: bool) -> None:
            path = self.path.lstrip("/").partition("?")[0]
            span = self.headers.get("Range", "")
            home.asked.append((self.command, path, span))
            if not body and not home.head:
                return self._end(405)
            if path in home.redirects:
                return self._end(302, {"Location": home.redirects[path]})
            if path not in home.files:
                return self._end(404)
            content = home.files[path]
            tag = f'"{hash(content) & 0xFFFFFFFF:x}"' if home.versions else ""
            condition = self.headers.get("If-Range", "")
            start = 0
            if span and home.ranges and condition in ("", tag):
                start = int(span.removeprefix("bytes=").removesuffix("-"))
                if start >= len(content):
                    return self._end(416)
            headers = {"ETag": tag} if tag else {}
            if home.sizes:
                headers["Content-Length"] = str(len(content) - start)
            if start:
                headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            self.send_response(206 if start else 200)
            for name, value in {**headers, "Connection": "close"}.items():
                self.send_header(name, value)
            self.end_headers()
            if body:
                cut = home.cut_after.pop(0) if home.cut_after else len(content)
                self.wfile.write(content[start : start + cut])
            self.close_connection = True
            return None

        def _end(self, code: int, headers: dict[str, str] | None = None) -> None:
            self.send_response(code)
            for name, value in {**(headers or {}), "Content-Length": "0", "Connection": "close"}.items():
                self.send_header(name, value)
            self.end_headers()
            self.close_connection = True

        def log_message(self, *_: object) -> None:
            """Writes no log."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    home.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield home
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
