"""A short form of `make fuzz`: some damaged inputs for each parser, and the sandbox itself."""

import socket
import subprocess
import sys

import pytest
from run import run_cases
from sandbox import Sandbox
from targets import TARGETS

CASES = {"scene": 60, "DICOM slice": 60, "shards and manifest": 100}


@pytest.mark.parametrize("name", TARGETS)
def test_no_damaged_input_is_more_than_refused(name, tmp_path):
    result = run_cases(name, 1, 0, CASES.get(name, 200), tmp_path)
    assert [finding["problem"] for finding in result.findings] == []
    assert result.accepted + result.refused == result.cases > 0
    assert result.refused > 0 or name in ("ledger", "trial record"), "the damage is too small to be seen"
    assert result.slowest < 20


def test_the_sandbox_sees_writes_processes_and_connections(tmp_path):
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.write_text("left alone")
    sandbox = Sandbox(inside)
    with sandbox.closed():
        (inside / "file").write_text("allowed")
        outside.read_text()
    assert sandbox.violations == []
    (inside / "link").symlink_to(outside)
    with sandbox.closed():
        (inside / "link").write_text("through a link")
        (tmp_path / "folder").mkdir()
        subprocess.run([sys.executable, "-c", ""])
        with pytest.raises(OSError):
            socket.create_connection(("127.0.0.1", 1), timeout=1)
    assert [violation.split()[0] for violation in sandbox.violations][:3] == ["open", "os.mkdir", "subprocess.Popen"]
    assert any(violation.startswith("socket.connect") for violation in sandbox.violations)
    before = len(sandbox.violations)
    (tmp_path / "after").write_text("not watched any more")
    assert len(sandbox.violations) == before
