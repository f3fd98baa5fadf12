"""Trains the phase map's cells for real, in an order that spreads over all axes, and goes on where it stopped.

    python -m benchmarks.phase_map.train --root DATA --out runs/phase-map
    python -m benchmarks.phase_map.train --root DATA --out runs/phase-map --networks large --gpu

DATA holds train/ of medical/, satellite/, surveillance/, art/ and natural/, and manifest.csv with columns `file` and
`scene_group`; no other folder is opened. It runs in one process, one training after the other. Each row has its own
file; `table.py` makes one table of them at any time.
"""

import argparse
import time
from collections.abc import Sequence

import torch

from benchmarks.common.arguments import make_parser, one_sentence, positive
from benchmarks.common.domain_images import DOMAINS
from benchmarks.phase_map.jobs import PhaseMap
from benchmarks.phase_map.plan import NETWORKS
from benchmarks.phase_map.rows import Row, finish_row


def main() -> None:
    options = _parsed()
    torch.set_num_threads(options.threads)
    with one_sentence():
        train(options)


def train(options: argparse.Namespace) -> int:
    """Trains what is missing, at most ``options.limit`` rows, and returns how many that were."""
    whole = PhaseMap(options)
    planned, done, start = whole.planned(), 0, time.monotonic()
    print(f"{len(planned)} trainings of {len({cell for cell, _ in planned})} cells are planned", flush=True)
    for number, (cell, choice) in enumerate(planned, 1):
        task = whole.task(cell, choice)
        if task.read() is not None:
            continue
        _tell(finish_row(task), number, len(planned), start)
        done += 1
        if done == options.limit:
            break
    return done


def _tell(row: Row, number: int, of: int, start: float) -> None:
    psnr = row["psnr_judging"]
    cell = f"{row['network']}, {row['steps']} steps, {row['training_scenes']} scenes, {row['shift']} {row['content']}"
    choice = f"lr {row['learning_rate']:.2e}, λ {row['lambda_']:g} {row['regularizer']}, depth {row['frozen_depth']}"
    score = "diverged" if psnr is None else f"{psnr:.3f} dB"
    spent = f"{row['seconds']:.1f} s; {(time.monotonic() - start) / 60:.0f} min"
    print(f"{number}/{of} {cell}: {choice}, seed {row['seed']}: {score} in {spent}", flush=True)


def _parsed(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument("--root", required=True, help="folder or bucket of the images")
    parser.add_argument("--out", required=True, help="folder of images, shards, models and rows")
    parser.add_argument("--contents", nargs="+", default=list(DOMAINS), help="domains whose images are degraded")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=["tiny", "base"], help="networks")
    parser.add_argument("--scenes", choices=("table", "file", "folder"), default="table", help="what a scene is")
    parser.add_argument("--gpu", action="store_true", help="train on the GPU")
    parser.add_argument("--limit", type=positive, help="train at most so many rows now")
    for name, default, told in (
        ("batch", 4, "patches per step"),
        ("lr-patch", 16, "side of a patch in LR pixels"),
        ("validation-images", 16, "validation images scored"),
        ("validation-crop", 128, "HR pixels of their middle that count"),
        ("threads", 1, "torch threads"),
    ):
        parser.add_argument(f"--{name}", type=positive, default=default, help=f"{told} ({default})")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
