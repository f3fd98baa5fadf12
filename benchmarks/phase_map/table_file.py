"""The map's rows as one Parquet file whose metadata says what they have in common, and what is missing."""

from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa

from benchmarks.common.table_file import TableKind
from benchmarks.phase_map.rows import Row
from orchestrator.foundation.storage import Storage

_TEXT, _NUMBER, _WHOLE = pa.string(), pa.float64(), pa.int32()
SCHEMA = pa.schema(
    [
        ("network", _TEXT),
        ("steps", _WHOLE),
        ("scenes", _WHOLE),
        ("shift", _TEXT),
        ("content", _TEXT),
        ("learning_rate", _NUMBER),
        ("lambda_", _NUMBER),
        ("frozen_depth", _WHOLE),
        ("regularizer", _TEXT),
        ("adapter_rank", _WHOLE),
        ("seed", _WHOLE),
        ("training_scenes", _WHOLE),
        ("training_images", _WHOLE),
        ("status", _TEXT),
        ("psnr_choosing", _NUMBER),
        ("psnr_judging", _NUMBER),
        ("curve", pa.list_(_NUMBER)),
        ("image_scenes", pa.list_(_TEXT)),
        ("image_psnr", pa.list_(_NUMBER)),
        ("image_bicubic", pa.list_(_NUMBER)),
        ("image_zero_shot", pa.list_(_NUMBER)),
        ("batch", _WHOLE),
        ("lr_patch", _WHOLE),
        ("source", _TEXT),
        ("rayscale", _TEXT),
        ("torch", _TEXT),
        ("hardware", _TEXT),
        ("seconds", _NUMBER),
        ("cpu_seconds", _NUMBER),
    ]
)
_SORTED_BY = SCHEMA.names[:11]


_KIND = TableKind("phase map", b"rayscale-phase-map", 1, SCHEMA, "make one with benchmarks/phase_map/table.py")


def write_table(place: Storage, rows: Iterable[Row], facts: dict[str, Any]) -> None:
    """Writes rows, sorted by cell and configuration, and what is said of them all."""
    ordered = sorted(rows, key=lambda row: [(row.get(name) is None, row.get(name)) for name in _SORTED_BY])
    _KIND.write(place, ordered, facts)


def read_table(place: Storage) -> tuple[list[Row], dict[str, Any]]:
    """Rows of a table and what is said of them all.

    Raises:
        UsageError: If there is none, or of another format.
    """
    return _KIND.read(place)


def key_of(row: Row) -> tuple[Any, ...]:
    """What a row is of: cell, configuration, regularizer, seed, size of a step and hardware."""
    return tuple(row.get(name) for name in (*_SORTED_BY, "batch", "lr_patch", "hardware"))


def merged(rows: Sequence[Row], others: Sequence[Row]) -> list[Row]:
    """Both; of two rows of the same, that of the first."""
    return list(({key_of(row): row for row in others} | {key_of(row): row for row in rows}).values())
