"""`rayscale search` of one domain, and on, with trials that are a formula and no cluster."""

import json

import optuna
import pytest
import tiny_experiment
import tiny_models
from formula_trials import trained  # noqa: F401
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from orchestrator.analysis import task
from orchestrator.pipeline import run_context
from orchestrator.runtime.task_runner import in_process


@pytest.fixture
def experiment(tmp_path, monkeypatch, trained):  # noqa: F811
    """The file of an experiment of two domains on a model; drivers run in this process."""

    monkeypatch.setattr(run_context, "connect", in_process)
    points = [{"learning_rate": 9e-4, "lambda_": 0.0, "frozen_depth": 0}]
    advice = {"regime": "near", "reason": "close", "points": points}
    monkeypatch.setattr(task, "analyze_domain", lambda job, runner: {"advice": advice})
    model = tiny_models.write(tmp_path / "model", tiny_models.net(4))
    images = tiny_experiment.write_images(tmp_path / "images")
    search = {"trials": 4, "sampler": "random", "starts": ["default", "siblings", "advice", "space"]}
    content = tiny_experiment.settings(str(images), str(tmp_path / "runs"), search=search)
    content["source"] = {"model": model}
    content["finetuning"]["default_learning_rate"] = 1e-4  # worse than what is advised
    del content["network"]
    return tiny_experiment.write_experiment(tmp_path / "tiny.yaml", content)


def told(home, domain):
    result = json.loads((home / "search" / domain / "stage.json").read_bytes())["result"]
    starts = json.loads(next((home / "search" / domain).glob("study-*/starts.json")).read_bytes())
    return result, [(start["origin"], start["of"]) for start in starts]


def test_domain_by_domain_then_longer(rayscale, experiment, tmp_path):
    home = tmp_path / "runs" / "tiny"
    code, out, err = rayscale("search", experiment, "--domain", "medical")
    assert code == 0, err
    assert "search: 4 trials for medical" in out
    assert not (home / "search" / "satellite").exists()
    result, starts = told(home, "medical")
    assert (result["trials"], starts) == (4, [("default", ""), ("advice", "near"), ("start", "")])

    code, out, err = rayscale("search", experiment)
    assert "search medical: finished" in out, err
    # What medical found best is what the analysis advises here: a configuration is tried once.
    assert told(home, "satellite")[1] == [("default", ""), ("sibling", "medical of tiny"), ("start", "")]

    before = {file.name: file.read_bytes() for file in (home / "search" / "medical").glob("study-*/[0-9]*.json")}
    code, out, err = rayscale("search", experiment, "--domain", "medical", "--extend", "3")
    assert "search: 7 trials for medical" in out, err
    after = {file.name: file.read_bytes() for file in (home / "search" / "medical").glob("study-*/[0-9]*.json")}
    assert {name: after[name] for name in before} == before
    assert sorted(after) == [f"{number:04d}.json" for number in range(7)]

    # A later run does not shrink it back, and what Optuna shows has all trials.
    code, out, err = rayscale("search", experiment)
    assert out.count("skipped") >= 4, err
    assert "search: " not in out
    storage = JournalStorage(JournalFileBackend(str(home / "search" / "medical" / "optuna.log")))
    assert len(optuna.load_study(study_name="tiny, medical", storage=storage).get_trials()) == 7


def test_the_same_seed_twice_gives_identical_trials(rayscale, experiment, tmp_path):
    found = []
    for name in ("one", "two"):
        assert rayscale("search", experiment, "--domain", "medical", "--set", f"name={name}")[0] == 0
        files = sorted((tmp_path / "runs" / name / "search" / "medical").glob("study-*/[0-9]*.json"))
        records = [json.loads(file.read_bytes()) for file in files]
        found.append(
            [{k: v for k, v in r.items() if k not in ("seconds", "cpu_seconds", "finished_at")} for r in records]
        )
    assert found[0] == found[1]
    assert len(found[0]) == 4
