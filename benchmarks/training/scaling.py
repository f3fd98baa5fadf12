"""Time per step, memory and bytes read as the data grow a hundredfold.

    python -m benchmarks.training.scaling    # 3 minutes

Small images are cut from a few generated ones, packed by this project's own shard builder at 1, 10 and 100 times 100
images, and trained on through the real reader, pool and loop, each size in a process of its own. The pool holds fewer
images than the smallest set. Then whole passes go through the pool while every file that is opened and every byte that
is read are counted.
"""

import argparse
import io
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from PIL import Image

from benchmarks.common.arguments import add_out, make_parser
from benchmarks.common.environment import environment
from benchmarks.common.results import CPUS, today, write_results
from orchestrator.data.shard_reader import split_files
from orchestrator.data.shards import build_shards
from orchestrator.foundation.storage import Storage
from orchestrator.image_sets.set_files import SourceFile
from trainables.degradation import Degradation
from trainables.images.parquet import read_parquet_images
from trainables.images.patch_pool import PatchPool, Pixels
from trainables.loops.pretrain import PretrainSettings, pretrain
from trainables.network.network import SuperResolutionNet, preset
from trainables.samples import generate

IMAGES, POOL, SCALE, LR_PATCH, BATCH, WARM_UP = 100, 64, 4, 24, 8, 30


def write_images(folder: Path, count: int) -> None:
    """Cuts ``count`` different images of 128 to 192 pixels from sixteen generated ones."""
    folder.mkdir()
    sources = _sources()
    rng = np.random.default_rng(0)
    for number in range(count):
        height, width = rng.integers(128, 193, 2)
        row, column = rng.integers(0, 320 - np.array([height, width]) + 1)
        cut = np.rot90(sources[number % 16][row : row + height, column : column + width], int(rng.integers(4)))
        shade = np.clip(cut.astype(np.int16) + int(rng.integers(-20, 21)), 0, 255).astype(np.uint8)
        Image.fromarray(shade).save(folder / f"{number:06d}.jpg", quality=90)


@cache
def _sources() -> list[Pixels]:
    return [generate("natural", seed, (320, 320)) for seed in range(16)]


class CountingFiles:
    """A local file system that counts, with the one method that the reader calls."""

    def __init__(self) -> None:
        self.bytes = 0
        self.opened: Counter[str] = Counter()

    def open_input_file(self, path: str) -> pa.NativeFile:
        """Opens a file whose reads are counted."""
        files = self
        files.opened[path] += 1

        class Counted(io.FileIO):
            def readinto(self, buffer: Any) -> int:
                files.bytes += (read := super().readinto(buffer) or 0)
                return read

            def read(self, size: int | None = -1) -> bytes:
                files.bytes += len(data := super().read(-1 if size is None else size) or b"")
                return data

        return pa.PythonFile(Counted(path, "rb"), mode="r")


def measure(shards: Storage, steps: int) -> dict[str, Any]:
    """Figures of one size."""
    torch.set_num_threads(1)
    counted, passes = CountingFiles(), []
    files = split_files(shards, "train")

    def read() -> Iterator[Pixels]:
        before, opened, images = counted.bytes, counted.opened.copy(), 0
        for image in read_parquet_images(files, counted):
            images += 1
            yield image
        passes.append({"bytes": counted.bytes - before, "images": images, "opened": counted.opened - opened})

    def pool(patches_per_image: int) -> PatchPool:
        return PatchPool(
            read,
            scale=SCALE,
            lr_patch=LR_PATCH,
            degradation=Degradation(),
            seed=0,
            capacity=POOL,
            patches_per_image=patches_per_image,
        )

    times: list[float] = []
    torch.manual_seed(0)
    settings = PretrainSettings(
        steps=steps, batch=BATCH, learning_rate=1e-3, report_every=1, checkpoint_every=steps, seed=0
    )
    with pool(16) as made:
        pretrain(
            SuperResolutionNet(preset("tiny", SCALE)), settings, made, lambda *_: times.append(time.perf_counter())
        )
        waits, taken = made.waits, made.taken
    figures: dict[str, Any] = {
        "ms_per_step": 1000 * statistics.median(np.diff(times[WARM_UP:])),
        "ms_per_step_mean": 1000 * (times[-1] - times[WARM_UP]) / (len(times) - 1 - WARM_UP),
        "waits": waits,
        "images_decoded_in_training": taken,
        "rss_training_mb": _peak_mb(),
    }
    passes.clear()
    start = time.perf_counter()
    with pool(1) as made:
        while not passes:
            made.sample(BATCH)
    figures |= {
        "epoch_s": time.perf_counter() - start,
        "rss_mb": _peak_mb(),
        "epoch_bytes": passes[0]["bytes"],
        "epoch_images": passes[0]["images"],
        "opens_per_file": sorted(set(passes[0]["opened"].values())),
        "files": len(files),
        "files_read": len(passes[0]["opened"]),
    }
    return figures


def _peak_mb() -> float:
    """Peak of this process's own memory; getrusage would tell the parent's, if that was larger at the fork."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def build(folder: Path, count: int) -> dict[str, Any]:
    """Writes images and shards; how many bytes and how long it took."""
    start = time.perf_counter()
    write_images(folder / "images", count)
    images = Storage.at(str(folder / "images"))
    files = [SourceFile(images, facts, facts.path, False) for facts in images.files()]
    manifest = build_shards(files, {}, 128, Storage.at(str(folder / "shards")), "generated")
    size = sum(part["bytes"] for part in manifest["files"])
    return {"images": manifest["images"]["train"], "shard_bytes": size, "build_s": time.perf_counter() - start}


def describe(result: dict[str, Any]) -> str:
    lines = [f"# Scaling, {result['date']}", "", "Command: `python -m benchmarks.training.scaling`", ""]
    lines += [f"- {name}: {value}" for name, value in result["environment"].items()]
    lines += [
        "",
        f"The tiny ×{SCALE} network on one thread, {result['steps']} steps of {BATCH} patches of LR {LR_PATCH}², "
        f"16 patches per decode, a pool of {POOL} images, shards read by pyarrow from a disk. "
        "A pass is one epoch through the pool.",
        "",
        "| images | shards MB | build s | ms per step (median, mean) | waits | peak RSS MB (training, with a pass) | "
        "pass s | read per pass / shards | images per pass | files read | opened each |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for size in result["sizes"]:
        cells = [
            f"{size['images']}",
            f"{size['shard_bytes'] / 1e6:.1f}",
            f"{size['build_s']:.0f}",
            f"{size['ms_per_step']:.1f}, {size['ms_per_step_mean']:.1f}",
            f"{size['waits']}",
            f"{size['rss_training_mb']:.0f}, {size['rss_mb']:.0f}",
            f"{size['epoch_s']:.1f}",
            f"{size['epoch_bytes'] / size['shard_bytes']:.3f}",
            f"{size['epoch_images']}",
            f"{size['files_read']} of {size['files']}",
            f"{'–'.join(map(str, size['opens_per_file']))}×",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    first, last = result["sizes"][0], result["sizes"][-1]
    lines += [
        "",
        f"From {first['images']} to {last['images']} images, the time of a step grows by a factor of "
        f"{last['ms_per_step'] / first['ms_per_step']:.2f} and memory by {last['rss_mb'] / first['rss_mb']:.2f}.",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--images", type=int, default=IMAGES, help="images at 1×")
    parser.add_argument("--steps", type=int, default=400)
    add_out(parser)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(Storage.at(options.measure), options.steps)))
        return
    result: dict[str, Any] = {
        "date": today(),
        "steps": options.steps,
        "environment": environment("pyarrow"),
        "sizes": [],
    }
    for factor in (1, 10, 100):
        with tempfile.TemporaryDirectory() as folder:
            size = build(Path(folder), factor * options.images)
            command = [sys.executable, "-m", "benchmarks.training.scaling", "--measure", str(Path(folder) / "shards")]
            command += ["--steps", str(options.steps)]
            size |= json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
        result["sizes"].append(size)
        print(json.dumps(size), file=sys.stderr, flush=True)
    write_results(options.out, "scaling", CPUS, data=result, page=describe(result))
    print(describe(result))


if __name__ == "__main__":
    main()
