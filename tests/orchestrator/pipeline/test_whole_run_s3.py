import os
import subprocess
import sys
from pathlib import Path

import boto3
import pytest
from tiny_experiment import settings, write_experiment, write_images

from orchestrator.data.shard_verify import verify_shards
from orchestrator.experiment.load import make_experiment
from orchestrator.report.build import read_report

pytestmark = pytest.mark.s3


def test_everything_on_s3_with_one_endpoint_setting(s3_bucket: str, tmp_path: Path) -> None:
    client, bucket = boto3.client("s3"), s3_bucket.removeprefix("s3://")
    images = write_images(tmp_path / "images")
    for file in images.rglob("*.png"):
        client.upload_file(str(file), bucket, f"images/{file.relative_to(images)}")
    content = settings(f"{s3_bucket}/images", f"{s3_bucket}/runs", search={"trials": 2})
    file = write_experiment(tmp_path / "tiny.yaml", content)

    # The command sees the endpoint and the keys, and no local folder that it could fall back to.
    command = [sys.executable, "-m", "orchestrator.cli.app", "run", str(file)]
    first = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=dict(os.environ), check=False)
    assert first.returncode == 0, first.stderr
    assert not (tmp_path / "runs").exists()

    experiment = make_experiment(content, "tiny")
    report = read_report(experiment)
    assert {name: len(domain.trials) for name, domain in report.domains.items()} == {"medical": 2, "satellite": 2}
    assert report.source.steps == 24
    places = [experiment.home.child(kind, "satellite") for kind in ("shards", "test-locked")]
    assert verify_shards(*places) == []

    again = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=dict(os.environ), check=False)
    assert again.returncode == 0, again.stderr
    assert "search satellite: finished" in again.stdout
    assert "running" not in again.stdout
