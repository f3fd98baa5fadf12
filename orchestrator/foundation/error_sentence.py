"""Sentence and exit code of an error on the command line."""

import errno
import os
import re
import traceback

from botocore.exceptions import BotoCoreError, ClientError

from trainables.errors import RayScaleError, reason_of, without_secrets

TRACEBACK = "RAYSCALE_TRACEBACK"
"""Environment variable: set to anything but 0, the traceback of an error is printed too."""

_NO_MEMORY = re.compile("failed to map segment|cannot allocate memory", re.IGNORECASE)
"""Message of the dynamic loader where a library does not fit into the memory that is allowed."""

_KEPT = "What had finished is kept"


def sentence_of(error: BaseException) -> str:
    """States what happened and what to do, in one sentence or two; passwords in URLs are left out."""
    return without_secrets(_sentence_of(error))


def _sentence_of(error: BaseException) -> str:
    if isinstance(error, RayScaleError):
        return " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, MemoryError) or (isinstance(error, ImportError) and _NO_MEMORY.search(str(error))):
        return f"This machine's memory does not suffice. {_KEPT}; free some, ask for less at once, and run this again."
    if isinstance(error, ClientError | BotoCoreError):
        return f"The S3 server did not do as asked: {_line(error)}. {_KEPT}; the same command goes on from there."
    if isinstance(error, OSError):
        return _of_the_system(error)
    if any(base.__name__ == "RayError" for base in type(error).__mro__):  # to import Ray takes seconds
        return f"Ray failed: {reason_of(error)}. {_KEPT}; the same command goes on from there."
    return (
        f"Unexpected {reason_of(error).rstrip('.')}. {_KEPT}. Please report this, with what is printed when "
        f"{TRACEBACK}=1 is set."
    )


def exit_code_of(error: BaseException) -> int:
    """Exit code of an error: 2 for wrong usage, otherwise 1."""
    return error.exit_code if isinstance(error, RayScaleError) else 1


def traceback_of(error: BaseException) -> str:
    """The traceback where the user asks for it; else nothing."""
    asked = os.environ.get(TRACEBACK, "") not in ("", "0")
    return without_secrets("".join(traceback.format_exception(error))) if asked else ""


def _of_the_system(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        where = f" for '{_named(error)}'" if _named(error) else ""
        return f"There is no space left{where}. {_KEPT}; make room, and the same command goes on from there."
    if error.strerror and _named(error):
        return f"{error.strerror}: '{_named(error)}'."
    return f"{_line(error) or type(error).__name__}."


def _named(error: OSError) -> str:
    return os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else ""


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()).rstrip(".")
