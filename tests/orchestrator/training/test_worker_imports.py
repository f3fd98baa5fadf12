"""What workers and drivers import, since each of their processes waits for it before it begins."""

import json
import subprocess
import sys

import pytest

# Packing shards, `trials: auto` and the report need them, each of which takes up to a second to import.
UNNEEDED = {"rasterio", "pydicom", "nibabel", "sklearn", "scipy.stats", "matplotlib"}


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
    code = f"import json, sys, {modules}; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "torch" in (loaded := set(json.loads(done.stdout)))
    assert loaded & UNNEEDED == set()
