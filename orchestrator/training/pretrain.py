"""Pretraining the source model on a cluster: Ray Train runs the loop on each worker, fed from the shards."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import ray.train
import ray.train.torch
import torch
from ray.train import Checkpoint, CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer

from orchestrator.data.shards import read_manifest, read_split
from orchestrator.data.train_stream import Ingest
from orchestrator.experiment.feasibility import Resources, cpus_per_worker
from orchestrator.experiment.settings import Experiment
from orchestrator.foundation.model_store import write_model
from orchestrator.foundation.storage import Storage
from orchestrator.runtime.progress import teller
from orchestrator.runtime.stop_signals import handlers_kept
from orchestrator.training.record import PretrainResult
from trainables.degradation import Degradation
from trainables.errors import RunError
from trainables.images.patch_pool import PatchPool
from trainables.loops.pretrain import Files, History, PretrainSettings, pretrain, restore
from trainables.metrics.evaluation import bicubic, make_pairs, mean_psnr
from trainables.network.network import Architecture, SuperResolutionNet

SOURCE_DEGRADATION = Degradation()
"""The source model learns to undo plain antialiased bicubic decimation, as SR models customarily do."""

_LOST_PEER = ("gloo", "nccl")
"""In what a worker says when another one has ended: it failed in its exchange of gradients."""

_READING_THREADS = 4
"""Images that the worker of a GPU decodes at a time."""


@dataclass(frozen=True, slots=True)
class PretrainJob:
    """What every pretraining worker is told."""

    architecture: Architecture
    settings: PretrainSettings
    ingest: Ingest
    lr_patch: int
    pool_images: int
    threads: int
    board: Any


def pretrain_source(
    experiment: Experiment, shards: Storage, out: Storage, resources: Resources, board: Any, inputs: str
) -> PretrainResult:
    """Trains the source model and writes it to ``out``; an interrupted run goes on from its last checkpoint.

    Returns:
        Steps, loss curve and validation PSNR beside bicubic's.

    Raises:
        RunError: If training failed on a worker.
    """
    section, settings = experiment.pretraining, _settings(experiment)
    ingest = Ingest(shards, section.reading, _READING_THREADS if section.gpus_per_worker > 0 else 1)
    job = PretrainJob(experiment.architecture, settings, ingest, section.lr_patch, section.pool_images, 1, board)
    trainer = TorchTrainer(
        _train_on_worker,
        train_loop_config={"job": job},
        datasets=ingest.datasets(),
        scaling_config=_scaling(experiment, resources),
        run_config=RunConfig(
            name=f"run-{inputs}",
            storage_path=out.child("ray").path,
            storage_filesystem=out.filesystem,
            failure_config=FailureConfig(max_failures=2),
            checkpoint_config=CheckpointConfig(num_to_keep=2),
        ),
    )
    teller(board, "pretraining")(0, settings.steps, "starting workers")
    try:
        with handlers_kept(), looked_after(settings.steps):
            result = trainer.fit()
    except ray.train.TrainingFailedError as error:
        raise RunError(f"Pretraining failed: {_innermost(error)}") from None
    if result.checkpoint is None:
        raise RunError("Pretraining ended without a checkpoint.")
    net = SuperResolutionNet(experiment.architecture)
    history = restore(_files(result.checkpoint), net)
    return _publish(experiment, net.eval(), history, shards, out, inputs)


@contextmanager
def looked_after(steps: int) -> Iterator[None]:
    """Sets how often Train looks after its workers, unless the user has.

    Its own 2 s are a fifth of a short run; 0.1 s cost a long one some percent where two workers have two cores.
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


def _publish(
    experiment: Experiment,
    net: SuperResolutionNet,
    history: History,
    shards: Storage,
    out: Storage,
    inputs: str,
) -> PretrainResult:
    scale, manifest = experiment.architecture.scale, read_manifest(shards)
    images = list(read_split(shards, "validation"))
    pairs = make_pairs(images, SOURCE_DEGRADATION, scale, experiment.search.validation_crop)
    result: PretrainResult = {
        "steps": history.step,
        "loss": history.losses,
        "validation_psnr": mean_psnr(net, pairs, scale),
        "validation_psnr_bicubic": mean_psnr(bicubic(scale), pairs, scale),
    }
    card = {
        "name": "source",
        "degradation": SOURCE_DEGRADATION.to_dict(),
        "lineage": {"shards": manifest["digest"], "stage": inputs},
        "data_licence": manifest["licence"],
        "metrics": {
            "validation_psnr": result["validation_psnr"],
            "validation_psnr_bicubic": result["validation_psnr_bicubic"],
        },
        "training": asdict(_settings(experiment)),
    }
    write_model(out, net, card)
    return result


def _settings(experiment: Experiment) -> PretrainSettings:
    section = experiment.pretraining
    return PretrainSettings(
        steps=section.steps,
        batch=section.batch,
        learning_rate=section.learning_rate,
        report_every=section.report_every,
        checkpoint_every=section.checkpoint_every,
        seed=experiment.seed,
        optimizer=section.optimizer,
        precision=section.precision,
    )


def _scaling(experiment: Experiment, resources: Resources) -> ScalingConfig:
    section = experiment.pretraining
    use_gpu = section.gpus_per_worker > 0
    cpus = cpus_per_worker(experiment, resources) or 1.0  # that they fit has been checked
    each = {"CPU": cpus, "GPU": section.gpus_per_worker} if use_gpu else {"CPU": cpus}
    return ScalingConfig(num_workers=section.workers, use_gpu=use_gpu, resources_per_worker=each)


def _train_on_worker(config: dict[str, Any]) -> None:
    job: PretrainJob = config["job"]
    torch.set_num_threads(job.threads)
    context = ray.train.get_context()
    rank = context.get_world_rank()
    torch.manual_seed(job.settings.seed)
    # Gradients are laid out as weights are: what is summed over workers must have the training's own layout.
    net = SuperResolutionNet(job.architecture).to(memory_format=torch.channels_last)
    parallel = ray.train.torch.prepare_model(net, parallel_strategy_kwargs={"gradient_as_bucket_view": True})
    pool = PatchPool(
        job.ingest.passes(),
        scale=job.architecture.scale,
        lr_patch=job.lr_patch,
        degradation=SOURCE_DEGRADATION,
        seed=job.settings.seed,
        device=ray.train.torch.get_device(),
        capacity=job.pool_images,
    )
    tell = teller(job.board, "pretraining")
    checkpoint = ray.train.get_checkpoint()

    def report(step: int, loss: float, files: Files | None) -> None:
        if rank == 0:
            tell(step, job.settings.steps, f"loss {loss:.4f}")
        if files is not None:
            _report_checkpoint(step, loss, files if rank == 0 else None)

    resume = _files(checkpoint) if checkpoint else None
    pretrain(net, job.settings, pool, report, resume=resume, parallel=parallel, rank=rank)


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
    """The one line that says why training failed; that a worker has lost another one explains nothing."""
    failures = getattr(error, "worker_failures", None) or {}
    lines = [_line(failure) for failure in failures.values()] or [_line(error)]
    return next((line for line in lines if not any(name in line.lower() for name in _LOST_PEER)), lines[0])


def _line(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [""]
    if lines[0].startswith("Traceback"):  # Train hands over a worker's own exception as its traceback
        name, _, rest = lines[-1].partition(": ")
        return f"{name.rpartition('.')[2]}: {rest}"
    return f"{type(error).__name__}: {lines[0]}"
