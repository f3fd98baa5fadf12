"""optuna-dashboard opens a study's file."""

import json
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import optuna
import pytest
from formula_trials import job_at
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from study_records import DISTRIBUTIONS, record

from orchestrator.experiment.settings import Search
from orchestrator.foundation.storage import Storage
from orchestrator.search import optuna_export
from orchestrator.search import trial as trials
from orchestrator.search.optuna_export import LiveOptunaLog, write_optuna_log
from orchestrator.search.trials_in_turn import run_in_turn

RECORDS = [
    record(0, [28.0, 29.0], origin="default"),
    record(1, [27.0], "stopped", origin="advice", depth=2),
    record(2, [], "diverged"),
]


@pytest.fixture
def ask(tmp_path):
    """Asks a dashboard of its own, started as a reader would, for a path of its API."""
    file = tmp_path / "study" / "optuna.log"
    write_optuna_log("demo, satellite", RECORDS, DISTRIBUTIONS, Storage.at(str(file)))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(Path(sys.executable).parent / "optuna-dashboard"), "--port", str(port), str(file)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def get(path):
        end = time.monotonic() + 90
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
                    return json.load(answer)
            except OSError:
                assert process.poll() is None, "optuna-dashboard ended"
                assert time.monotonic() < end, "optuna-dashboard does not answer"
                time.sleep(0.1)

    yield get
    process.terminate()
    process.wait(30)


def test_the_dashboard_shows_states_curves_and_origins(ask):
    (summary,) = ask("/api/studies")["study_summaries"]
    assert (summary["study_name"], summary["directions"]) == ("demo, satellite", ["maximize"])
    told = ask(f"/api/studies/{summary['study_id']}")
    trials = told["trials"]
    assert [trial["state"] for trial in trials] == ["Complete", "Pruned", "Fail"]
    assert trials[0]["values"] == [29.0]
    assert [(point["step"], point["value"]) for point in trials[0]["intermediate_values"]] == [(10, 28.0), (20, 29.0)]
    assert [len(trial["intermediate_values"]) for trial in trials] == [2, 1, 0]
    attributes = [{a["key"]: a["value"] for a in trial["user_attrs"]} for trial in trials]
    assert [a["origin"] for a in attributes] == ["default", "advice", "sampler"]
    assert (attributes[1]["lambda_"], attributes[1]["frozen_depth"]) == ("0.0", "2")
    assert {param["name"] for param in trials[0]["params"]} == set(DISTRIBUTIONS)


def test_the_file_of_a_running_study_grows_with_its_trials(tmp_path, monkeypatch):
    monkeypatch.setattr(optuna_export, "LIVE_SECONDS", 0.0)
    journal, seen = tmp_path / "optuna.log", []

    def train(*arguments, **named):
        study = journal.exists() and optuna.load_study(
            study_name="here, satellite", storage=JournalStorage(JournalFileBackend(str(journal)))
        )
        seen.append(len(study.trials) if study else 0)
        return None, [(8, 30.0)]

    monkeypatch.setattr(trials, "run_finetuning", train)
    job = job_at(
        tmp_path / "records",
        trials=4,
        settings=Search(sampler="random"),
        journal=Storage(str(journal)),
        home=Storage("/of/here"),
    )
    run_in_turn(job, [], [0, 1, 2, 3])
    assert seen == [0, 1, 2, 3]
    monkeypatch.setattr(optuna_export, "write_optuna_log", lambda *_: 1 / 0)
    LiveOptunaLog(job, job.journal, []).update(0)
