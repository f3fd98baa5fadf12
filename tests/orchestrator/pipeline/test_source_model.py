"""Experiments that start from a model that is there already: no source images, no pretraining."""

import json
import re
import shutil
from pathlib import Path

import noise_images
import pytest
import tiny_models
from planning import steady_rates
from report_fixture import example_report
from rich.console import Console
from tiny_experiment import settings

from orchestrator.cli.report_table import terminal_table
from orchestrator.estimate.plan import make_plan
from orchestrator.experiment.feasibility import Resources, check_resources
from orchestrator.experiment.load import load_experiment, make_experiment
from orchestrator.foundation.model_store import find_model
from orchestrator.jobs.stage_jobs import Jobs
from orchestrator.pipeline import run_context
from orchestrator.pipeline.preflight import Inputs, preflight
from orchestrator.pipeline.run import run_experiment
from orchestrator.report.build import _source
from orchestrator.report.html import render_html
from orchestrator.report.schema import SourceReport
from orchestrator.runtime.progress import Display
from trainables.errors import UsageError
from trainables.network.model_files import CARD, WEIGHTS
from trainables.network.network import frozen_depth_limit, preset


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Images of two domains, tiny networks in place of the packaged ones, and no Ray."""
    tiny_models.packaged(tmp_path, monkeypatch)
    monkeypatch.chdir(tmp_path)
    for domain in ("medical", "satellite"):
        noise_images.write(tmp_path / domain, [f"{i}.png" for i in range(9)])

    def started(*_, **__):
        pytest.fail("Ray was started")

    monkeypatch.setattr(run_context, "connect", started)


def experiment(model="base-x4", **changes):
    content = settings(".", "runs") | {"source": {"model": model}, **changes}
    content = {key: value for key, value in content.items() if value is not None and key != "network"}
    return make_experiment(content | ({"network": changes["network"]} if "network" in changes else {}), "mine.yaml")


def run(made, until="pretrain"):
    console = Console(record=True, width=100, force_terminal=False)
    run_experiment(made, preflight(made), Display(console), until=until)
    return console.export_text()


def refused(made):
    with pytest.raises(UsageError) as told:
        preflight(made)
    message = str(told.value)
    assert "\n" not in message
    assert not Path("runs").exists()
    return message


def test_the_pretrain_stage_adopts_the_model_and_builds_no_source_shards():
    made = experiment()
    told = run(made)
    assert "pretrain: source model base-x4, nothing to train\n" in told
    assert "shards source" not in told
    home = Path("runs/tiny")
    assert sorted(path.name for path in (home / "source").iterdir()) == [CARD, WEIGHTS, "stage.json"]
    for name, data in find_model("base-x4").files.items():
        assert (home / "source" / name).read_bytes() == data
    assert json.loads((home / "source/stage.json").read_text())["result"] == {"model": "base-x4"}
    assert sorted(path.name for path in (home / "shards").iterdir() if path.is_dir()) == ["medical", "satellite"]
    before = (home / "source/stage.json").stat().st_mtime_ns
    assert "pretrain: source model base-x4, nothing to train\n" in run(made)
    assert (home / "source/stage.json").stat().st_mtime_ns == before


def test_another_model_is_another_search(tmp_path):
    first = Jobs(experiment())
    run(first.experiment)
    tiny_models.write(tmp_path / "weights" / "base-x4", tiny_models.net(4, seed=1))
    second = Jobs(experiment())
    assert first.source_inputs() != second.source_inputs()
    assert first.study_inputs("medical") != second.study_inputs("medical")
    run(second.experiment)
    written = json.loads(Path("runs/tiny/source/card.json").read_text())
    assert written["sha256"] == second.experiment.source_model.card["sha256"]


def test_the_same_model_under_another_name_is_the_same_search(tmp_path):
    shutil.copytree(tmp_path / "weights/base-x4", tmp_path / "copy")
    assert Jobs(experiment()).source_inputs() == Jobs(experiment("./copy")).source_inputs()


def test_a_pretrained_source_makes_way_for_a_model_and_the_other_way_round(tmp_path):
    """Files of the one must never stand beside the record of the other."""
    place = tmp_path / "runs/tiny/source"
    place.mkdir(parents=True)
    (place / "stage.json").write_text('{"inputs": "of a pretraining"}')
    run(experiment())
    assert json.loads((place / "stage.json").read_text())["inputs"] == Jobs(experiment()).source_inputs()


@pytest.mark.parametrize("scale", [2, 4])
def test_scale_and_shape_are_the_model_s(scale):
    for further in ({}, {"scale": scale}, {"network": "tiny"}):
        made = experiment(f"base-x{scale}", **further)
        preflight(made)
        assert made.architecture == preset("tiny", scale)
        assert made.dump()["scale"] == scale
        assert made.frozen_depths("medical") == (0, frozen_depth_limit(made.architecture))
        assert make_experiment(made.dump(), "again").architecture == made.architecture


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"scale": 2}, "scale is 2, but source model 'base-x4' has 4: remove `scale`"),
        ({"network": "base"}, "network is 'base', but source model 'base-x4' has another shape: remove `network`"),
        ({"network": "bse"}, "No network is called 'bse'"),
        (
            {"targets": {"satellite": {"images": "satellite", "frozen_depth": [0, 99]}}},
            "targets.satellite: frozen_depth",
        ),
        ({"model": "base-x3"}, "no model 'base-x3'.* Did you mean 'base-x"),
        ({"model": "./nowhere"}, "There is no folder '.*nowhere'"),
        ({"model": "satellite"}, "There is no model at '.*satellite': expected model.safetensors and card.json"),
        ({"model": "ftp://bucket/model"}, "must be a folder or s3://bucket/prefix"),
    ],
)
def test_what_does_not_fit_the_model_is_refused_in_the_preflight(changes, words):
    model = changes.pop("model", "base-x4")
    assert re.search(words, refused(experiment(model, **changes)))


def test_a_damaged_model_is_told_together_with_missing_images(tmp_path):
    weights = tmp_path / "weights/base-x4" / WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x7f")
    told = refused(experiment(targets={"satellite": {"images": "nowhere"}}))
    assert told.startswith("2 problems: (1) Model 'base-x4': ")
    assert "digests differ" in told
    assert "(2) There is no folder '" in told


def test_the_plan_has_nothing_to_pretrain():
    made = experiment()
    told = make_plan(made, Inputs(preflight(made).files, Resources(2, 0, 0)), steady_rates())
    (pretraining,) = [stage for stage in told.stages if stage.stage == "pretrain"]
    assert (pretraining.work, pretraining.seconds) == ("source model base-x4, nothing to train", 0)
    assert told.images == {"medical": 9, "satellite": 9}


def test_a_step_of_the_model_s_own_network_is_measured():
    made = experiment("base-x2")
    assert min(make_plan(made, preflight(made)).step_seconds.values()) > 0


def test_gpus_for_a_pretraining_that_will_not_be_are_not_asked_for():
    check_resources(experiment(pretraining={"workers": 2, "gpus_per_worker": 8}), Resources(2, 0, 0))


def test_jobs_carry_the_model_s_scale_and_lineage():
    made = experiment("base-x2", search={"trials": 1})
    run(made)
    jobs = Jobs(made)
    assert jobs._domain_job("medical").scale == 2
    assert jobs._source_lineage() == {"source": "base-x2", "source_licence": "CC0"}


def test_the_report_says_where_the_source_came_from(tmp_path):
    made = experiment()
    run(made)
    told = _source(made)
    assert (told.model, told.licence, told.metrics) == ("base-x4", "CC0", {"Set5.psnr": 30.5})
    assert (told.steps, told.loss, told.counts, told.validation_psnr) == (None, [], None, None)
    assert told.degradation == "bicubic"
    example = example_report(tmp_path)
    report = example.model_copy(update={"source": told, "domains": {"art": example.domains["art"]}})
    page = render_html(report, tmp_path)
    assert "The model base-x4 as it came; nothing was trained here before the fine-tuning." in page
    assert "Licence: CC0." in page
    assert "Set5.psnr" in page
    assert "Training loss of the source model" not in page
    terminal_table(report)


def test_reports_of_earlier_versions_still_load(tmp_path):
    source = example_report(tmp_path).source.model_dump(exclude={"model", "licence", "metrics"})
    assert SourceReport.model_validate(source).model is None


def test_the_shipped_experiment_starts_from_its_model(tmp_path):
    file = Path(__file__).parents[3] / "experiments/from-base-x4.yaml"
    noise_images.write(tmp_path / "satellite", [f"{i}.png" for i in range(9)], (144, 144))
    made = load_experiment(file, [f"root={tmp_path}", "storage=runs"])
    assert make_plan(made, preflight(made)).images == {"satellite": 9}
