"""Command lines of the benchmarks."""

import argparse
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.common.results import RESULTS
from trainables.errors import RayScaleError


def make_parser(description: str | None) -> argparse.ArgumentParser:
    """A parser whose help is the module's docstring as it is written."""
    return argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)


def add_out(parser: argparse.ArgumentParser, name: str = "--out") -> None:
    """The option for the folder of results."""
    parser.add_argument(name, type=Path, default=RESULTS, help="folder of the results")


def command(module: str, arguments: Sequence[str] | None = None) -> str:
    """The command that a result states.

    Args:
        module: The benchmark below ``benchmarks``, such as ``training.step``.
        arguments: What follows; as this process was called by default, absolute paths replaced by DATA.
    """
    words = [word if not Path(word).is_absolute() else "DATA" for word in sys.argv[1:]]
    return shlex.join(["python", "-m", f"benchmarks.{module}", *(words if arguments is None else arguments)])


def positive(text: str) -> int:
    """A whole number from 1, as ``type`` of an argument."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1, found '{text}'")
    return int(text)


@contextmanager
def one_sentence() -> Iterator[None]:
    """Ends the script in one sentence and with the exit code of what the user did wrong."""
    try:
        yield
    except RayScaleError as error:
        print(f"Error: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None
