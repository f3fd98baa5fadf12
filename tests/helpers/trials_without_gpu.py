"""Searches, confirms and finishes with two GPUs per trial where only Ray counts GPUs: copies on a CPU share each batch.

``trials_without_gpu.main(FOLDER)``, in a process of its own, prints curves and certificates of the search, those of the
same experiment on one device without Ray, and the GPUs that Ray gave to each training, as JSON.
"""

import json
import os
from dataclasses import fields
from pathlib import Path
from typing import Any

import ray
import torch
from rich.console import Console
from tiny_experiment import settings

from orchestrator.experiment.load import make_experiment
from orchestrator.jobs.stage_jobs import Jobs
from orchestrator.pipeline.preflight import preflight
from orchestrator.pipeline.run import run_experiment
from orchestrator.runtime.progress import Display
from orchestrator.runtime.task_runner import in_process
from orchestrator.training.finetune import DomainJob
from trainables.network.model_files import CARD
from trainables.samples import write_samples

DOMAIN = "satellite"
SEARCH = {"validation_crop": 48, "sampler": "random"}  # so that rounding changes no later trial


class OnCpu(DomainJob):
    """The real job of a worker whose GPUs are numbers only."""

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    @property
    def devices(self) -> tuple[torch.device, ...]:
        with Path(self.shards.path).parents[2].joinpath("gpus").open("a") as file:
            file.write(f"{os.environ.get('CUDA_VISIBLE_DEVICES')}\n")
        return (self.device,) * self.device_count


def run(folder: Path, name: str, gpus: int, **how: Any) -> dict[str, Any]:
    finish = {"enabled": True, "doublings": 1, "seeds": 1}
    content = settings(str(folder / "images"), str(folder / "runs"), search=SEARCH, finish=finish)
    content |= {"name": name, "source": {"model": "base-x4"}, "targets": {DOMAIN: content["targets"][DOMAIN]}}
    content["confirmation"] |= {"seeds": 1}
    del content["network"], content["pretraining"]
    inputs = preflight(make_experiment(content, "test"))  # which would look for GPUs here
    content["search"]["gpus_per_trial"] = gpus
    experiment = make_experiment(content, "test")
    run_experiment(experiment, inputs, Display(Console(quiet=True)), **how)
    jobs = Jobs(experiment)
    records = jobs.records(DOMAIN)
    return {
        "curves": [record.curve for record in records],
        "certificates": [record.certificate.plain() for record in records if record.certificate],
        "inputs": jobs.search_inputs(DOMAIN),
        "finished": experiment.home.child("models", DOMAIN, CARD).exists(),
    }


def main(folder: Path) -> None:
    write_samples(folder / "images" / DOMAIN, DOMAIN, 9, 1, seed=3, size=(96, 96))
    one = run(folder, "one", 0, start=in_process)
    whole = Jobs._domain_job

    def on_cpu(jobs: Jobs, domain: str) -> DomainJob:
        job = whole(jobs, domain)
        return OnCpu(**{field.name: getattr(job, field.name) for field in fields(job)})

    Jobs._domain_job = on_cpu  # type: ignore[method-assign]
    ray.init(
        address="local",
        num_cpus=2,
        num_gpus=2,
        include_dashboard=False,
        log_to_driver=False,
        object_store_memory=300 * 2**20,
    )
    two = run(folder, "two", 2)
    ray.shutdown()
    gpus = (folder / "runs" / "gpus").read_text().split()
    print(json.dumps({"one": one, "two": two, "gpus": gpus}))
