"""Memory and time of packing one uint16 scene of four bands into shards, by its size.

    python -m benchmarks.archive.pack_memory --work FOLDER

Each scene is packed by a process of its own, beside a few small scenes that the other splits need. Stated is the
process's peak memory, which includes its imports; the first row has small scenes alone.
"""

import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import rasterio
from rasterio.transform import from_origin
from rasterio.windows import Window

from benchmarks.common.arguments import add_out, command, make_parser, positive
from benchmarks.common.environment import Json, environment
from benchmarks.common.results import CPUS, write_results
from orchestrator.data.shards import build_shards
from orchestrator.experiment.image_settings import Target
from orchestrator.foundation.storage import Storage
from orchestrator.image_sets.set_files import list_files
from trainables.samples.multispectral import BANDS, scene

_BLOCK = 512


def main() -> None:
    """Runs the benchmark and writes its result."""
    parser = make_parser(__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder for scenes and shards")
    parser.add_argument("--sides", type=positive, nargs="+", default=[512, 2048, 10980])
    parser.add_argument("--pack", type=Path, help="pack this folder and print what it took; used by the benchmark")
    add_out(parser)
    options = parser.parse_args()
    if options.pack:
        print(json.dumps(pack(options.pack)))
        return
    rows = []
    for side in options.sides:
        folder = options.work / f"side-{side}"
        for site in range(3):
            write(folder / f"small{site}" / "scene.tif", 256, site)
        write(folder / "large" / "scene.tif", side, 9)
        arguments = [sys.executable, "-m", "benchmarks.archive.pack_memory", "--work", "-", "--pack", str(folder)]
        done = subprocess.run(arguments, check=True, capture_output=True, text=True)
        rows.append({"side": side, "scene_mb": side * side * 8 / 1e6, **json.loads(done.stdout)})
        print(rows[-1], file=sys.stderr)
    lines = [
        "# Packing scenes of any size",
        "",
        f"`{command('archive.pack_memory')}`",
        "",
        *(f"{name}: {value}." for name, value in environment("pyarrow", "rasterio").items()),
        "",
        "| scene | values (MB) | peak memory (MB) | seconds | images | shards (MB) |",
        "|:--|--:|--:|--:|--:|--:|",
    ]
    for row in rows:
        cells = [f"{row['scene_mb']:.0f}", f"{row['peak_mb']:.0f}", f"{row['seconds']:.0f}"]
        cells += [str(row["images"]), f"{row['shards_mb']:.0f}"]
        lines.append(f"| {row['side']}² × 4 uint16 | " + " | ".join(cells) + " |")
    page = "\n".join(lines) + "\n"
    print(write_results(options.out, "pack-memory", CPUS, data=rows, page=page))
    print(page)


def write(path: Path, side: int, seed: int) -> None:
    """Writes a scene by blocks: a drawn one, repeated, with other noise in each block."""
    path.parent.mkdir(parents=True, exist_ok=True)
    drawn = scene(seed, "summer", (_BLOCK, _BLOCK)).raster.values.transpose(2, 0, 1)
    random = np.random.default_rng(seed)
    profile = {"driver": "GTiff", "height": side, "width": side, "count": 4, "dtype": "uint16", "nodata": 0}
    profile |= {"crs": "EPSG:32631", "transform": from_origin(500_000, 4_600_000, 10, 10)}
    profile |= {"tiled": True, "blockxsize": _BLOCK, "blockysize": _BLOCK, "compress": "deflate", "predictor": 2}
    with rasterio.open(path, "w", **profile) as out:
        for number, name in enumerate(BANDS, 1):
            out.set_band_description(number, name)
        for row in range(0, side, _BLOCK):
            for column in range(0, side, _BLOCK):
                height, width = min(_BLOCK, side - row), min(_BLOCK, side - column)
                noise = random.integers(-20, 21, (4, height, width))
                block = np.clip(drawn[:, :height, :width].astype(np.int32) + noise, 1, 65535).astype(np.uint16)
                out.write(block, window=Window(column, row, width, height))


def pack(folder: Path) -> Json:
    """Packs a folder; returns seconds, peak memory, number of images and size of the shards."""
    content = {"images": str(folder), "scenes": "folder", "value_range": [0, 10000], "bands": list(BANDS)}
    images = Target.model_validate(content)
    files = list_files(images, Storage.at(str(folder)))
    out = Storage.at(str(folder.with_name(folder.name + "-shards")))
    start = time.monotonic()
    manifest = build_shards(files, {"validation": 0.2}, 128, out, "generated", deep=images.deep)
    return {
        "seconds": time.monotonic() - start,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3,
        "images": sum(manifest["images"].values()),
        "shards_mb": sum(part["bytes"] for part in manifest["files"]) / 1e6,
    }


if __name__ == "__main__":
    main()
