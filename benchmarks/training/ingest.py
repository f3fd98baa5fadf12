"""How fast training patches arrive, from a disk and from S3, by this project's pool and by other loaders.

    pip install -e '.[bench]'
    eval "$(tests/services/start-s3.sh .services/s3)"         # optional: without AWS_ENDPOINT_URL only the disk counts
    python -m benchmarks.training.ingest --part shuffling --images DATA/natural/train   # 3 minutes; else generated
    python -m benchmarks.training.ingest --part speed --images DATA/natural/train       # 5 minutes, on a quiet machine
    python -m benchmarks.training.ingest --part reuse --images DATA/natural/train --validation DATA/natural/val

Every row delivers batches of 16 pairs (LR 32×32, HR 128×128, float tensors) from the same encoded images, by the same
decoder, crops, eight orientations and degradation, on two cores, in a process of its own. Which loader does what in
which process is the fastest of the combinations that `--part tune` tries.

Quality is how well a row shuffles, measured through the same readers on images of one colour each, from which every
patch tells where it came from: distinct source images in a window of patches, divided by what uniform random draws
from all images would give, for one batch (16) and for the last batches that Adam's mean weighs (256); the lesser of
the two, at most 1. A row is compared with the fastest other loader whose quality is at least its own.
"""

import argparse
import contextlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from benchmarks.common.arguments import add_out, make_parser
from benchmarks.common.environment import environment
from benchmarks.common.results import CPUS, today, write_results
from benchmarks.training import loaders
from benchmarks.training.loader_data import encoded_images, flat_images, prepare
from benchmarks.training.loader_table import add_row_options, measured_rows, qualities, run_row, tell
from benchmarks.training.loaders import BATCH, DEGRADATION, LR_PATCH, READERS, SCALE, Pixels, Row, rows
from trainables.images.codec import decode
from trainables.images.patch_pool import PatchPool

MODULE = "benchmarks.training.ingest"
WINDOWS = (16, 256, 1024)


def measure(row: Row, place: str, warm_up: float, seconds: float) -> dict[str, Any]:
    start = time.perf_counter()
    batches = READERS[row.loader](row, place)
    lr, hr = next(batches)
    assert lr.shape == (BATCH, 3, LR_PATCH, LR_PATCH)
    assert hr.shape == (BATCH, 3, LR_PATCH * SCALE, LR_PATCH * SCALE)
    assert hr.dtype == lr.dtype == torch.float32
    first = time.perf_counter() - start
    begin = time.perf_counter()
    while time.perf_counter() - begin < warm_up:
        next(batches)
    waits_before, cpu_before, count, begin = loaders.waits, _family("cpu_s"), 0, time.perf_counter()
    while (elapsed := time.perf_counter() - begin) < seconds:
        next(batches)
        count += BATCH
    figures = {"patches_per_s": count / elapsed, "first_batch_s": first, "memory_mb": _family("memory_mb")}
    figures["cpu_ms_per_patch"] = 1000 * (_family("cpu_s") - cpu_before) / count
    return figures | ({"waits": loaders.waits - waits_before} if row.ours else {})


def measure_quality(row: Row, place: str, images: int, warm_up: int = 1024, patches: int = 4096) -> dict[str, Any]:
    batches, sources = READERS[row.loader](row, place), []
    while len(sources) < warm_up + patches:
        _, hr = next(batches)
        colours = (hr[:, :, 0, 0] * 255).round().long()
        sources += (colours[:, 0] + 256 * colours[:, 1]).tolist()
    return shuffling(np.array(sources[warm_up:]), images)


def shuffling(sources: np.ndarray, images: int) -> dict[str, Any]:
    """Distinct images per window relative to uniform draws, and what follows from it."""
    told = {}
    for window in WINDOWS:
        ideal = images * (1 - (1 - 1 / images) ** window)
        found = [len(set(sources[i : i + window])) for i in range(0, len(sources) - window + 1, window)]
        told[f"distinct_in_{window}"] = float(np.mean(found) / ideal)
    return {"quality": min(1.0, told["distinct_in_16"], told["distinct_in_256"]), **told}


def _family(what: Literal["cpu_s", "memory_mb"]) -> float:
    """Processor seconds so far, or proportional memory now, of this process and all that it started."""
    stats = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            stats[int(stat.parent.name)] = stat.read_text().rpartition(")")[2].split()
    family = {os.getpid()}
    while more := {child for child, fields in stats.items() if int(fields[1]) in family} - family:
        family |= more
    if what == "cpu_s":
        return sum(int(stats[process][11]) + int(stats[process][12]) for process in family) / os.sysconf("SC_CLK_TCK")
    total = 0
    for process in family:
        with contextlib.suppress(OSError, IndexError):
            total += int(Path(f"/proc/{process}/smaps_rollup").read_text().partition("\nPss:")[2].split()[0])
    return total / 1024


def one_row(arguments: argparse.Namespace) -> None:
    row = Row(**json.loads(arguments.row))
    torch.set_num_threads(row.threads)
    if arguments.flat:
        tell(measure_quality(row, arguments.place, arguments.flat))
    tell(measure(row, arguments.place, arguments.warm_up, arguments.seconds))


# The parts.


def tune(options: argparse.Namespace, work: Path) -> None:
    """Prints what each combination reaches, for whoever wants to choose others on other hardware."""
    images = encoded_images(options.images)
    prepare(images, work / "data")
    prepare(flat_images(images), work / "flat")
    tried = [
        Row("DataLoader", patches, keep, workers, degrade)
        for patches, keep in ((1, 64), (16, 512), (16, 1024), (64, 2048), (64, 4096))
        for workers, degrade in ((1, "main"), (2, "main"), (2, "workers"))
    ]
    tried += [Row("pool < pyarrow", 64, options.pool, 0, "main", threads) for threads in (1, 2)]
    for row in tried:
        figures = run_row(MODULE, row, str(work / "data"), warm_up=options.warm_up, seconds=options.seconds)
        quality = None
        if row.degrade == "main":
            quality = run_row(MODULE, row, str(work / "flat"), flat=len(images)).get("quality")
        print(f"{row.name}, {row.workers} workers, {row.degrade}, {row.threads}: {figures} {quality}", flush=True)


def shuffling_of_rows(options: argparse.Namespace, work: Path) -> dict[str, Any]:
    """Quality of every row: no matter of time, so it can be measured on a busy machine."""
    images = encoded_images(options.images)
    prepare(flat_images(images), work / "flat")
    told: dict[str, Any] = {}
    for row in rows(options.pool, options.many, options.buffer):
        if row.name not in told:  # where pairs are made does not matter to shuffling
            told[row.name] = run_row(MODULE, row, str(work / "flat"), 300, flat=len(images))
            print(row.name, told[row.name], file=sys.stderr, flush=True)
    return told


def speed(options: argparse.Namespace, work: Path) -> dict[str, Any]:
    """Patches per second of every row."""
    shuffling, table = qualities(options.out), rows(options.pool, options.many, options.buffer)
    if missing := [row.name for row in table if row.name not in shuffling]:
        raise SystemExit(f"How well '{missing[0]}' shuffles is not in {options.out}: run --part shuffling first.")
    settings = {"warm_up": options.warm_up, "seconds": options.seconds}
    return measured_rows(MODULE, table, options.images, work, shuffling, **settings)


def reuse(options: argparse.Namespace, _: Path) -> dict[str, Any]:
    """PSNR of equally long trainings, one of which decodes an image for every patch."""
    from trainables.loops.pretrain import PretrainSettings, pretrain
    from trainables.metrics.evaluation import NamedImage, bicubic, make_pairs, mean_psnr
    from trainables.network.network import SuperResolutionNet, preset

    torch.set_num_threads(1)
    images = encoded_images(options.images)
    if options.validation is None:
        from trainables.samples import generate

        held_out = [generate("natural", 10_000 + n, (321, 481)) for n in range(24)]
    else:
        held_out = [decode(path.read_bytes()).pixels for path in sorted(options.validation.iterdir())]
    validation = make_pairs([NamedImage("v", "v", pixels) for pixels in held_out], DEGRADATION, SCALE, 256)
    order = np.random.default_rng(5)

    def read() -> Iterator[Pixels]:
        for number in order.permutation(len(images)):
            yield decode(images[number]).pixels

    result: dict[str, Any] = {
        "steps": options.steps,
        "images": len(images),
        "validation_images": len(held_out),
        "bicubic": mean_psnr(bicubic(SCALE), validation, SCALE),
        "runs": [],
    }
    for patches in (64, 1):
        for seed in range(options.seeds):
            order = np.random.default_rng(seed)
            torch.manual_seed(seed)
            net = SuperResolutionNet(preset("tiny", SCALE))
            with PatchPool(
                read,
                scale=SCALE,
                lr_patch=LR_PATCH,
                degradation=DEGRADATION,
                seed=seed,
                capacity=options.pool,
                patches_per_image=patches,
            ) as made:
                settings = PretrainSettings(
                    steps=options.steps,
                    batch=BATCH,
                    learning_rate=1e-3,
                    report_every=100,
                    checkpoint_every=options.steps,
                    seed=seed,
                )
                pretrain(net, settings, made, lambda *_: None)
                run = {"patches_per_image": patches, "seed": seed, "decodes": made.taken, "waits": made.waits}
            run["psnr"] = mean_psnr(net.eval(), validation, SCALE)
            result["runs"].append(run)
            print(json.dumps(run), file=sys.stderr, flush=True)
    return result


def describe(result: dict[str, Any]) -> str:
    lines = [f"# Ingest, {result['date']}", "", f"Command: `{result['command']}`", ""]
    lines += [f"- {name}: {value}" for name, value in result["environment"].items()]
    if "speed" in result:
        lines += _describe_speed(result["speed"], result["settings"])
    if "reuse" in result:
        lines += _describe_reuse(result["reuse"])
    return "\n".join(lines) + "\n"


def _describe_speed(told: dict[str, Any], settings: dict[str, Any]) -> list[str]:
    lines = [
        "",
        "## Patches per second",
        "",
        f"{told['images']} images, {told['bytes'] / 2**20:.1f} MiB; batches of {BATCH} pairs of tensors, "
        f"LR {LR_PATCH}×{LR_PATCH}, ×{SCALE}; two cores; {settings['seconds']:g} s a row after a warm-up. "
        "Distinct n: distinct source images in n patches relative to uniform draws from all images; quality is the "
        "lesser of the first two. Ratio: to the fastest other loader of at least that quality; rows that keep all "
        "images decoded are compared among themselves too.",
        "",
        "| loader | made in | quality | distinct 16 | 256 | 1024 |"
        + "".join(f" {place}: patches/s | ratio | CPU ms/patch | first batch s | MB |" for place in told["places"]),
        "|---|---|---:|---:|---:|---:|" + "---:|---:|---:|---:|---:|" * len(told["places"]),
    ]
    for entry in told["rows"]:
        row, shuffled_ = entry["row"], entry["shuffling"]
        where = f"{row['workers']} processes" if row["workers"] else "1 thread"
        where += "" if row["degrade"] == "workers" else ", pairs in main"
        if "failure" in shuffled_:
            cells = [f"failed: {shuffled_['failure'][:80]}", "", "", ""]
        else:
            cells = [f"{shuffled_[k]:.2f}" for k in ("quality", *(f"distinct_in_{w}" for w in WINDOWS))]
        for place in told["places"]:
            figures = entry[place]
            if "failure" in figures:
                cells += [f"failed: {figures['failure'][:120]}", "", "", "", ""]
                continue
            ratio = f"**{figures['ratio']:.2f}**" if "ratio" in figures else ""
            cells += [f"{figures['patches_per_s']:.0f}", ratio, f"{figures['cpu_ms_per_patch']:.2f}"]
            cells += [f"{figures['first_batch_s']:.1f}"]
            cells += [f"{figures['memory_mb']:.0f}"]
        lines.append(f"| {entry['name']} | {where} | " + " | ".join(cells) + " |")
    waited = {e["name"]: [e[p].get("waits") for p in told["places"]] for e in told["rows"] if e["ours"]}
    lines += ["", "Batches that waited for an image: " + "; ".join(f"{k}: {v}" for k, v in waited.items()) + "."]
    return lines


def _describe_reuse(told: dict[str, Any]) -> list[str]:
    lines = [
        "",
        "## What reuse costs in PSNR",
        "",
        f"The tiny network, {told['steps']} steps of {BATCH} patches from {told['images']} images; PSNR in dB on "
        f"{told['validation_images']} other images; bicubic has {told['bicubic']:.3f}.",
        "",
        "| patches per decode | seed | decodes | PSNR |",
        "|---:|---:|---:|---:|",
    ]
    for run in told["runs"]:
        cells = [run["patches_per_image"], run["seed"], run["decodes"], f"{run['psnr']:.3f}"]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    by_arm = {n: [r["psnr"] for r in told["runs"] if r["patches_per_image"] == n] for n in (64, 1)}
    difference = float(np.mean(by_arm[64]) - np.mean(by_arm[1]))
    spread = max(max(values) - min(values) for values in by_arm.values())
    verdict = "within" if abs(difference) <= spread else "beyond"
    lines += ["", f"Reuse − fresh: {difference:+.3f} dB, {verdict} the {spread:.3f} dB between seeds of one arm."]
    return lines


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--part", choices=["shuffling", "speed", "reuse", "tune"], default="shuffling")
    add_row_options(parser)
    parser.add_argument("--validation", type=Path, help="folder of other images, for --part reuse")
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--warm-up", type=float, default=1.0)
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--seeds", type=int, default=2)
    add_out(parser)
    parser.add_argument("--flat", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.row:
        one_row(options)
    with tempfile.TemporaryDirectory() as work:
        if options.part == "tune":
            tune(options, Path(work))
            return
        packages: tuple[str, ...] = ("ray", "pyarrow", "pillow")
        packages += ("webdataset", "mosaicml-streaming", "litdata") if options.part in ("shuffling", "speed") else ()
        source = "" if options.images is None else " --images DIR"
        source += "" if options.validation is None else " --validation OTHER_DIR"
        result: dict[str, Any] = {
            "date": today(),
            "command": f"python -m benchmarks.training.ingest --part {options.part}{source}",
            "environment": environment(*packages),
            "settings": {k: getattr(options, k) for k in ("pool", "many", "buffer", "seconds", "warm_up", "steps")},
        }
        parts = {"shuffling": shuffling_of_rows, "speed": speed, "reuse": reuse}
        result[options.part] = parts[options.part](options, Path(work))
    page = describe(result) if options.part != "shuffling" else None  # its figures are columns of the speed table
    write_results(options.out, f"ingest-{options.part}", CPUS, data=result, page=page)
    print(page or "")


if __name__ == "__main__":
    main()
