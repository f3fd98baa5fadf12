"""Archives at scale: many scenes with bad ones among them, and a cluster that loses a node half-way.

    python -m benchmarks.archive.scale archive --scenes 1000 --folder /tmp/scale
    python -m benchmarks.archive.scale nodes --scenes 60 --folder /tmp/nodes
    python -m benchmarks.archive.scale workers --scenes 64 --side 768 --folder /tmp/workers

``archive`` runs the command line on scenes of which 3 % are bad, of every kind, and then once more. ``nodes`` emulates
a Ray cluster of three nodes on this machine and kills one when half of the scenes have ended. ``workers`` compares two
workers with one on the same scenes, in turns, and with two separate runs of one worker each: what the machine gives.
"""

import hashlib
import json
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.common import scene_files
from benchmarks.common.arguments import make_parser
from orchestrator.archive.ledger.ledger import read_events
from orchestrator.foundation.storage import Storage

_BAD_SHARE = 0.03


def upscale(folder: Path, model: str, *options: str) -> tuple[int, dict[str, Any], float]:
    """The exit code, the summary and the seconds of one command."""
    told = [sys.executable, "-m", "orchestrator.cli.app", "upscale", str(folder / "archive"), str(folder / "out")]
    start = time.monotonic()
    run = subprocess.run(
        [*told, "--model", model, "--as", "cog", "--json", *options], stdout=subprocess.PIPE, text=True
    )
    return run.returncode, json.loads(run.stdout), time.monotonic() - start


def archive(folder: Path, scenes: int, model: str, side: int) -> dict[str, Any]:
    """Exit codes, counts and rates of a first and a second run, and what does not add up."""
    bad = round(scenes * _BAD_SHARE)
    scene_files.write_many(folder / "archive", scenes - bad, (side, side))
    kinds = sorted(scene_files.BAD)
    expected: Counter[str] = Counter()
    for number in range(bad):
        kind = kinds[number % len(kinds)]
        stem, suffix = kind.rsplit(".", 1)
        scene_files.write_bad(folder / "archive", f"{stem}-{number}.{suffix}")
        expected[scene_files.BAD[kind]] += 1
    code, told, seconds = upscale(folder, model)
    code_again, again, seconds_again = upscale(folder, model)
    return {
        "scenes": scenes,
        "side": side,
        "exit_codes": [code, code_again],
        "written": told["written"],
        "errors": told["errors"],
        "seconds": round(seconds, 1),
        "scenes_per_second": round(scenes / told["seconds"], 2),
        "megapixels_per_second": round(told["megapixels"] / told["seconds"], 2),
        "skipped_again": again["skipped"],
        "written_again": again["written"],
        "seconds_again": round(seconds_again, 1),
        "as_expected": told["errors"] == expected
        and (code, code_again) == (2, 2)
        and (told["written"], again["skipped"], again["written"]) == (scenes - bad, scenes - bad, 0),
    }


def nodes(folder: Path, scenes: int, model: str, side: int) -> dict[str, Any]:
    """Counts after a node of three was killed when half of the scenes had ended, and what does not add up."""
    import ray
    from ray.cluster_utils import Cluster

    from orchestrator.archive.batch.archive_progress import Progress
    from orchestrator.archive.batch.run import Options, upscale_archive
    from orchestrator.archive.places.listing import list_archive
    from orchestrator.archive.scene.types import SceneSettings

    scene_files.write_many(folder / "archive", scenes, (side, side))
    out = folder / "out"
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    others = [cluster.add_node(num_cpus=1) for _ in range(2)]
    half, told = threading.Event(), {}

    def tell(progress: Progress) -> None:
        if progress.done >= scenes / 2:
            half.set()

    ray.init(address=cluster.address, log_to_driver=False)
    try:
        listed = list_archive(str(folder / "archive"), str(out)).scenes
        settings = SceneSettings(precision="float32")
        options = Options(address=cluster.address)
        # The cluster's own functions must stay in the main thread.
        driver = threading.Thread(
            target=lambda: told.update(upscale_archive(model, listed, str(out), settings, options, tell))
        )
        driver.start()
        while driver.is_alive() and not half.wait(0.1):
            pass
        cluster.remove_node(others[0], allow_graceful=False)
        driver.join()
    finally:
        ray.shutdown()
        cluster.shutdown()
    rows = [event for event in read_events(Storage.at(str(out))) if event["event"] == "scene"]
    good = {row["name"]: row for row in rows if row["status"] == "ok"}
    digests = {name: hashlib.sha256(Path(row["output"]).read_bytes()).hexdigest() for name, row in good.items()}
    files = [path for path in out.rglob("*") if path.is_file() and "_ledger" not in path.parts]
    return {
        "scenes": scenes,
        "written": told["written"],
        "failed": told["failed"],
        "rows": len(rows),
        "by_node": sorted(Counter(row["node"][:6] for row in rows).values()),
        "tried_again": sum(row["attempts"] > 1 for row in rows),
        "seconds": told["seconds"],
        "as_expected": len(rows) == len(good) == scenes
        and len(files) == 2 * scenes
        and all(digests[name] == row["sha256"] for name, row in good.items()),
    }


def workers(folder: Path, scenes: int, model: str, side: int) -> dict[str, Any]:
    """Megapixels a second of one worker, two workers and two processes side by side; medians of three rounds.

    Each rate is told of the whole command and of the time from the first output to the last, without start-up.
    """
    scene_files.write_many(folder / "archive", scenes, (side, side))
    halves = [folder / half for half in ("west", "east")]  # the two folders of the scenes, as archives of their own
    for half in halves:
        (half / "archive").parent.mkdir(parents=True)
        (half / "archive").symlink_to(folder / "archive" / half.name)

    def rates(place: Path, threads: int) -> NDArray[np.float64]:
        _, told, _ = upscale(place, model, "--threads", str(threads), "--precision", "float32", "--overwrite")
        written = sorted(file.stat().st_mtime for file in (place / "out").rglob("*.tif"))
        share = 1 - 1 / len(written)
        return told["megapixels"] * np.array([1 / told["seconds"], share / (written[-1] - written[0])])

    rounds = []
    for _ in range(3):
        with ThreadPoolExecutor(2) as pool:
            apart = sum(pool.map(lambda half: rates(half, 1), halves))
        rounds.append([rates(folder, 1), rates(folder, 2), apart])
    whole, running = np.moveaxis(np.array(rounds), -1, 0)
    return {
        "scenes": scenes,
        "side": side,
        **_compared(running),
        "with start-up": _compared(whole),
        "as_expected": True,
    }


def _compared(rounds: NDArray[np.float64]) -> dict[str, Any]:
    """Rates (rounds, 3) of one worker, two workers and two processes; ratios are of the same round."""
    one, two, apart = np.median(rounds, 0).round(3).tolist()
    return {
        "rounds": rounds.round(3).tolist(),
        "one worker MP/s": one,
        "two workers MP/s": two,
        "two processes of one worker MP/s": apart,
        "two / one": round(float(np.median(rounds[:, 1] / rounds[:, 0])), 3),
        "two processes / one": round(float(np.median(rounds[:, 2] / rounds[:, 0])), 3),
    }


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("what", choices=["archive", "nodes", "workers"])
    parser.add_argument("--scenes", type=int, default=1000)
    parser.add_argument("--side", type=int, default=64, help="LR pixels")
    parser.add_argument("--model", default="base-x4")
    parser.add_argument("--folder", type=Path, required=True, help="an empty folder for scenes and outputs")
    known = parser.parse_args()
    measure = {"archive": archive, "nodes": nodes, "workers": workers}[known.what]
    told = measure(known.folder, known.scenes, known.model, known.side)
    print(json.dumps(told, indent=2))
    sys.exit(0 if told["as_expected"] else 1)


if __name__ == "__main__":
    main()
