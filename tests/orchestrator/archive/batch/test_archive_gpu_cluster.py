"""An archive in GPU mode on a cluster of a CPU head and GPU nodes, which come when they are asked for and are lost.

GPUs are what Ray counts; see the helper for what runs in their place.
"""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import archive_without_gpu
import pytest
import tiny_models
from ray._raylet import GcsClient
from ray.autoscaler.v2.sdk import get_cluster_resource_state
from ray.cluster_utils import Cluster

from benchmarks.common import scene_files
from orchestrator.archive.ledger.ledger import read_events
from orchestrator.foundation.storage import Storage

pytestmark = pytest.mark.cluster
SCENES = 36
ROOT = Path(__file__).parents[4]


@pytest.fixture
def cluster() -> Iterator[Any]:
    """A head with a CPU."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    yield cluster
    cluster.shutdown()


def gpus_asked_for(address: str) -> int:
    """What an autoscaler sees."""
    state = get_cluster_resource_state(GcsClient(address=address))
    return sum(waiting.count for waiting in state.pending_resource_requests if waiting.request.resources_bundle["GPU"])


def until(true: Callable[[], bool], driver: "subprocess.Popen[str]", seconds: float = 240.0) -> None:
    ends = time.monotonic() + seconds
    while not true():
        assert driver.poll() is None, "the run has ended too early"
        assert time.monotonic() < ends, "it takes too long"
        time.sleep(0.2)


def test_gpu_nodes_that_start_at_zero_and_of_which_one_is_lost(cluster: Any, tmp_path: Path) -> None:
    model = tiny_models.write(tmp_path / "model", tiny_models.net(2))
    archive, out = tmp_path / "archive", tmp_path / "out"
    scene_files.write_many(archive, SCENES)
    # A scratch folder of each node's own, as with outputs in a bucket.
    arguments = [cluster.address, "2", model, str(archive), str(out), str(tmp_path / "scratch")]
    driver = subprocess.Popen(
        [sys.executable, archive_without_gpu.__file__, *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )

    def events(kind: str) -> list[dict[str, Any]]:
        return [event for event in read_events(Storage(str(out))) if event["event"] == kind] if out.exists() else []

    def finished_by(node: Any) -> int:
        return sum(event["node"] == node.node_id for event in events("scene"))

    try:
        until(lambda: gpus_asked_for(cluster.address) >= 2, driver)
        assert events("attempt") == [], "no scene begins on the head"
        first = cluster.add_node(num_cpus=2, num_gpus=1)
        until(lambda: finished_by(first) >= 2, driver)
        (tmp_path / "scratch-held").mkdir()
        (tmp_path / "scratch-held" / first.node_id).touch()  # so that it has something to lose
        second = cluster.add_node(num_cpus=2, num_gpus=1)
        until(lambda: finished_by(second) >= 2, driver)
        cluster.remove_node(first, allow_graceful=False)
        said, _ = driver.communicate(timeout=240.0)
    finally:
        driver.kill()
    assert driver.returncode == 0
    told = json.loads(said.splitlines()[-1])  # before it, Ray tells of the raylet that was killed
    assert (told["written"], told["failed"], told["stopped"], told["device"]) == (SCENES, [], None, "cuda")
    rows = events("scene")
    assert len(list(out.rglob("*.tif"))) == len(rows) == SCENES
    nodes = Counter(event["node"] for event in rows)
    assert set(nodes) == {first.node_id, second.node_id}
    assert max(event["attempts"] for event in rows) > 1, "what was on the lost node is done again"
    assert events("death") == []
