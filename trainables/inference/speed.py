"""Upscaling speed of networks in megapixels of output per second, as ``rayscale upscale`` runs them.

Files are neither read nor written: pixels go in, pixels come out.
"""

import platform
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TypedDict

import numpy as np
import torch

from trainables.inference.precision import resolve
from trainables.inference.prepare import prepared
from trainables.inference.tiling import TILE
from trainables.inference.upscale import upscale
from trainables.network.network import SuperResolutionNet

ROUNDS = 5
"""Times that each network is timed, after one that warms up."""


class Device(TypedDict):
    """Conditions of a measured speed beside the network."""

    processor: str
    threads: int
    precision: str
    torch: str
    tile: int


def output_speeds(
    nets: Mapping[int, SuperResolutionNet], device: torch.device | str = "cpu", tile: int = TILE, rounds: int = ROUNDS
) -> dict[int, float]:
    """Megapixels of output per second of each network, the best of some rounds.

    Every round times each network once, so that what else the machine does meets all of them; other work can only
    slow a network down, and the fastest round is the one that it disturbed least. A network upscales one tile of noise
    in all of its bands, and computes the halo that its receptive radius asks for.

    Args:
        nets: Networks by any number.
        device: Device to compute on.
        tile: Side of the image in LR pixels.
        rounds: From 1.
    """
    ready = {key: prepared(net, device) for key, net in nets.items()}
    noise = {
        key: np.random.default_rng(0).integers(0, 256, (tile, tile, net.channels), np.uint8)
        for key, net in ready.items()
    }
    seconds = {key: float("inf") for key in ready}
    for number in range(rounds + 1):
        for key, net in ready.items():
            start = time.perf_counter()
            upscale(net, noise[key], tile)  # its result lies in main memory: nothing on a GPU is left to wait for
            if number:
                seconds[key] = min(seconds[key], time.perf_counter() - start)
    return {key: (ready[key].scale * tile) ** 2 / 1e6 / seconds[key] for key in ready}


def describe_device(device: torch.device | str = "cpu", tile: int = TILE) -> Device:
    """Describes what a speed depends on beside the network: processor, threads, number format, torch and tile."""
    place = torch.device(device)
    return {
        "processor": torch.cuda.get_device_name(place) if place.type == "cuda" else processor(),
        "threads": torch.get_num_threads(),
        "precision": resolve("auto", place),
        "torch": torch.__version__,
        "tile": tile,
    }


def processor() -> str:
    """Name of the CPU, or its architecture where the system states no name."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())
