"""Imports of workers, drivers and a run itself: each of their processes waits for them before it begins."""

import json
import subprocess
import sys

import pytest

# Packing shards, `trials: auto` and the report need them, each of which takes up to a second to import.
UNNEEDED = {"rasterio", "pydicom", "nibabel", "sklearn", "scipy.stats", "matplotlib"}


def loaded_by(modules):
    code = f"import json, sys, {modules}; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


@pytest.mark.parametrize(
    "modules",
    [
        "orchestrator.training.pretrain_worker",
        "orchestrator.search.driver, orchestrator.search.trials_on_tune",
        "orchestrator.confirm.driver, orchestrator.confirm.tasks",
        "orchestrator.finish.driver, orchestrator.finish.tasks",
    ],
)
def test_no_worker_imports_what_only_other_stages_need(modules):
    loaded = loaded_by(modules)
    assert "torch" in loaded
    assert loaded & UNNEEDED == set()


def test_a_run_begins_without_what_its_report_and_advice_need():
    assert loaded_by("orchestrator.pipeline.run") & {"sklearn", "scipy.stats", "matplotlib"} == set()
