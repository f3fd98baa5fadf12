"""Makes standard output and error safe to write to, whatever they are connected to.

A terminal may know ASCII alone, a pipe may be closed by its reader, a stream may be closed before we start: none of it
may end a run; the error is kept for the end.
"""

import codecs
import errno
import os
import sys
import unicodedata
from typing import Any

_PLAIN = {
    "λ": "lambda",
    "θ": "theta",
    "φ": "phi",
    "×": "x",
    "−": "-",
    "–": "-",
    "—": "-",
    "→": "->",
    "≥": ">=",
    "≤": "<=",
    "±": "+-",
    "…": "...",
    "°": " deg",
    "•": "*",
    "’": "'",
    "━": "-",
    "─": "-",
    "╸": "-",
    "╺": "-",
}
_GONE = (errno.EPIPE, errno.EIO, errno.EBADF)
"""Errors that mean that the reader or the terminal has gone, so that nobody misses the rest."""


class SafeStream:
    """A text stream whose writes never fail; the first error is kept.

    Attributes:
        error: The first error; None while all was written.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.error: OSError | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Writes the text, or drops it where that is impossible."""
        if self.error is None:
            try:
                self._stream.write(text)
            except (OSError, ValueError) as error:
                self._fail(error)
        return len(text)

    def writelines(self, lines: Any) -> None:
        """Writes all lines."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Flushes, if anything can still be written."""
        if self.error is None:
            try:
                self._stream.flush()
            except (OSError, ValueError) as error:
                self._fail(error)

    def _fail(self, error: Exception) -> None:
        # A stream that was closed raises ValueError.
        self.error = error if isinstance(error, OSError) else OSError(errno.EBADF, str(error))
        # The interpreter must not try to write the rest of the buffer again when it ends.
        try:
            empty = os.open(os.devnull, os.O_WRONLY)
            os.dup2(empty, self._stream.fileno())
            os.close(empty)
        except (OSError, ValueError):
            pass


def make_safe() -> None:
    """Replaces standard output and error by safe streams; closed ones are opened on the null device."""
    _open_closed_descriptors()
    codecs.register_error("rayscale", _plain)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(stream, SafeStream):
            continue
        if stream is None:
            stream = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123 - open until the process ends
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="rayscale")
        setattr(sys, name, SafeStream(stream))


def output_error() -> OSError | None:
    """Flushes standard output; returns the error if some of the output could not be written."""
    stream = sys.stdout
    if not isinstance(stream, SafeStream):
        return None
    stream.flush()
    return stream.error


def has_left(error: OSError) -> bool:
    """True if an error of a stream means that its reader has gone, as ``head`` does early."""
    return error.errno in _GONE


def shown(text: str) -> str:
    """Text with control characters escaped: a file's name must not control the terminal."""
    return "".join(c if c.isprintable() or c in "\n\t" or "\ud800" <= c <= "\udfff" else ascii(c)[1:-1] for c in text)


def speaks_unicode() -> bool:
    """True if standard output takes every character."""
    return (getattr(sys.stdout, "encoding", None) or "ascii").lower().replace("-", "").startswith("utf")


def _plain(error: UnicodeError) -> tuple[str, int]:
    """Error handler of encoders: replaces characters that the encoding lacks by plain ones."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(_plain_character(c) for c in error.object[error.start : error.end]), error.end


def _plain_character(character: str) -> str:
    if character in _PLAIN:
        return _PLAIN[character]
    base = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
    return base or ascii(character)[1:-1]


def _open_closed_descriptors() -> None:
    """Opens closed descriptors 0 to 2 on the null device, so that no file of ours becomes standard output."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
