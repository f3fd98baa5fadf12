"""This machine and this process, as far as they can be told without importing Ray, which takes seconds."""

import ctypes
import sys
from pathlib import Path

from orchestrator.experiment.feasibility import Resources
from orchestrator.experiment.settings import Cluster
from orchestrator.foundation.usable_cpus import usable_cpus

NVIDIA, AMD = "libcuda.so.1", Path("/dev/kfd")
"""Library of NVIDIA's driver, and the device of AMD's."""
"""A library of the driver or its device file: one of them is there where PyTorch can use GPUs."""


def local_resources(cluster: Cluster) -> Resources:
    """Resources that a Ray of our own will have on this machine, without starting it."""
    gpus = _gpus() if _has_gpu_driver() else 0
    return Resources(cluster.cpus or usable_cpus(), gpus, gpus)


def ray_is_started() -> bool:
    """True if this process is connected to a Ray, which somebody has started before."""
    ray = sys.modules.get("ray")
    return ray is not None and bool(ray.is_initialized())


def _gpus() -> int:
    import torch

    return torch.cuda.device_count()


def _has_gpu_driver() -> bool:
    """False on a machine without a GPU's driver, which PyTorch need not be imported to find out."""
    try:
        ctypes.CDLL(NVIDIA)
    except OSError:
        return AMD.exists()
    return True
