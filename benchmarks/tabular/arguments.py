"""What the command lines of both scripts share."""

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from trainables.errors import RayScaleError


def positive(text: str) -> int:
    """A whole number from 1, as ``type`` of an argument."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1, found '{text}'")
    return int(text)


@contextmanager
def one_sentence() -> Iterator[None]:
    """What the user did wrong ends the script in one sentence and with its exit code."""
    try:
        yield
    except RayScaleError as error:
        print(f"Error: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None
