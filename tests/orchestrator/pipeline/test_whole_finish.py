"""A whole experiment with finished models, in this process: trained for longer, on validation images too."""

import json
import math
import shutil
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import tiny_models
import torch
import yaml
from rich.console import Console
from tiny_experiment import settings, write_experiment, write_images

from orchestrator.confirm import submission
from orchestrator.confirm import tasks as training
from orchestrator.experiment.feasibility import Resources
from orchestrator.experiment.load import load_experiment
from orchestrator.experiment.settings import Experiment
from orchestrator.finish import driver as finishing
from orchestrator.foundation.model_store import read_model
from orchestrator.jobs.stage_jobs import Jobs
from orchestrator.pipeline.preflight import preflight
from orchestrator.pipeline.run import run_experiment
from orchestrator.pipeline.verify import verify
from orchestrator.report.build import read_report
from orchestrator.runtime.progress import Display
from orchestrator.runtime.task_runner import InProcessRunner, in_process
from trainables.errors import DivergedError, RunError
from trainables.metrics.constant_fields import constant_field_error, constant_field_sentence

STEPS = 8


def content(folder: Path, **finish: object) -> dict[str, object]:
    made = settings(str(folder / "images"), str(folder / "runs"), finish={"enabled": True, "doublings": 2} | finish)
    made |= {"source": {"model": tiny_models.write(folder / "source", tiny_models.net())}}
    made["targets"] = {"satellite": {"images": "satellite", "test_share": 0.67}}
    made["search"] |= {"trials": 2}
    del made["network"], made["pretraining"]
    return made


def run(file: Path, until: str = "report") -> tuple[Experiment, str]:
    experiment, console = load_experiment(file, []), Console(record=True, width=200, force_terminal=False)
    run_experiment(experiment, preflight(experiment), Display(console), until=until, start=in_process)
    return experiment, console.export_text()


def paths(home: Path, pattern: str = "*") -> dict[str, bytes]:
    found = {str(path.relative_to(home)): path.read_bytes() for path in home.rglob(pattern) if path.is_file()}
    return {name: data for name, data in found.items() if name != "experiment.json"}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, str]:
    """Its file, its folder and what it said."""
    folder = tmp_path_factory.mktemp("finished")
    write_images(folder / "images")
    file = write_experiment(folder / "tiny.yaml", content(folder, least_gain=0))
    experiment, said = run(file)
    return file, Path(experiment.home.path), said


def record(home: Path) -> dict[str, object]:
    told: dict[str, object] = json.loads((home / "finish/satellite/stage.json").read_bytes())["result"]
    return told


def test_lengths_double_while_they_gain_and_the_model_is_trained_on_validation_too(finished):
    _, home, said = finished
    told = record(home)
    lengths = told["decision"]["lengths"]
    assert [length["steps"] for length in lengths] == [STEPS * 2**k for k in range(len(lengths))]
    means = [sum(length["validation_psnr"]) / 2 for length in lengths]
    gains = [after - before for before, after in pairwise(means)]
    assert all(gain >= 0 for gain in gains[:-1])
    rises = gains[-1] >= 0
    assert told["decision"]["still_rises"] is rises
    chosen = told["decision"]["steps"]
    assert chosen == lengths[-1 if rises else -2]["steps"]
    assert told["trained_on"] == ["train", "validation"]
    runs = sorted(path.parent.name for path in home.glob("finish/satellite/runs-*/*/run.json"))
    seeds = [1, 2] if told["seeds"] == [1, 2] else [1]
    tried = [f"steps-{length['steps']}-seed{seed}" for length in lengths[1:] for seed in (1, 2)]
    assert runs == sorted([*tried, *(f"all-images-{chosen}-seed{seed}" for seed in seeds)])
    assert f"finish satellite: done, {told['winner']}, {chosen} steps on train and validation" in said


def test_averaging_is_decided_on_networks_that_never_saw_validation(finished):
    _, home, _ = finished
    told = record(home)
    averaging, chosen = told["decision"]["averaging"], told["decision"]["steps"]
    length = next(length for length in told["decision"]["lengths"] if length["steps"] == chosen)
    assert averaging["single_psnr"] == pytest.approx(sum(length["validation_psnr"]) / 2)
    assert (told["seeds"] == [1, 2]) is (averaging["averaged_psnr"] >= averaging["single_psnr"])


def test_the_finished_model_is_the_domain_s_and_the_confirmed_one_lies_below_it(finished):
    file, home, _ = finished
    told, place = record(home), Jobs(load_experiment(file, [])).place("models", "satellite")
    net, card = read_model(place)
    before, confirmed = read_model(place.child("confirmed"))
    assert card["finished"]["steps"] == told["decision"]["steps"]
    assert card["configuration"] == confirmed["configuration"]
    assert card["metrics"]["test"] == told["test"]
    assert card["degradation"] == confirmed["degradation"]
    assert "finished" not in confirmed
    assert not all(torch.equal(a, b) for a, b in zip(net.parameters(), before.parameters(), strict=True))


def test_a_model_that_changes_constant_fields_is_named_and_flagged(finished):
    file, home, said = finished
    experiment = load_experiment(file, [])
    found = record(home)["constant_fields"]
    net, _ = read_model(Jobs(experiment).place("models", "satellite"))
    assert found == pytest.approx(constant_field_error(net), abs=1e-6)
    sentence = constant_field_sentence(found)
    assert sentence is not None, "the networks of tests are far off"
    _, _, after = said.partition("finish satellite: done, ")
    assert sentence in after
    assert f"Finished model: {sentence}" in read_report(experiment).domains["satellite"].flags


def test_the_test_split_is_opened_after_the_decision_and_both_openings_are_on_record(finished):
    _, home, _ = finished
    told = record(home)
    opened = {path.name: json.loads(path.read_bytes()) for path in home.glob("confirm/satellite/test-opened/*.json")}
    own = next(opening for name, opening in opened.items() if name.startswith("finish-"))
    assert len(opened) == 2
    assert own == told["opened"]
    assert own["by"].endswith(", finished model")
    assert own["after_choosing"].startswith(f"{told['winner']}, {told['decision']['steps']} steps")
    scores = list(home.glob("finish/satellite/runs-*/test-*.json"))
    assert [path.name for path in scores] == ["test-finished.json"]


def test_the_report_has_its_row_with_an_interval_against_the_confirmed_one(finished):
    file, home, _ = finished
    domain = read_report(load_experiment(file, [])).domains["satellite"]
    arm = next(arm for arm in domain.arms if arm.name == "finished")
    assert len(arm.psnr_by_seed) == 1
    best = next(arm for arm in domain.arms if arm.name == "best")
    gain = next(d for d in domain.differences if (d.arm, d.baseline, d.metric) == ("finished", "best", "psnr"))
    assert gain.mean == pytest.approx(arm.psnr - best.psnr)
    assert domain.model == str(home / "models" / "satellite")
    assert all("finished" in row.gains for row in domain.scenes)
    assert domain.finished is not None
    assert domain.finished.confirmed_model == str(home / "models" / "satellite" / "confirmed")
    assert any(remark.startswith("Finished model (") for remark in domain.remarks)
    assert domain.earlier_openings == []
    entry = yaml.safe_load((home / "report" / "best.yaml").read_bytes())["domains"]["satellite"]
    assert entry["finished"]["steps"] == entry["finetune"]["steps"] == domain.finished.steps
    assert "finished" in (home / "report" / "table.md").read_text()
    assert "finish satellite" in read_report(load_experiment(file, [])).stage_seconds


def test_nothing_is_done_again_and_all_is_in_good_order(finished):
    file, home, _ = finished
    before = paths(home)
    experiment, said = run(file)
    assert said.count("skipped") == 5  # shards, search, confirm, finish, report; the source model is copied
    assert paths(home) == before
    found = verify(experiment.home)
    assert found.problems == ()


DAMAGED = {
    "trainings": [
        "finish/satellite/runs-*/steps-16-seed1/model.safetensors",
        "finish/satellite/runs-*/all-images-*-seed1/run.json",
        "finish/satellite/runs-*/finished/model.safetensors",
        "models/satellite/card.json",
    ],
    "records": [
        "finish/satellite/runs-*/decision.json",
        "finish/satellite/runs-*/test-finished.json",
        "confirm/satellite/test-opened/finish-*.json",
        "models/satellite/model.safetensors",
    ],
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_file_is_named_and_made_again_as_it_was(finished, kind):
    """But for a length that was tried: the decision is on record, so it is not trained once more."""
    file, home, _ = finished

    def results():
        kept = [f"models/satellite/{name}" for name in ("model.safetensors", "card.json")]
        kept += [str(path.relative_to(home)) for path in home.glob("finish/satellite/runs-*/finished/*")]
        kept += [str(path.relative_to(home)) for path in home.glob("finish/satellite/runs-*/*.json")]
        kept += [str(path.relative_to(home)) for path in home.glob("finish/satellite/runs-*/all-images-*/model*")]
        return {name: (home / name).read_bytes() for name in kept}

    before = results()
    damaged = [next(home.glob(pattern)) for pattern in DAMAGED[kind]]
    for path in damaged:
        path.write_bytes(b"{}")
    named = {str(path.relative_to(home)) for path in damaged}
    assert named <= {entry.path for entry in verify(load_experiment(file, []).home).problems}
    _, said = run(file)
    assert any(f"finish satellite: {path} " in said for path in named)
    assert "and 1 more, running again" in said
    assert "confirm satellite: finished" in said
    assert results() == before
    assert verify(load_experiment(file, []).home).problems == ()


@pytest.fixture
def confirmed(finished, tmp_path):
    """A copy of the experiment as it was after its confirmation: its file and its folder."""
    return copied(finished, tmp_path, "finish", "report")


def copied(finished, folder, *without):
    """A copy of the finished experiment without these stages: its file and its folder."""
    file, _, _ = finished
    shutil.copytree(file.parent, folder, dirs_exist_ok=True)
    made = yaml.safe_load(file.read_text()) | {"root": str(folder / "images"), "storage": str(folder / "runs")}
    copy, place = write_experiment(folder / "tiny.yaml", made), folder / "runs" / "tiny"
    for stage in without:
        shutil.rmtree(place / stage)
    if "finish" in without:
        for path in [*place.glob("confirm/*/test-opened/finish-*"), *place.glob("models/*/*.*")]:
            path.unlink()
    return copy, place


def changed(file, **finish):
    """Writes the experiment again with these settings of the stage."""
    made = yaml.safe_load(file.read_text())
    write_experiment(file, made | {"finish": made["finish"] | finish})


def test_a_killed_stage_goes_on_and_trains_nothing_twice(finished, confirmed, monkeypatch):
    """After each training, and at every other task: whatever comes first ends the run."""
    file, home = confirmed
    trained: list[str] = []

    def trains(job, name, configuration, seed, start, real=submission.train_run):
        if not job.runs.child(f"{name}-seed{seed}", "run.json").exists():
            trained.append(f"{name}-seed{seed}")
            real(job, name, configuration, seed, start)
            raise RunError("killed")
        return real(job, name, configuration, seed, start)

    def dies(*_, **__):
        raise RunError("killed")

    def killed():
        with pytest.raises(RunError, match="killed"):
            run(file, until="finish")

    with monkeypatch.context() as patched:
        patched.setattr(submission, "train_run", trains)
        patched.setattr(finishing, "compare_averaging", dies)
        while len(trained) < len(record(finished[1])["decision"]["lengths"][1:]) * 2:
            killed()
        killed()
    for name in ("assemble", "record_choice", "score_run", "publish"):
        with monkeypatch.context() as patched:
            patched.setattr(finishing, name, dies)
            killed()
    assert not (home / "models" / "satellite" / "model.safetensors").exists()
    run(file, until="finish")
    assert len(set(trained)) == len(trained)
    whole, told = record(finished[1]), record(home)
    assert told | {"opened": None} == whole | {"opened": None}


def test_without_a_gain_the_confirmation_s_length_is_kept_and_its_networks_are_compared(confirmed):
    file, home = confirmed
    changed(file, least_gain=50, seeds=5)
    run(file, until="finish")
    decision = record(home)["decision"]
    assert [length["steps"] for length in decision["lengths"]] == [STEPS, 2 * STEPS]
    assert (decision["steps"], decision["still_rises"]) == (STEPS, False)
    assert math.isfinite(decision["averaging"]["averaged_psnr"])


def test_a_length_that_loses_too_much_of_the_source_is_not_taken(confirmed):
    file, _ = confirmed
    job = replace(Jobs(load_experiment(file, [])).finish("satellite"), keep_source=-100.0)
    found = finishing.drive_finish(job, InProcessRunner(Resources(2, 0, 0))).decision
    assert found is not None
    assert [length.steps for length in found.lengths] == [STEPS, 2 * STEPS]
    assert found.steps == STEPS
    assert math.isfinite(found.lengths[1].source_loss)


def test_where_every_training_on_validation_images_diverges_those_before_stand_in(confirmed, monkeypatch):
    file, home = confirmed
    changed(file, doublings=0, seeds=1)
    real = training.run_finetuning

    def diverges(job, *arguments, **options):
        if "validation" in job.splits:
            raise DivergedError("too fast")
        return real(job, *arguments, **options)

    monkeypatch.setattr(training, "run_finetuning", diverges)
    experiment, _ = run(file)
    told = record(home)
    assert (told["trained_on"], told["seeds"], told["decision"]["steps"]) == (["train"], [1], STEPS)
    assert "averaging" not in told["decision"] or told["decision"]["averaging"] is None
    domain = read_report(experiment).domains["satellite"]
    assert any("has the training split alone" in flag for flag in domain.flags)
    confirmed_net, own = (read_model(experiment.home.child("models", "satellite", *p))[0] for p in (["confirmed"], []))
    assert all(torch.equal(a, b) for a, b in zip(confirmed_net.parameters(), own.parameters(), strict=True))


def test_where_the_source_model_won_there_is_nothing_to_train(finished, tmp_path):
    file, home = copied(finished, tmp_path, "finish", "report", "models")
    (home / "confirm/satellite/stage.json").unlink()
    opening = next(home.glob("confirm/satellite/test-opened/*.json"))
    opening.write_text(json.dumps(json.loads(opening.read_text()) | {"after_choosing": "zero_shot"}))
    experiment, said = run(file)
    assert "finish satellite: done, the source model won, nothing to train" in said
    assert list(home.glob("finish/satellite/runs-*")) == []
    source, own = (read_model(experiment.home.child(*parts))[0] for parts in (("source",), ("models", "satellite")))
    assert all(torch.equal(a, b) for a, b in zip(source.parameters(), own.parameters(), strict=True))
    domain = read_report(experiment).domains["satellite"]
    assert "Finished model: the source model won, so there is nothing to train longer." in domain.remarks
    assert run(file)[1].count("skipped") == 5


def test_an_experiment_loses_its_finished_models_and_gets_them_again(finished, tmp_path):
    """Nothing is trained again; the confirmed model moves to the domain's place, and below it again."""
    file, home = copied(finished, tmp_path)
    before, runs = (home / "models/satellite/model.safetensors").read_bytes(), paths(home, "run.json")
    plain = (home / "models/satellite/confirmed/model.safetensors").read_bytes()
    changed(file, enabled=False)
    experiment, said = run(file)
    assert "confirm satellite: models/satellite/model.safetensors is missing, running again" in said
    assert (home / "models/satellite/model.safetensors").read_bytes() == plain
    assert not (home / "models/satellite/confirmed").exists()
    assert verify(experiment.home).problems == ()
    assert run(file)[1].count("skipped") == 4
    assert read_report(experiment).domains["satellite"].finished is None

    changed(file, enabled=True)
    _, said = run(file)
    assert "confirm satellite: models/satellite/confirmed/model.safetensors is missing, running again" in said
    assert (home / "models/satellite/confirmed/model.safetensors").read_bytes() == plain
    assert (home / "models/satellite/model.safetensors").read_bytes() == before
    assert paths(home, "run.json") == runs
    assert verify(experiment.home).problems == ()
