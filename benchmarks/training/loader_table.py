"""Tables of loaders: every row is measured from a disk and from S3, in a process of its own, and compared with rivals.

A benchmark measures one row itself where it is called with ``--row``, and ends by :func:`tell`.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

from benchmarks.training.loader_data import encoded_images, prepare, upload
from benchmarks.training.loaders import Row

ROOT = Path(__file__).parents[2]
AS_GOOD = 0.02
"""Difference of quality that counts as none."""
_TOLD = "RESULT "

Json = dict[str, Any]


def add_row_options(parser: argparse.ArgumentParser) -> None:
    """The options of every table, and those by which it calls itself for one row."""
    parser.add_argument("--images", type=Path, help="folder of images; generated ones by default")
    parser.add_argument("--pool", type=int, default=96, help="decoded images in our pool, fewer than there are images")
    parser.add_argument("--many", type=int, default=64, help="patches per decode of the rivals that reuse")
    parser.add_argument("--buffer", type=int, default=2048, help="patches in the shuffle buffer of each rival's worker")
    for hidden in ("--row", "--place"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)


def tell(figures: Json) -> NoReturn:
    """Ends the process of one row with its figures."""
    print(_TOLD + json.dumps(figures), flush=True)
    if "ray" in sys.modules:
        sys.modules["ray"].shutdown()
    os._exit(0)  # the workers of some loaders take long to end, and nothing is left to do


def run_row(module: str, row: Row, place: str, limit: float = 120, **options: Any) -> Json:
    """A row's figures by a benchmark's module, or why there are none after ``limit`` seconds."""
    command = [sys.executable, "-m", module, "--row", json.dumps(asdict(row)), "--place", place]
    for name, value in options.items():
        command += [f"--{name.replace('_', '-')}", str(value)]
    # A process group of its own, because os._exit leaves the row's workers behind.
    with (
        tempfile.TemporaryFile("w+") as told,
        subprocess.Popen(
            command, stdout=told, stderr=subprocess.STDOUT, process_group=0, env=_environment()
        ) as process,
    ):
        try:
            process.wait(limit)
            failure = ""
        except subprocess.TimeoutExpired:
            failure = f"nothing after {limit:.0f} s"
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, 9)
        told.seek(0)
        text = told.read()
    results = [line for line in text.splitlines() if line.startswith(_TOLD)]
    if results:
        return json.loads(results[-1].removeprefix(_TOLD))
    return {"failure": failure or next((line for line in reversed(text.splitlines()) if line.strip()), "no output")}


def _environment() -> dict[str, str]:
    added = {"OMP_NUM_THREADS": "1", "RAY_DEDUP_LOGS": "0", "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}
    if "AWS_ENDPOINT_URL" in os.environ:
        added["S3_ENDPOINT_URL"] = os.environ["AWS_ENDPOINT_URL"]  # MosaicML Streaming's own name for it
    return {**os.environ, **added}


def qualities(folder: Path) -> Json:
    """How well each row shuffles, as ``training.ingest --part shuffling`` measured it last; empty if it never did."""
    files = sorted(folder.glob("ingest-shuffling_*.json"))
    return json.loads(files[-1].read_text(encoding="utf-8"))["shuffling"] if files else {}


def measured_rows(
    module: str,
    rows: Sequence[Row],
    images: Path | None,
    work: Path,
    shuffling: Mapping[str, Json],
    limit: float = 120,
    **options: Any,
) -> Json:
    """Figures of all rows from the disk and, where an endpoint is set, from S3.

    Args:
        module: The benchmark that measures a row.
        rows: The rows.
        images: Folder of images; None for generated ones.
        work: Empty folder for the data.
        shuffling: How well rows shuffle, by name.
        limit: Most seconds for one row.
        options: What the benchmark is told for every row.
    """
    encoded = encoded_images(images)
    prepare(encoded, work / "data")
    places = {"disk": str(work / "data")}
    if os.environ.get("AWS_ENDPOINT_URL"):
        places["S3"] = upload(work / "data", f"{module.rpartition('.')[2]}-{os.getpid()}")
    table: list[Json] = []
    for row in rows:
        entry: Json = {"row": asdict(row), "name": row.name, "ours": row.ours}
        entry["shuffling"] = shuffling.get(row.order, {})
        for place, uri in places.items():
            entry[place] = run_row(module, row, uri, limit, **options)
        table.append(entry)
        print(json.dumps(entry), file=sys.stderr, flush=True)
    for place in places:
        compare(table, place)
    return {"images": len(encoded), "bytes": sum(map(len, encoded)), "places": list(places), "rows": table}


def compare(table: list[Json], place: str) -> None:
    """Adds to each of our rows its ratio to the fastest comparable rival.

    It shuffles as well, keeps as little decoded and makes pairs on the same processor.
    """
    for entry in table:
        if not entry["ours"] or "patches_per_s" not in entry[place]:
            continue
        quality = entry["shuffling"].get("quality", 1.0)
        rivals = [
            other
            for other in table
            if not other["ours"]
            and "patches_per_s" in other[place]
            and (other["row"]["degrade"] == "gpu") == (entry["row"]["degrade"] == "gpu")
            and other["shuffling"].get("quality", 0.0) >= quality - AS_GOOD
            and (other["row"]["keep"] is None) <= (entry["row"]["keep"] is None)
        ]
        if rivals:
            best = max(rivals, key=lambda other: other[place]["patches_per_s"])
            entry[place]["best_rival"] = best["name"]
            entry[place]["ratio"] = entry[place]["patches_per_s"] / best[place]["patches_per_s"]
