import os
import subprocess
import sys
from pathlib import Path

import boto3
import pytest
from emulated_cluster import emulated_cluster
from run_results import confirmed, trials
from tiny_experiment import settings, write_experiment, write_images

from orchestrator.data.shard_verify import verify_shards
from orchestrator.experiment.load import make_experiment
from orchestrator.report.build import read_report

pytestmark = pytest.mark.s3


def upload_images(bucket: str, folder: Path) -> str:
    client, images = boto3.client("s3"), write_images(folder / "images")
    for file in images.rglob("*.png"):
        client.upload_file(str(file), bucket.removeprefix("s3://"), f"images/{file.relative_to(images)}")
    return f"{bucket}/images"


def test_everything_on_s3_with_one_endpoint_setting(s3_bucket: str, tmp_path: Path) -> None:
    content = settings(upload_images(s3_bucket, tmp_path), f"{s3_bucket}/runs", search={"trials": 2})
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


@pytest.mark.timeout(1800)
def test_one_two_and_three_nodes_with_nothing_but_s3_give_equal_trials_and_winners(
    s3_bucket: str, tmp_path: Path
) -> None:
    images, homes = upload_images(s3_bucket, tmp_path), []
    with emulated_cluster(nodes=1) as cluster:
        for nodes in (1, 2, 3):
            storage = f"{s3_bucket}/{nodes}-nodes"
            content = settings(images, storage, cluster={"address": cluster.address})
            content["targets"].pop("satellite")
            file = write_experiment(tmp_path / f"{nodes}.yaml", content)
            command = [sys.executable, "-m", "orchestrator.cli.app", "run", str(file)]
            run = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
            assert run.returncode == 0, run.stdout + run.stderr
            assert f"{nodes + 1} nodes" in run.stdout
            homes.append(make_experiment(content, "tiny").home)
            cluster.add_node()
    one, two, three = ((trials(home, "medical"), confirmed(home, "medical")) for home in homes)
    assert one == two == three
