"""A search of quality and speed on a real Ray, from a model to the report and the published front."""

import json
from pathlib import Path

import pytest
import tiny_experiment
import yaml
from rich.console import Console

from orchestrator.experiment.load import make_experiment
from orchestrator.foundation.model_store import read_model
from orchestrator.jobs.stage_jobs import Jobs
from orchestrator.pipeline.preflight import preflight
from orchestrator.pipeline.run import run_experiment
from orchestrator.report.build import read_report
from orchestrator.runtime.progress import Display
from orchestrator.search.pareto_front import pareto_front
from orchestrator.search.trial_record import best_record
from trainables.samples import write_samples

pytestmark = pytest.mark.cluster

SEARCH = {"trials": 5, "kept_blocks": [5, 8], "sampler": "random"}
"""Of base-x4, which is better than bicubic with all of its eight blocks and worse with a few steps on some of them."""


@pytest.fixture(scope="module")
def experiment(tmp_path_factory, ray_session):
    folder = tmp_path_factory.mktemp("front")
    write_samples(folder / "images" / "satellite", "satellite", 9, 1, seed=3, size=(96, 96))
    content = tiny_experiment.settings(str(folder / "images"), str(folder / "runs"), search=SEARCH)
    content |= {"source": {"model": "base-x4"}}
    content["targets"] = {"satellite": content["targets"]["satellite"]}
    content["confirmation"] |= {"seeds": 1}
    del content["network"], content["pretraining"]
    return make_experiment(content, "test")


@pytest.fixture(scope="module")
def told(experiment):
    console = Console(record=True, width=200, force_terminal=False)
    run_experiment(experiment, preflight(experiment), Display(console))
    return console.export_text()


def test_a_search_of_quality_and_speed_goes_to_a_confirmed_and_published_front(experiment, told):
    jobs = Jobs(experiment)
    records, speeds = jobs.records("satellite"), jobs.shortening().speeds
    assert list(speeds) == [5, 6, 7, 8]
    assert speeds[5] > speeds[8]
    assert f"speed: {min(speeds.values()):.3g} to {max(speeds.values()):.3g} MP/s of output on" in told
    assert [record.sampled["kept_blocks"] for record in records[:2]] == [8, 8]  # the starts
    assert {record.speed for record in records} <= set(speeds.values())
    assert all(record.speed == speeds[record.sampled["kept_blocks"]] for record in records)

    report = read_report(experiment).domains["satellite"]
    assert [point.trial for point in report.front.points] == [record.number for record in pareto_front(records)]
    assert report.front.points[0].trial == best_record(records).number
    assert len(report.front.points) > 1
    assert report.front.points[-1].kept_blocks < report.front.points[0].kept_blocks
    assert report.winner in {candidate.name for candidate in report.candidates}
    assert all(point.confirmed and point.test_psnr is not None for point in report.front.points)
    best = next(arm for arm in report.arms if arm.name == "best").psnr
    for point in report.front.points:
        assert point.difference.mean == pytest.approx(best - point.test_psnr)
        net, card = read_model(experiment.home.child("models", "satellite", "front", f"kept-{point.kept_blocks}"))
        assert net.architecture.depth == card["architecture"]["depth"] == point.kept_blocks
        assert card["megapixels_per_second"] == speeds[point.kept_blocks]
        assert card["metrics"]["test"]["psnr"] == point.test_psnr
        assert card["configuration"].get("kept_blocks", 8) == point.kept_blocks
    winner = report.configuration
    assert read_model(experiment.home.child("models", "satellite"))[0].architecture.depth == (
        (winner.kept_blocks if winner else None) or 8
    )
    shown = yaml.safe_load(experiment.home.child("report", "best.yaml").read_bytes())["domains"]["satellite"]["front"]
    assert [point["megapixels_per_second"] for point in shown["points"]] == [
        point.megapixels_per_second for point in report.front.points
    ]


def test_the_front_was_trained_before_the_test_split_was_opened(experiment, told):
    confirm = Path(experiment.home.child("confirm", "satellite").path)
    (opening,) = (confirm / "test-opened").glob("*.json")
    front = list(confirm.glob("runs-*/kept-*/run.json"))
    assert len(front) >= 1
    assert all(file.stat().st_mtime <= opening.stat().st_mtime for file in front)
    assert json.loads(opening.read_bytes())["after_choosing"] == read_report(experiment).domains["satellite"].winner
