"""What averaging the gradients of `base` costs two or more workers on one machine: through gloo, and in shared memory.

    python benchmarks/gradients.py                    # about half a minute on two cores; one core a worker

Every worker computes gradients, in turns averaged by either way. What counts is the time from the arrival of the last
worker until each goes on: how long workers wait for one another is the same whichever way they meet.
"""

import argparse
import json
import multiprocessing
import os
import platform
import statistics
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import torch
from step import environment
from torch import Tensor, distributed

from trainables.loops.gradient_sync import shared_mean
from trainables.network.network import SuperResolutionNet, preset

HERE = Path(__file__).parent
PATCHES, LR_PATCH, WARM = 16, 32, 5


def work(rank: int, workers: int, folder: str, rounds: int) -> None:
    """One worker: writes when it arrived and when it went on, in seconds since the machine started."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", f"file://{folder}/meeting", rank=rank, world_size=workers)
    net = SuperResolutionNet(preset("base", 4)).to(memory_format=torch.channels_last)
    values = sum(parameter.numel() for parameter in net.parameters())
    shared = shared_mean(values)
    if shared is None:
        raise SystemExit("No memory that all workers share was found in /dev/shm; make room there.")

    def gloo(gradients: Tensor) -> None:
        gradients /= workers
        distributed.all_reduce(gradients)

    told: dict[str, list[tuple[float, float]]] = {"gloo": [], "shared memory": []}
    for _ in range(WARM + rounds):
        for way, average in (("gloo", gloo), ("shared memory", shared)):
            lr = torch.rand(PATCHES, 3, LR_PATCH, LR_PATCH).contiguous(memory_format=torch.channels_last)
            with torch.autocast("cpu", torch.bfloat16):
                loss = net(lr).square().mean()
            loss.backward()
            gradients = torch.cat([parameter.grad.flatten() for parameter in net.parameters()])
            arrived = time.perf_counter()
            average(gradients)
            told[way].append((arrived, time.perf_counter()))
            net.zero_grad()
    (Path(folder) / f"told-{rank}").write_text(json.dumps(told))


def measure(workers: int, rounds: int) -> dict[str, list[float]]:
    """Milliseconds from the last arrival, of each worker and round, by way."""
    with tempfile.TemporaryDirectory() as folder:
        context = multiprocessing.get_context("spawn")
        processes = [context.Process(target=work, args=(rank, workers, folder, rounds)) for rank in range(workers)]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        if any(process.exitcode for process in processes):
            raise SystemExit("A worker failed; see above.")
        told = [json.loads((Path(folder) / f"told-{rank}").read_text()) for rank in range(workers)]
    waits: dict[str, list[float]] = {}
    for way in told[0]:
        for turns in list(zip(*(each[way] for each in told), strict=True))[WARM:]:
            last = max(arrived for arrived, _ in turns)
            waits.setdefault(way, []).extend(1000 * (done - last) for _, done in turns)
    return waits


def describe(waits: dict[str, list[float]], workers: int, rounds: int) -> str:
    lines = [f"# Averaging gradients, {datetime.now(UTC).date().isoformat()}", ""]
    lines += [f"Command: `{' '.join(['python benchmarks/gradients.py', *sys.argv[1:]])}`", ""]
    lines += [f"- {name}: {value}" for name, value in environment().items()]
    lines += [
        "",
        f"base ×4, {workers} workers of one thread, {PATCHES} patches of LR {LR_PATCH}² each, {rounds} rounds.",
    ]
    lines += ["Milliseconds from the arrival of the last worker until a worker goes on.", ""]
    lines += ["| way | median | 90 % | longest |", "|---|---:|---:|---:|"]
    for way, each in waits.items():
        high = statistics.quantiles(each, n=10)[-1]
        lines.append(f"| {way} | {statistics.median(each):.2f} | {high:.2f} | {max(each):.2f} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=2, help="one core each")
    parser.add_argument("--rounds", type=int, default=150)
    parser.add_argument("--out", type=Path, default=HERE / "results", help="folder of the written table")
    options = parser.parse_args()
    page = describe(measure(options.workers, options.rounds), options.workers, options.rounds)
    options.out.mkdir(parents=True, exist_ok=True)
    name = f"gradients_{platform.machine()}-{os.cpu_count()}cpu_{datetime.now(UTC).date().isoformat()}.md"
    (options.out / name).write_text(page, encoding="utf-8")
    print(page, end="")


if __name__ == "__main__":
    main()
