"""Cells that the tabular benchmark adds to the map: `base`, 200 steps, all scenes, the domain's own degradation.

Its rows have no scores by scene. A configuration that was trained with both seeds is chosen by its score with one of
them and judged by its score with the other, then the other way round.
"""

import io
import json
import math
from collections import defaultdict
from typing import Any

import pyarrow.parquet as pq

from benchmarks.phase_map.plan import OWN, Cell
from benchmarks.phase_map.rows import Row
from benchmarks.phase_map.worth import DEFAULT_CONFIGURATION, CellWorth, Configuration, worth_of
from orchestrator.foundation.storage import Storage

_KEY = b"rayscale-tabular"
_FIRST, _SECOND = "full", "second seed"
"""Parts of the table with all scenes; the names of the second seed's parts begin so."""
_SAME_RATE = 1e-6


def tabular_cells(place: Storage) -> tuple[list[CellWorth], int]:
    """The worths of a table that ``benchmarks/search/tabular/build.py`` wrote, and the number of rows behind them."""
    table = pq.read_table(io.BytesIO(place.read_bytes()))
    facts = json.loads(table.schema.metadata[_KEY])
    by_domain: dict[str, dict[Configuration, dict[int, Row]]] = defaultdict(lambda: defaultdict(dict))
    for row in table.to_pylist():
        if row["part"] == _FIRST or row["part"].startswith(_SECOND):
            by_domain[row["domain"]][_configuration(row)][row["seed"]] = row
    found, used = [], 0
    for domain, configurations in by_domain.items():
        both = {key: rows for key, rows in configurations.items() if len(rows) == 2}
        if DEFAULT_CONFIGURATION in both:
            found.append(_worth(domain, both, facts))
            used += 2 * len(both)
    return found, used


def _worth(domain: str, both: dict[Configuration, dict[int, Row]], facts: dict[str, Any]) -> CellWorth:
    part, budget = facts["domains"][domain]["parts"]["full"], facts["budget"]
    rows = {
        key: {"psnr_choosing": first["objective"], "psnr_judging": second["objective"]}
        for key, (first, second) in ((key, (seeds[min(seeds)], seeds[max(seeds)])) for key, seeds in both.items())
    }
    default = rows[DEFAULT_CONFIGURATION]
    some = next(iter(both[DEFAULT_CONFIGURATION].values()))
    return worth_of(
        Cell("base", budget["steps"], None, OWN, domain),
        rows,
        pixels=budget["steps"] * budget["batch"] * facts["lr_patch"] ** 2,
        training_scenes=part["training_scenes"],
        training_images=part["training_images"],
        validation_scenes=len(part["validation_scenes"]),
        bicubic=some["bicubic"],
        zero_shot=some["zero_shot"],
        default=(default["psnr_choosing"] + default["psnr_judging"]) / 2,
        noise=(default["psnr_judging"] - default["psnr_choosing"]) / math.sqrt(2),
    )


def _configuration(row: Row) -> Configuration:
    rate = row["learning_rate"]
    default = DEFAULT_CONFIGURATION[0]
    rate = default if math.isclose(rate, default, rel_tol=_SAME_RATE) else rate
    return rate, row["lambda_"], row["frozen_depth"], "l2-sp", None
