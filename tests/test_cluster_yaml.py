"""The files of deploy/, judged by Ray's own validation and Kubernetes' schemas: no network, no credentials."""

import copy
import re
import shlex
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import typer.main
import yaml
from kuberay_schema import check, check_rayjob
from ray.autoscaler._private.util import prepare_config, validate_config

from orchestrator.cli.app import app
from orchestrator.cluster_jobs.submit import check_shared
from orchestrator.experiment.load import make_experiment
from trainables.version import __version__

PROJECT = Path(__file__).parent.parent
DEPLOY = PROJECT / "deploy"
RAY = re.search(r"^ray==(\S+)$", (PROJECT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)[1]  # type: ignore[index]


@pytest.fixture
def written() -> dict[str, Any]:
    return yaml.safe_load((DEPLOY / "cluster.yaml").read_text(encoding="utf-8"))


@pytest.fixture
def filled(written: dict[str, Any]) -> dict[str, Any]:
    """The file as Ray uses it: its defaults filled in."""
    return prepare_config(copy.deepcopy(written))


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((DEPLOY / name).read_text(encoding="utf-8")))


def rayjob(name: str) -> dict[str, Any]:
    return next(document for document in documents(name) if document["kind"] == "RayJob")


def workers(config: dict[str, Any]) -> dict[str, Any]:
    head = config["head_node_type"]
    return {name: node for name, node in config["available_node_types"].items() if name != head}


def parse(command: str) -> None:
    words = shlex.split(command)[1:]
    group: Any = typer.main.get_command(app)
    group.commands[words[0]].make_context("rayscale", words[1:])


def test_ray_accepts_the_file(filled):
    validate_config(filled)


@pytest.mark.parametrize(
    "path",
    [
        ("idle_timeout_minute",),
        ("available_node_types", "gpu-l4", "max_worker"),
        ("available_node_types", "cpu", "docker", "imagee"),
        ("docker", "imagee"),
    ],
)
def test_ray_refuses_a_mistyped_key(filled, path):
    place = filled
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = 1
    with pytest.raises(Exception, match=path[-1]):
        validate_config(filled)


def test_nodes_install_nothing(filled):
    """Everything is in the image: a spot worker starts without 6.5 GB of packages."""
    assert filled["file_mounts"] == {}
    commands = [*filled["head_setup_commands"], *filled["worker_setup_commands"], *filled["initialization_commands"]]
    assert not [command for command in commands if re.search("pip|apt|ray-wheels", command)]


def test_the_head_has_no_cuda_and_gpu_workers_have_it(filled):
    docker = filled["docker"]
    assert (docker["head_image"], docker["worker_image"]) == tuple(
        f"my-registry/rayscale:{__version__}-{variant}" for variant in ("cpu", "cuda")
    )
    for node in workers(filled).values():
        if "GPU" in node["resources"]:
            assert node["docker"] == {"worker_run_options": ["--gpus=all"]}
        else:
            assert node["docker"] == {"worker_image": docker["head_image"]}


def test_every_worker_is_a_spot_node_of_one_of_several_types_and_zones_that_scales_from_zero(filled):
    types = workers(filled)
    assert sum("GPU" in node["resources"] for node in types.values()) >= 3
    assert len({node["node_config"]["InstanceType"] for node in types.values()}) == len(types)
    assert filled["provider"]["availability_zone"].count(",") >= 2
    for node in types.values():
        assert node["node_config"]["InstanceMarketOptions"]["MarketType"] == "spot"
        assert node["min_workers"] == 0
        assert 0 < node["max_workers"] <= filled["max_workers"]


def test_head_offers_cpus_and_no_gpu(filled):
    head = filled["available_node_types"][filled["head_node_type"]]
    assert head["resources"] == {"CPU": 4}


def test_every_node_reaches_s3_by_its_instance_profile(filled):
    for node in filled["available_node_types"].values():
        assert node["node_config"]["IamInstanceProfile"]["Name"].startswith("rayscale-")
    assert "AWS_SECRET" not in (DEPLOY / "cluster.yaml").read_text(encoding="utf-8")


def test_workers_get_the_head_token_and_are_told_to_use_it(filled):
    """Ray's worker start does not turn token authentication on by itself, and the head then turns it away."""
    assert filled["cluster_synced_files"] == ["/home/ray/.ray/auth_token"]
    assert "--env RAY_AUTH_MODE=token" in filled["docker"]["run_options"]
    assert any("ray get-auth-token --generate" in command for command in filled["head_setup_commands"])


@pytest.mark.parametrize("name", ["kuberay-rayjob.yaml", "kuberay-archive.yaml"])
def test_kubernetes_takes_the_files(name):
    job = rayjob(name)
    check_rayjob(job)
    parse(job["spec"]["entrypoint"])
    cluster = job["spec"]["rayClusterSpec"]
    assert cluster["rayVersion"] == RAY
    assert cluster["authOptions"] == {"mode": "token"}
    head, gpu = cluster["headGroupSpec"], cluster["workerGroupSpecs"][0]
    images = [group["template"]["spec"]["containers"][0]["image"] for group in (head, gpu)]
    assert images == [f"my-registry/rayscale:{__version__}-{variant}" for variant in ("cpu", "cuda")]
    assert gpu["template"]["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert gpu["minReplicas"] == 0


def test_a_mistyped_key_of_a_rayjob_or_its_pods_is_seen():
    job = rayjob("kuberay-rayjob.yaml")
    wrong = copy.deepcopy(job)
    wrong["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["maxReplica"] = 1
    with pytest.raises(jsonschema.ValidationError, match="maxReplica"):
        check_rayjob(wrong)
    wrong = copy.deepcopy(job)
    wrong["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["containers"][0]["imagee"] = "x"
    with pytest.raises(kubernetes_validate.ValidationError):
        check_rayjob(wrong)


def test_the_experiment_that_the_rayjob_carries_is_one():
    config, job = documents("kuberay-rayjob.yaml")
    check(config)
    (name,) = config["data"]
    check_shared(make_experiment(yaml.safe_load(config["data"][name]), name))
    pod = job["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]
    assert pod["volumes"][0]["configMap"]["name"] == config["metadata"]["name"]
    mount = pod["containers"][0]["volumeMounts"][0]
    assert mount["name"] == pod["volumes"][0]["name"]
    assert f"{mount['mountPath']}/{name}" in shlex.split(job["spec"]["entrypoint"])


def test_the_image_holds_what_it_installs():
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    copied = [word for line in text.splitlines() if line.startswith("COPY ") for word in line.split()[1:-1]]
    assert {"orchestrator", "search_spaces", "trainables", "constraints.txt", "pyproject.toml", "setup.py"} <= set(
        copied
    )
    assert [name for name in copied if not (PROJECT / name).exists()] == []
    assert "pip install --no-cache-dir -c constraints.txt" in text
    assert re.search(r"^FROM python:3\.11-", text, re.MULTILINE)
    assert f"rayscale:{__version__}-cuda" in text
