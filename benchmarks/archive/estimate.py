"""Estimates of `rayscale upscale --plan` against the runs that follow, on archives of three mixes.

    python -m benchmarks.archive.estimate FOLDER [--megapixels 24] [--model base-x4] [--mix all]

Each archive is generated below FOLDER: `rgb` (8-bit RGB scenes of several sizes), `bands` (16-bit scenes of four
bands, a third of them without values) and `mixed` (both, with many small scenes). The table has seconds, core-hours and
output bytes as estimated and as measured, with the difference in percent. The goal is ±10 % of the time.
"""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine

from benchmarks.common.arguments import add_out, command, make_parser
from benchmarks.common.environment import environment
from benchmarks.common.results import CPUS, write_results

MIXES = ("rgb", "bands", "mixed")


def field(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Smooth ground with fine detail, from 0 to 1."""
    coarse = rng.random((height // 32 + 2, width // 32 + 2))
    smooth = np.kron(coarse, np.ones((32, 32)))[:height, :width]
    return np.clip(0.8 * smooth + 0.2 * rng.random((height, width)), 0, 1)


def write(path: Path, seed: int, height: int, width: int, bands: int, dtype: str) -> None:
    """A GeoTIFF with tiles, compressed."""
    rng = np.random.default_rng(seed)
    high = 255 if dtype == "uint8" else 10_000
    values = np.stack([field(rng, height, width) * (high - 1) + 1 for _ in range(bands)]).astype(dtype)
    if bands == 4:
        values[:, :, : width // 3] = 0
    profile = {"count": bands, "height": height, "width": width, "dtype": dtype, "crs": "EPSG:32633"}
    place = Affine(10, 0, 300_000 + 3000 * (seed % 50), 0, -10, 5_000_000 - 3000 * (seed // 50))
    options = {"tiled": True, "blockxsize": 256, "blockysize": 256, "compress": "deflate", "nodata": 0}
    with rasterio.open(path, "w", driver="GTiff", transform=place, **profile, **options) as target:
        target.write(values)


def generate(folder: Path, mix: str, megapixels: float) -> None:
    """An archive of so many LR megapixels, counted by band."""
    folder.mkdir(parents=True)
    sizes = {"rgb": [(1400, 1200), (700, 900), (2000, 800)], "bands": [(1100, 1100), (600, 1500)]}
    left, seed = megapixels * 1e6, 0
    while left > 0:
        kind = mix if mix != "mixed" else ("bands", "rgb", "small", "small", "small", "small")[seed % 6]
        height, width = (200, 260) if kind == "small" else sizes[kind][seed % len(sizes[kind])]
        bands, dtype = (4, "uint16") if kind == "bands" else (3, "uint8")
        write(folder / f"{seed:04}.tif", seed, height, width, bands, dtype)
        left -= height * width * bands
        seed += 1


def upscale(source: Path, out: Path, model: str, *options: str) -> tuple[dict[str, object], float]:
    """What the command prints as JSON, and its seconds of wall clock."""
    call = ["-m", "orchestrator.cli.app", "upscale", str(source), str(out), "--model", model, "--json"]
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, *call, "--normalisation", "uint16=0,10000", *options], check=True, stdout=subprocess.PIPE
    )
    return json.loads(done.stdout), time.perf_counter() - start


def compare(folder: Path, mix: str, megapixels: float, model: str) -> str:
    """A row of the table."""
    source, out = folder / mix, folder / f"{mix}-out"
    shutil.rmtree(source, ignore_errors=True)
    shutil.rmtree(out, ignore_errors=True)
    generate(source, mix, megapixels)
    estimate, planning = upscale(source, out, model, "--plan")
    _, seconds = upscale(source, out, model)
    report = json.loads((out / "_report" / "report.json").read_text())
    pairs = [
        (float(estimate["hours"]) * 3600, seconds),
        (float(estimate["core_hours"]), report["worker_hours"]),
        (float(estimate["output_bytes"]), report["output_bytes"]),
    ]
    cells = [f"{found:,.3g} / {real:,.3g} ({100 * (found / real - 1):+.1f} %)" for found, real in pairs]
    return f"| {mix} | {estimate['scenes']} | {estimate['sampled']} | {planning:.0f} | " + " | ".join(cells) + " |"


def main() -> None:
    """Runs the benchmark and writes its result."""
    parser = make_parser(__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--megapixels", type=float, default=24)
    parser.add_argument("--model", default="base-x4")
    parser.add_argument("--mix", choices=[*MIXES, "all"], default="all")
    add_out(parser)
    options = parser.parse_args()
    lines = [
        "# Estimates of an archive's cost, and the runs that followed",
        "",
        f"`{command('archive.estimate')}`",
        "",
        *(f"{name}: {value}." for name, value in environment("ray", "rasterio").items()),
        "",
        "| archive | scenes | sampled | plan, s | s, estimated / measured | core-hours | output bytes |",
        "|:--|--:|--:|--:|--:|--:|--:|",
    ]
    for mix in MIXES if options.mix == "all" else [options.mix]:
        lines.append(compare(options.folder, mix, options.megapixels, options.model))
        print(lines[-1], flush=True)
    print(write_results(options.out, "archive-estimate", CPUS, page="\n".join(lines) + "\n"))


if __name__ == "__main__":
    main()
