"""Pretraining on Ray Train, which runs the training loop on every worker."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray.train
import ray.train.torch
from ray import PlacementGroupID
from ray.train import Checkpoint, CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer
from ray.util.placement_group import PlacementGroup

from orchestrator.experiment.feasibility import Resources, cpus_per_worker
from orchestrator.experiment.settings import Experiment
from orchestrator.foundation.logs import start_from_environment
from orchestrator.foundation.quantities import plural
from orchestrator.foundation.quantities import resources as in_words
from orchestrator.foundation.storage import Storage
from orchestrator.runtime.progress_updates import log_line
from orchestrator.runtime.stop_signals import handlers_kept
from orchestrator.training.lost_workers import CONTROLLER_LOST, LostWorkers, cause_of, is_loss
from orchestrator.training.pretrain_worker import PretrainJob, new_net, patches_of, pools_of_shares, train
from trainables.errors import RunError
from trainables.loops.pretrain import Files, Shares, step_of

_TRIES = 3
"""Trainings that may be lost one after another without a further checkpoint."""


def train_on_ray(job: PretrainJob, experiment: Experiment, resources: Resources, out: Storage, inputs: str) -> Files:
    """Trains on the experiment's workers; an interrupted run continues from its last checkpoint.

    Returns:
        The files of the last checkpoint.

    Raises:
        RunError: If training failed on a worker.
    """
    name, tries, kept = f"run-{inputs}", 0, set[str]()
    place = out.child("ray", name)
    while True:
        try:
            return _trained(job, experiment, resources, out.child("ray"), name)
        except (ray.exceptions.RayActorError, ray.train.TrainingFailedError) as error:
            before, kept = kept, {file.path.split("/")[0] for file in place.files()}
            tries = tries + 1 if kept == before else 1
            if tries > _TRIES or not is_loss(error):
                raise RunError(f"Pretraining failed: {cause_of(error)}") from None
            if isinstance(error, ray.exceptions.RayActorError):
                log_line(job.progress, CONTROLLER_LOST)
                _free_resources()


def _free_resources() -> None:
    """Removes the placement groups of this job, whose resources a dead controller of Train still holds.

    Train's own cleaner asks Ray's dashboard for the state of the controller, and not every Ray has one.
    """
    job = ray.get_runtime_context().get_job_id()
    groups: dict[str, dict[str, Any]] = ray.util.placement_group_table()
    for name, group in groups.items():
        if name.endswith(job) and group["state"] != "REMOVED":  # an id of Ray's ends with that of its job
            ray.util.remove_placement_group(PlacementGroup(PlacementGroupID(bytes.fromhex(name))))


def _trained(job: PretrainJob, experiment: Experiment, resources: Resources, place: Storage, name: str) -> Files:
    """Trains with Ray Train, which goes on from the last checkpoint of this name."""
    worker = _worker(experiment, resources)
    request = in_words(worker["CPU"], worker.get("GPU", 0))
    section = experiment.pretraining
    workers = section.least_workers or section.workers
    losses = LostWorkers(job.progress, job.settings.steps, f"{plural(workers, 'worker')} with {request} each")
    trainer = TorchTrainer(
        train_on_worker,
        train_loop_config={"job": job},
        datasets=job.ingest.datasets(),
        scaling_config=_scaling(experiment, worker),
        run_config=RunConfig(
            name=name,
            storage_path=place.path,
            storage_filesystem=place.filesystem,
            callbacks=[losses],  # type: ignore[list-item]  # Train's own kind of callback
            failure_config=FailureConfig(max_failures=2),
            checkpoint_config=CheckpointConfig(num_to_keep=2),
        ),
    )
    with handlers_kept(), health_check_interval(job.settings.steps):
        result = trainer.fit()
    if result.checkpoint is None:
        raise RunError("Pretraining ended without a checkpoint.")
    return _files(result.checkpoint)


@contextmanager
def health_check_interval(steps: int) -> Iterator[None]:
    """Sets the interval at which Ray Train checks the health of its workers, unless the user has set it.

    Train's own 2 s are a fifth of a short run; 0.1 s cost a long one some percent where two workers have two cores.
    """
    name = "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S"
    if name in os.environ:
        yield
        return
    os.environ[name] = f"{min(1.0, max(0.1, steps / 4000)):.2f}"
    try:
        yield
    finally:
        del os.environ[name]


def _worker(experiment: Experiment, resources: Resources) -> dict[str, float]:
    """CPUs and GPUs of each worker."""
    cpus = cpus_per_worker(experiment, resources) or 1.0  # None was refused by the check of resources
    gpus = experiment.pretraining.gpus_per_worker
    return {"CPU": cpus, "GPU": gpus} if gpus > 0 else {"CPU": cpus}


def _scaling(experiment: Experiment, worker: dict[str, float]) -> ScalingConfig:
    section = experiment.pretraining
    workers = section.workers if section.least_workers is None else (section.least_workers, section.workers)
    placement, on_gpu = experiment.cluster.placement, "GPU" in worker
    return ScalingConfig(  # type: ignore[call-arg]  # mypy sees the class of Train's first version
        num_workers=workers,  # type: ignore[arg-type]
        use_gpu=on_gpu,
        resources_per_worker=worker,
        accelerator_type=(placement.accelerator_type or None) if on_gpu else None,
        label_selector=dict(placement.labels) or None,
    )


def train_on_worker(config: dict[str, Any]) -> None:
    """Runs the training loop on a worker of Ray Train."""
    start_from_environment()
    job: PretrainJob = config["job"]
    rank = ray.train.get_context().get_world_rank()
    net = new_net(job)
    parallel = ray.train.torch.prepare_model(net, parallel_strategy_kwargs={"gradient_as_bucket_view": True})
    device, checkpoint = ray.train.torch.get_device(), ray.train.get_checkpoint()
    resume = _files(checkpoint) if checkpoint else None
    shares = Shares.of(rank, ray.train.get_context().get_world_size(), job.workers)
    if job.ingest.reading == "ray_data":
        pools = [patches_of(job, job.ingest.dataset_passes(), device)]
    else:
        pools = pools_of_shares(job, shares, device, step_of(resume) if resume else 0)

    def keep(step: int, loss: float, files: Files | None) -> None:
        if files is not None:
            _report_checkpoint(step, loss, files if rank == 0 else None)

    train(job, net, pools, keep, resume=resume, parallel=parallel, rank=rank, shares=shares)


def _report_checkpoint(step: int, loss: float, files: Files | None) -> None:
    metrics = {"step": step, "loss": loss}
    if files is None:
        ray.train.report(metrics)
        return
    with tempfile.TemporaryDirectory() as folder:
        for name, data in files.items():
            (Path(folder) / name).write_bytes(data)
        ray.train.report(metrics, checkpoint=Checkpoint.from_directory(folder))


def _files(checkpoint: Checkpoint) -> Files:
    with checkpoint.as_directory() as folder:
        return {path.name: path.read_bytes() for path in Path(folder).iterdir() if path.is_file()}
