"""`rayscale analyze` on images small enough for any test."""

import json
import re

import noise_images
import pytest
import tiny_experiment
import tiny_models

from orchestrator.analysis import analyze as analysis
from orchestrator.analysis.analyze import analyze_experiment
from orchestrator.analysis.task import analyze_domain
from orchestrator.experiment.feasibility import Resources
from orchestrator.experiment.load import load_experiment
from orchestrator.foundation.storage import Storage
from orchestrator.jobs.stage_jobs import Jobs
from orchestrator.runtime.task_runner import InProcessRunner


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """A source model ×2, images of a source and of a target domain."""
    monkeypatch.chdir(tmp_path)
    tiny_models.write(tmp_path / "model", tiny_models.net(2))
    noise_images.write(tmp_path / "natural", [f"{i}.png" for i in range(6)], (64, 128))
    noise_images.write(tmp_path / "tiles", [f"{i}.png" for i in range(10)], (64, 64), channels=1)


SET = ["analyze", "--model", "./model", "--images", "tiles", "--space", "satellite-v2"]


def test_one_set_as_a_document(rayscale, tmp_path):
    code, out, _ = rayscale(*SET, "--source-images", "natural", "--json")
    told = json.loads(out)
    assert code == 0
    assert told["source"]["images_from"] == str(tmp_path / "natural")
    assert (told["source"]["images"], told["source"]["tiles"]) == (6, 12)
    only = told["targets"]["satellite"]
    assert (only["images"], only["scenes"], only["tiles"]) == (10, 10, 10)
    assert len(only["per_block"]) == len(told["blocks"]) == 8
    for block in only["per_block"]:
        assert 0 <= block["cka"]["low"] <= block["cka"]["value"] <= block["cka"]["high"] <= 1
    # Gray noise against coloured noise, which a linear probe tells apart.
    assert only["frechet_over_floor"]["value"] > 2
    assert only["proxy_a"]["value"] > 1.5
    assert only["advice"]["points"]


def test_without_source_images_they_are_generated_and_it_says_so(rayscale, monkeypatch):
    monkeypatch.setattr(analysis, "GENERATED", 4)
    monkeypatch.setattr(analysis, "GENERATED_SIDE", 64)
    code, out, _ = rayscale(*SET)
    assert code == 0
    assert "source: 4 generated natural images (no source images were named), bicubic" in out
    assert re.search(r"│ satellite │ 10 / 10 ", out)
    assert re.search(r"│ block7 +│ [01]\.\d{2} \[", out)
    assert re.search(r"satellite: .*; frozen depth \d to \d first; try\n  lr ", out)


def test_an_experiment_reads_no_test_image(rayscale, tmp_path):
    settings = {
        "name": "tiny",
        "storage": str(tmp_path / "runs"),
        "root": str(tmp_path),
        "source": {"model": "./model"},
        "finetuning": {"lr_patch": 16},
        "targets": {"satellite": {"images": "tiles", "test_share": 0.4}},
    }
    file = tiny_experiment.write_experiment(tmp_path / "tiny.yaml", settings)
    code, out, err = rayscale("analyze", file, "--source-images", "natural", "--json")
    assert code == 0, err
    told = json.loads(out)
    assert told["targets"]["satellite"]["images"] == 6
    place = Storage.at(str(tmp_path / "runs/tiny"))
    assert place.child("analysis", "analysis.json").read_json() == told
    test_files = [facts.path for facts in place.files() if "/test/" in facts.path]
    assert len(test_files) == 1
    place.child(test_files[0]).delete()
    again = analyze_experiment(load_experiment(file, []), "natural", lambda done, of: None)
    assert json.loads(json.dumps(again)) == told


@pytest.mark.parametrize(
    ("words", "arguments"),
    [
        ("all of --model, --images and --space; found --model, missing --images, --space", SET[:3]),
        ("all of --model, --images and --space; found none", ["analyze"]),
        ("and --set, which changes an experiment", [*SET, "--set", "scale=2"]),
        ("An experiment names its own .*: remove --images, or the file", ["analyze", "x.yaml", "--images", "tiles"]),
        ("There is no experiment file 'x.yaml'", ["analyze", "x.yaml"]),
        (r"No search space is called 'satelite'.* Did you mean 'satellite'\?", [*SET[:-1], "satelite"]),
        ("There is no model 'modle'", ["analyze", "--model", "modle", *SET[3:]]),
        ("There is no folder '.*nowhere'", [*SET[:3], "--images", "nowhere", *SET[5:]]),
        ("There is no folder '.*nowhere'", [*SET, "--source-images", "nowhere"]),
        ("no usable images .left out: 2 × smaller than the 64×64", [*SET, "--source-images", "small"]),
        ("'.*three' has usable images of 3 scenes; an analysis needs 4", [*SET, "--source-images", "three"]),
        ("'.*tiles' has usable images of 1 scenes; an analysis needs 2", [*SET, "--scenes", "folder"]),
    ],
)
def test_wrong_input_is_one_sentence(rayscale, tmp_path, words, arguments, monkeypatch):
    monkeypatch.setattr(analysis, "GENERATED", 0)
    if "folder" in arguments:
        arguments = [*arguments, "--source-images", "natural"]
    noise_images.write(tmp_path / "small", ["a.png", "b.png"], (63, 80))
    noise_images.write(tmp_path / "three", ["a.png", "b.png", "c.png"], (64, 64))
    code, out, err = rayscale(*arguments)
    assert code == 2, err
    assert re.search(words, err), err
    assert err.startswith("rayscale: ")
    assert err.count("\n") == 1
    assert out == ""


def test_a_search_goes_without_advice_where_a_set_is_too_small(rayscale, tmp_path, monkeypatch):
    monkeypatch.setattr(analysis, "GENERATED", 4)
    monkeypatch.setattr(analysis, "GENERATED_SIDE", 64)
    settings = {
        "name": "tiny",
        "storage": str(tmp_path / "runs"),
        "root": str(tmp_path),
        "source": {"model": "./model"},
        "finetuning": {"lr_patch": 16},
        "targets": {"satellite": {"images": "tiles", "test_share": 0.4}},
    }
    file = tiny_experiment.write_experiment(tmp_path / "tiny.yaml", settings)
    assert rayscale("pretrain", file)[0] == 0
    experiment = load_experiment(file, [])
    job = Jobs(experiment).analysis("satellite")
    told = analyze_domain(job, InProcessRunner(Resources(2, 0, 0)))
    assert (told["images"], told["advice"]["regime"]) == (6, "few images")
    monkeypatch.setattr(analysis, "FEWEST_TARGET_SCENES", 7)
    assert analyze_domain(job, InProcessRunner(Resources(2, 0, 0))) == {
        "advice": None,
        "reason": "'satellite' has usable images of 6 scenes; an analysis needs 7.",
    }
