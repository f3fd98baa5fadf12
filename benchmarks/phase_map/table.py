"""Makes one Parquet table of the rows that the phase map has so far, and says how much of the plan that is.

    python -m benchmarks.phase_map.table --out runs/phase-map --table benchmarks/tables/phase_map.parquet

Rows that the table had before stay in it where ``--out`` has none of the same cell, configuration and seed, so that
several machines can add to one table.
"""

import argparse
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.common.arguments import make_parser, one_sentence
from benchmarks.common.domain_images import DOMAINS
from benchmarks.common.environment import environment
from benchmarks.phase_map.plan import ALL, CORE, DEGRADATIONS, NETWORKS, SCENES, SHIFTS, STEPS, Cell, trainings
from benchmarks.phase_map.rows import Row
from benchmarks.phase_map.table_file import merged, read_table, write_table
from orchestrator.data.shard_reader import read_manifest
from orchestrator.foundation.storage import Storage
from trainables.version import __version__

COMMAND = "python -m benchmarks.phase_map.train --root DATA --out DIR"


def main() -> None:
    options = _parsed()
    with one_sentence():
        facts = make(Path(options.out), Storage.at(options.table), options.contents)
        print(f"{options.table}: {facts['rows']} trainings in {facts['cells']} of {facts['cells_planned']} cells")


def make(out: Path, place: Storage, contents: Sequence[str]) -> dict[str, Any]:
    """Writes the table and returns what is said of its rows."""
    rows = [row for row in map(_read, sorted(out.glob("rows/*/*.json"))) if row is not None]
    if place.exists():
        rows = merged(rows, read_table(place)[0])
    facts = _facts(rows, _scenes(out, contents))
    write_table(place, rows, facts)
    return facts


def _read(file: Path) -> Row | None:
    row = Storage.at(str(file)).read_json()
    return row if isinstance(row, dict) else None


def _scenes(out: Path, contents: Sequence[str]) -> dict[str, int]:
    places = {name: Storage.at(str(out / "shards" / name / "all")) for name in contents}
    return {name: len(read_manifest(place)["scenes"]["train"]) for name, place in places.items()}


def _facts(rows: Sequence[Row], scenes: dict[str, int]) -> dict[str, Any]:
    planned = list(trainings(scenes, NETWORKS))
    configurations = Counter(_cell(row) for row in rows)
    return {
        "command": COMMAND,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "environment": environment("numpy", "pyarrow") | {"rayscale": __version__},
        "seeds": sorted({row["seed"] for row in rows}),
        "axes": {"scenes": SCENES, "steps": STEPS, "networks": NETWORKS, "shifts": SHIFTS, "contents": list(scenes)},
        "degradations": {shift: degradation.to_dict() for shift, degradation in DEGRADATIONS.items()},
        "training_scenes": scenes,
        "rows": len(rows),
        "rows_planned": len(planned),
        "cells": len(configurations),
        "cells_with_the_core": sum(count >= len(CORE) for count in configurations.values()),
        "cells_planned": len({cell for cell, _ in planned}),
        "configurations_per_cell": len(ALL),
        "cpu_hours": round(sum(row["cpu_seconds"] for row in rows) / 3600, 2),
    }


def _cell(row: Row) -> Cell:
    return Cell(row["network"], row["steps"], row["scenes"], row["shift"], row["content"])


def _parsed() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument("--out", required=True, help="folder that train.py wrote")
    parser.add_argument("--table", required=True, help="Parquet file to write, or to add to")
    parser.add_argument("--contents", nargs="+", default=list(DOMAINS), help="domains of the map")
    return parser.parse_args()


if __name__ == "__main__":
    main()
