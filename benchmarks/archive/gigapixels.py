"""A large archive of 16-bit scenes of four bands, from the command to verified COGs: megapixels per second and core.

    python -m benchmarks.archive.gigapixels FOLDER [--gigapixels 10] [--model base-x4] [--side 1024]

The archive is generated below FOLDER: mosaics of generated satellite images, 10 m, DEFLATE. The model takes four bands
together; it is made of `--model` as `docs/method.md` says (bands). Pixels are those of the outputs; one with four bands
counts once, as it does in published figures. A gigapixel of outputs takes 7 GB. The time is that of the whole command:
start, network, back-projection, overviews, compression, verification, STAC items and report. Every output is opened
again and must be a Cloud-Optimised GeoTIFF of the expected size. Beside the rate stand the core-hours that 1.58
terapixels would take at it; the goal is 60 core-hours, 7.3 MP/s per core.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import rasterio

from benchmarks.archive.four_bands import NAMES, of_four_bands
from benchmarks.archive.mosaic import KINDS, make_scene
from benchmarks.common.arguments import add_out, command, make_parser, positive
from benchmarks.common.environment import environment
from benchmarks.common.results import CPUS, write_results
from orchestrator.foundation.model_store import find_model

KIND = "4 bands uint16"
TERAPIXELS = 1.58


def generate(folder: Path, side: int, scale: int, gigapixels: float) -> int:
    """Writes the archive; returns its number of scenes."""
    folder.mkdir(parents=True)
    count = max(1, round(gigapixels * 1e9 / (side * scale) ** 2))
    for number in range(count):
        make_scene(folder / f"{number:05}.tif", side, KIND, number)
    return count


def is_cog(path: Path, side: int) -> bool:
    """Whether a file is a COG of that side with all bands."""
    with rasterio.open(path) as source:
        layout = source.tags(ns="IMAGE_STRUCTURE").get("LAYOUT")
        return layout == "COG" and source.shape == (side, side) and source.count == len(NAMES)


def measure(folder: Path, model: str, side: int, gigapixels: float) -> dict[str, object]:
    """Figures of one run.

    Raises:
        CalledProcessError: If the command fails.
        ValueError: If FOLDER holds an archive already.
    """
    found, out = find_model(model), folder / "out"
    if (folder / "archive").exists():
        raise ValueError(f"expected a folder without an archive, found '{folder / 'archive'}'; give another folder")
    of_four_bands(found, folder / "model")
    scenes = generate(folder / "archive", side, found.net.architecture.scale, gigapixels)
    low, high = KINDS[KIND][2]
    call = ["-m", "orchestrator.cli.app", "upscale", str(folder / "archive"), str(out)]
    call += ["--model", str(folder / "model"), "--normalisation", f"uint16={low:g},{high:g}", "--json"]
    start = time.perf_counter()
    done = subprocess.run([sys.executable, *call], check=True, stdout=subprocess.PIPE)
    seconds, told = time.perf_counter() - start, json.loads(done.stdout)
    outputs = sorted(out.glob("*.tif"))
    rate = told["megapixels"] / seconds / (os.cpu_count() or 1)
    return {
        "command": command("archive.gigapixels"),
        "environment": environment("ray", "rasterio"),
        "model": model,
        "scenes": scenes,
        "cogs": sum(is_cog(path, side * found.net.architecture.scale) for path in outputs),
        "written": told["written"],
        "megapixels": told["megapixels"],
        "output_bytes": sum(path.stat().st_size for path in outputs),
        "seconds": seconds,
        "megapixels_per_second_and_core": rate,
        f"core_hours_for_{TERAPIXELS}_terapixels": TERAPIXELS * 1e6 / rate / 3600,
    }


def main() -> None:
    """Runs the benchmark and writes its result; ends with 1 if an output is missing or no COG."""
    parser = make_parser(__doc__)
    parser.add_argument("folder", type=Path, help="for the archive and its outputs")
    parser.add_argument("--gigapixels", type=float, default=10)
    parser.add_argument("--model", default="base-x4")
    parser.add_argument("--side", type=positive, default=1024, help="LR pixels of a scene")
    add_out(parser)
    options = parser.parse_args()
    told = measure(options.folder, options.model, options.side, options.gigapixels)
    print(json.dumps(told, indent=1))
    print(write_results(options.out, f"archive-gigapixels-{Path(options.model).name}", CPUS, data=told))
    sys.exit(0 if told["scenes"] == told["written"] == told["cogs"] else 1)


if __name__ == "__main__":
    main()
