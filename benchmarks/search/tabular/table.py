"""The table as one Parquet file whose metadata says all that the rows have in common."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution

from benchmarks.common.table_file import Row, TableKind
from benchmarks.search.tabular.grid import FULL
from orchestrator.foundation.storage import Storage
from trainables.errors import UsageError
from trainables.loops.objective import effective_lambda

FORMAT = 1
ADVICE = "advice.json"
"""The file beside a table that `advice.py` writes."""
_SCHEMA = pa.schema(
    [
        ("domain", pa.string()),
        ("part", pa.string()),
        ("scenes", pa.int32()),
        ("seed", pa.int32()),
        ("learning_rate", pa.float64()),
        ("lambda_", pa.float64()),
        ("frozen_depth", pa.int32()),
        ("status", pa.string()),
        ("psnr", pa.float64()),
        ("objective", pa.float64()),
        ("evaluations", pa.int32()),
        ("curve", pa.list_(pa.float64())),
        ("interpolated", pa.list_(pa.float64())),
        ("bicubic", pa.float64()),
        ("zero_shot", pa.float64()),
        ("seconds", pa.float64()),
        ("cpu_seconds", pa.float64()),
    ]
)

_KIND = TableKind(
    "table of transfer configurations",
    b"rayscale-tabular",
    FORMAT,
    _SCHEMA,
    "build one with benchmarks/search/tabular/build.py",
)

Cell = tuple[int, int, int]
"""Positions of a learning rate, a λ and a frozen depth on a grid's axes."""


def write_table(place: Storage, rows: Sequence[Row], facts: dict[str, Any]) -> None:
    """Writes rows, sorted, and what is said of them all."""
    _KIND.write(place, sorted(rows, key=lambda row: [row[name] for name in _SCHEMA.names[:7]]), facts)


def read_table(place: Storage) -> tuple[list[Row], dict[str, Any]]:
    """Rows of a table and what is said of them all.

    Raises:
        UsageError: If there is none, or of another format.
    """
    return _KIND.read(place)


@dataclass(frozen=True)
class DomainTable:
    """One domain's full grid, looked up by cell.

    Attributes:
        name: The domain.
        axes: Learning rates, λ and frozen depths, ascending.
        objective: What a search is told of each cell, in dB.
        curves: Validation PSNR in dB at each rung; NaN where a cell diverged.
        spent: Evaluations that each cell reached.
        learning_rate: Range that is searched, log scale.
        lambda_: Range that λ is sampled from, log scale.
        lambda_floor: λ below this means exactly 0.
        starts: The default fine-tune, then the space's own starting points, as sampled values.
        advice: What the analysis of the domain's images advises, as sampled values; empty if that is not known.
    """

    name: str
    axes: tuple[tuple[float, ...], tuple[float, ...], tuple[int, ...]]
    objective: NDArray[np.float64]
    curves: NDArray[np.float64]
    spent: NDArray[np.int64]
    learning_rate: tuple[float, float]
    lambda_: tuple[float, float]
    lambda_floor: float
    starts: tuple[dict[str, Any], ...]
    advice: tuple[dict[str, Any], ...] = ()

    @property
    def rungs(self) -> int:
        """Evaluations of a whole training."""
        return self.curves.shape[-1]

    @property
    def best(self) -> float:
        """The table's best score in dB."""
        return float(self.objective.max())

    @property
    def best_cell(self) -> Cell:
        """Where the best score is."""
        rate, lambda_, depth = np.unravel_index(int(self.objective.argmax()), self.objective.shape)
        return int(rate), int(lambda_), int(depth)

    @cached_property
    def distributions(self) -> dict[str, BaseDistribution]:
        """What a study samples from: the space's own continuous ranges."""
        return {
            "learning_rate": FloatDistribution(*self.learning_rate, log=True),
            "lambda_": FloatDistribution(*self.lambda_, log=True),
            "frozen_depth": IntDistribution(self.axes[2][0], self.axes[2][-1]),
        }

    def cell_of(self, sampled: dict[str, Any]) -> Cell:
        """The cell that a suggestion counts as.

        A λ below the floor is the 0 cell; another λ and the learning rate go to the nearest value in log, the frozen
        depth to the nearest one, a tie to the lower.
        """
        lambda_ = effective_lambda(sampled["lambda_"], self.lambda_floor)
        of_lambda = 0 if lambda_ == 0 else 1 + _nearest(np.log(self.axes[1][1:]), np.log(lambda_))
        of_rate = _nearest(np.log(self.axes[0]), np.log(sampled["learning_rate"]))
        return of_rate, of_lambda, _nearest(np.asarray(self.axes[2]), sampled["frozen_depth"])

    def point(self, cell: Cell) -> dict[str, Any]:
        """A suggestion that counts as this cell; λ = 0 is the lowest end of what is sampled."""
        rate, lambda_, depth = (axis[position] for axis, position in zip(self.axes, cell, strict=True))
        return {"learning_rate": rate, "lambda_": lambda_ or self.lambda_[0], "frozen_depth": int(depth)}

    @cached_property
    def shares(self) -> NDArray[np.float64]:
        """Share of uniform random suggestions that count as each cell; sums to 1."""
        rates = _log_shares(self.axes[0], self.learning_rate)
        zero = np.log(self.lambda_floor / self.lambda_[0]) / np.log(self.lambda_[1] / self.lambda_[0])
        above = _log_shares(self.axes[1][1:], (self.lambda_floor, self.lambda_[1]))
        counts = np.zeros(len(self.axes[2]))
        for depth in range(self.axes[2][0], self.axes[2][-1] + 1):
            counts[_nearest(np.asarray(self.axes[2]), depth)] += 1
        lambdas, depths = np.array([zero, *((1 - zero) * above)]), counts / counts.sum()
        shares: NDArray[np.float64] = np.einsum("i,j,k->ijk", rates, lambdas, depths)
        return shares


def read_advice(table: Storage) -> dict[str, list[Row]]:
    """The advised configurations of each domain, from the file beside a table; empty if there is none."""
    told = Storage(table.uri.rpartition("/")[0]).child(ADVICE).read_json() or {"domains": {}}
    return {name: domain["advice"]["points"] for name, domain in told["domains"].items() if domain["advice"]}


def domain_tables(
    rows: Sequence[Row], facts: dict[str, Any], advice: dict[str, list[Row]] | None = None
) -> list[DomainTable]:
    """Every domain's full grid.

    Args:
        rows: The table's rows.
        facts: What is said of them all.
        advice: Advised configurations by domain, where they are known.

    Raises:
        UsageError: If one has rows missing.
    """
    return [
        _domain_table(name, [row for row in rows if row["domain"] == name], facts, (advice or {}).get(name, []))
        for name in facts["domains"]
    ]


def _domain_table(name: str, rows: list[Row], facts: dict[str, Any], advice: list[Row]) -> DomainTable:
    told = facts["domains"][name]
    axes = (tuple(told["learning_rates"]), tuple(told["lambdas"]), tuple(told["frozen_depths"]))
    shape = (len(axes[0]), len(axes[1]), len(axes[2]))
    objective, spent = np.full(shape, np.nan), np.zeros(shape, np.int64)
    curves = np.full((*shape, facts["budget"]["evaluations"]), np.nan)
    for row in rows:
        if row["part"] != FULL:
            continue
        values = (row["learning_rate"], row["lambda_"], row["frozen_depth"])
        cell = tuple(axis.index(value) for axis, value in zip(axes, values, strict=True))
        objective[cell], spent[cell] = row["objective"], row["evaluations"]
        if row["curve"]:
            curves[cell] = row["curve"]
    if missing := int(np.isnan(objective).sum()):
        raise UsageError(
            f"The table has {objective.size - missing} of the {objective.size} rows of {name}'s full grid; a replay "
            "needs them all: go on building it."
        )
    space = told["space"]
    return DomainTable(
        name=name,
        axes=axes,
        objective=objective,
        curves=curves,
        spent=spent,
        learning_rate=tuple(space["learning_rate"]),
        lambda_=tuple(space["lambda_range"]),
        lambda_floor=space["lambda_floor"],
        starts=tuple(space["starts"]),
        advice=tuple({**point, "lambda_": point["lambda_"] or space["lambda_range"][0]} for point in advice),
    )


def _nearest(values: NDArray[Any], wanted: float) -> int:
    return int(np.abs(values - wanted).argmin())


def _log_shares(values: Sequence[float], ends: tuple[float, float]) -> NDArray[np.float64]:
    logs = np.log(values)
    borders = np.array([np.log(ends[0]), *((logs[1:] + logs[:-1]) / 2), np.log(ends[1])])
    shares: NDArray[np.float64] = np.diff(borders) / (borders[-1] - borders[0])
    return shares
