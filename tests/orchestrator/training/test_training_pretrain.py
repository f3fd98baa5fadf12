import json
import os
import signal
import threading
import time

import pytest
import ray.train
from ray.train import WorkerGroupError
from ray.train.v2._internal.exceptions import UserExceptionWithTraceback
from rich.console import Console
from tiny_experiment import settings, write_images

from orchestrator.experiment.load import make_experiment
from orchestrator.pipeline.preflight import preflight
from orchestrator.pipeline.run import run_experiment
from orchestrator.runtime.progress import Display
from orchestrator.runtime.stop_signals import handlers_kept
from orchestrator.training import ray_train
from orchestrator.training.lost_workers import cause_of
from orchestrator.training.ray_train import health_check_interval
from trainables.errors import DivergedError

INTERVAL = "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S"


def test_ctrl_c_is_given_back_after_training():
    before = signal.getsignal(signal.SIGINT)
    with handlers_kept():
        signal.signal(signal.SIGINT, lambda number, frame: None)
    assert signal.getsignal(signal.SIGINT) is before


def test_an_interrupted_training_is_an_interruption_and_no_success():
    with pytest.raises(KeyboardInterrupt), handlers_kept():
        raise SystemExit(0)


@pytest.mark.parametrize(("steps", "seconds"), [(60, "0.10"), (2000, "0.50"), (16_000, "1.00")])
def test_long_runs_are_looked_after_less_often(monkeypatch, steps, seconds):
    monkeypatch.delenv(INTERVAL, raising=False)
    with health_check_interval(steps):
        assert os.environ[INTERVAL] == seconds
    assert INTERVAL not in os.environ
    monkeypatch.setenv(INTERVAL, "7")
    with health_check_interval(steps):
        assert os.environ[INTERVAL] == "7"


def test_why_training_failed_is_what_the_failed_worker_said():
    """With the classes that Train itself hands over."""
    said = "[../third_party/gloo/gloo/transport/tcp/pair.cc:544] Connection closed by peer [127.0.0.1]:27482"
    lost = UserExceptionWithTraceback(
        RuntimeError(said), f"Traceback (most recent call last):\n  ...\nRuntimeError: {said}\n"
    )
    diverged = UserExceptionWithTraceback(
        DivergedError("no"), "Traceback (most recent call last):\n  ...\ntrainables.errors.DivergedError: no: 7\n"
    )
    died = ray.exceptions.ActorDiedError()

    assert cause_of(WorkerGroupError("told", {0: lost, 1: diverged})) == "DivergedError: no: 7"
    assert cause_of(WorkerGroupError("told", {0: lost, 1: died})).startswith("ActorDiedError: The actor died")
    assert cause_of(WorkerGroupError("told", {0: lost})) == f"RuntimeError: {said}"
    assert cause_of(RuntimeError("first\nsecond")) == "RuntimeError: first"


def test_workers_that_ray_data_feeds_take_all_their_steps(ray_session, tmp_path):
    write_images(tmp_path)
    section = {"reading": "ray_data", "workers": 1}
    made = make_experiment(settings(str(tmp_path), str(tmp_path / "runs"), pretraining=section), "mine.yaml")
    run_experiment(made, preflight(made), Display(Console(record=True, force_terminal=False)), until="pretrain")
    done = json.loads((tmp_path / "runs/tiny/source/stage.json").read_text())["result"]
    assert done["steps"] == made.pretraining.steps


def test_workers_go_on_from_the_last_checkpoint_after_one_was_killed(ray_session, tmp_path, monkeypatch):
    write_images(tmp_path)
    section = {"workers": 2, "steps": 400, "report_every": 40, "checkpoint_every": 40, "pool_images": 1}
    made = make_experiment(settings(str(tmp_path), str(tmp_path / "runs"), pretraining=section), "mine.yaml")
    killed, train = tmp_path / "killed", ray_train.train_on_worker

    def train_and_be_killed(config):
        def be_killed():
            while not list((tmp_path / "runs/tiny").glob("**/checkpoint_*/*")):
                time.sleep(0.01)
            killed.touch()
            os.kill(os.getpid(), signal.SIGKILL)

        if ray.train.get_context().get_world_rank() == 1 and not killed.exists():
            threading.Thread(target=be_killed, daemon=True).start()
        train(config)

    monkeypatch.setattr(ray_train, "train_on_worker", train_and_be_killed)
    run_experiment(made, preflight(made), Display(Console(record=True, force_terminal=False)), until="pretrain")
    done = json.loads((tmp_path / "runs/tiny/source/stage.json").read_text())["result"]
    assert killed.exists()
    assert [step for step, _ in done["loss"]] == list(range(40, 401, 40))
