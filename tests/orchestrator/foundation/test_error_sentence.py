"""Any error of any command is one sentence with an exit code; the traceback is there for who asks."""

import errno
import json

import pytest
import ray
from botocore.exceptions import ClientError, ConnectTimeoutError

from orchestrator.cli import app as cli
from orchestrator.foundation.error_sentence import exit_code_of, sentence_of
from trainables.errors import RunError, StorageError

_KEPT = "What had finished is kept"


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (RunError("It\nfailed."), "It failed."),
        (KeyError("a"), f"Unexpected KeyError: 'a'. {_KEPT}."),
        (RecursionError("too deep"), f"Unexpected RecursionError: too deep. {_KEPT}."),
        (AssertionError(), f"Unexpected AssertionError. {_KEPT}."),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"), "Unexpected UnicodeDecodeError: "),
        (MemoryError(), f"This machine's memory does not suffice. {_KEPT}; "),
        (OSError(errno.ENOSPC, "x", "/a/b"), f"There is no space left for '/a/b'. {_KEPT}; make room"),
        (OSError(errno.EDQUOT, "x"), f"There is no space left. {_KEPT}; "),
        (PermissionError(errno.EACCES, "Permission denied", "/a"), "Permission denied: '/a'."),
        (FileNotFoundError(errno.ENOENT, "No such file", b"/\xff"), "No such file: '/\udcff'."),
        (OSError("When reading: curlCode 28"), "When reading: curlCode 28."),
        (OSError(), "OSError."),
        (ClientError({"Error": {"Code": "SlowDown"}}, "PutObject"), "The S3 server did not do as asked: An error occ"),
        (ConnectTimeoutError(endpoint_url="http://a"), "The S3 server did not do as asked: Connect timeout"),
        (ray.exceptions.RaySystemError("lost"), "Ray failed: RaySystemError: System error: lost. "),
    ],
)
def test_every_error_is_a_sentence(error, expected):
    said = sentence_of(error)
    assert said.startswith(expected.rstrip(".")), said
    assert "\n" not in said
    assert said.endswith(".")


def test_exit_codes():
    assert [exit_code_of(error) for error in (StorageError("x"), RunError("x"), KeyError("x"))] == [2, 1, 1]


def fail_with(monkeypatch, error):
    from orchestrator.experiment import load as reading

    def fail(*_):
        raise error

    monkeypatch.setattr(reading, "load_experiment", fail)


@pytest.mark.parametrize(
    "error",
    [KeyError("a"), RecursionError("deep"), MemoryError(), BrokenPipeError(errno.EPIPE, "Broken pipe", "socket"),
     AssertionError(), json.JSONDecodeError("bad", "x", 0), StopIteration(), GeneratorExit()],
)  # fmt: skip
def test_no_command_shows_a_traceback(rayscale, monkeypatch, error):
    fail_with(monkeypatch, error)
    code, out, said = rayscale("run", "x.yaml")
    assert (code, out) == (1, "")
    assert said == f"rayscale: {sentence_of(error)}\n"


def test_the_traceback_is_there_for_who_asks(rayscale, monkeypatch):
    fail_with(monkeypatch, KeyError("a"))
    monkeypatch.setenv("RAYSCALE_TRACEBACK", "1")
    _, _, said = rayscale("run", "x.yaml")
    assert said.startswith("Traceback (most recent call last):")
    assert said.splitlines()[-1].startswith("rayscale: Unexpected KeyError: 'a'. ")
    monkeypatch.setenv("RAYSCALE_TRACEBACK", "0")
    assert "Traceback" not in rayscale("run", "x.yaml")[2]


def test_ctrl_c_anywhere_is_one_sentence(rayscale, monkeypatch):
    fail_with(monkeypatch, KeyboardInterrupt())
    said = "rayscale: Interrupted. What had finished is kept; the same command goes on from there.\n"
    assert rayscale("run", "x.yaml") == (130, "", said)

    def interrupted(**_):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "app", interrupted)
    assert rayscale("run", "x.yaml") == (130, "", said)
    monkeypatch.setattr(cli, "run_command", interrupted)
    assert rayscale("run", "x.yaml") == (130, "", said)


def test_a_library_that_does_not_fit_into_memory_is_no_fault_of_the_program():
    error = ImportError("libtorch_cpu.so: failed to map segment from shared object")
    assert "memory does not suffice" in sentence_of(error)
    assert "Unexpected ImportError" in sentence_of(ImportError("no module"))
