"""Requests to the home of a data set: what a server says of a file, and its bytes from some place on."""

import http.client
import urllib.error
import urllib.request
from dataclasses import dataclass
from email.message import Message
from urllib.parse import urlsplit

from trainables.errors import RunError, reason_of, without_secrets
from trainables.version import __version__

_TIMEOUT = 60.0
"""Seconds without a byte after which a server counts as silent."""

_PARTIAL, _BEYOND_END, _NO_HEAD = 206, 416, (403, 405, 501)
BROKEN = (OSError, http.client.HTTPException)
"""Errors of a connection, which another attempt may not meet."""


@dataclass(frozen=True, slots=True)
class RemoteFacts:
    """A server's statements on a file.

    Attributes:
        size: Its bytes; None where the server does not say.
        validator: Its strong ETag, or the time of its last change; "" where the server states neither.
    """

    size: int | None
    validator: str


@dataclass(frozen=True, slots=True)
class Stream:
    """Bytes of a file from ``start`` on; 0 where the server sends all of it."""

    response: http.client.HTTPResponse
    start: int
    facts: RemoteFacts


def ask(url: str) -> RemoteFacts:
    """Size and version of a file.

    Raises:
        RunError: If the server does not have it, or cannot be reached.
    """
    try:
        try:
            with send(_request(url, "HEAD")) as response:
                return _facts(response.headers)
        except urllib.error.HTTPError as error:
            if error.code not in _NO_HEAD:
                raise _refused(url, error) from None
        with open_from(url, 0, "").response as response:
            return _facts(response.headers)
    except BROKEN as error:
        raise RunError(f"{_host(url)} cannot be reached for '{without_secrets(url)}': {_why(error)}.") from None


def open_from(url: str, start: int, validator: str) -> Stream:
    """Opens a file at a byte, if it is still the version of the validator; otherwise at its beginning.

    Args:
        url: Its address.
        start: First byte that is wanted.
        validator: Version that the bytes before belong to; "" sends no condition.

    Raises:
        RunError: If the server does not have the file, or redirects to an unprotected address.
        OSError: If the connection fails.
        http.client.HTTPException: Likewise.
    """
    request = _request(url, "GET")
    if start:
        request.add_header("Range", f"bytes={start}-")
        if validator:
            request.add_header("If-Range", validator)
    try:
        response = send(request)
    except urllib.error.HTTPError as error:
        if start and error.code == _BEYOND_END:
            return open_from(url, 0, "")
        raise _refused(url, error) from None
    if urlsplit(url).scheme == "https" != urlsplit(response.url).scheme:
        response.close()
        raise RunError(f"{_host(url)} redirects to an address without encryption, '{without_secrets(response.url)}'.")
    facts = _facts(response.headers)
    if response.status != _PARTIAL:
        return Stream(response, 0, facts)
    first, total = _content_range(response.headers)
    if first != start:
        response.close()
        return open_from(url, 0, "")
    return Stream(response, start, RemoteFacts(total, facts.validator))


def _request(url: str, method: str) -> urllib.request.Request:
    headers = {"User-Agent": f"rayscale/{__version__}", "Accept-Encoding": "identity"}
    return urllib.request.Request(url, headers=headers, method=method)


def send(request: urllib.request.Request) -> http.client.HTTPResponse:
    """Sends a request and returns the open response.

    Raises:
        OSError: If the server cannot be reached, or answers with an error.
    """
    response: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=_TIMEOUT)
    return response


def _facts(headers: Message) -> RemoteFacts:
    size, tag = headers.get("Content-Length", ""), headers.get("ETag", "")
    validator = tag if tag.startswith('"') else headers.get("Last-Modified", "")
    return RemoteFacts(int(size) if size.isdecimal() else None, validator)


def _content_range(headers: Message) -> tuple[int, int | None]:
    """First byte and total size of ``bytes FIRST-LAST/TOTAL``; -1 where it is not that."""
    span, _, total = headers.get("Content-Range", "").removeprefix("bytes ").partition("/")
    first = span.partition("-")[0]
    return int(first) if first.isdecimal() else -1, int(total) if total.isdecimal() else None


def _refused(url: str, error: urllib.error.HTTPError) -> RunError:
    return RunError(
        f"{_host(url)} answers {error.code} ({error.reason}) for '{without_secrets(url)}': the file has moved, or its "
        "home wants a browser; see the home page of the set."
    )


def _host(url: str) -> str:
    return urlsplit(url).hostname or url


def _why(error: BaseException) -> str:
    reason = getattr(error, "reason", None)
    return reason_of(reason) if isinstance(reason, BaseException) else reason_of(error)
