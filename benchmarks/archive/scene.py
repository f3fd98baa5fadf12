"""What one scene of an archive costs: model and the rest of the path, speed and memory.

    python -m benchmarks.archive.scene --size 1024                # all parts, LR sides of 1024 pixels
    python -m benchmarks.archive.scene --part memory --size 5000 20000

Each row is a process of its own with one thread. CPU time is that of the process from opening the scene to the verified
output, the comparison with the source included, imports and loading left out, so that other work on the machine counts
little. MP are output pixels, all bands together. The scene is a mosaic of generated satellite images, DEFLATE, internal
tiles of 512.

- path: a network that only repeats pixels (halo 18, like base-x4), and base-x4, whose output is harder to compress; the
  network's own CPU time is taken off.
- share: base-x4, and large, untrained, with nine times its operations; the share of CPU time inside them.
- memory: peak resident memory by scene size, with the repeating network.
- loop: base-x4 beside the same weights in a plain loop over tiles (:mod:`benchmarks.archive.tile_loop`) of 128, 256 and
  512 pixels, in both precisions where the processor multiplies in bfloat16, and in OpenCV's cv2.dnn where onnx can
  export them. Without COG is raw tiles alone: no overviews, compression, verification or comparison with the source.
  With COG is, for the loop of the fastest tile size, GDAL's COG driver and reading the file back.
"""

import argparse
import importlib.util
import itertools
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import rasterio
import torch
from torch import Tensor

from benchmarks.archive import tile_loop
from benchmarks.archive.mosaic import KINDS, make_scene
from benchmarks.common.arguments import add_out, command, make_parser
from benchmarks.common.environment import environment
from benchmarks.common.results import ONE_THREAD, today, write_results
from orchestrator.archive.batch.worker import ConsistencyObserver
from orchestrator.archive.scene.types import LoadedModel, Provenance, SceneSettings
from orchestrator.archive.scene.upscale import load_model, upscale_part, upscale_scene
from orchestrator.foundation.model_store import FoundModel, find_model, write_model
from orchestrator.foundation.storage import Storage
from trainables.inference.precision import Precision, resolve
from trainables.network.network import SuperResolutionNet, preset

SCALE = 4
Json = dict[str, Any]


def repeat(lr: Tensor) -> Tensor:
    """A network that costs next to nothing."""
    return lr.repeat_interleave(SCALE, -1).repeat_interleave(SCALE, -2)


def ours(scene: Path, folder: Path, options: Json) -> Json:
    """CPU seconds in the network and beside it."""
    precision = options.get("precision", "float32")
    normalisation = KINDS[options["kind"]][2]
    settings = SceneSettings(precision=precision, memory_mb=options.get("memory_mb", 1024), normalisation=normalisation)
    named = options["network"] if options["network"] != "repeat" else "base-x4"
    model = load_model(untrained(folder / "model") if named == "large" else find_model(named), settings)
    inside = [0.0]
    run = repeat if options["network"] == "repeat" else model.net.run

    def timed(lr: Tensor) -> Tensor:
        start = time.process_time()
        hr = run(lr)
        inside[0] += time.process_time() - start
        return hr

    model = LoadedModel(model.facts, replace(model.net, run=timed), model.bytes_per_pixel)
    if not options.get("cog", True):
        return raw_tiles(scene, folder, model, settings)
    before, cpu, wall = resident(), time.process_time(), time.perf_counter()
    observer, source = ConsistencyObserver(SCALE), Provenance(item_id="x", source="x")
    out = upscale_scene(scene, folder / "out.tif", folder, model, settings, source, observer)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return {
        "network_cpu_s": inside[0],
        "cpu_s": cpu,
        "wall_s": wall,
        "before_mb": before,
        "megapixels": out.width * out.height / 1e6,
        "seconds": out.seconds,
        "tile": out.tile,
        "output_mb": out.size / 1e6,
    }


def raw_tiles(scene: Path, folder: Path, model: LoadedModel, settings: SceneSettings) -> Json:
    """The path up to raw tiles."""
    with rasterio.open(scene) as source:
        width, height = source.width * SCALE, source.height * SCALE
    before, cpu, wall = resident(), time.process_time(), time.perf_counter()
    upscale_part(scene, (0, height // SCALE), folder / "part.tif", model, settings)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    size = (folder / "part.tif").stat().st_size / 1e6
    figures = {"cpu_s": cpu, "wall_s": wall, "before_mb": before, "megapixels": width * height / 1e6}
    return figures | {"output_mb": size}


def untrained(folder: Path) -> FoundModel:
    """The preset `large` as it is before training, but for a head that is not zero."""
    torch.manual_seed(0)
    net = SuperResolutionNet(preset("large", SCALE))
    for parameter in net.generator.parameters():
        torch.nn.init.normal_(parameter, std=0.01)
    write_model(Storage.at(str(folder)), net, {"name": "large", "data_licence": "none"})
    return find_model(str(folder))


def resident() -> float:
    """Resident memory now, in MB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1e6


def measured_here(options: Json) -> Json:
    torch.set_num_threads(1)
    rival = options["network"] in ("loop", "cv2")
    with tempfile.TemporaryDirectory(dir=options["scratch"]) as folder:
        before = resident()
        told = (tile_loop.run if rival else ours)(Path(options["scene"]), Path(folder), options)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    return options | {"before_mb": before} | told | {"peak_mb": peak}


def measured(options: Json) -> Json:
    """Runs one row in a fresh process."""
    command = [sys.executable, "-m", "benchmarks.archive.scene", "--measure", json.dumps(options)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    told: Json = json.loads(done.stdout.splitlines()[-1])
    print(
        {name: value for name, value in told.items() if name not in ("scene", "scratch")}, file=sys.stderr, flush=True
    )
    return told


def rows_of(part: str, scenes: dict[tuple[str, int], Path], sizes: list[int], scratch: Path) -> list[Json]:
    def row(kind: str, side: int, network: str, **options: Any) -> Json:
        scene = str(scenes[kind, side])
        return measured(
            {"kind": kind, "side": side, "network": network, "scene": scene, "scratch": str(scratch)} | options
        )

    rgb, side = next(iter(KINDS)), sizes[-1]
    if part == "path":
        return [row(kind, side, network) for network in ("repeat", "base-x4") for kind in KINDS]
    if part == "memory":
        return [row(rgb, each, "repeat") for each in sizes]
    if part == "share":
        ways = itertools.product(("base-x4", "large"), _precisions())
        return [row(rgb, sizes[0], network, precision=precision) for network, precision in ways]
    return [
        told
        for precision in _precisions()
        for told in beside_the_loop(partial(row, rgb, sizes[0], precision=precision), precision)
    ]


def beside_the_loop(row: Callable[..., Json], precision: Precision) -> list[Json]:
    """Rows of base-x4 and of the loop, without and with COG; the loop's with COG is that of its fastest tile size."""
    arms = ["loop", *(["cv2"] if precision == "float32" and _opencv() else [])]
    told = [row("base-x4", cog=cog) for cog in (False, True)]
    for arm in arms:
        loops = [row(arm, cog=False, tile=tile) for tile in tile_loop.TILES]
        fastest = min(loops, key=lambda loop: float(loop["cpu_s"]))
        told += [*loops, row(arm, cog=True, tile=fastest["tile"])]
    return told


def _precisions() -> list[Precision]:
    return ["float32", "bfloat16"] if resolve("auto", torch.device("cpu")) == "bfloat16" else ["float32"]


def _opencv() -> bool:
    return all(importlib.util.find_spec(name) for name in ("cv2", "onnx"))


def table(part: str, rows: list[Json]) -> list[str]:
    lines = [
        f"## {part}",
        "",
        "| scene | LR side | network | CPU s | of it in the network | MP/s per core | beside the network | "
        "before, peak MB | output MB |",
        "|---|---:|---|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        inside = row.get("network_cpu_s")
        share = "" if inside is None else f"{100 * inside / row['cpu_s']:.1f} %"
        beside = "" if inside is None else f"{row['megapixels'] / (row['cpu_s'] - inside):.1f}"
        tile = f"tile {row['tile']}" if "cog" in row and row["network"] in ("loop", "cv2") else ""
        cog = {True: "with COG", False: "without COG"}.get(row.get("cog", ""), "")
        network = " ".join(text for text in (row["network"], row.get("precision", ""), tile, cog) if text)
        lines.append(
            f"| {row['kind']} | {row['side']} | {network} | {row['cpu_s']:.1f} | {share} | "
            f"{row['megapixels'] / row['cpu_s']:.2f} | {beside} | {row['before_mb']:.0f}, {row['peak_mb']:.0f} | "
            f"{row['output_mb']:.0f} |"
        )
    if part == "loop" and not _opencv():
        lines += ["", "cv2.dnn was left out: it, or onnx, which torch needs to export the weights, is not installed."]
    if part in ("share", "loop") and len(_precisions()) == 1:
        lines += ["", "bfloat16 was left out: this processor does not multiply in it."]
    return [*lines, ""]


def main() -> None:
    parser = make_parser(__doc__)
    parts = ("path", "share", "memory", "loop")
    parser.add_argument("--part", choices=parts, action="append", help="all by default")
    parser.add_argument("--size", type=int, nargs="+", default=[1024], help="LR sides; network parts take the first")
    parser.add_argument("--scratch", type=Path, help="folder on local disk for scenes and outputs")
    add_out(parser)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measured_here(json.loads(options.measure))))
        return
    told: Json = {"date": today(), "environment": environment()}
    told["command"] = command("archive.scene")
    with tempfile.TemporaryDirectory(dir=options.scratch) as folder:
        wanted = [(kind, side) for kind in KINDS for side in options.size]
        scenes = {
            (kind, side): make_scene(Path(folder) / f"{place}.tif", side, kind)
            for place, (kind, side) in enumerate(wanted)
            if kind == next(iter(KINDS)) or "path" in (options.part or parts)
        }
        told["parts"] = {p: rows_of(p, scenes, options.size, Path(folder)) for p in options.part or parts}
    for rows in told["parts"].values():
        for row in rows:
            del row["scene"], row["scratch"]
    lines = [f"# One scene of an archive, {told['date']}", "", f"Command: `{told['command']}`", ""]
    lines += [*(f"- {name}: {value}" for name, value in told["environment"].items()), ""]
    for part, rows in told["parts"].items():
        lines += table(part, rows)
    write_results(options.out, "archive-scene", ONE_THREAD, data=told, page="\n".join(lines))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
