import json
import re
import time
from dataclasses import replace
from pathlib import Path

import pytest
import ray
import yaml
from ray.util import placement_group_table
from rich.console import Console
from tiny_experiment import DOMAINS, settings, write_images

from orchestrator.apply.evaluation.evaluate import evaluate_model
from orchestrator.data.locked_test import open_test
from orchestrator.data.shard_reader import read_split
from orchestrator.experiment.feasibility import Resources
from orchestrator.experiment.load import make_experiment
from orchestrator.experiment.settings import Experiment
from orchestrator.foundation.model_store import read_model
from orchestrator.foundation.storage import Storage
from orchestrator.foundation.vocabulary import CLASSICAL
from orchestrator.jobs.stage_jobs import Jobs
from orchestrator.jobs.study_starts import study_starts
from orchestrator.pipeline.preflight import preflight
from orchestrator.pipeline.run import run_experiment
from orchestrator.report.build import read_report
from orchestrator.runtime.on_ray.ray_runner import RayRunner
from orchestrator.runtime.progress import Display
from orchestrator.runtime.task_runner import result_of
from orchestrator.search.driver import drive_study
from trainables.errors import RunError

pytestmark = pytest.mark.cluster


SEARCH = {"starts": ["default", "advice", "space"], "analysis_images": 8}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


def run(experiment: Experiment, until: str = "report") -> str:
    console = Console(record=True, width=100, force_terminal=False)
    run_experiment(experiment, preflight(experiment), Display(console), until)
    return console.export_text()


def records(storage: Path, domain: str) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in storage.glob(f"tiny/search/{domain}/study-*/[0-9]*.json")}


@pytest.fixture(scope="module")
def searched(images: Path, storage: Path, ray_session: None) -> tuple[Experiment, str, str]:
    """An experiment whose search ran while the test split was nowhere, and what a confirmation said of that."""
    changes = {
        "confirmation": {"ablation": True, "classical": True},
        "search": SEARCH,
    }
    experiment = make_experiment(settings(str(images), str(storage), **changes), "tiny")
    run(experiment, "pretrain")
    locked, elsewhere = storage / "tiny" / "test-locked", storage / "elsewhere"
    locked.rename(elsewhere)
    told = run(experiment, "search")
    assert not locked.exists(), "a search makes no test split again"
    with pytest.raises(RunError) as refused:
        Jobs(experiment).confirm_inputs("medical")
    elsewhere.rename(locked)
    return experiment, told, str(refused.value)


@pytest.fixture(scope="module")
def first_run(searched: tuple[Experiment, str, str]) -> tuple[Experiment, str]:
    return searched[0], run(searched[0])


def test_a_search_needs_no_test_split_and_a_confirmation_does(searched: tuple[Experiment, str, str]) -> None:
    _, told, refusal = searched
    assert all(f"search {domain}: done, 3 trials" in told for domain in DOMAINS)
    assert re.match(r"The test split at '.*test-locked/medical' is missing", refusal)


def test_a_search_process_cannot_read_the_test_split(searched: tuple[Experiment, str, str]) -> None:
    jobs = Jobs(searched[0])
    study = jobs.study("satellite", study_starts(jobs, "satellite"))
    assert "test-locked" not in repr(study)
    assert b"test-locked" not in study.domain.shards.child("manifest.json").read_bytes()

    @ray.remote
    def peek(place: Storage, opening: Storage | None) -> int:
        return len(list(read_split(place, "test") if opening is None else open_test(place, opening)))

    with pytest.raises(ray.exceptions.RayTaskError, match="A test split is locked: only a confirmation"):
        ray.get(peek.remote(study.domain.shards, None))
    locked = jobs.locked_test("satellite")
    with pytest.raises(ray.exceptions.RayTaskError, match="is a locked test split: only a confirmation"):
        ray.get(peek.remote(locked, None))
    with pytest.raises(ray.exceptions.RayTaskError, match="is locked: no choice is recorded at"):
        ray.get(peek.remote(locked, study.records.child("no-choice.json")))


def test_every_artefact_is_there(first_run: tuple[Experiment, str]) -> None:
    home = Path(first_run[0].home.path)
    wanted = ["source/model.safetensors", "source/card.json", "report/report.json", "report/best.yaml"]
    wanted += ["report/index.html", "report/table.md", "experiment.json"]
    wanted += [
        f"{place}/{d}/{f}" for d in DOMAINS for place, f in (("shards", "manifest.json"), ("models", "card.json"))
    ]
    assert [path for path in wanted if not (home / path).is_file()] == []


def test_report_is_of_test_images_and_of_every_arm(first_run: tuple[Experiment, str]) -> None:
    report = read_report(first_run[0])
    for domain in DOMAINS:
        told = report.domains[domain]
        trained = ["zero_shot", "scratch", "default", "feature", "model", "best"]
        optional = {"interpolated", "soup", "best_mean", "finished"}
        assert [arm.name for arm in told.arms if arm.name not in optional] == [*CLASSICAL, *trained]
        assert len(told.trials) == 3
        assert {d.scenes for d in told.differences} == {6}
        opened = told.test_opened.at
        assert (told.test_opened.after_choosing, told.earlier_openings) == (told.winner, [])
        searched = json.loads(first_run[0].home.child("search", domain, "stage.json").read_bytes())["finished_at"]
        assert opened >= searched
        assert all(arm.psnr != candidate.search_psnr for arm in told.arms for candidate in told.candidates)


def test_everything_was_fitted_before_the_test_split_was_opened(first_run: tuple[Experiment, str]) -> None:
    confirm = Path(first_run[0].home.child("confirm").path)
    for domain in DOMAINS:
        (opening,) = (confirm / domain / "test-opened").glob("*.json")
        fitted = [*(confirm / domain).glob("classical-*/fitted.json"), *(confirm / domain).glob("runs-*/*/run.json")]
        assert len(fitted) >= 1 + 2 * 3  # two seeds of scratch, feature transfer and the winner at least
        assert all(file.stat().st_mtime <= opening.stat().st_mtime for file in fitted)
        scored = list((confirm / domain).glob("runs-*/test-*.json"))
        assert all(file.stat().st_mtime >= opening.stat().st_mtime for file in scored)


def test_the_steps_and_what_they_forget_are_told(first_run: tuple[Experiment, str]) -> None:
    for told in read_report(first_run[0]).domains.values():
        by_name = {arm.name: arm for arm in told.arms}
        assert all(by_name[name].source_psnr for name in ("zero_shot", "default", "feature", "model", "best"))
        # With a fresh generator and eight steps, nearly nothing is left of what the source model knew.
        assert by_name["feature"].source_psnr != by_name["model"].source_psnr
        pairs = {(d.arm, d.baseline) for d in told.differences}
        assert {("feature", "zero_shot"), ("model", "feature"), ("best", "model"), ("best", "tv")} <= pairs
        assert all(d.seed_sd is not None and d.seed_sd >= 0 for d in told.differences)


def test_pretraining_took_all_its_steps_on_two_workers(first_run: tuple[Experiment, str]) -> None:
    report = read_report(first_run[0])
    assert report.source.steps == 24
    assert [point.step for point in report.source.loss] == [4, 8, 12, 16, 20, 24]
    _, card = read_model(first_run[0].home.child("source"))
    assert card["parameters"]["F_theta"] > 0
    assert card["parameters"]["G_phi"] > 0


def test_a_finished_search_leaves_its_records_alone(first_run: tuple[Experiment, str]) -> None:
    home = Path(first_run[0].home.path)
    assert {p.suffix for p in home.glob("search/**/*") if p.is_file() and p.name != "optuna.log"} == {".json"}
    assert list(home.glob("search/*/ray")) == []
    deadline, every = time.monotonic() + 30, ray.cluster_resources()["CPU"]
    while True:  # Ray lets go of actors and their resources a moment after the run has
        free = ray.available_resources().get("CPU", 0.0)
        groups = [group for group in placement_group_table().values() if group["state"] != "REMOVED"]
        if free == every and not groups:
            return
        assert time.monotonic() < deadline, (free, every, groups)
        time.sleep(0.2)


def test_best_configuration_is_the_report_s(first_run: tuple[Experiment, str]) -> None:
    report = read_report(first_run[0])
    best = yaml.safe_load(first_run[0].home.child("report", "best.yaml").read_bytes())
    assert set(best["domains"]) == set(report.domains)


def test_model_of_a_domain_can_be_used(first_run: tuple[Experiment, str], images: Path) -> None:
    told = evaluate_model(first_run[0].home.child("models", "satellite").uri, [str(images / "satellite")])
    assert told["sets"][0]["images"] == 9


def test_second_run_skips_every_stage(first_run: tuple[Experiment, str]) -> None:
    told = run(first_run[0])
    stages = ["shards source", "pretrain", "search medical", "search satellite", "confirm medical", "report"]
    for stage in stages:
        assert any(line.startswith(f"{stage}: finished") and line.endswith("skipped") for line in told.splitlines())
    assert "running" not in told


def test_more_trials_extend_the_study(first_run: tuple[Experiment, str], images: Path, storage: Path) -> None:
    before = {domain: records(storage, domain) for domain in DOMAINS}
    experiment = make_experiment(settings(str(images), str(storage), search=SEARCH | {"trials": 4}), "tiny")
    told = run(experiment)
    assert "pretrain: finished" in told
    assert [len(domain.earlier_openings) for domain in read_report(experiment).domains.values()] == [1, 1]
    for domain in DOMAINS:
        after = records(storage, domain)
        assert set(after) - set(before[domain]) == {"0003.json"}
        assert {name: after[name] for name in before[domain]} == before[domain]


def test_changed_images_rebuild_only_what_depends_on_them(
    first_run: tuple[Experiment, str], images: Path, storage: Path
) -> None:
    experiment = make_experiment(settings(str(images), str(storage), search=SEARCH | {"trials": 4}), "tiny")
    run(experiment)
    manifest = experiment.home.child("shards", "medical", "manifest.json").read_json()
    (images / "medical" / Path(manifest["scenes"]["train"][0]).name).unlink()
    told = run(experiment)
    assert "search satellite: finished" in told
    assert "search medical: finished" not in told
    assert "pretrain: finished" in told


def test_a_search_from_a_model_goes_to_its_report_without_source_images(
    first_run: tuple[Experiment, str], images: Path, storage: Path
) -> None:
    source = first_run[0].home.child("source")
    content = settings(str(images), str(storage), search={"trials": 2}, confirmation={"seeds": 1})
    content |= {"name": "from-a-model", "source": {"model": source.uri}}
    del content["network"], content["targets"]["medical"]
    experiment = make_experiment(content, "from a model")
    told = run(experiment)
    assert f"pretrain: source model {source.uri}, nothing to train" in told
    report = read_report(experiment)
    assert (report.source.model, report.source.steps, report.scale) == (source.uri, None, 4)
    assert list(report.domains) == ["satellite"]
    _, card = read_model(experiment.home.child("models", "satellite"))
    assert card["lineage"]["source_model"] == read_model(source)[1]["sha256"]
    assert card["lineage"]["source"] == source.uri
    again = run(experiment)
    assert "report: finished" in again
    assert "running" not in again


def test_storage_is_free_of_pickles(first_run: tuple[Experiment, str]) -> None:
    ours = [f.path for f in Storage.at(first_run[0].home.uri).files() if "/ray/" not in f.path]
    allowed = {".json", ".yaml", ".parquet", ".safetensors", ".png", ".html", ".md", ".log"}
    assert [path for path in ours if Path(path).suffix not in allowed] == []


def test_trials_that_keep_failing_are_said_with_their_reason(first_run: tuple[Experiment, str], tmp_path: Path) -> None:
    job = Jobs(first_run[0]).study("satellite", ())
    nowhere = replace(job.domain, source=Storage.at(str(tmp_path / "no-model")))
    places = {"records": Storage.at(str(tmp_path / "r")), "scratch": Storage.at(str(tmp_path / "s"))}
    job = replace(job, domain=nowhere, trials=1, **places)
    runner = RayRunner(Resources(2, 0, 0))
    with pytest.raises(RunError, match=r"trial 0 failed 3 times \(There is no model at .*json\); 0 of 1 trials"):
        result_of(runner, runner.submit(drive_study, job, runner))
