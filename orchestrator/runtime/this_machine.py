"""This machine and this process, as far as they can be told without importing Ray, which takes seconds."""

import sys

import torch

from orchestrator.experiment.feasibility import Resources
from orchestrator.experiment.settings import Cluster
from orchestrator.foundation.usable_cpus import usable_cpus


def local_resources(cluster: Cluster) -> Resources:
    """Resources that a Ray of our own will have on this machine, without starting it."""
    gpus = torch.cuda.device_count()
    return Resources(cluster.cpus or usable_cpus(), gpus, gpus)


def ray_is_started() -> bool:
    """True if this process is connected to a Ray, which somebody has started before."""
    ray = sys.modules.get("ray")
    return ray is not None and bool(ray.is_initialized())
