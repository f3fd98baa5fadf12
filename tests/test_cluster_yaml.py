"""cluster.yaml, judged by Ray's own validation: no network, no credentials."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

PROJECT = Path(__file__).parent.parent


@pytest.fixture
def written() -> dict[str, Any]:
    return yaml.safe_load((PROJECT / "cluster.yaml").read_text())


@pytest.fixture
def filled(written: dict[str, Any]) -> dict[str, Any]:
    """The file as Ray uses it: its defaults filled in, each node type with its own commands."""
    return prepare_config(copy.deepcopy(written))


def workers(config: dict[str, Any]) -> dict[str, Any]:
    head = config["head_node_type"]
    return {name: node for name, node in config["available_node_types"].items() if name != head}


def test_ray_accepts_the_file(filled):
    validate_config(filled)


@pytest.mark.parametrize(
    "path", [("idle_timeout_minute",), ("available_node_types", "gpu", "max_worker"), ("docker", "imagee")]
)
def test_ray_refuses_a_mistyped_key(filled, path):
    place = filled
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = 1
    with pytest.raises(Exception, match=path[-1]):
        validate_config(filled)


def test_head_and_workers_install_the_same_package(filled):
    head, worker = filled["head_setup_commands"], filled["worker_setup_commands"]
    install = [command for command in worker if "pip install" in command]
    assert len(install) == 1
    assert "-c constraints.txt ." in install[0]
    assert install == [command for command in head if "pip install" in command]
    assert not any("ray-wheels" in command for command in head + worker)


def test_what_setup_installs_is_synced_and_exists(written):
    mounts = written["file_mounts"]
    assert {Path(remote).parent for remote in mounts} == {Path("/home/ubuntu/rayscale")}
    assert {"pyproject.toml", "constraints.txt", "orchestrator", "trainables", "search_spaces"} <= set(mounts.values())
    assert [local for local in mounts.values() if not (PROJECT / local).exists()] == []


def test_every_worker_is_a_spot_gpu_that_scales_from_zero(filled):
    assert workers(filled)
    for node in workers(filled).values():
        assert node["resources"]["GPU"] >= 1
        assert node["node_config"]["InstanceMarketOptions"]["MarketType"] == "spot"
        assert node["min_workers"] == 0
        assert node["max_workers"] == 8


def test_head_offers_cpus_and_no_gpu(filled):
    head = filled["available_node_types"][filled["head_node_type"]]
    assert head["resources"] == {"CPU": 4}


def test_every_node_reaches_s3_by_its_instance_profile(filled):
    for node in filled["available_node_types"].values():
        assert node["node_config"]["IamInstanceProfile"]["Name"].startswith("rayscale-")
    assert "AWS_SECRET" not in (PROJECT / "cluster.yaml").read_text()


def test_workers_get_the_head_token_and_are_told_to_use_it(filled):
    """Ray's worker start does not turn token authentication on by itself, and the head then turns it away."""
    assert filled["cluster_synced_files"] == ["/home/ubuntu/.ray/auth_token"]
    assert any("RAY_AUTH_MODE=token" in command for command in filled["worker_setup_commands"])
