"""Logs: a logger for each module, silent unless a file or `-v` asks for it; each line names stage, domain and trial.

Processes that work for a run, such as Ray's on the same machine, append to the same file: what was asked for reaches
them through the environment.
"""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from trainables.errors import UsageError, reason_of

FILE, VERBOSE = "RAYSCALE_LOG_FILE", "RAYSCALE_VERBOSE"
"""Environment variables with the absolute path of the file, and 1 for lines on standard error."""

PACKAGES = ("orchestrator", "trainables", "search_spaces")
_STDERR = "stderr"
_FORMAT = "%(asctime)s %(levelname)s %(process)d %(name)s [%(context)s] %(message)s"

_context: ContextVar[tuple[tuple[str, str], ...]] = ContextVar("context", default=())


@contextmanager
def log_context(**words: object) -> Iterator[None]:
    """Adds words, such as ``stage="search"``, to each line that is logged within."""
    token = _context.set(tuple({**dict(_context.get()), **{name: str(word) for name, word in words.items()}}.items()))
    try:
        yield
    finally:
        _context.reset(token)


class ContextFilter(logging.Filter):
    """Gives a record its ``context``: the words of :func:`log_context`, such as ``search satellite trial 3``."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Lets every record through."""
        words = dict(_context.get())
        plain = [words.pop(name) for name in ("stage", "domain") if name in words]
        record.context = " ".join([*plain, *(f"{name} {word}" for name, word in words.items())])
        return True


def start_logging(file: Path | None = None, verbose: bool = False) -> None:
    """Begins to log to a file, to standard error, or both, here and in processes that are started from now on.

    Raises:
        UsageError: If the file cannot be written.
    """
    if file is not None:
        os.environ[FILE] = str(file.expanduser().absolute())
    if verbose:
        os.environ[VERBOSE] = "1"
    start_from_environment()


def start_from_environment() -> None:
    """Begins to log as the environment says, unless this process does already.

    Raises:
        UsageError: If the file cannot be written.
    """
    root, wanted = logging.getLogger(PACKAGES[0]), [os.environ.get(FILE), _STDERR if os.environ.get(VERBOSE) else None]
    for name in {name for name in wanted if name} - {handler.name for handler in root.handlers}:
        handler = _handler(name)
        handler.name = name
        handler.setFormatter(logging.Formatter(_FORMAT))
        handler.addFilter(ContextFilter())
        for package in PACKAGES:
            logger = logging.getLogger(package)
            logger.setLevel(logging.DEBUG)
            logger.propagate = False
            logger.addHandler(handler)


def _handler(name: str) -> logging.Handler:
    if name == _STDERR:
        return logging.StreamHandler(sys.stderr)
    try:
        return logging.FileHandler(name, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"No log can be written to '{name}' ({reason_of(error)}); name another --log-file.") from None


def stop_logging() -> None:
    """Ends what :func:`start_logging` began."""
    for name in (FILE, VERBOSE):
        os.environ.pop(name, None)
    for package in PACKAGES:
        logger = logging.getLogger(package)
        for handler in list(logger.handlers):
            logger.removeHandler(handler)
            handler.close()
        logger.setLevel(logging.NOTSET)
        logger.propagate = True
