"""An archive of 100,000 scenes: listing, a first run, a resume and the ledger, without any pixel work.

    python -m benchmarks.archive.many --scenes 100000 --folder /tmp/many

Scenes and outputs are files of a few bytes. Each run is a process of its own, whose largest resident memory is
measured, and how much of it libraries take before the listing: Ray is one of them, without a connection to it, and
PyTorch is not, or the run fails. The listing, the plan, the driver, the ledger and the summary are real; in place of
the network a worker writes a byte and a STAC item for each scene, and gives the columns that a scene has.

- ``first``: all scenes are listed, planned and "upscaled"; every fifth row carries a note.
- ``resume``: the same command again, which skips them all.
- ``after rows of earlier versions``: the same again, beside five ledgers with a row for each skipped scene, as
  version 0.3 wrote them; they are merged.
"""

import importlib
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.common.arguments import add_out, make_parser, positive
from benchmarks.common.results import CPUS, write_results
from orchestrator.archive.batch.compute_nodes import build_network
from orchestrator.archive.batch.options import Options
from orchestrator.archive.batch.run import upscale_archive
from orchestrator.archive.batch.worker import Finished, PartFinished
from orchestrator.archive.ledger.ledger import FOLDER
from orchestrator.archive.ledger.ledger_event import encoded
from orchestrator.archive.ledger.ledger_lines import parse_line
from orchestrator.archive.places.listing import SIDECAR, Scene, list_archive
from orchestrator.archive.scene.types import Rows, SceneSettings
from orchestrator.experiment.feasibility import Resources
from orchestrator.experiment.settings import Cluster
from orchestrator.foundation.model_store import ModelFiles
from orchestrator.runtime.task_runner import HERE, Ended, InProcessRunner, Task, Update

_SLOTS = 64
_OLD_RUNS = 5
_MOST_MEGABYTES = 500
"""Of a resume, all libraries included."""


class ManyAtOnce(InProcessRunner):
    """A cluster of many cores, all of whose tasks are steps in this process."""

    def submit(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> Task:
        return super().submit(no_check if function is build_network else function, *arguments, **options)

    def nodes(self) -> dict[str, dict[str, float]]:
        return {HERE: {"CPU": float(_SLOTS)}}

    def wait(self, tasks: Collection[Task], seconds: float | None = None) -> list[Update | Ended]:
        return [event for task in list(tasks) for event in super(ManyAtOnce, self).wait([task])]


def no_check(model: ModelFiles) -> None:
    """In place of the check of the weights: a node imports PyTorch for it, not the driver."""


class NoPixels:
    """A worker that writes outputs of a byte."""

    def begin(self, scene: Scene, workers: int) -> Finished:
        output = Path(scene.output)
        output.parent.mkdir(exist_ok=True)
        output.write_bytes(b"x")
        Path(f"{output}{SIDECAR}").write_bytes(b"{}")
        # What a scene of four bands has.
        columns: dict[str, Any] = {
            **{"width": 4096, "height": 4096, "bands": 4, "dtype": "uint16", "tile": [512, 512], "halo": 16},
            **{"normalisation": "0 to 10000 (given)", "band_map": "1,2,3;4", "valid_percent": 100.0},
            **{"minimum": [1.0] * 4, "maximum": [9999.0] * 4, "output_bytes": 1, "sha256": "0" * 64},
            "notes": ["georef: none"] if scene.version.endswith("0") else [],
            "seconds": dict.fromkeys(
                ("fetch", "read", "model", "write", "overviews", "encode", "verify", "upload"), 1.0
            ),
            "consistency": {"flags": [], "difference": [0.01] * 4, "angle": 0.01, "shift": [0.0, 0.0]},
        }
        return Finished(columns)  # type: ignore[arg-type]

    def part(self, scene: Scene, rows: Rows) -> Finished:
        raise NotImplementedError

    def finish(self, scene: Scene, parts: list[PartFinished]) -> Finished:
        raise NotImplementedError


@contextmanager
def start(cluster: Cluster) -> Iterator[ManyAtOnce]:
    yield ManyAtOnce(Resources(_SLOTS, 0, 0))


def run(folder: Path) -> dict[str, Any]:
    """One run: its counts, seconds until scenes were listed and in all, and the largest memory of this process."""
    libraries = resident_megabytes()
    began = time.monotonic()
    source, out = str(folder / "archive"), str(folder / "out")
    scenes = list_archive(source, out).scenes
    listed = time.monotonic() - began
    settings, options = SceneSettings(precision="float32", normalisation=(0, 10000)), Options(device="cpu")
    told = upscale_archive(
        "base-x4", scenes, out, settings, options, lambda _: None, change_worker=lambda _: NoPixels(), start=start
    )
    if "torch" in sys.modules:
        raise SystemExit("The driver has imported PyTorch.")
    return {
        "scenes": len(scenes),
        **{name: told[name] for name in ("written", "skipped")},
        "failed": len(told["failed"]),
        "seconds to list": round(listed, 1),
        "seconds": round(time.monotonic() - began, 1),
        "peak MB": (peak := round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)),
        "of it libraries MB": libraries,
        "of it the archive MB": peak - libraries,
    }


def resident_megabytes() -> int:
    """Resident memory of this process once libraries are imported."""
    importlib.import_module("orchestrator.runtime.on_ray.ray_runner")  # as the driver of a cluster does
    status = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return round(next(int(line.split()[1]) for line in status if line.startswith("VmRSS:")) / 1024)


def measured(folder: Path) -> dict[str, Any]:
    """The same in a process of its own, and what it added to the ledgers."""
    before = ledger_bytes(folder)
    command = [sys.executable, "-m", "benchmarks.archive.many", "--folder", str(folder), "--one-run"]
    process = subprocess.run(
        command, check=True, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    return json.loads(process.stdout) | {"ledger bytes before": before, "ledger bytes": ledger_bytes(folder)}


def ledger_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in (folder / "out" / FOLDER).glob("*.jsonl"))


def write_archive(folder: Path, scenes: int) -> None:
    """Scenes in folders of a thousand."""
    for number in range(scenes):
        path = folder / "archive" / f"{number // 1000:04}" / f"S2A_MSIL2A_20260101T000000_T32TQM_{number:06}.tif"
        if not number % 1000:
            path.parent.mkdir(parents=True)
        path.write_bytes(b"II*\0")


def write_old_rows(folder: Path, runs: int) -> None:
    """Ledgers of resumes as version 0.3 wrote them: a row for each skipped scene."""
    place = folder / "out" / FOLDER
    (first, *_) = sorted(place.glob("*.jsonl"), key=lambda path: -path.stat().st_size)
    columns = ("name", "source", "output", "version", "size", "modified", "model", "settings", "key", "event")
    for number in range(runs):
        name = f"20260101T00000{number}Z-abcdef"
        with first.open("rb") as stream, (place / f"{name}.jsonl").open("wb") as file:
            for row, line in enumerate(stream, 1):
                event = parse_line(line.rstrip(b"\n"))
                if event["event"] == "scene":
                    skipped = {"status": "skipped", "message": f"finished by run {event['run']}", "run": name}
                    kept: Any = {column: event.get(column) for column in columns}
                    file.write(encoded([kept | skipped | {"number": row, "order": 10 + number}]))


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--scenes", type=positive, default=100_000)
    parser.add_argument("--folder", type=Path, required=True, help="an empty folder for scenes and outputs")
    parser.add_argument("--one-run", action="store_true", help="run once on what is there, and print the figures")
    add_out(parser)
    known = parser.parse_args()
    if known.one_run:
        print(json.dumps(run(known.folder)))
        return
    write_archive(known.folder, known.scenes)
    told = {"first": measured(known.folder), "resume": measured(known.folder)}
    write_old_rows(known.folder, _OLD_RUNS)
    told["after rows of earlier versions"] = measured(known.folder)
    told["resume again"] = measured(known.folder)
    print(json.dumps(told, indent=2))
    write_results(known.out, "archive-many", CPUS, data=told)
    counted = told["first"]["written"] == told["resume"]["skipped"] == known.scenes
    sys.exit(0 if counted and max(run["of it the archive MB"] for run in told.values()) < _MOST_MEGABYTES else 1)


if __name__ == "__main__":
    main()
