"""Imports of `rayscale upscale`: a small picture or scene takes no longer than it must."""

import json
import os
import subprocess
import sys

import numpy as np
import tiny_models
from PIL import Image

from benchmarks.common import scene_files

COMPILERS = {"torch._dynamo", "torch._inductor", "triton", "sympy"}
NEVER = COMPILERS | {"ray", "optuna", "torchvision", "scipy", "matplotlib", "pydicom", "nibabel"}
# rasterio imports boto3, and pyarrow, which writes the table of all outputs, pandas.
SCENES_ONLY = {"rasterio", "boto3", "pystac", "pyarrow", "pandas"}

CODE = """
import json, sys
from orchestrator.cli.app import app
for command in json.loads(sys.argv[1]):
    app(command, standalone_mode=False)
    print("loaded", json.dumps(sorted(sys.modules)))
"""


def test_neither_a_picture_nor_a_small_scene_imports_what_it_does_not_need(tmp_path):
    model = tiny_models.write(tmp_path / "model", tiny_models.net(2))
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(tmp_path / "x.png")
    scene_files.write(tmp_path / "a.tif", (40, 36))
    out = str(tmp_path / "out")
    commands = [["upscale", str(tmp_path / name), out, "--model", model] for name in ("x.png", "a.tif")]
    done = subprocess.run(
        [sys.executable, "-c", CODE, json.dumps(commands)],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": ""},
    )
    assert (tmp_path / "out" / "x.png").exists()
    assert (tmp_path / "out" / "a.tif").exists()
    assert "1 small scene: upscaled in this process, without starting Ray." in done.stderr
    of_picture, of_scene = (
        set(json.loads(line.removeprefix("loaded "))) for line in done.stdout.splitlines() if line.startswith("loaded ")
    )
    assert "torch" in of_picture
    assert of_picture & (NEVER | SCENES_ONLY) == set()
    assert of_scene & NEVER == set()
    assert "rasterio" in of_scene
