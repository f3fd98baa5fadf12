"""A discrete simulation of pretraining, search and archive: events in the order of their times, by one seed."""

import heapq
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmarks.scaling.scenario import MIB, Scenario
from orchestrator.archive.ledger.ledger import MERGED_EVERY
from orchestrator.data.shards import GROUP_BYTES

POOL_IMAGES, PATCHES_PER_IMAGE = 2000, 64
REMOVED_AT_ONCE = 16
"""Requests at once of `orchestrator.foundation.buckets.s3.delete_objects`."""


@dataclass
class Rates:
    """Requests and bytes of each second, by kind."""

    seconds: dict[str, Counter[int]] = field(default_factory=dict)

    def add(self, kind: str, at: float, count: float = 1) -> None:
        """Adds to a second."""
        self.seconds.setdefault(kind, Counter())[int(at)] += count  # type: ignore[assignment]

    def peak(self, kind: str) -> float:
        """The most of a second."""
        return max(self.seconds.get(kind, Counter()).values(), default=0.0)

    def mean(self, kind: str, begin: float, end: float) -> float:
        """Mean over whole seconds."""
        found = self.seconds.get(kind, Counter())
        return sum(found[second] for second in range(int(begin), int(end))) / max(int(end) - int(begin), 1)


def reading(scenario: Scenario, seconds: float = 120.0) -> dict[str, float]:
    """Row groups that all workers of pretraining read: while their pools fill, and after that.

    A worker reads one group after the other: a request, the transfer, and the decoding of the group before it at the
    same time. Once its pool is full it needs an image for every 64 patches.
    """
    rng, rates = np.random.default_rng(scenario.seed), Rates()
    images = GROUP_BYTES / scenario.image_bytes
    decode_s, need_s = images * scenario.decode_ms / 1000, PATCHES_PER_IMAGE * images * scenario.step_ms / 1000
    need_s /= scenario.batch
    share = min(scenario.connection_bytes, scenario.node_bytes / scenario.gpus_per_node)
    queue = [(float(rng.uniform(0, 1)), worker, 0.0) for worker in range(scenario.gpus)]
    heapq.heapify(queue)
    full: list[float] = []
    while queue and queue[0][0] < seconds:
        at, worker, read = heapq.heappop(queue)
        rates.add("requests", at)
        took = scenario.request_s * float(rng.lognormal(0, scenario.spread)) + GROUP_BYTES / share
        rates.add("bytes", at + took, GROUP_BYTES)
        read += images
        wait = max(took, decode_s) if read < POOL_IMAGES else max(took, decode_s, need_s)
        if read >= POOL_IMAGES > read - images:
            full.append(at + took)
        heapq.heappush(queue, (at + wait, worker, read))
    begin = max(full, default=seconds) + 5
    steady = rates.mean("requests", begin, seconds - 2) if begin < seconds - 10 else math.nan
    return {
        "fill_s": max(full, default=math.inf),
        "fill_requests_per_s": rates.peak("requests"),
        "fill_bytes_per_s": rates.peak("bytes"),
        "steady_requests_per_s": steady,
        "steady_bytes_per_s": steady * GROUP_BYTES,
    }


def power_law(points: Mapping[str, float]) -> tuple[float, float]:
    """Factor and exponent of time by number, fitted to the upper half of the points."""
    upper = sorted((float(count), value) for count, value in points.items())[len(points) // 2 - 1 :]
    x, y = (np.log([pair[index] for pair in upper]) for index in (0, 1))
    exponent, constant = np.polyfit(x, y, 1)
    return math.exp(constant), float(exponent)


def suggestion_s(points: Mapping[str, float], trials: int) -> float:
    """Seconds of the next suggestion after so many trials: as measured, extrapolated by a power law beyond."""
    known = sorted((float(count), value) for count, value in points.items())
    if trials <= known[-1][0]:
        return float(np.interp(trials, [count for count, _ in known], [value for _, value in known]))
    factor, exponent = power_law(points)
    return max(factor * float(trials) ** exponent, known[-1][1])


def search(scenario: Scenario, points: Mapping[str, float], per_trial: Mapping[str, float]) -> dict[str, float]:
    """A study whose driver suggests one trial after the other, each for a GPU that is free."""
    rng, rates = np.random.default_rng(scenario.seed), Rates()
    free = [0.0] * scenario.gpus
    ended: list[float] = []
    driver, busy = 0.0, 0.0
    for number in range(scenario.trials):
        at = heapq.heappop(free)
        begin = max(driver, at)
        finished = 0
        while ended and ended[0] <= begin:
            heapq.heappop(ended)
        finished = number - len(ended)
        driver = begin + suggestion_s(points, finished)
        took = scenario.trial_s * float(rng.lognormal(0, scenario.spread))
        heapq.heappush(free, driver + took)
        heapq.heappush(ended, driver + took)
        rates.add("requests", driver + took, sum(per_trial.get(kind, 0.0) for kind in KINDS))
        busy += took
    end = max(free)
    last = suggestion_s(points, scenario.trials)
    return {
        "hours": end / 3600,
        "gpu_share": busy / (scenario.gpus * end),
        "last_suggestion_s": last,
        "requests_per_s_peak": rates.peak("requests"),
    }


KINDS = ("GET", "HEAD", "LIST", "PUT", "POST", "DELETE")


@dataclass
class Head:
    """The driver of an archive: one thread that writes the ledger, hands out tasks and takes what has ended.

    Attributes:
        scenario: The cluster.
        scene_us: Microseconds of its own for a scene.
        line_bytes: Ledger bytes of a scene.
        delete_s: Seconds of the removal of one merged object; 0 if it blocks nothing.
    """

    scenario: Scenario
    scene_us: float
    line_bytes: float
    delete_s: float
    now: float = 0.0
    puts: int = 0
    unmerged: float = 0.0
    rates: Rates = field(default_factory=Rates)

    def write(self, scenes: float) -> None:
        """Writes one object, and merges them if they are many; the driver waits for it."""
        if not scenes:
            return
        self.now += self.scenario.request_s
        self.rates.add("writes", self.now)
        self.puts += 1
        self.unmerged += scenes * self.line_bytes / 2
        if self.puts % MERGED_EVERY == 0:
            self.now += self.scenario.request_s + self.unmerged / self.scenario.connection_bytes
            for _ in range(MERGED_EVERY - 1):
                self.now += self.delete_s / REMOVED_AT_ONCE
                self.rates.add("writes", self.now)
            self.unmerged = 0.0

    def spend(self, scenes: int) -> None:
        """Spends its own time on scenes: three tasks each."""
        self.now += scenes * (self.scene_us + 3 * self.scenario.task_us) / 1e6


def archive(
    scenario: Scenario, scene_us: float, line_bytes: float, scenes: int, delete_s: float | None = None
) -> dict[str, float]:
    """A part of an archive that is long enough for many merges: scenes per second and use of the GPUs.

    Each GPU computes on one scene while the next one is fetched; it gets another when the driver has taken its end.
    """
    rng = np.random.default_rng(scenario.seed)
    head = Head(scenario, scene_us, line_bytes, scenario.request_s if delete_s is None else delete_s)
    free = [0.0] * scenario.gpus
    heapq.heapify(free)
    running: list[float] = []
    begun, done, busy = 0, 0, 0.0
    while done < scenes:
        room = min(2 * scenario.gpus - len(running), scenes - begun)
        head.write(room)
        head.spend(room)
        for took in scenario.scene_s * rng.lognormal(0, scenario.spread, room):
            end = max(heapq.heappop(free), head.now) + float(took)
            heapq.heappush(free, end)
            heapq.heappush(running, end)
            busy += float(took)
        begun += room
        head.now = max(head.now, running[0]) if running else head.now
        ended = 0
        while running and running[0] <= head.now:
            heapq.heappop(running)
            ended += 1
        done += ended
        head.write(ended)
    end = max(*free, head.now)
    return {
        "scenes_per_s": scenes / end,
        "gpu_share": busy / (scenario.gpus * end),
        "ledger_puts_per_scene": head.puts / scenes,
        "ledger_writes_per_s_peak": head.rates.peak("writes"),
        "merges": head.puts // MERGED_EVERY,
        "merge_s": (MERGED_EVERY - 1) * head.delete_s / REMOVED_AT_ONCE,
    }


def restart(scenario: Scenario, checkpoint: Mapping[str, Any]) -> dict[str, float]:
    """All workers of pretraining read the last checkpoint at once."""
    requests = sum(checkpoint["read"].get(kind, 0.0) for kind in KINDS)
    seconds = requests * scenario.request_s
    return {
        "requests": requests * scenario.gpus,
        "requests_per_s": requests * scenario.gpus / seconds,
        "bytes": checkpoint["bytes"] * scenario.gpus,
        "seconds": seconds + checkpoint["bytes"] / scenario.connection_bytes,
    }


def megabytes(count: float) -> float:
    """Bytes in MiB."""
    return count / MIB
