"""benchmarks/training/gpu.py without a GPU: it runs at tiny size, goes on after a stop, and refuses clearly."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from trainables.images.codec import encode_png
from trainables.samples import generate

ROOT = Path(__file__).parents[2]
# What `trainables` and `orchestrator` may use elsewhere, but the GPU script must do without.
ABSENT = ("pyarrow", "ray", "matplotlib", "pandas", "pydantic", "yaml", "boto3", "optuna", "rich", "typer")
WITHOUT = f"""
import importlib.util, runpy, sys
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name in {ABSENT} else find(name, *rest)
sys.modules.update(dict.fromkeys({ABSENT}))
runpy.run_module("benchmarks.training.gpu", run_name="__main__")
"""


def run(*arguments):
    command = [sys.executable, "-c", WITHOUT, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, cwd=ROOT)


def told(out, part):
    (file,) = out.glob(f"gpu-{part}_*.json")
    assert file.with_suffix(".md").exists()
    return json.loads(file.read_text())


def test_everything_runs_at_tiny_size_with_few_packages_and_training_goes_on(tmp_path):
    place = tmp_path / "sets" / "Set1"
    place.mkdir(parents=True)
    (place / "image.png").write_bytes(encode_png(generate("natural", 3, (48, 48))))
    out = tmp_path / "out"
    smoke = ("--smoke", "--device", "cpu", "--out", out, "--benchmarks", tmp_path / "sets", "--scales", "4")

    stopped = run(*smoke, "--part", "train", "--steps", "300", "--checkpoint-seconds", "0.01", "--minutes", "0")
    assert stopped.returncode == 0, stopped.stderr
    (row,) = told(out, "train")["rows"]
    assert not row["finished"]
    at = json.loads((out / "tiny-x4" / "spent.json").read_text())["step"]
    assert 0 < at < 300
    plan = out / "tiny-x4" / "plan.json"
    shorter = json.loads(plan.read_text())
    # Only its last step reports, so that no deadline can stop it.
    shorter["settings"] |= {"steps": at + 5, "report_every": 10**6, "checkpoint_every": 10**6}
    plan.write_text(json.dumps(shorter))

    whole = run(*smoke, "--minutes", "0.02")
    assert whole.returncode == 0, whole.stderr
    rows = told(out, "ingest")["rows"]
    assert {row["scale"] for row in rows} == {4, 2}
    assert all(row["patches_per_s"] > 0 for row in rows)
    step = told(out, "step")
    assert step["rows"][0]["tflops"] > 0
    assert "failed" not in step["rows"][0]
    assert len(step["rows"]) + len(step["not_reached"]) == 12
    split = told(out, "split")["rows"]
    assert [row["devices"] for row in split] in ([1], [1, 2])
    assert all(row["ms"] > 0 for row in split)
    (finished,) = told(out, "train")["rows"]
    assert finished["finished"]
    assert finished["settings"]["steps"] == at + 5
    assert finished["sets"]["Set1"]["ours"]["psnr"] > 10
    assert (out / "tiny-x4" / "model.safetensors").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_absent_is_refused_clearly(tmp_path):
    refused = run("--out", tmp_path)
    assert refused.returncode == 1
    assert refused.stderr.strip().startswith("There is no CUDA GPU")
    assert "Traceback" not in refused.stderr
