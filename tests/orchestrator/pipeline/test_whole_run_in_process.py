"""A whole experiment, two domains, from shards to report, in this process: as on Ray, without Ray."""

import json
import tarfile
import time
from pathlib import Path

import pytest
import ray
import yaml
from rich.console import Console
from test_older_artefacts import FIXTURES, unpacked

from orchestrator.experiment.load import load_experiment
from orchestrator.experiment.settings import Experiment
from orchestrator.foundation.logs import start_logging, stop_logging
from orchestrator.pipeline.preflight import preflight
from orchestrator.pipeline.run import run_experiment
from orchestrator.report.build import read_report
from orchestrator.runtime.progress import Display
from orchestrator.runtime.task_runner import in_process

MOST_SECONDS = 30.0
DOMAINS = ("medical", "satellite")
RECORDS = [
    *(f"shards/{name}" for name in ("source", *DOMAINS)),
    "source",
    *(f"{stage}/{domain}" for stage in ("search", "confirm") for domain in DOMAINS),
    "report",
]


@pytest.fixture(scope="module")
def on_ray(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """An experiment that ran on Ray: its file and its folder."""
    folder = tmp_path_factory.mktemp("fixture")
    with tarfile.open(FIXTURES[0]) as archive:
        archive.extractall(folder, filter="data")
    return unpacked(folder, "finished", tmp_path_factory.mktemp("on-ray"))


def run(experiment: Experiment) -> str:
    console = Console(record=True, width=100, force_terminal=False)
    run_experiment(experiment, preflight(experiment), Display(console), start=in_process)
    return console.export_text()


@pytest.fixture(scope="module")
def here(on_ray: tuple[Path, Path]) -> tuple[Experiment, str, float]:
    """The same experiment in this process, in a folder of its own: what it said, and how long it took."""
    file, _ = on_ray
    elsewhere = file.with_name("here.yaml")
    settings = yaml.safe_load(file.read_text()) | {"name": "here", "finish": {"enabled": False}}
    settings["finetuning"]["default_learning_rate"] = 1e-4  # the default when the other one began
    settings["tracking"] = {"tensorboard": str(file.with_name("tensorboard"))}
    elsewhere.write_text(yaml.safe_dump(settings))
    experiment, start = load_experiment(elsewhere, []), time.process_time()
    start_logging(file.with_name("run.log"))
    try:
        return experiment, run(experiment), time.process_time() - start
    finally:
        stop_logging()


def read(home: Path, path: str) -> dict[str, object]:
    content: dict[str, object] = json.loads((home / path).read_bytes())
    return content


def test_it_runs_from_shards_to_report_without_ray_in_seconds(here: tuple[Experiment, str, float]) -> None:
    experiment, said, seconds = here
    assert not ray.is_initialized()
    assert seconds < MOST_SECONDS
    report = read_report(experiment)
    assert list(report.domains) == list(DOMAINS)
    for line in ("pretrain: done", "search satellite: done, 3 trials", "confirm medical: done", "report: done"):
        assert line in said


def test_its_fingerprints_and_starts_are_those_of_a_run_on_ray(
    here: tuple[Experiment, str, float], on_ray: tuple[Path, Path]
) -> None:
    home = Path(here[0].home.path)
    for place in RECORDS:
        assert read(home, f"{place}/stage.json")["inputs"] == read(on_ray[1], f"{place}/stage.json")["inputs"], place
    for path in sorted(on_ray[1].glob("search/*/study-*/[0-9]*.json")):
        below = str(path.relative_to(on_ray[1]))
        own, theirs = read(home, below), read(on_ray[1], below)
        assert own["origin"] == theirs["origin"]
        if own["origin"] != "sampler":  # version 0.2.0 gave all domains the same randomness
            assert own["sampled"] == theirs["sampled"], below


def test_it_pretrains_as_the_workers_of_ray_do(here: tuple[Experiment, str, float], on_ray: tuple[Path, Path]) -> None:
    own, theirs = (read(home, "source/stage.json")["result"] for home in (Path(here[0].home.path), on_ray[1]))
    assert isinstance(own, dict)
    assert isinstance(theirs, dict)
    assert own["loss"] == [[step, pytest.approx(loss, rel=1e-4)] for step, loss in theirs["loss"]]


def test_nothing_runs_again(here: tuple[Experiment, str, float]) -> None:
    assert run(here[0]).count("skipped") == len(RECORDS)


def test_its_log_says_what_each_stage_domain_and_trial_did(
    here: tuple[Experiment, str, float], on_ray: tuple[Path, Path]
) -> None:
    log = on_ray[0].with_name("run.log").read_text(encoding="utf-8")
    for context in ("[shards]", "[pretrain] step 8 of 8", "[search medical trial 2] starts", "[confirm satellite run "):
        assert context in log


def test_its_trainings_are_in_tensorboard(here: tuple[Experiment, str, float], on_ray: tuple[Path, Path]) -> None:
    folder = on_ray[0].with_name("tensorboard") / "here"
    trainings = {str(file.parent.relative_to(folder)) for file in folder.rglob("events.*")}
    trials = {f"search/{domain}/trial-{number:04d}" for domain in DOMAINS for number in range(3)}
    assert {"pretraining", *trials} <= trainings
    assert {f"confirm/{domain}/{arm}-seed1" for domain in DOMAINS for arm in ("default", "scratch")} <= trainings
