"""Trains the phase map's cells for real, in an order that spreads over all axes, and goes on where it stopped.

    python -m benchmarks.phase_map.train --root DATA --out runs/phase-map --processes 2
    python -m benchmarks.phase_map.train --root DATA --out runs/phase-map --networks large --gpu
    python -m benchmarks.phase_map.train --root DATA --out runs/phase-map --table benchmarks/tables/phase_map.parquet

DATA holds train/ of medical/, satellite/, surveillance/, art/ and natural/, and manifest.csv with columns `file` and
`scene_group`; no other folder is opened. Each process trains one cell at a time. Each row has its own file; `table.py`
makes one table of them at any time.
"""

import argparse
import multiprocessing
import signal
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from itertools import groupby, islice

import torch

from benchmarks.common.arguments import make_parser, one_sentence, positive
from benchmarks.common.domain_images import DOMAINS
from benchmarks.phase_map.jobs import PhaseMap
from benchmarks.phase_map.plan import NETWORKS, STEPS
from benchmarks.phase_map.rows import MapTask, Row, finish_row
from benchmarks.phase_map.table_file import key_of, read_table
from orchestrator.foundation.storage import Storage

Numbered = tuple[str, MapTask]
"""A training and its place in the plan."""


def main() -> None:
    options = _parsed()
    torch.set_num_threads(options.threads)
    with one_sentence():
        train(options)


def train(options: argparse.Namespace) -> None:
    """Trains what is missing, at most ``options.limit`` rows."""
    whole = PhaseMap(options)
    planned = whole.planned()
    print(f"{len(planned)} trainings of {len({cell for cell, _ in planned})} cells are planned", flush=True)
    known = {key_of(row) for row in read_table(Storage.at(options.table))[0]} if options.table else set()
    missing = (
        (f"{number}/{len(planned)}", task)
        for number, (cell, choice) in enumerate(planned, 1)
        if whole.key(cell, choice) not in known and (task := whole.task(cell, choice)).read() is None
    )
    _train_cells(islice(missing, options.limit), options.processes)


def _train_cells(missing: Iterator[Numbered], processes: int) -> None:
    """Trains each cell in one process; a termination lets the cells that were handed out finish."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    running = set[Future[None]]()
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        for _, of_cell in groupby(missing, key=lambda each: each[1].cell):
            running.add(pool.submit(_train_cell, list(of_cell)))
            if len(running) > processes:
                ready, running = wait(running, return_when=FIRST_COMPLETED)
                _raise_failure(ready)
        _raise_failure(running)


def _raise_failure(ended: Iterable[Future[None]]) -> None:
    for each in ended:
        each.result()


def _train_cell(tasks: Sequence[Numbered]) -> None:
    for number, task in tasks:
        _print_row(finish_row(task), number)


def _print_row(row: Row, number: str) -> None:
    psnr = row["psnr_judging"]
    cell = f"{row['network']}, {row['steps']} steps, {row['training_scenes']} scenes, {row['shift']} {row['content']}"
    choice = f"lr {row['learning_rate']:.2e}, λ {row['lambda_']:g} {row['regularizer']}, depth {row['frozen_depth']}"
    score = "diverged" if psnr is None else f"{psnr:.3f} dB"
    print(f"{number} {cell}: {choice}, seed {row['seed']}: {score} in {row['seconds']:.1f} s", flush=True)


def _parsed(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument("--root", required=True, help="folder or bucket of the images")
    parser.add_argument("--out", required=True, help="folder of images, shards, models and rows")
    parser.add_argument("--contents", nargs="+", default=list(DOMAINS), help="domains whose images are degraded")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=["tiny", "base"], help="networks")
    parser.add_argument("--steps", nargs="+", type=int, choices=STEPS, default=list(STEPS), help="optimiser steps")
    parser.add_argument("--scenes", choices=("table", "file", "folder"), default="table", help="what a scene is")
    parser.add_argument("--gpu", action="store_true", help="train on the GPU")
    parser.add_argument("--table", help="table whose trainings are not repeated")
    parser.add_argument("--limit", type=positive, help="train at most so many rows now")
    for name, default, told in (
        ("batch", 4, "patches per step"),
        ("lr-patch", 16, "side of a patch in LR pixels"),
        ("validation-images", 16, "validation images scored"),
        ("validation-crop", 128, "HR pixels of their middle that count"),
        ("processes", 1, "trainings at a time"),
        ("threads", 1, "torch threads of each"),
    ):
        parser.add_argument(f"--{name}", type=positive, default=default, help=f"{told} ({default})")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
