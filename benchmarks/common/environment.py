"""Where a result was measured: hardware, versions, commit."""

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from trainables.inference.precision import resolve

Json = dict[str, Any]


def environment(*packages: str) -> dict[str, str]:
    """Hardware, versions, the precision that ``auto`` is on the CPU, and the commit.

    Args:
        packages: Distributions whose versions are stated beside Python's and torch's.
    """
    versions = [f"Python {platform.python_version()}", f"torch {torch.__version__}"]
    return {
        "hardware": f"{os.cpu_count()} CPUs, {cpu_model()}; other work may have shared the cores",
        "versions": ", ".join([*versions, *(f"{package} {version(package)}" for package in packages)]),
        "precision auto": resolve("auto", torch.device("cpu")),
        "commit": commit(),
    }


def cpu_model() -> str:
    """Name of the processor."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown CPU"


def commit() -> str:
    """Short hash of the commit that is checked out here."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "unknown"
    return done.stdout.strip() or "unknown"
