"""Trials, confirmation and finish with two GPUs each, on a Ray that counts two GPUs and has none."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[3]
CODE = "import pathlib, sys, trials_without_gpu; trials_without_gpu.main(pathlib.Path(sys.argv[1]))"


def test_two_gpus_of_a_trial_share_its_batch_and_give_the_search_of_one_device(tmp_path):
    ended = subprocess.run(
        [sys.executable, "-c", CODE, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests' / 'helpers'}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    found = json.loads(ended.stdout.splitlines()[-1])
    one, two = found["one"], found["two"]
    assert two["inputs"] == one["inputs"]
    assert two["certificates"] == one["certificates"]
    assert len(two["curves"]) == 3
    for curve, shared in zip(one["curves"], two["curves"], strict=True):
        assert shared == [[step, pytest.approx(value, abs=0.01)] for step, value in curve]
    assert one["finished"]
    assert two["finished"]
    # Three trials, three or more runs of the confirmation, and lengths of the finished model: each had both GPUs.
    assert set(found["gpus"]) == {"0,1"}
    assert len(found["gpus"]) >= 8
