"""Bands of a scene: together by a network of as many, or one by one as gray images; one by one in one batch.

    python -m benchmarks.archive.bands --model base-x4 --side 512

The model takes red, green and blue. Of it, a network of four bands is made as `docs/method.md` says (bands). Each row
is a whole job on one thread: a scene of generated images, the network, back-projection, verified Cloud-Optimised
GeoTIFF. CPU time is that of the process; loading is left out. Rounds go through all rows in turns, and the fastest
round of each counts. The batch is timed in the network alone, by tiles of 128 and 256 LR pixels.
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import rasterio
import torch

from benchmarks.archive.four_bands import of_four_bands
from benchmarks.archive.mosaic import KINDS, make_scene
from benchmarks.archive.timed_job import timed_job
from benchmarks.common.arguments import add_out, command, make_parser
from benchmarks.common.environment import environment
from benchmarks.common.results import ONE_THREAD, today, write_results
from orchestrator.archive.scene.types import BandMap, SceneSettings
from orchestrator.archive.scene.upscale import load_model
from orchestrator.foundation.model_store import FoundModel, find_model
from trainables.inference.allocator import keep_freed_memory
from trainables.inference.prepare import prepared

Json = dict[str, Any]
_BATCH, _BATCH_SIDES, _BATCH_ROUNDS = 4, (128, 256), 6


def first_bands(scene: Path, target: Path, count: int) -> Path:
    """The first bands of a scene, as a scene of its own."""
    with rasterio.open(scene) as source:
        profile = source.profile | {"count": count, "photometric": "rgb"}
        with rasterio.open(target, "w", **profile) as written:
            written.write(source.read(list(range(1, count + 1))))
    return target


def batches(model: FoundModel) -> list[Json]:
    """Seconds of gray images one after another and in one batch, by their side."""
    keep_freed_memory()
    net, rows = prepared(model.net, precision="float32"), []
    for side in _BATCH_SIDES:
        gray = torch.rand(_BATCH, 1, side, side).expand(-1, net.channels, -1, -1)
        seconds = {"apart": float("inf"), "batch": float("inf")}
        for _ in range(_BATCH_ROUNDS):
            for name, parts in (("apart", gray.split(1)), ("batch", (gray,))):
                start = time.process_time()
                for part in parts:
                    net(part)
                seconds[name] = min(seconds[name], time.process_time() - start)
        rows.append({"side": side} | seconds)
    return rows


def measure(options: argparse.Namespace, folder: Path) -> list[Json]:
    """The rows, one a way to take bands."""
    model = find_model(options.model)
    deep = make_scene(folder / "four.tif", options.side, "4 bands uint16")
    scenes = {
        "RGB uint8": make_scene(folder / "rgb8.tif", options.side, "RGB uint8"),
        "RGB uint16": first_bands(deep, folder / "rgb16.tif", 3),
        "4 bands uint16": deep,
    }
    four = of_four_bands(model, folder / "model")
    arms: list[tuple[str, str, FoundModel, BandMap]] = [
        ("RGB uint8", "together, network of 3 bands", model, "auto"),
        ("RGB uint16", "together, network of 3 bands", model, "auto"),
        ("4 bands uint16", "together, network of 4 bands", four, "auto"),
        ("4 bands uint16", "1,2,3;4, network of 3 bands", model, ((1, 2, 3), (4,))),
        ("4 bands uint16", "one by one, network of 3 bands", model, "singly"),
    ]
    rows: dict[int, Json] = {}
    for _ in range(options.rounds):
        for place, (kind, way, used, band_map) in enumerate(arms):
            value_range = KINDS["RGB uint8" if kind == "RGB uint8" else "4 bands uint16"][2]
            settings = SceneSettings(precision="float32", normalisation=value_range, band_map=band_map)
            found = timed_job(scenes[kind], folder, load_model(used, settings), settings)
            if place not in rows or found["cpu_s"] < rows[place]["cpu_s"]:
                rows[place] = {"scene": kind, "bands": way} | found
    return [rows[place] for place in sorted(rows)]


def page(told: Json) -> str:
    """The figures as a table."""
    lines = [f"# Bands of a scene, {told['date']}", "", f"Command: `{told['command']}`", ""]
    lines += [*(f"- {name}: {value}" for name, value in told["environment"].items()), ""]
    lines += ["| scene | bands | CPU s, network | CPU s, whole job | MP/s | × RGB uint8 | × RGB uint16 |"]
    lines += ["|---|---|---:|---:|---:|---:|---:|"]
    first = {row["scene"]: row["cpu_s"] for row in reversed(told["rows"])}
    for row in told["rows"]:
        ratios = " | ".join(f"{row['cpu_s'] / first[kind]:.2f}" for kind in ("RGB uint8", "RGB uint16"))
        speed = row["megapixels"] / row["cpu_s"]
        times = f"{row['network_s']:.2f} | {row['cpu_s']:.2f} | {speed:.2f}"
        lines.append(f"| {row['scene']} | {row['bands']} | {times} | {ratios} |")
    lines.append("")
    for row in told["batches"]:
        lines.append(
            f"Four gray tiles of {row['side']}² LR pixels, network alone: {row['apart']:.2f} s one after another, "
            f"{row['batch']:.2f} s in one batch ({row['batch'] / row['apart']:.2f} ×)."
        )
    return "\n".join([*lines, ""])


def main() -> None:
    """Runs the benchmark."""
    parser = make_parser(__doc__)
    parser.add_argument("--model", default="base-x4", help="model of three bands")
    parser.add_argument("--side", type=int, default=512, help="LR pixels on a side of a scene")
    parser.add_argument("--rounds", type=int, default=3, help="rounds, of which the fastest counts")
    add_out(parser)
    options = parser.parse_args()
    torch.set_num_threads(1)
    told: Json = {"date": today(), "command": command("archive.bands"), "environment": environment("rasterio")}
    with tempfile.TemporaryDirectory() as folder:
        told["rows"] = measure(options, Path(folder))
    told["batches"] = batches(find_model(options.model))
    write_results(options.out, "archive-bands", ONE_THREAD, data=told, page=page(told))
    print(page(told))


if __name__ == "__main__":
    main()
