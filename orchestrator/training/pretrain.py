"""Pretraining of the source model, on workers of Ray Train or in this process, with its scores and card."""

from dataclasses import asdict

from orchestrator.data.shard_reader import read_manifest, read_split
from orchestrator.data.train_stream import Ingest
from orchestrator.experiment.settings import Experiment
from orchestrator.foundation.model_store import write_model
from orchestrator.foundation.storage import Storage
from orchestrator.runtime.measurements import Measurement, measure
from orchestrator.runtime.progress_updates import ProgressUpdates, reporter
from orchestrator.runtime.task_runner import TaskRunner
from orchestrator.training.pretrain_worker import SOURCE_DEGRADATION, PretrainJob, train_here
from orchestrator.training.ray_train import train_on_ray
from orchestrator.training.record import PretrainResult
from trainables.loops.pretrain import History, PretrainSettings, restore
from trainables.metrics.evaluation import bicubic, make_pairs, mean_psnr
from trainables.network.network import SuperResolutionNet

_READING_THREADS = 4
"""Threads that decode images for a worker with a GPU."""


def pretrain_source(
    experiment: Experiment, shards: Storage, out: Storage, runner: TaskRunner, progress: ProgressUpdates, inputs: str
) -> PretrainResult:
    """Trains the source model and writes it to ``out``; an interrupted run continues from its last checkpoint.

    Returns:
        Steps, loss curve, and validation PSNR of the model and of bicubic interpolation.

    Raises:
        RunError: If training failed on a worker.
    """
    job = _job(experiment, shards, progress)
    reporter(progress, "pretraining")(0, job.settings.steps, "starting workers")
    settings = {name: value for name, value in asdict(job.settings).items() if isinstance(value, (str, int, float))}
    measure(progress, Measurement("pretraining", 0, settings=settings | {"workers": experiment.pretraining.workers}))
    files = train_on_ray(job, experiment, runner.resources, out, inputs) if runner.distributed else train_here(job)
    net = SuperResolutionNet(experiment.architecture)
    history = restore(files, net)
    return _publish(experiment, net.eval(), history, shards, out, inputs)


def _job(experiment: Experiment, shards: Storage, progress: ProgressUpdates) -> PretrainJob:
    section = experiment.pretraining
    return PretrainJob(
        architecture=experiment.architecture,
        settings=_settings(experiment),
        ingest=Ingest(shards, section.reading, _READING_THREADS if section.gpus_per_worker > 0 else 1),
        lr_patch=section.lr_patch,
        pool_images=section.pool_images,
        threads=1,
        progress=progress,
        workers=section.workers,
    )


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
    result = PretrainResult(
        steps=history.step,
        loss=history.losses,
        validation_psnr=mean_psnr(net, pairs, scale),
        validation_psnr_bicubic=mean_psnr(bicubic(scale), pairs, scale),
    )
    card = {
        "name": "source",
        "degradation": SOURCE_DEGRADATION.to_dict(),
        "lineage": {"shards": manifest["digest"], "stage": inputs},
        "data_licence": manifest["licence"],
        "metrics": {
            "validation_psnr": result.validation_psnr,
            "validation_psnr_bicubic": result.validation_psnr_bicubic,
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
