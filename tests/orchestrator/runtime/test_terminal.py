"""Output survives every terminal: encodings, widths, closed streams, readers that leave, a full disk."""

import errno
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.runtime import terminal
from orchestrator.runtime.terminal import SafeStream, has_left, shown

COMMAND = [sys.executable, "-m", "orchestrator.cli.app"]
_FRONT = "λ × − → ≥ ± 0.5 °, Größe, 日本"


def rayscale(*arguments, **options):
    environment = {**os.environ, **options.pop("env", {})}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    return subprocess.run([*COMMAND, *arguments], env=environment, timeout=300, **pipes)


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [
        ("ascii", r"lambda x - -> >= +- 0.5  deg, Gro\xdfe, \u65e5\u672c"),
        ("latin-1", "lambda × - -> >= ± 0.5 °, Größe, \\u65e5\\u672c"),
        ("cp437", None),
        ("utf-8", _FRONT),
    ],
)
def test_what_an_encoding_lacks_becomes_something_to_read(encoding, expected, monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding))
    monkeypatch.setattr(sys, "stderr", sys.stderr)
    terminal.make_safe()
    print(_FRONT)
    assert terminal.output_error() is None
    written = raw.getvalue().decode(encoding)
    assert written.endswith("\n")
    assert expected is None or written == f"{expected}\n"


def test_a_file_name_that_is_not_utf_8_is_printed(monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="utf-8"))
    monkeypatch.setattr(sys, "stderr", sys.stderr)
    terminal.make_safe()
    print(os.fsdecode(b"caf\xe9.png"))
    print(json.dumps({"file": os.fsdecode(b"caf\xe9.png")}, ensure_ascii=False))
    terminal.output_error()
    first, second = raw.getvalue().decode().splitlines()
    assert first == r"caf\udce9.png"
    assert json.loads(second) == {"file": os.fsdecode(b"caf\xe9.png")}


def test_control_characters_of_a_name_do_not_steer_the_terminal():
    assert shown("a\x1b[2Jb\x07c\td\n") == r"a\x1b[2Jb\x07c" + "\td\n"
    assert shown("λ\udcff") == "λ\udcff"


class _Failing(io.StringIO):
    def __init__(self, number):
        super().__init__()
        self.number = number

    def write(self, text):
        raise OSError(self.number, os.strerror(self.number))


@pytest.mark.parametrize(("number", "gone"), [(errno.EPIPE, True), (errno.EIO, True), (errno.ENOSPC, False)])
def test_a_stream_that_cannot_be_written_raises_nothing_and_keeps_its_error(number, gone):
    stream = SafeStream(_Failing(number))
    print("a", "b", file=stream, flush=True)
    assert stream.error.errno == number
    assert has_left(stream.error) is gone


def test_a_stream_that_was_closed_raises_nothing():
    inner = io.StringIO()
    inner.close()
    stream = SafeStream(inner)
    print("a", file=stream, flush=True)
    assert has_left(stream.error)


_ASCII = {"PYTHONIOENCODING": "ascii"}


@pytest.mark.parametrize(
    "environment",
    [
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "COLUMNS": "20"},
        {**_ASCII, "COLUMNS": "0"},
        {**_ASCII, "COLUMNS": "1"},
        {"TERM": "", "COLUMNS": "x"},
    ],
)
def test_errors_in_any_locale_and_width(environment):
    ended = rayscale("run", "missing-λ.yaml", env=environment)
    assert ended.returncode == 2
    assert ended.stderr.startswith(b"rayscale: There is no experiment file 'missing-")
    assert ended.stderr.count(b"\n") == 1


@pytest.mark.parametrize("width", ["1", "20"])
def test_help_in_a_narrow_terminal_that_knows_ascii_alone(width):
    ended = rayscale("upscale", "--help", env={**_ASCII, "COLUMNS": width})
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert ended.stdout.isascii()


def test_a_reader_that_leaves_is_no_error_to_speak_of():
    read, write = os.pipe()
    os.close(read)
    ended = rayscale("--help", stdout=write)
    os.close(write)
    assert (ended.returncode, ended.stderr) == (141, b"")


def test_output_on_a_full_disk_is_said():
    with Path("/dev/full").open("wb") as full:
        ended = rayscale("version", stdout=full)
    assert ended.returncode == 1
    assert ended.stderr == b"rayscale: The output could not be written: [Errno 28] No space left on device.\n"


@pytest.mark.parametrize("closed", ["0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-"])
def test_streams_that_are_closed_before_we_begin(closed, tmp_path):
    command = f"exec {sys.executable} -m orchestrator.cli.app run {tmp_path}/missing.yaml {closed}"
    assert subprocess.run(["bash", "-c", command], timeout=300, capture_output=True).returncode == 2
