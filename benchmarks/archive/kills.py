"""Kills `rayscale upscale` at random moments, lets it finish, and compares with an undisturbed run byte by byte.

    python -m benchmarks.archive.kills --kills 20 --folder /tmp/kills [--output s3://bucket/prefix]

SIGKILL goes to the driver alone; Ray's processes have to notice by themselves. One kill in four falls anywhere in the
first seconds, the others after a random number of scenes has been started or finished, spread over the whole archive.
"""

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.common import scene_files
from benchmarks.common.arguments import make_parser
from orchestrator.archive.ledger.ledger import read_events
from orchestrator.foundation.storage import Storage

ON_RUNS = ("_ledger", "_stac", "_report")
"""Folders that speak of runs, with their times."""

_PATIENCE_SECONDS = 600.0


def command(archive: Path, out: str, model: str) -> list[str]:
    told = [sys.executable, "-m", "orchestrator.cli.app", "upscale", str(archive), out]
    return [*told, "--model", model, "--threads", "2", "--precision", "float32", "--json"]


def contents(out: str) -> dict[str, str]:
    """Digest of every object but those on runs; in a folder, hidden files and leftovers included."""
    place = Storage.at(out)
    if place.remote:
        names = [facts.path for facts in place.files()]
    else:
        names = [str(path.relative_to(place.path)) for path in Path(place.path).rglob("*") if path.is_file()]
    kept = (name for name in names if name.partition("/")[0] not in ON_RUNS)
    return {name: hashlib.sha256(place.child(name).read_bytes()).hexdigest() for name in sorted(kept)}


def rows(out: str, event: str) -> Counter[str]:
    """How many events of a kind each scene has; of outcomes, the good ones."""
    return Counter(
        one["name"] for one in read_events(Storage.at(out)) if one["event"] == event and one.get("status", "ok") == "ok"
    )


def kill_at_random(told: list[str], out: str, moment: random.Random, most: int) -> bool:
    """Starts a run and kills it while it starts, or after up to ``most`` events; says whether it was still running."""
    kind, wanted = moment.choice(("attempt", "scene", "scene", None)), moment.randint(1, most)
    before = sum(rows(out, kind).values()) if kind else 0
    process = subprocess.Popen(told, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end = time.monotonic() + _PATIENCE_SECONDS
    while kind and process.poll() is None and sum(rows(out, kind).values()) < before + wanted:
        if time.monotonic() > end:
            break
        time.sleep(0.02)
    time.sleep(moment.uniform(0, 0.2 if kind else 4))
    running = process.poll() is None
    if running:
        os.kill(process.pid, signal.SIGKILL)
    process.wait()
    return running


def compare(archive: Path, calm: str, disturbed: str, model: str, kills: int, seed: int = 0) -> dict[str, Any]:
    """What an archive that was killed ``kills`` times looks like beside one that was not.

    Returns:
        How many kills hit a running driver, how many scenes had finished when each fell, how many outputs there are,
        and the names that differ, are missing, are left over, or have not exactly one good row in the ledger.
    """
    subprocess.run(command(archive, calm, model), check=True, stdout=subprocess.DEVNULL)
    expected = contents(calm)
    moment, hit, finished = random.Random(seed), 0, []
    while hit < kills:
        left = len(expected) // 2 - sum(rows(disturbed, "scene").values())
        if not kill_at_random(command(archive, disturbed, model), disturbed, moment, max(1, left // (kills - hit + 1))):
            break  # it was through before the kill fell
        hit += 1
        finished.append(sum(rows(disturbed, "scene").values()))
    last = subprocess.run(command(archive, disturbed, model), stdout=subprocess.PIPE, text=True)
    found, good = contents(disturbed), rows(disturbed, "scene")
    return {
        "kills": hit,
        "finished_at_kills": finished,
        "last_exit_code": last.returncode,
        "last_written": json.loads(last.stdout)["written"],
        "outputs": len(found),
        "different": [name for name in expected.keys() & found.keys() if expected[name] != found[name]],
        "missing": sorted(expected.keys() - found.keys()),
        "left_over": sorted(found.keys() - expected.keys()),
        "not_one_row": sorted(name for name, count in good.items() if count != 1),
    }


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--scenes", type=int, default=200)
    parser.add_argument("--model", default="base-x4")
    parser.add_argument("--folder", type=Path, required=True, help="an empty folder for scenes and outputs")
    parser.add_argument("--output", help="s3:// prefix of the outputs; below the folder by default")
    parser.add_argument("--seed", type=int, default=0)
    known = parser.parse_args()
    scene_files.write_many(known.folder / "archive", known.scenes, (96, 96))
    base = known.output or str(known.folder)
    start = time.monotonic()
    told = compare(known.folder / "archive", f"{base}/calm", f"{base}/killed", known.model, known.kills, known.seed)
    print(json.dumps({**told, "scenes": known.scenes, "seconds": round(time.monotonic() - start)}, indent=2))
    shutil.rmtree(known.folder / "archive")
    wrong = [told[key] for key in ("different", "missing", "left_over", "not_one_row", "last_exit_code")]
    sys.exit(1 if any(wrong) or told["kills"] < known.kills else 0)


if __name__ == "__main__":
    main()
