"""Cluster files for one experiment: its storage, workers and GPUs filled into the files of ``deploy/``."""

import math
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from orchestrator.cluster_jobs.submit import as_options, check_shared
from orchestrator.experiment.settings import Experiment
from trainables.errors import UsageError, reason_of
from trainables.version import __version__

CLUSTER, RAYJOB, ARCHIVE = "cluster.yaml", "kuberay-rayjob.yaml", "kuberay-archive.yaml"
Document = dict[str, Any]
"""A YAML document of Ray's cluster launcher or of KubeRay, whose schemas are theirs."""

CPUS_PER_WORKER = 8
"""CPUs of every worker of the files in ``deploy/``; those with a GPU have one."""

_CPU_WORKERS_BESIDE_GPUS = 2
"""Most CPU nodes of a cluster with GPUs: for shards and decoding, which must not start GPU nodes."""


@dataclass(frozen=True, slots=True)
class Size:
    """Largest size of a cluster.

    Attributes:
        gpus: GPUs, one on each GPU worker.
        cpu_workers: Workers without a GPU.
    """

    gpus: int
    cpu_workers: int


@dataclass(frozen=True, slots=True)
class Rendered:
    """Files that were written.

    Attributes:
        files: Their paths.
        summary: A sentence about the size of the cluster.
        next_commands: Commands that start the experiment with them.
    """

    files: tuple[Path, ...]
    summary: str
    next_commands: tuple[str, ...]


def size_for(experiment: Experiment) -> Size:
    """The cluster that an experiment can use: ``cluster.gpus`` if that is set, or else what its stages ask for at once.

    The search of all domains runs at once, each with ``search.concurrent_trials``.
    """
    pretraining, search, domains = experiment.pretraining, experiment.search, len(experiment.targets)
    trials = domains * search.concurrent_trials
    gpus = math.ceil(max(pretraining.workers * pretraining.gpus_per_worker, trials * search.gpus_per_trial))
    gpus = gpus if experiment.cluster.gpus is None else experiment.cluster.gpus
    if gpus:
        return Size(gpus, _CPU_WORKERS_BESIDE_GPUS)
    cpus = max(pretraining.workers, trials * search.cpus_per_trial)
    return Size(0, math.ceil(cpus / CPUS_PER_WORKER))


def render(
    experiment: Experiment,
    file: Path,
    overrides: Sequence[str],
    folder: Path,
    image: str,
    overwrite: bool = False,
) -> Rendered:
    """Writes the cluster files of an experiment.

    Args:
        experiment: The experiment, overrides included.
        file: Its file, which the Kubernetes job carries along.
        overrides: Settings that replace the file's.
        folder: Folder to write to, which is created.
        image: Image of the nodes without a tag.
        overwrite: Whether existing files are replaced.

    Raises:
        UsageError: If a place of the experiment is this machine's own, a trial or worker asks for more GPUs than a node
            of these files has, or the files cannot be written.
    """
    check_shared(experiment)
    _check_one_gpu(experiment)
    size = size_for(experiment)
    sizing = [f"cluster.gpus={size.gpus}"] if size.gpus and experiment.cluster.gpus is None else []
    settings = as_options([*overrides, *sizing])
    command = shlex.join(
        ["rayscale", "run", f"/experiment/{file.name}", *settings, *as_options(["cluster.address=auto"])]
    )
    name = _kubernetes_name(experiment.name)
    documents = {
        CLUSTER: [_aws(_shipped(CLUSTER)[0], name, size, image)],
        RAYJOB: _experiment_job(_shipped(RAYJOB), name, size, image, command, file),
        ARCHIVE: [_archive_job(_shipped(ARCHIVE)[0], name, size, image, experiment)],
    }
    files = tuple(folder / name for name in documents)
    for path in files:
        if path.exists() and not overwrite:
            raise UsageError(f"'{path}' is there already: name another folder, or replace it by --overwrite.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, content in zip(files, documents.values(), strict=True):
            path.write_text(_header(path.name, experiment.name) + _dump(content), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"'{folder}' cannot hold the cluster files: {reason_of(error)}") from None
    submit = shlex.join(["rayscale", "submit", str(file), *settings])
    return Rendered(
        files,
        _summary(size),
        (f"ray up {files[0]}", f"ray dashboard {files[0]}", submit, f"kubectl apply -f {files[1]}"),
    )


def _check_one_gpu(experiment: Experiment) -> None:
    asked = {
        "search.gpus_per_trial": experiment.search.gpus_per_trial,
        "pretraining.gpus_per_worker": experiment.pretraining.gpus_per_worker,
    }
    for setting, gpus in asked.items():
        if gpus > 1:
            raise UsageError(
                f"{setting} is {gpus:g}, but the nodes of these files have one GPU each, on which that would wait for "
                f"ever: set it to 1, or start a cluster of your own whose nodes have {gpus:g} GPUs."
            )


def _summary(size: Size) -> str:
    if size.gpus:
        return (
            f"Up to {size.gpus} workers with one GPU each, and {size.cpu_workers} without, as the work asks for them."
        )
    return f"Up to {size.cpu_workers} workers of {CPUS_PER_WORKER} CPUs, as the work asks for them."


def _aws(config: Document, name: str, size: Size, image: str) -> Document:
    """Fills in Ray's cluster launcher file."""
    config["cluster_name"] = name
    config["max_workers"] = size.gpus + size.cpu_workers
    config["docker"] |= {"head_image": _tagged(image, "cpu"), "worker_image": _tagged(image, "cuda")}
    types: Document = config["available_node_types"]
    for kind, node in list(types.items()):
        if kind == config["head_node_type"]:
            continue
        with_gpu = "GPU" in node["resources"]
        node["max_workers"] = size.gpus if with_gpu else size.cpu_workers
        if not with_gpu:
            node["docker"]["worker_image"] = _tagged(image, "cpu")
        if not node["max_workers"]:
            del types[kind]
    return config


def _experiment_job(
    documents: list[Document], name: str, size: Size, image: str, command: str, file: Path
) -> list[Document]:
    """Fills in the config map of the experiment and the RayJob that runs it."""
    config, job = documents
    config["metadata"]["name"] = f"{name}-experiment"
    config["data"] = {file.name: file.read_text(encoding="utf-8")}
    job["metadata"]["name"] = name
    job["spec"]["entrypoint"] = command
    head = _sized(job, size, image)
    head["volumes"][0]["configMap"]["name"] = config["metadata"]["name"]
    return documents


def _archive_job(job: Document, name: str, size: Size, image: str, experiment: Experiment) -> Document:
    """Fills in the RayJob that upscales an archive with the model of the experiment's first target."""
    model = experiment.home.child("models", next(iter(experiment.targets))).uri
    words = shlex.split(job["spec"]["entrypoint"])
    words[words.index("--model") + 1] = model
    device, gpus = words.index("--device") + 1, words.index("--gpus")
    words[device] = "cuda" if size.gpus else "cpu"
    words[gpus : gpus + 2] = ["--gpus", str(size.gpus)] if size.gpus else []
    if experiment.home.bucket:
        words = [word.replace("s3://my-bucket/", f"s3://{experiment.home.bucket}/") for word in words]
    job["metadata"]["name"] = f"{name}-archive"
    job["spec"]["entrypoint"] = shlex.join(words)
    _sized(job, size, image)
    return job


def _sized(job: Document, size: Size, image: str) -> Document:
    """Fills the image and the number of workers into a RayJob; returns the head's pod."""
    cluster = job["spec"]["rayClusterSpec"]
    head: Document = cluster["headGroupSpec"]["template"]["spec"]
    head["containers"][0]["image"] = _tagged(image, "cpu")
    groups = []
    for group in cluster["workerGroupSpecs"]:
        container = group["template"]["spec"]["containers"][0]
        with_gpu = "nvidia.com/gpu" in container["resources"]["limits"]
        container["image"] = _tagged(image, "cuda" if with_gpu else "cpu")
        group["maxReplicas"] = size.gpus if with_gpu else size.cpu_workers
        groups += [group] if group["maxReplicas"] else []
    cluster["workerGroupSpecs"] = groups
    return head


def _tagged(image: str, accelerator: str) -> str:
    return f"{image}:{__version__}-{accelerator}"


def _kubernetes_name(name: str) -> str:
    """The experiment's name as Kubernetes takes one, short enough for the pods' names that KubeRay makes of it."""
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:36].strip("-")
    return plain if plain and plain[0].isalpha() else f"rayscale-{plain}".strip("-")


def _shipped(name: str) -> list[Document]:
    text = resources.files("orchestrator.cluster_jobs").joinpath("deploy", name).read_text(encoding="utf-8")
    return list(yaml.safe_load_all(text))


def _header(name: str, experiment: str) -> str:
    return (
        f"# For experiment {experiment}, by `rayscale cluster render` of rayscale {__version__}.\n"
        f"# deploy/{name} says what each setting is for, and what else to edit before the first use.\n"
    )


class _Dumper(yaml.SafeDumper):
    """Plain YAML: no aliases, and texts of several lines as they are."""

    def ignore_aliases(self, data: Any) -> bool:
        del data
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def _dump(documents: list[Document]) -> str:
    return yaml.dump_all(documents, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10_000)
