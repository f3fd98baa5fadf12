"""A real run as a process: stopped by SIGTERM, beside a second run, in a folder full of modules of the user's own."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tiny_experiment
import tiny_models

from orchestrator.runtime.run_lock import LOCK

pytestmark = pytest.mark.kill

ROOT = Path(__file__).parents[3]
_SHADOWS = ("trainables", "orchestrator", "search_spaces", "statistics", "random", "json", "sitecustomize2", "numpy")


@pytest.fixture
def experiment(tmp_path):
    """A tiny experiment that starts from a model, in a folder whose modules end whoever imports them."""
    for name in _SHADOWS:
        (tmp_path / f"{name}.py").write_text("raise SystemExit('imported from the working folder')\n")
    images = tiny_experiment.write_images(tmp_path / "images")
    search = {"trials": 60, "sampler": "random"}
    content = tiny_experiment.settings(str(images), str(tmp_path / "runs"), search=search)
    content["source"] = {"model": tiny_models.write(tmp_path / "model", tiny_models.net(4))}
    del content["network"]
    return tiny_experiment.write_experiment(tmp_path / "tiny.yaml", content)


def start(file: Path) -> "subprocess.Popen[str]":
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-P", "-m", "orchestrator.cli.app", "run", file.name]  # as the console script's path is
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=file.parent, env=environment, start_new_session=True, **pipes)


def processes_of(group: int) -> list[str]:
    listed = subprocess.run(["ps", "-eo", "sid,args"], capture_output=True, text=True, check=True).stdout.splitlines()
    return [line for line in listed if line.split()[0] == str(group)]


@pytest.mark.parametrize("whole_group", [False, True])
def test_sigterm_in_a_search(experiment, whole_group):
    home = experiment.parent / "runs" / "tiny"
    process = start(experiment)
    try:
        end = time.monotonic() + 400
        while not list(home.glob("search/*/study-*/[0-9]*.json")):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < end
            time.sleep(0.1)
        if not whole_group:
            second = start(experiment)
            _, said = second.communicate(timeout=200)
            assert second.returncode == 2
            assert f"is being worked on by process {process.pid} on {os.uname().nodename}, since 20" in said
            assert process.poll() is None
        (os.killpg if whole_group else os.kill)(process.pid, signal.SIGTERM)
        out, said = process.communicate(timeout=120)
    finally:
        if process.poll() is None:
            process.kill()
    assert "search: 60 trials for medical" in out
    assert said == "rayscale: Stopped by SIGTERM. What had finished is kept; the same command goes on from there.\n"
    assert process.returncode == 143
    assert not (home / LOCK).exists()
    end = time.monotonic() + 60
    while processes_of(process.pid):
        assert time.monotonic() < end, processes_of(process.pid)
        time.sleep(0.5)
