"""Simulated-accelerator utilisation: how many GPUs one core feeds with training patches, beside other loaders.

    pip install -e '.[bench]'
    eval "$(tests/services/start-s3.sh .services/s3)"       # optional: without AWS_ENDPOINT_URL only the disk counts
    python -m benchmarks.training.utilisation --images DATA/natural/train    # 10 minutes, on an idle machine

As in MLPerf Storage (https://github.com/mlcommons/storage), accelerators are simulated by their step time alone, the
first batch does not count, and the measure is AU = time of all steps / (accelerators × time of the run). A loader feeds
as many accelerators as it keeps at an AU of at least 90 %. Accelerators take batches of 16 patches in the order in
which they become free; at most two batches for each of them lie ready. They exist in the arithmetic alone and use no
processor time.

The loaders are those of ``training.ingest``: the same images, decoder, crops and degradation, in a process of its own
that, with all its children, runs on one core. In half of the rows pairs are made on that core too. In the other half,
as RayScale does on a machine with GPUs, they are left to the GPU: all loaders hand over HR patches, and the core issues
the operations of the pairs. There RayScale cuts its patches on the GPU too; here the core cuts them.

The step time is ``--step-ms``. By default it is the host's part of a step of ``base``: the same operations (forward and
backward in bfloat16, Muon) on one patch of 2×2 pixels with one channel, whose arithmetic is nothing, on the same core.
PyTorch issues one operation after the other, so that no GPU is faster without CUDA graphs or a compiler, and RayScale
pretrains without them. The page also gives the step time that arithmetic alone would need, at the rate at which MLPerf
Storage's simulated H100 trains ResNet-50: 400 images in 0.224 s (its ``resnet50_h100.yaml``) of 3 × 8.2 GFLOP
(torchvision's model card: 4.09 GMAC forward).
"""

import argparse
import heapq
import json
import math
import os
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.common.arguments import add_out, command, make_parser
from benchmarks.common.environment import environment
from benchmarks.common.results import today, write_results
from benchmarks.training.loader_table import add_row_options, measured_rows, qualities, tell
from benchmarks.training.loaders import BATCH, LR_PATCH, READERS, SCALE, Pairs, Row
from trainables.loops.optimizers import descend, make_optimizer
from trainables.network.network import SuperResolutionNet, preset

MODULE = "benchmarks.training.utilisation"
AU = 0.9
AHEAD = 2
"""Batches for each accelerator that may lie ready."""

MOST_TRIED = 4
H100_FLOPS = 400 * 3 * 8.2e9 / 0.224
RIVALS = ("WebDataset", "MosaicML Streaming", "litdata")
PACKAGES = ("pyarrow", "pillow", "webdataset", "mosaicml-streaming", "litdata")


def rows(pool: int, many: int, buffer: int) -> list[Row]:
    """Our pool, and each rival as usual and with reuse: in the training process, and in one process beside it.

    First all with pairs made on the core, then all with pairs left to the GPU.
    """
    ours = [Row("pool < pyarrow", 64, pool, 0, "main")]
    usual = [Row(rival, 1, 64, 0, "main") for rival in RIVALS]
    reused = [Row(rival, many, buffer, workers, "workers") for rival in RIVALS for workers in (0, 1)]
    on_core = [*ours, *usual, *reused]
    return [*on_core, *(replace(row, degrade="gpu") for row in on_core)]


@dataclass(frozen=True, slots=True)
class Fed:
    """What accelerators got of a loader: their number, their AU, and batches per second."""

    accelerators: int
    au: float
    batches_per_s: float


def feed(
    batches: Pairs,
    accelerators: int,
    step_s: float,
    seconds: float,
    clock: Callable[[], float] = time.perf_counter,
    sleep: Callable[[float], None] = time.sleep,
) -> Fed:
    """Feeds simulated accelerators for some seconds.

    Args:
        batches: The loader.
        accelerators: Their number.
        step_s: Seconds of a step; 0 measures the loader alone.
        seconds: Time of the run.
        clock: Seconds now.
        sleep: Waits.
    """
    next(batches)
    begin = now = clock()
    free, starts, steps = [begin] * accelerators, deque[float](), 0
    while now - begin < seconds:
        next(batches)
        now = clock()
        start = max(now, free[0])
        heapq.heapreplace(free, start + step_s)
        steps += 1
        starts.append(start)
        if len(starts) > AHEAD * accelerators and (pause := starts.popleft() - now) > 0:
            sleep(pause)
            now = clock()
    return Fed(accelerators, steps * step_s / (accelerators * (max(*free, now) - begin)), steps / (now - begin))


def fed_by(batches: Pairs, step_s: float, seconds: float) -> dict[str, Any]:
    """The most accelerators that a loader keeps busy, found from its speed and then tried."""
    alone = feed(batches, 1, 0.0, seconds)
    guess = max(1, math.floor(alone.batches_per_s * step_s / AU))
    tried: dict[int, float] = {}
    number = guess
    while number not in tried and number > 0 and len(tried) < MOST_TRIED:
        tried[number] = feed(batches, number, step_s, seconds).au
        number += 1 if tried[number] >= AU else -1
    return {
        "accelerators": max((number for number, au in tried.items() if au >= AU), default=0),
        "au": {str(number): tried[number] for number in sorted(tried)},
        "patches_per_s": alone.batches_per_s * BATCH,
        "shortest_step_ms": 1000 * AU / alone.batches_per_s,
    }


def one_row(options: argparse.Namespace) -> None:
    """Measures one row in this process, on one core."""
    row = Row(**json.loads(options.row))
    torch.set_num_threads(1)
    with one_core():
        start = time.perf_counter()
        batches = READERS[row.loader](row, options.place)
        next(batches)
        told: dict[str, Any] = {"first_batch_s": time.perf_counter() - start}
        feed(batches, 1, 0.0, options.warm_up)
        told |= fed_by(batches, options.step_ms / 1000, options.seconds)
    tell(told)


@contextmanager
def one_core() -> Iterator[None]:
    """Keeps this process and those that it starts on one core until the block ends."""
    if not hasattr(os, "sched_setaffinity"):
        raise SystemExit("Processes cannot be kept on one core on this system: run this benchmark on Linux.")
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def _step(width: int, batch: int, lr_patch: int) -> Callable[[], None]:
    net = SuperResolutionNet(replace(preset("base", SCALE), width=width)).to(memory_format=torch.channels_last)
    optimizer, schedule = make_optimizer(net, 1e-3, 10_000, "muon")
    lr, hr = (torch.rand(batch, 3, lr_patch * times, lr_patch * times) for times in (1, SCALE))

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            output = net(lr.contiguous(memory_format=torch.channels_last))
        descend(net, functional.l1_loss(output, hr), optimizer, schedule)

    return step


def host_step_ms(steps: int = 200) -> float:
    """Milliseconds in which the host issues a step of ``base``; the least of many, as other work only adds to it."""
    torch.set_num_threads(1)
    step, least = _step(1, 1, 2), math.inf
    with one_core():
        for _ in range(steps):
            start = time.perf_counter()
            step()
            least = min(least, time.perf_counter() - start)
    return 1000 * least


def arithmetic_ms() -> float:
    """Milliseconds of a step's arithmetic at the rate of MLPerf Storage's simulated H100."""
    step = _step(preset("base", SCALE).width, BATCH, LR_PATCH)
    with FlopCounterMode(display=False) as counter:
        step()
    return 1000 * counter.get_total_flops() / H100_FLOPS


def measured(options: argparse.Namespace, work: Path) -> dict[str, Any]:
    """All rows, from each place."""
    settings = {name: getattr(options, name) for name in ("warm_up", "seconds", "step_ms")}
    table, shuffling = rows(options.pool, options.many, options.buffer), qualities(options.out)
    return measured_rows(MODULE, table, options.images, work, shuffling, limit=60, **settings)


def describe(result: dict[str, Any]) -> str:
    """The page of a result."""
    told = result["measured"]
    lines = [f"# Simulated-accelerator utilisation, {result['date']}", "", f"Command: `{result['command']}`", ""]
    lines += [f"- {name}: {value}" for name, value in result["environment"].items()]
    lines += [
        "",
        f"{told['images']} images, {told['bytes'] / 2**20:.1f} MiB; batches of {BATCH} pairs of tensors, LR "
        f"{LR_PATCH}×{LR_PATCH}, ×{SCALE}; one core for the loader with all its processes. A simulated GPU takes "
        f"{result['step_ms']:.2f} ms for a step ({result['step_origin']}). GPUs: the most that the loader keeps at an "
        f"AU of {AU:.0%}, with the AU of each number tried. Shortest step: that at which it keeps one GPU at {AU:.0%}; "
        f"arithmetic alone would take {result['arithmetic_ms']:.2f} ms on an H100. Ratio: patches per second to the "
        "fastest other loader that shuffles as well (quality, as in `training.ingest`) and makes pairs where it does. "
        "*Pairs on the GPU*: the core hands over HR patches and issues the operations that make pairs of them.",
        "",
        "| loader | processes | quality |"
        + "".join(f" {place}: GPUs | AU | patches/s | ratio | shortest step ms |" for place in told["places"]),
        "|---|---:|---:|" + "---:|---|---:|---:|---:|" * len(told["places"]),
    ]
    for entry in told["rows"]:
        quality = entry["shuffling"].get("quality")
        cells = [str(1 + entry["row"]["workers"]), "" if quality is None else f"{quality:.2f}"]
        for place in told["places"]:
            cells += _cells(entry[place])
        lines.append(f"| {entry['name']} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _cells(figures: dict[str, Any]) -> list[str]:
    if "failure" in figures:
        return [f"failed: {figures['failure'][:120]}", "", "", "", ""]
    aus = ", ".join(f"{number}: {au:.1%}" for number, au in figures["au"].items())
    ratio = f"**{figures['ratio']:.2f}**" if "ratio" in figures else ""
    rate, shortest = figures["patches_per_s"], figures["shortest_step_ms"]
    return [str(figures["accelerators"]), aus, f"{rate:.0f}", ratio, f"{shortest:.1f}"]


def main() -> None:
    parser = make_parser(__doc__)
    add_row_options(parser)
    parser.add_argument("--step-ms", type=float, help="milliseconds of a simulated GPU's step; the host's by default")
    parser.add_argument("--seconds", type=float, default=2.5, help="seconds of each measurement")
    parser.add_argument("--warm-up", type=float, default=1.0)
    add_out(parser)
    options = parser.parse_args()
    if options.row:
        one_row(options)
    origin = "as given" if options.step_ms else "measured: the host's part of a step of `base`"
    options.step_ms = options.step_ms or host_step_ms()
    with tempfile.TemporaryDirectory() as work:
        result: dict[str, Any] = {
            "date": today(),
            "command": command("training.utilisation"),
            "environment": environment(*PACKAGES),
            "settings": {name: getattr(options, name) for name in ("pool", "many", "buffer", "seconds", "warm_up")},
            "step_ms": options.step_ms,
            "step_origin": origin,
            "arithmetic_ms": arithmetic_ms(),
            "measured": measured(options, Path(work)),
        }
    page = describe(result)
    write_results(options.out, "utilisation", "1core", data=result, page=page)
    print(page)


if __name__ == "__main__":
    main()
