"""Pretraining on Ray Train, which runs the training loop on every worker."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray.train
import ray.train.torch
from ray.train import Checkpoint, CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer

from orchestrator.experiment.feasibility import Resources, cpus_per_worker
from orchestrator.experiment.settings import Experiment
from orchestrator.foundation.logs import start_from_environment
from orchestrator.foundation.storage import Storage
from orchestrator.runtime.stop_signals import handlers_kept
from orchestrator.training.pretrain_worker import PretrainJob, new_net, patches_of, pools_of_shares, train
from trainables.errors import RunError
from trainables.loops.pretrain import Files, Shares, step_of

_LOST_PEER = ("gloo", "nccl")
"""Words in the error of a worker that lost another one: its exchange of gradients failed."""


def train_on_ray(job: PretrainJob, experiment: Experiment, resources: Resources, out: Storage, inputs: str) -> Files:
    """Trains on the experiment's workers; an interrupted run continues from its last checkpoint.

    Returns:
        The files of the last checkpoint.

    Raises:
        RunError: If training failed on a worker.
    """
    trainer = TorchTrainer(
        train_on_worker,
        train_loop_config={"job": job},
        datasets=job.ingest.datasets(),
        scaling_config=_scaling(experiment, resources),
        run_config=RunConfig(
            name=f"run-{inputs}",
            storage_path=out.child("ray").path,
            storage_filesystem=out.filesystem,
            failure_config=FailureConfig(max_failures=2),
            checkpoint_config=CheckpointConfig(num_to_keep=2),
        ),
    )
    try:
        with handlers_kept(), health_check_interval(job.settings.steps):
            result = trainer.fit()
    except ray.train.TrainingFailedError as error:
        raise RunError(f"Pretraining failed: {_innermost(error)}") from None
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


def _scaling(experiment: Experiment, resources: Resources) -> ScalingConfig:
    section = experiment.pretraining
    use_gpu = section.gpus_per_worker > 0
    cpus = cpus_per_worker(experiment, resources) or 1.0  # None was refused by the check of resources
    worker = {"CPU": cpus, "GPU": section.gpus_per_worker} if use_gpu else {"CPU": cpus}
    workers = section.workers if section.least_workers is None else (section.least_workers, section.workers)
    return ScalingConfig(num_workers=workers, use_gpu=use_gpu, resources_per_worker=worker)  # type: ignore[arg-type]


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


def _innermost(error: BaseException) -> str:
    """The line that names the cause of a failed training, rather than one of a worker that lost another one."""
    failures = getattr(error, "worker_failures", None) or {}
    lines = [_line(failure) for failure in failures.values()] or [_line(error)]
    return next((line for line in lines if not any(name in line.lower() for name in _LOST_PEER)), lines[0])


def _line(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [""]
    if lines[0].startswith("Traceback"):  # Train gives a worker's own exception as its traceback
        name, _, rest = lines[-1].partition(": ")
        return f"{name.rpartition('.')[2]}: {rest}"
    return f"{type(error).__name__}: {lines[0]}"
