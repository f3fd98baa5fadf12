"""Real kills of a real run: nothing finished is lost and nothing finished is run twice."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from run_in_one_process import IN_ONE_PROCESS, SEARCH_IN_ONE_PROCESS
from test_whole_finish import content as with_finish
from test_whole_finish import record as finish_record
from tiny_experiment import DOMAINS, settings, write_experiment, write_images

pytestmark = [pytest.mark.kill, pytest.mark.timeout(1800)]

_LIMIT_SECONDS = 600.0
ON_RAY = ["-m", "orchestrator.cli.app", "run"]


def start(file: Path, program: list[str] = ON_RAY) -> "subprocess.Popen[str]":
    command = [sys.executable, *program, str(file)]
    # A shell that runs the tests in the background makes them ignore Ctrl-C; the run must not inherit that.
    heed = lambda: signal.signal(signal.SIGINT, signal.default_int_handler)  # noqa: E731
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, preexec_fn=heed)


def finish(file: Path, program: list[str] = ON_RAY) -> str:
    process = start(file, program)
    told, _ = process.communicate(timeout=_LIMIT_SECONDS)
    assert process.returncode == 0, told
    return told


def stop_when(
    file: Path, reached: Callable[[], bool], how: signal.Signals = signal.SIGKILL, program: list[str] = ON_RAY
) -> tuple[int, str]:
    process = start(file, program)
    end = time.monotonic() + _LIMIT_SECONDS
    while not reached():
        assert process.poll() is None, process.stdout.read() if process.stdout else ""
        assert time.monotonic() < end, "the run never got to the point where it was to be killed"
        time.sleep(0.02)
    os.kill(process.pid, how)
    told, _ = process.communicate(timeout=60)
    return process.returncode, told


def found(home: Path, pattern: str) -> dict[str, bytes]:
    return {str(path.relative_to(home)): path.read_bytes() for path in home.glob(pattern)}


TRIALS, RUNS = "search/*/study-*/[0-9]*.json", "confirm/*/runs-*/*/run.json"


def trials(home: Path, domain: str) -> list[dict[str, object]]:
    told = [json.loads(data) for _, data in sorted(found(home, f"search/{domain}/study-*/[0-9]*.json").items())]
    return [{key: record[key] for key in ("number", "configuration", "psnr", "curve")} for record in told]


def test_killed_in_pretraining_search_and_confirmation(tmp_path: Path) -> None:
    images, storage = write_images(tmp_path / "images"), tmp_path / "runs"
    changes = {"pretraining": {"steps": 400, "checkpoint_every": 40, "pool_images": 1}, "search": {"trials": 4}}
    content = settings(str(images), str(storage), **changes)
    file, home = write_experiment(tmp_path / "tiny.yaml", content), storage / "tiny"

    stop_when(file, lambda: bool(found(home, "source/ray/run-*/checkpoint_*/state.safetensors")))
    assert not (home / "source" / "stage.json").exists()

    stop_when(file, lambda: len(found(home, TRIALS)) >= 2)
    finished_trials = found(home, TRIALS)
    losses = json.loads((home / "source" / "stage.json").read_bytes())["result"]["loss"]
    assert [step for step, _ in losses] == list(range(4, 401, 4))

    stop_when(file, lambda: len(found(home, RUNS)) >= 2)
    finished_runs = found(home, RUNS)
    assert {name: found(home, TRIALS)[name] for name in finished_trials} == finished_trials
    finished_trials = found(home, TRIALS)

    told = finish(file)
    assert "pretrain: finished" in told
    assert found(home, TRIALS) == finished_trials, "a finished trial changed, vanished or was run again"
    assert {name: found(home, RUNS)[name] for name in finished_runs} == finished_runs
    assert {domain: len(trials(home, domain)) for domain in DOMAINS} == dict.fromkeys(DOMAINS, 4)

    # The same search from the same source model, without a kill and without Ray, has exactly these trials.
    calm = tmp_path / "calm" / "tiny"
    for part in ("shards", "test-locked", "source"):
        shutil.copytree(home / part, calm / part)
    quiet = write_experiment(tmp_path / "calm.yaml", {**content, "storage": str(calm.parent)})
    assert "pretrain: finished" in finish(quiet, SEARCH_IN_ONE_PROCESS)
    for domain in DOMAINS:
        assert trials(calm, domain) == trials(home, domain)


LENGTHS, DECISION, OPENED = (
    "finish/*/runs-*/*/run.json",
    "finish/*/runs-*/decision.json",
    "confirm/*/test-opened/finish-*.json",
)


def test_killed_while_a_model_is_finished(tmp_path: Path) -> None:
    """After a training, after the decision, and after the test split was opened for the model; without Ray."""
    write_images(tmp_path / "images")
    content = with_finish(tmp_path, least_gain=0)
    file, home = write_experiment(tmp_path / "tiny.yaml", content), tmp_path / "runs" / "tiny"
    kept: dict[str, bytes] = {}
    for pattern in (LENGTHS, DECISION, OPENED):
        stop_when(file, lambda: bool(found(home, pattern)), program=IN_ONE_PROCESS)  # noqa: B023
        assert {name: data for name, data in found(home, "finish/**/*.json").items() if name in kept} == kept
        kept |= found(home, LENGTHS) | found(home, DECISION)
    opened = found(home, OPENED)

    told = finish(file, IN_ONE_PROCESS)
    assert "confirm satellite: finished" in told
    assert {name: found(home, "finish/**/*.json")[name] for name in kept} == kept, "finished work was done again"
    assert found(home, OPENED) == opened, "the test split was opened for another choice"

    # The same experiment without a kill comes to the same decision and scores.
    calm = tmp_path / "calm" / "tiny"
    for part in ("shards", "test-locked"):
        shutil.copytree(home / part, calm / part)
    finish(write_experiment(tmp_path / "calm.yaml", {**content, "storage": str(calm.parent)}), IN_ONE_PROCESS)
    whole, resumed = finish_record(calm), finish_record(home)
    for part in ("winner", "decision", "seeds", "trained_on", "test", "differences"):
        assert whole[part] == resumed[part], part


def test_interrupted_by_the_keyboard(tmp_path: Path) -> None:
    images, storage = write_images(tmp_path / "images"), tmp_path / "runs"
    file, home = write_experiment(tmp_path / "tiny.yaml", settings(str(images), str(storage))), storage / "tiny"
    # In the search, because Ray Train, which ran before, takes Ctrl-C over and would not give it back.
    code, told = stop_when(file, lambda: bool(found(home, TRIALS)), signal.SIGINT)
    assert code == 130, told
    assert told.splitlines()[-1] == (
        "rayscale: Interrupted. What had finished is kept; the same command goes on from there."
    )
    assert not (home / "confirm").exists()
