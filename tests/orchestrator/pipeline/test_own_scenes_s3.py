"""From scenes in a bucket to an upscaled archive in it: uint16, four bands, nodata, with one endpoint setting."""

import os
import subprocess
import sys
from pathlib import Path

import boto3
import numpy as np
import pytest
import rasterio
from helpers.own_scenes import write_geotiff, write_sites
from tiny_experiment import write_experiment

from orchestrator.data.shard_reader import pixel_format_of, read_manifest
from orchestrator.data.shard_verify import verify_shards
from orchestrator.experiment.load import make_experiment
from orchestrator.foundation.storage import Storage
from orchestrator.report.build import read_report
from trainables.samples.multispectral import BANDS, scene

pytestmark = pytest.mark.s3


def rayscale(*words: str, cwd: Path) -> str:
    command = [sys.executable, "-m", "orchestrator.cli.app", *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=dict(os.environ), check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_scenes_of_a_bucket_become_a_model_and_an_archive(s3_bucket: str, tmp_path: Path) -> None:
    client, bucket = boto3.client("s3"), s3_bucket.removeprefix("s3://")
    write_sites(tmp_path / "scenes", 6, side=128, seasons=("summer",))
    lr = scene(60, "summer", (40, 48), edge=True).raster.values
    write_geotiff(tmp_path / "archive" / "a.tif", lr, pixel=10)
    for file in tmp_path.rglob("*.tif"):
        client.upload_file(str(file), bucket, f"own/{file.relative_to(tmp_path)}")
    content = {
        "name": "own",
        "storage": f"{s3_bucket}/own/runs",
        "source": {"model": "base-x4"},
        "targets": {
            "satellite": {
                "images": f"{s3_bucket}/own/scenes",
                "scenes": "folder",
                "value_range": {"uint16": [0, 10000]},
                "chip": 64,
            }
        },
        "finetuning": {"steps": 4, "batch": 2, "lr_patch": 8, "evaluations": 1},
        "search": {"trials": 2, "startup_trials": 1, "validation_images": 2},
        "confirmation": {"top": 1, "seeds": 1, "ablation": False, "classical": True},
    }
    file = write_experiment(tmp_path / "own.yaml", content)
    rayscale("run", str(file), cwd=tmp_path)
    assert not (tmp_path / "runs").exists()

    experiment = make_experiment(content, "own")
    places = [experiment.home.child(kind, "satellite") for kind in ("shards", "test-locked")]
    assert verify_shards(*places) == []
    assert pixel_format_of(read_manifest(places[0])).bands == BANDS
    arms = {arm.name: arm for arm in read_report(experiment).domains["satellite"].arms}
    assert {"bicubic", "tv", "example", "zero_shot", "scratch", "default", "best"} <= set(arms)
    assert all(list(arm.bands) == list(BANDS) for arm in arms.values())

    model, out = experiment.home.child("models", "satellite").uri, f"{s3_bucket}/own/upscaled"
    rayscale("upscale", f"{s3_bucket}/own/archive", out, "--model", model, cwd=tmp_path)
    with rasterio.MemoryFile(Storage.at(out).child("a.tif").read_bytes()) as memory, memory.open() as upscaled:
        values = upscaled.read().transpose(1, 2, 0)
        assert (upscaled.dtypes[0], upscaled.nodata, upscaled.descriptions) == ("uint16", 0, BANDS)
    lost = np.kron((lr == 0).any(axis=2), np.ones((4, 4), bool))
    assert ((values == 0).all(axis=2) == lost).all()
