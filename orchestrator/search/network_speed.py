"""The second objective of a study: speed of the exported network, by the number of residual blocks that it keeps.

Speeds are measured once for an experiment, before its trials start, by one task with a trial's CPUs and GPUs, while
nothing else of the experiment runs. They are written beside the searches, where every study and every resumed run reads
them: a configuration always has the same speed, whatever the load of the machine later.
"""

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypedDict

import torch

from orchestrator.foundation.model_store import read_model
from orchestrator.foundation.stage_record import now
from orchestrator.foundation.storage import Storage
from trainables.inference.speed import ROUNDS, Device, describe_device, output_speeds
from trainables.loops.settings import TransferConfiguration
from trainables.network.architecture import Architecture, frozen_depth_limit, shortened
from trainables.network.network import SuperResolutionNet


@dataclass(frozen=True, slots=True)
class SpeedJob:
    """Input of the task that measures speeds.

    Attributes:
        source: Folder of the source model.
        kept_blocks: Lowest and highest number of residual blocks.
        threads: torch threads, as many as of a trial.
        on_gpu: Whether to use the GPU that Ray assigned.
        place: File of the result.
    """

    source: Storage
    kept_blocks: tuple[int, int]
    threads: int
    on_gpu: bool
    place: Storage


@dataclass(frozen=True, slots=True)
class Shortening:
    """The shortened networks that a study may try.

    Attributes:
        kept_blocks: Lowest and highest number of residual blocks that are kept.
        architecture: Architecture of the source model.
        speeds: Megapixels of output per second by kept blocks; empty before they are measured.
    """

    kept_blocks: tuple[int, int]
    architecture: Architecture
    speeds: Mapping[int, float]

    def named(self, kept: int) -> int | None:
        """A number of kept blocks as in a configuration: None for all of them."""
        return None if kept == self.architecture.blocks else kept

    def deepest(self, kept: int) -> int:
        """The largest frozen depth of a shortened network."""
        return frozen_depth_limit(shortened(self.architecture, kept))

    def inside(self, configuration: TransferConfiguration) -> int:
        """Number of blocks that a configuration keeps, clamped to the range."""
        low, high = self.kept_blocks
        return min(max(configuration.kept_blocks or self.architecture.blocks, low), high)


class SpeedRecord(TypedDict):
    """Speeds in output megapixels per second by number of kept blocks, and the device on which they were measured."""

    megapixels_per_second: dict[str, float]
    device: Device
    rounds: int
    measured_at: str


def measure_speeds(job: SpeedJob) -> SpeedRecord:
    """Measures the speed for every number of kept blocks, writes the record and returns it."""
    torch.set_num_threads(job.threads)
    device = torch.device("cuda" if job.on_gpu else "cpu")
    source, (low, high) = read_model(job.source)[0], job.kept_blocks
    speeds = output_speeds({kept: _kept(source, kept) for kept in range(low, high + 1)}, device)
    record: SpeedRecord = {
        "megapixels_per_second": {str(kept): speed for kept, speed in speeds.items()},
        "device": describe_device(device),
        "rounds": ROUNDS,
        "measured_at": now(),
    }
    job.place.write_json(record)
    return record


def read_speeds(place: Storage) -> dict[int, float]:
    """Megapixels of output per second by kept blocks; empty if there is no record, or a damaged one."""
    record = place.read_json()
    try:
        speeds = {int(kept): float(speed) for kept, speed in record["megapixels_per_second"].items()}
    except Exception:  # measured again
        return {}
    return speeds if all(0 < speed < math.inf for speed in speeds.values()) else {}


def device_sentence(record: SpeedRecord) -> str:
    """Device and conditions of the measurement, in words."""
    device = record["device"]
    threads = f"{device['threads']} thread" + "s" * (device["threads"] != 1)
    return (
        f"{device['processor']}, {threads}, {device['precision']}, PyTorch {device['torch']}, one tile of "
        f"{device['tile']}×{device['tile']} LR pixels with its halo, the best of {record['rounds']} rounds"
    )


def _kept(source: SuperResolutionNet, kept: int) -> SuperResolutionNet:
    net = copy.deepcopy(source)
    net.keep_blocks(kept)
    return net
