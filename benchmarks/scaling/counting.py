"""Counts the requests that this process sends to an S3 server, whichever client sends them."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch
from urllib.parse import parse_qs, urlsplit

from botocore.httpsession import URLLib3Session

READS, WRITES = ("GET", "HEAD", "LIST"), ("PUT", "POST", "DELETE")
"""Kinds of requests, as S3's limits divide them; a LIST counts as a GET."""


@dataclass
class Requests:
    """Requests and bytes so far.

    Attributes:
        counts: Requests by kind.
        sent: Bytes of bodies that were sent.
        received: Bytes of bodies that were received.
    """

    counts: Counter[str] = field(default_factory=Counter)
    sent: int = 0
    received: int = 0

    def __sub__(self, before: "Requests") -> "Requests":
        left = Counter({kind: count - before.counts[kind] for kind, count in self.counts.items()})
        return Requests(+left, self.sent - before.sent, self.received - before.received)

    def copy(self) -> "Requests":
        """These requests, which do not grow further."""
        return Requests(Counter(self.counts), self.sent, self.received)

    def per(self, units: float) -> dict[str, float]:
        """Requests by kind, and bytes, for each of so many units."""
        told = {kind: count / units for kind, count in sorted(self.counts.items())}
        return told | {"bytes_sent": self.sent / units, "bytes_received": self.received / units}


def kind_of(method: str, url: str) -> str:
    """Kind of a request: its method, or LIST."""
    query = parse_qs(urlsplit(url).query, keep_blank_values=True)
    return "LIST" if method == "GET" and ("list-type" in query or "uploads" in query) else method


@contextmanager
def counting() -> Iterator[Requests]:
    """Counts until the block ends; tries again count too."""
    found, send = Requests(), URLLib3Session.send

    def counted(self: URLLib3Session, request: Any) -> Any:
        kind = kind_of(request.method, request.url)
        found.counts[kind] += 1
        if kind in WRITES:
            found.sent += int(request.headers.get("Content-Length") or 0)
        response = send(self, request)
        if kind in ("GET", "LIST"):
            found.received += int(response.headers.get("Content-Length") or 0)
        return response

    with patch.object(URLLib3Session, "send", counted):
        yield found
