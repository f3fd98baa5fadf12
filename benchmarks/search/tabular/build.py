"""Trains a grid of transfer configurations for real and keeps every learning curve in one Parquet file.

    python -m benchmarks.search.tabular.build --root DATA --out runs/tabular --estimate    # how long it takes
    python -m benchmarks.search.tabular.build --root DATA --out runs/tabular               # goes on with what is there

DATA holds train/ of medical/, satellite/, surveillance/ and art/, and manifest.csv with columns `file` and
`scene_group`. Validation scenes are split off train/, as a search does; no other folder is opened.
Rows are independent Ray tasks; each keeps its own file as soon as it is trained. `replay.py` judges search
policies on the table.
"""

import argparse
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any

import optuna
import ray

from benchmarks.common.arguments import make_parser, one_sentence, positive
from benchmarks.common.domain import Domain, Settings, write_source
from benchmarks.common.domain_images import DOMAINS, PAINTER
from benchmarks.common.environment import environment
from benchmarks.search.tabular.grid import Part, grid_of, parts_of
from benchmarks.search.tabular.rows import SHARES, RowTask, finish_all
from benchmarks.search.tabular.table import read_table, write_table
from orchestrator.experiment.image_settings import ImageSet
from orchestrator.experiment.settings import Finetuning
from orchestrator.foundation.model_store import FoundModel, find_model
from orchestrator.foundation.storage import Storage
from trainables.errors import UsageError
from trainables.loops.settings import Budget
from trainables.version import __version__

ESTIMATE_ROWS = 12


def main() -> None:
    with one_sentence():
        build(_parsed())


def build(options: argparse.Namespace) -> None:
    """Trains what is missing and writes the table."""
    out = Storage.at(options.out)
    model = find_model(options.model)
    settings = _settings(options)
    root = Storage.at(options.root)
    root.check_readable()
    out.check_writable()
    listed = [Domain(name, _images(name, options.scenes), root, model, settings, out) for name in options.domains]
    domains = {domain.name: domain for domain in listed}.values()
    write_source(out, model)
    facts, by_part = _described(options, model, settings), defaultdict(list)
    for domain in domains:
        grid = grid_of(domain.space, domain.depth_limit, (options.rates, options.lambdas, options.depths))
        facts["domains"][domain.name] = _domain_facts(domain, grid_axes=asdict(grid))
        for part in parts_of(grid, options.seed, options.few_scenes):
            by_part[part.name] += _tasks_of(domain, part, out, facts["domains"][domain.name])
    # The full grids of all domains first: policies can be judged on them already.
    tasks = list(chain.from_iterable(by_part.values()))
    if options.table:
        _take_over(Storage.at(options.table), tasks, facts)
    missing = [task for task in tasks if task.read() is None]
    print(f"{len(tasks)} rows, {len(tasks) - len(missing)} of them are there", flush=True)
    wanted = max(0, ESTIMATE_ROWS - len(tasks) + len(missing)) if options.estimate else options.limit
    chosen = missing if wanted is None else spread_out(missing, wanted)
    if chosen:
        start = time.monotonic()
        finish_all(chosen, options.cpus, lambda row, number: _tell(row, number, len(chosen), start))
    if options.estimate:
        _estimate(tasks, options.cpus)
        return
    rows = [row for row in (task.read() for task in tasks) if row is not None]
    facts |= {"rows": len(rows), "rows_wanted": len(tasks)}
    write_table(out.child("table.parquet"), rows, facts)
    state = "whole" if len(rows) == len(tasks) else f"{len(rows)} of {len(tasks)} rows; the same command goes on"
    print(f"{out.child('table.parquet').uri} ({state})")


def _take_over(table: Storage, tasks: Sequence[RowTask], facts: dict[str, Any]) -> None:
    """Rows of an earlier table count as trained where it says that data, source model and budget were the same.

    Raises:
        UsageError: If they were others.
    """
    rows, told = read_table(table)
    for name in ("source", "budget", "lr_patch", "validation"):
        if told[name] != facts[name]:
            raise UsageError(f"The table '{table.uri}' has another {name}: {told[name]}, here {facts[name]}.")
    known = {(row["domain"], row["part"], row["seed"], *_cell(row)): row for row in rows}
    for task in tasks:
        domain, part = task.job.domain, task.part
        row = known.get((domain, part, task.seed, *_cell(asdict(task.configuration))))
        if row is None or task.read() is not None:
            continue
        before, now = (one["domains"][domain]["parts"][part]["shards"] for one in (told, facts))
        if before != now:
            raise UsageError(f"The table '{table.uri}' is of other images of {domain}; leave --table out.")
        task.place.write_json(row)


def _cell(values: dict[str, Any]) -> tuple[float, float, int]:
    return values["learning_rate"], values["lambda_"], values["frozen_depth"]


def _tasks_of(domain: Domain, part: Part, out: Storage, facts: dict[str, Any]) -> list[RowTask]:
    manifest = domain.shards(part.scenes)
    if manifest is None:
        facts["parts"][part.name] = f"left out: the domain has no more than {part.scenes} training scenes"
        return []
    scenes = len(manifest["scenes"]["train"])
    facts["parts"][part.name] = {
        "seed": part.seed,
        "grid": asdict(part.grid),
        "shards": manifest["digest"],
        "training_scenes": scenes,
        "training_images": manifest["images"]["train"],
        "validation_scenes": manifest["scenes"]["validation"],
        "validation_images": manifest["images"]["validation"],
    }
    job, folder = domain.job(part.scenes), out.child("rows")
    return [RowTask(part.name, scenes, part.seed, cell, job, folder) for cell in part.grid.configurations()]


def _domain_facts(domain: Domain, grid_axes: dict[str, Any]) -> dict[str, Any]:
    space, default = domain.space, Finetuning().default_learning_rate
    starts = [
        {"learning_rate": default, "lambda_": 0.0, "frozen_depth": 0},
        *(start.to_dict() for start in space.starts),
    ]
    for start in starts:
        start["lambda_"] = start["lambda_"] or space.lambda_range[0]
    return {
        **grid_axes,
        "space": {
            "id": space.id,
            "learning_rate": space.learning_rate,
            "lambda_range": space.lambda_range,
            "lambda_floor": space.lambda_[0],
            "starts": starts,
            "degradation": space.degradation.to_dict(),
        },
        "parts": {},
    }


def _described(options: argparse.Namespace, model: FoundModel, settings: Settings) -> dict[str, Any]:
    return {
        "command": "python -m benchmarks.search.tabular.build --root DATA --out DIR " + " ".join(_further(options)),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "environment": environment() | {"rayscale": __version__, "ray": ray.__version__, "optuna": optuna.__version__},
        "source": {"model": Path(model.where).name, "sha256": model.card["sha256"]},
        "budget": asdict(settings.budget),
        "lr_patch": settings.lr_patch,
        "validation": {"images": settings.validation_images, "crop": settings.validation_crop},
        "interpolated": SHARES,
        "domains": {},
    }


def _further(options: argparse.Namespace) -> list[str]:
    skipped = {"root", "out", "estimate", "limit", "model", "table"}
    told = []
    for name, value in vars(options).items():
        if name not in skipped:
            values = [str(each) for each in value] if isinstance(value, list) else [str(value)]
            told += [f"--{name.replace('_', '-')}", *values]
    return told


def spread_out(tasks: Sequence[RowTask], count: int) -> list[RowTask]:
    """So many tasks, evenly spread over all of them: every domain, part and depth has its share."""
    count = min(count, len(tasks))
    return [tasks[len(tasks) * i // count] for i in range(count)]


def _estimate(tasks: Sequence[RowTask], cpus: int) -> None:
    """Prints how long the missing rows take; a row costs less the more is frozen, so each depth has its own mean."""
    seconds: dict[int, list[float]] = defaultdict(list)
    missing = []
    for task in tasks:
        row = task.read()
        if row is None:
            missing.append(task.configuration.frozen_depth)
        else:
            seconds[row["frozen_depth"]].append(row["cpu_seconds"])
    every = [value for values in seconds.values() for value in values]
    of_depth = {depth: sum(values) / len(values) for depth, values in seconds.items()}
    mean = sum(every) / len(every)
    total = sum(of_depth.get(depth, mean) for depth in missing)
    print(f"{len(every)} rows measured: {mean:.1f} CPU seconds each ({min(every):.1f} to {max(every):.1f})")
    print(f"{len(missing)} rows missing: about {total / cpus / 60:.0f} minutes on {cpus} idle CPUs")


def _tell(row: dict[str, Any], number: int, of: int, start: float) -> None:
    score = "diverged" if row["psnr"] is None else f"{row['psnr']:.3f} dB"
    left = (time.monotonic() - start) / number * (of - number) / 60
    cell = f"lr {row['learning_rate']:.2e}, λ {row['lambda_']:.2e}, depth {row['frozen_depth']}"
    print(f"{number}/{of} {row['domain']}, {row['part']}, {cell}: {score}; {left:.0f} min left", flush=True)


def _images(name: str, scenes: str) -> ImageSet:
    domain = name.rpartition("-v")[0] or name
    found: Any = scenes
    if scenes == "table":
        found = {
            "table": "manifest.csv",
            "scene_column": "scene_group",
            "pattern": PAINTER if domain == "art" else None,
        }
    return ImageSet.model_validate({"images": f"{domain}/train", "scenes": found})


def _settings(options: argparse.Namespace) -> Settings:
    if options.evaluations > options.steps:
        raise UsageError(f"--evaluations must be at most --steps, found {options.evaluations} and {options.steps}.")
    return Settings(
        budget=Budget(steps=options.steps, batch=options.batch, evaluations=options.evaluations),
        lr_patch=options.lr_patch,
        validation_images=options.validation_images,
        validation_crop=options.validation_crop,
    )


def _parsed() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument("--root", required=True, help="folder or bucket of the images")
    parser.add_argument("--out", required=True, help="folder or bucket of rows, shards and table")
    parser.add_argument("--model", default="base-x4", help="source model: a packaged name, a folder or s3:// prefix")
    parser.add_argument("--domains", nargs="+", default=list(DOMAINS), help="domains, or versioned ids of their spaces")
    parser.add_argument("--scenes", choices=("table", "file", "folder"), default="table", help="what a scene is")
    parser.add_argument("--seed", type=int, default=0, help="of the full grid; the second seed is one more")
    parser.add_argument("--few-scenes", nargs="*", type=positive, default=[4, 16], help="smaller training sets")
    for name, default, told in (
        ("rates", 6, "learning rates"),
        ("lambdas", 5, "values of λ, 0 among them"),
        ("depths", 5, "frozen depths"),
        ("steps", 200, "optimiser steps"),
        ("batch", 4, "patches per step"),
        ("lr-patch", 24, "side of a patch in LR pixels"),
        ("evaluations", 8, "validation scores of each row"),
        ("validation-images", 12, "validation images scored"),
        ("validation-crop", 128, "HR pixels of their middle that count"),
        ("cpus", 2, "rows at once"),
    ):
        parser.add_argument(f"--{name}", type=positive, default=default, help=f"{told} ({default})")
    parser.add_argument("--table", help="an earlier table of the same data and settings, whose rows are taken over")
    parser.add_argument("--limit", type=positive, help="train at most so many rows now, spread over all")
    parser.add_argument(
        "--estimate", action="store_true", help=f"tell how long the rest takes, from {ESTIMATE_ROWS} rows"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
