"""Time of `rayscale upscale` from the command to the file, for a small picture and a small scene, and of its help.

    python -m benchmarks.archive.start_up [--before CHECKOUT] [--rounds 5]

Each command is a process of its own, and all run in turns, those of an earlier checkout beside today's. Stated are
medians of wall-clock time and of processor time (user and system, with all processes that have ended with the command);
on a busy machine the second is the one to read, and each round's ratio of the two checkouts. `import torch` is the part
that is not this project's. The first round fills the disk's cache and is not counted.
"""

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image

from benchmarks.common import scene_files
from benchmarks.common.arguments import add_out, command, make_parser, positive
from benchmarks.common.environment import environment
from benchmarks.common.results import CPUS, write_results

_ROOT = Path(__file__).parents[2]
_SIDE = 128
_CALL = ("-m", "orchestrator.cli.app")


@dataclass(frozen=True, slots=True)
class Taken:
    """Wall-clock and processor seconds of a command."""

    wall: float
    processor: float


def main() -> None:
    """Runs the benchmark and writes its result."""
    parser = make_parser(__doc__)
    parser.add_argument("--before", type=Path, help="root of a checkout to compare with")
    parser.add_argument("--rounds", type=positive, default=5)
    parser.add_argument("--model", default="base-x4")
    add_out(parser)
    options = parser.parse_args()
    checkouts = {"today": _ROOT} | ({"before": options.before.absolute()} if options.before else {})
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(Path(folder), checkouts, options.model, options.rounds)
    page = page_of(rows)
    data = {place: {name: [asdict(t) for t in taken] for name, taken in row.items()} for place, row in rows.items()}
    print(write_results(options.out, "start-up", CPUS, data=data, page=page))
    print(page)


def measure(folder: Path, checkouts: dict[str, Path], model: str, rounds: int) -> dict[str, dict[str, list[Taken]]]:
    """Times of all commands in turns, by checkout and command."""
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (_SIDE, _SIDE, 3), dtype=np.uint8)).save(folder / "x.png")
    scene_files.write(folder / "a.tif", (_SIDE, _SIDE))
    commands: dict[str, tuple[str, ...]] = {
        "import torch": ("-c", "import torch"),
        "rayscale --help": (*_CALL, "--help"),
        "rayscale upscale --help": (*_CALL, "upscale", "--help"),
    }
    for name in ("x.png", "a.tif"):
        key = f"rayscale upscale {name}, {_SIDE}²"
        commands[key] = (*_CALL, "upscale", str(folder / name), "OUT", "--model", model)
    times: dict[str, dict[str, list[Taken]]] = {place: {name: [] for name in commands} for place in checkouts}
    for number in range(rounds + 1):
        for name, arguments in commands.items():
            for place, root in checkouts.items():
                out = str(folder / f"out-{number}-{place}-{len(name)}")
                taken = timed(tuple(out if part == "OUT" else part for part in arguments), root, folder)
                if number:
                    times[place][name].append(taken)
    return times


def timed(arguments: tuple[str, ...], root: Path, folder: Path) -> Taken:
    """Time of one command with the code of a checkout.

    Raises:
        CalledProcessError: If it fails.
    """
    before, start = os.times(), time.monotonic()
    subprocess.run(
        [sys.executable, *arguments],
        check=True,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(root)},
        stdout=subprocess.DEVNULL,
    )
    wall, after = time.monotonic() - start, os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return Taken(wall, used)


def page_of(times: dict[str, dict[str, list[Taken]]]) -> str:
    """A table of medians, with the median ratio of each round's two checkouts."""
    lines = [
        "# From the command to the file",
        "",
        f"`{command('archive.start_up')}`",
        "",
        *(f"{name}: {value}." for name, value in environment("ray", "rasterio").items()),
        "",
    ]
    head = ["command", *(f"{place}: wall (s) | {place}: processor (s)" for place in times)]
    head += ["ratio of wall | ratio of processor"] if "before" in times else []
    columns = 1 + 2 * len(times) + (2 if "before" in times else 0)
    lines += [f"| {' | '.join(head)} |", f"|:--|{'--:|' * (columns - 1)}"]
    for name, today in times["today"].items():
        cells = [name]
        for row in times.values():
            cells += [f"{median([t.wall for t in row[name]]):.2f}", f"{median([t.processor for t in row[name]]):.2f}"]
        if "before" in times:
            pairs = list(zip(today, times["before"][name], strict=True))
            cells += [f"{median([now.wall / then.wall for now, then in pairs]):.2f}"]
            cells += [f"{median([now.processor / then.processor for now, then in pairs]):.2f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
