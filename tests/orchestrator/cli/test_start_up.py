"""Imports of the command line: a small picture or scene takes no longer than it must, and a refusal no PyTorch."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import tiny_models
import torch
from PIL import Image

from benchmarks.common import scene_files

COMPILERS = {"torch._dynamo", "torch._inductor", "triton", "sympy"}
NEVER = COMPILERS | {"ray", "optuna", "torchvision", "scipy", "matplotlib", "pydicom", "nibabel"}
# rasterio imports boto3, and pyarrow, which writes the table of all outputs, pandas.
SCENES_ONLY = {"rasterio", "boto3", "pystac", "pyarrow", "pandas"}

CODE = """
import json, sys
from orchestrator.cli.app import app
from trainables.errors import RayScaleError
for command in json.loads(sys.argv[1]):
    try:
        app(command, standalone_mode=False)
    except RayScaleError as error:
        print("refused", error)
    print("loaded", json.dumps(sorted(sys.modules)))
"""


def run(commands):
    """Runs commands in one process; what they printed, and the modules that were loaded after each of them."""
    done = subprocess.run(
        [sys.executable, "-c", CODE, json.dumps(commands)],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": ""},
    )
    lines = done.stdout.splitlines()
    loaded = [set(json.loads(line.removeprefix("loaded "))) for line in lines if line.startswith("loaded ")]
    return done, loaded


def test_neither_a_picture_nor_a_small_scene_imports_what_it_does_not_need(tmp_path):
    model = tiny_models.write(tmp_path / "model", tiny_models.net(2))
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(tmp_path / "x.png")
    scene_files.write(tmp_path / "a.tif", (40, 36))
    out = str(tmp_path / "out")
    commands = [["upscale", str(tmp_path / name), out, "--model", model] for name in ("x.png", "a.tif")]
    done, (of_picture, of_scene) = run(commands)
    assert (tmp_path / "out" / "x.png").exists()
    assert (tmp_path / "out" / "a.tif").exists()
    assert "1 small scene: upscaled in this process, without starting Ray." in done.stderr
    assert "torch" in of_picture
    assert of_picture & (NEVER | SCENES_ONLY) == set()
    assert of_scene & NEVER == set()
    assert "rasterio" in of_scene


def test_what_is_refused_never_imports_torch(tmp_path):
    model = tiny_models.write(tmp_path / "model", tiny_models.net(2))
    missing, picture, out = (str(tmp_path / name) for name in ("missing", "x.png", "out"))
    Image.new("RGB", (8, 8)).save(picture)
    scene_files.write(tmp_path / "a.tif", (40, 36))
    folder, empty = str(tmp_path), tmp_path / "empty.yaml"
    empty.write_text("name: mine\n")
    refused = {
        f"There is no file or folder '{missing}'": ["upscale", missing, out, "--model", model],
        "x.tif'; correct the path": ["upscale", str(tmp_path / "x.tif"), out, "--model", model],
        "y.png'; correct the path": ["upscale", str(tmp_path / "y.png"), f"{out}.png", "--model", model],
        "There is no model 'base-x9'": ["upscale", picture, out, "--model", "base-x9"],
        "There is no model 'base-x8'": ["upscale", str(tmp_path / "a.tif"), out, "--model", "base-x8"],
        "LOW": ["upscale", picture, out, "--model", model, "--normalisation", "high"],
        "--plan is for scenes": ["upscale", picture, out, "--model", model, "--plan"],
        "There is no model 'base-x7'": ["upscale", str(tmp_path / "a.tif"), out, "--model", "base-x7", "--plan"],
        "There is no model 'base-x6'": ["evaluate", "--model", "base-x6", "--images", folder],
        f"There is no folder '{missing}'": ["evaluate", "--model", model, "--images", missing],
        "There is no model 'base-x5'": ["adapt", folder, out, "--model", "base-x5", "--space", "satellite"],
        "There is no model 'base-x3'": ["export", "base-x3"],
        "missing.yaml": ["plan", f"{missing}.yaml"],
        "empty.yaml": ["run", str(empty)],
    }
    done, loaded = run(list(refused.values()))
    said = [line for line in done.stdout.splitlines() if line.startswith("refused ")]
    assert len(said) == len(refused)
    for words, line in zip(refused, said, strict=True):
        assert words in line
    assert "torch" not in loaded[-1]


@pytest.mark.skipif(torch.cuda.is_available(), reason="PyTorch counts the GPUs of a machine that has some")
def test_an_archive_that_is_finished_does_not_import_torch_again(tmp_path):
    model = tiny_models.write(tmp_path / "model", tiny_models.net(2))
    scene_files.write(tmp_path / "in" / "a.tif", (40, 36))
    command = ["upscale", str(tmp_path / "in"), str(tmp_path / "out"), "--model", model]
    _, (first,) = run([command])
    assert (tmp_path / "out" / "a.tif").exists()
    assert "torch" in first
    done, (again,) = run([[*command, "--json"]])
    told = json.loads(done.stdout.partition("loaded ")[0])
    assert (told["written"], told["skipped"], told["failed"]) == (0, 1, [])
    assert again & {"torch", "ray"} == set()


def test_neither_help_nor_the_driver_of_an_archive_on_ray_imports_torch():
    code = """
import sys
from orchestrator.archive.batch import driver, run
from orchestrator.archive.estimate import plan_archive
from orchestrator.runtime import node_check
from orchestrator.runtime.on_ray import ray_runner
from orchestrator.runtime.on_ray import ray_session
print("torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
    _, loaded = run([[name, "--help"] for name in ("upscale", "evaluate", "plan", "run", "adapt")])
    assert "torch" not in loaded[-1]


@pytest.mark.cluster
@pytest.mark.skipif(torch.cuda.is_available(), reason="PyTorch counts the GPUs of a machine that has some")
def test_on_ray_only_the_workers_import_torch(tmp_path):
    model = tiny_models.write(tmp_path / "model", tiny_models.net(2))
    for number in range(17):  # more than one process takes
        scene_files.write(tmp_path / "in" / f"{number}.tif", (40, 36))
    options = ["--model", model, "--threads", "2", "--precision", "float32"]
    done, (loaded,) = run([["upscale", str(tmp_path / "in"), str(tmp_path / "out"), *options, "--json"]])
    assert json.loads(done.stdout.partition("loaded ")[0])["written"] == 17
    assert "ray" in loaded
    assert "torch" not in loaded


def test_the_collector_of_garbage_costs_no_time_at_the_start_and_at_the_end():
    code = """
import gc, sys
from orchestrator.cli.app import main
sys.argv[1:] = ["version"]
try:
    main()
except SystemExit as ended:
    print(ended.code, gc.isenabled(), gc.get_threshold()[0] > 10_000, gc.get_freeze_count() > 10_000)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[1:] == ["0 True True True"]
