"""Cluster files of an experiment: sized by it, valid as shipped and as rendered."""

import shlex
from pathlib import Path

import pytest
import yaml
from kuberay_schema import check_rayjob
from ray.autoscaler._private.util import prepare_config, validate_config
from tiny_experiment import settings, write_experiment

from orchestrator.cluster_jobs.render import ARCHIVE, CLUSTER, RAYJOB, Size, render, size_for
from orchestrator.experiment.load import load_experiment, make_experiment
from trainables.errors import UsageError

GPUS = {"pretraining": {"workers": 4, "gpus_per_worker": 1}, "search": {"gpus_per_trial": 0.5, "concurrent_trials": 6}}


def experiment(**changes):
    return make_experiment(settings("s3://bucket/images", "s3://bucket/runs", **changes), "tiny")


@pytest.mark.parametrize(
    ("changes", "size"),
    [
        ({}, Size(0, 1)),
        ({"search": {"concurrent_trials": 9}}, Size(0, 3)),  # two domains at once
        (GPUS, Size(6, 2)),
        (GPUS | {"cluster": {"gpus": 3}}, Size(3, 2)),
        (GPUS | {"cluster": {"gpus": 0}}, Size(0, 2)),
    ],
)
def test_the_cluster_is_as_large_as_the_stages_can_use_at_once(changes, size):
    assert size_for(experiment(**changes)) == size


@pytest.fixture
def rendered(tmp_path):
    """Renders an experiment with changes; gives the result and the files' documents."""

    def run(overrides=(), **changes):
        file = write_experiment(
            tmp_path / "my tiny.yaml", settings("s3://bucket/images", "s3://bucket/runs", **changes)
        )
        result = render(load_experiment(file, overrides), file, overrides, tmp_path / "out", "registry.example/ours")
        cluster, rayjob, archive = (list(yaml.safe_load_all(path.read_text(encoding="utf-8"))) for path in result.files)
        return result, cluster[0], [*rayjob, *archive]

    return run


@pytest.mark.parametrize("setting", ["search.gpus_per_trial", "pretraining.gpus_per_worker"])
def test_more_gpus_than_a_node_of_the_files_has_are_refused(rendered, setting):
    with pytest.raises(UsageError, match=f"{setting} is 2, but the nodes of these files have one GPU each"):
        rendered([f"{setting}=2"])


def test_files_of_a_gpu_experiment(rendered, tmp_path):
    result, cluster, (config, job, archive) = rendered(["search.trials=5"], **GPUS)
    assert [path.name for path in result.files] == [CLUSTER, RAYJOB, ARCHIVE]
    validate_config(prepare_config(cluster))
    assert cluster["cluster_name"] == "tiny"
    assert cluster["max_workers"] == 8
    limits = {kind: node.get("max_workers") for kind, node in cluster["available_node_types"].items()}
    assert limits == {"head": None, "gpu-l4": 6, "gpu-a10g": 6, "gpu-l40s": 6, "cpu": 2}
    assert cluster["docker"]["head_image"].startswith("registry.example/ours:")
    check_rayjob(job)
    groups = {group["groupName"]: group["maxReplicas"] for group in job["spec"]["rayClusterSpec"]["workerGroupSpecs"]}
    assert groups == {"gpu": 6, "cpu": 2}
    check_rayjob(archive)
    words = shlex.split(archive["spec"]["entrypoint"])
    assert words[2:4] == ["s3://bucket/scenes", "s3://bucket/upscaled"]
    assert words[words.index("--model") + 1] == "s3://bucket/runs/tiny/models/medical"
    assert words[-4:] == ["--device", "cuda", "--gpus", "6"]
    assert archive["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["maxReplicas"] == 6
    carried = tmp_path / "carried.yaml"
    carried.write_text(config["data"]["my tiny.yaml"], encoding="utf-8")
    words = shlex.split(job["spec"]["entrypoint"])
    assert words[:3] == ["rayscale", "run", "/experiment/my tiny.yaml"]
    again = load_experiment(carried, [word for word in words[3:] if word != "--set"])
    assert (again.search.trials, again.cluster.gpus, again.cluster.address) == (5, 6, "auto")
    assert again.finetuning == load_experiment(tmp_path / "my tiny.yaml", []).finetuning
    assert "--set cluster.gpus=6" in result.next_commands[2]


def test_files_of_a_cpu_experiment_have_no_gpu_workers(rendered):
    _, cluster, (_, job, archive) = rendered()
    assert set(cluster["available_node_types"]) == {"head", "cpu"}
    assert [group["groupName"] for group in job["spec"]["rayClusterSpec"]["workerGroupSpecs"]] == ["cpu"]
    assert "cluster.gpus" not in job["spec"]["entrypoint"]
    check_rayjob(archive)
    assert archive["spec"]["entrypoint"].endswith("--device cpu")


def test_existing_files_are_kept(rendered):
    rendered()
    with pytest.raises(UsageError, match="is there already"):
        rendered()


def test_an_experiment_on_this_machine_is_refused(tmp_path):
    file = write_experiment(tmp_path / "tiny.yaml", settings("data", "runs"))
    with pytest.raises(UsageError, match="The nodes of a cluster cannot find"):
        render(load_experiment(file, []), file, [], tmp_path / "out", "image")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["Four_Domains.v2", "2026", "x" * 100])
def test_names_become_names_of_kubernetes(rendered, name):
    _, cluster, (config, job, _) = rendered([f"name={name!r}"])
    check_rayjob(job)
    assert cluster["cluster_name"] == job["metadata"]["name"]
    assert config["metadata"]["name"] == f"{job['metadata']['name']}-experiment"


def test_the_folder_may_be_a_path_of_any_kind(tmp_path):
    file = write_experiment(tmp_path / "tiny.yaml", settings("s3://bucket/images", "s3://bucket/runs"))
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot hold the cluster files"):
        render(load_experiment(file, []), file, [], Path(tmp_path / "file"), "image")
