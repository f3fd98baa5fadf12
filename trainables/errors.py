"""Everything RayScale raises on purpose.

    RayScaleError
    ├── UsageError          a setting or argument is wrong: nothing was started
    │   ├── StorageError    a folder or bucket cannot be reached, read or written
    │   └── ImageSetError   an image collection cannot be used
    ├── RunError            something failed while running; finished work is kept
    │   ├── PartlyDoneError some domains failed; the others are finished and reported
    │   └── DivergedError   a loss or a weight stopped being finite
    └── UnreadableImageError   one file cannot be used as an image; others go on

A message is one sentence or two: what was expected, what was found, what to do.
Each class takes that message alone, so that it survives the trip between Ray processes.
"""

import difflib
import re
from collections.abc import Iterable

_USER_OF_URL = re.compile(r"""(?<=://)[^\s/'"]*@""")
_SIGNATURE_OF_URL = re.compile(
    r"""(?<=[?&])([\w.-]*(?:key|secret|token|signature|credential|password)[\w.-]*=)[^\s&'"]+""", re.IGNORECASE
)


class RayScaleError(Exception):
    """Base of all errors that RayScale raises on purpose."""

    exit_code = 1


class UsageError(RayScaleError):
    """A setting or an argument is wrong; nothing was started."""

    exit_code = 2


class StorageError(UsageError):
    """A folder or bucket cannot be reached, read or written."""


class ImageSetError(UsageError):
    """A collection of images cannot be used."""


class RunError(RayScaleError):
    """A stage failed; what had finished before is kept."""


class PartlyDoneError(RunError):
    """Some domains of a run failed; the others are finished and reported."""


class DivergedError(RunError):
    """A loss or a weight stopped being finite."""


class UnreadableImageError(RayScaleError):
    """One file cannot be used as an image; the message says why, in a few words."""


def suggestion(word: str, known: Iterable[str]) -> str:
    """Returns " Did you mean 'x'?" for the closest of ``known``, or "" where none is close."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.55)
    return f" Did you mean '{close[0]}'?" if close else ""


def reason_of(error: BaseException) -> str:
    """Returns one line that says what went wrong, for a file, row or record that is named beside it.

    An error of our own speaks for itself, an operating system's error says its reason without number and file, and any
    other one is its class and the first line of its message.
    """
    line = without_secrets(next(iter(str(error).strip().splitlines()), "").strip())
    if isinstance(error, RayScaleError) and line:
        return line
    if isinstance(error, OSError) and error.strerror:
        return str(error.strerror)
    return f"{type(error).__name__}: {line}" if line else type(error).__name__


def without_secrets(text: str) -> str:
    """Returns a message whose URLs show neither a name and password before a host nor keys and signatures behind ``?``.

    Libraries quote the URL that they asked, and a user may have put a password into it.
    """
    return _SIGNATURE_OF_URL.sub(r"\1***", _USER_OF_URL.sub("***@", text))


def printable(name: str) -> str:
    r"""Returns a path for people: what cannot be printed, or is no UTF-8, as escapes such as ``\n`` or ``\xe9``."""
    if name.isprintable():
        return name
    return "".join(_escaped(letter) for letter in name)


def _escaped(letter: str) -> str:
    if letter.isprintable():
        return letter
    if "\udc80" <= letter <= "\udcff":
        return f"\\x{ord(letter) - 0xDC00:02x}"
    return letter.encode("unicode_escape").decode()
