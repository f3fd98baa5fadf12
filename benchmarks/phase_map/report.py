"""What tuning is worth by the phase map: a page, a figure, and the rule that `rayscale plan` and `analyze` state.

    python -m benchmarks.phase_map.report --table benchmarks/tables/phase_map.parquet

The cells of the tabular benchmark that were trained with two seeds are added (tabular_cells.py).
Every worth is judged on validation scenes that did not choose (worth.py). The rule is written to
``orchestrator/analysis/search_worth.json``; its record is of cells of a shift that it was not fitted to.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.common.arguments import add_out, make_parser, one_sentence
from benchmarks.common.results import ONE_THREAD, RESULTS, today, write_results
from benchmarks.phase_map.figure import TITLES, by_place, draw
from benchmarks.phase_map.plan import NETWORKS, OWN, SHIFTS, STEPS
from benchmarks.phase_map.rule import STEPS_THRESHOLD, THRESHOLD, Known, Records, fitted, known_worths
from benchmarks.phase_map.table_file import read_table
from benchmarks.phase_map.tabular_cells import tabular_cells
from benchmarks.phase_map.worth import CellWorth, seed_noise, worths
from orchestrator.analysis import search_worth
from orchestrator.analysis.search_worth import Evidence, HeldOut, Quantity
from orchestrator.foundation.storage import Storage

TABULAR = RESULTS.parent / "tables" / "tabular.parquet"
RULE = Path(search_worth.__file__).with_name(search_worth.FILE)
FIGURE = "phase-map"
_ANSWERS = {"False": "no", "True": "yes"}
_COLUMNS: dict[Quantity, str] = {
    "rate": "rate",
    "rest": "λ and depth",
    "beyond": "beyond the portfolio",
    "steps": "five times the steps",
}
FEWEST_PLACES = 9
"""Shifts with numbers of scenes that make a row of the figure."""


def main() -> None:
    options = _parsed()
    with one_sentence():
        rows, facts = read_table(Storage.at(str(options.table)))
        further, used = tabular_cells(Storage.at(str(options.tabular)))
        found = [*worths(rows), *further]
        evidence, records = fitted(found, len(rows) + used)
        known = known_worths(found)
        page = "\n".join(_page(found, known, facts, evidence, records)) + "\n"
        data = {
            "facts": facts,
            "rule": evidence,
            "records": records[THRESHOLD],
            "cells": [_told(each) for each in found],
        }
        written = write_results(options.out, FIGURE, ONE_THREAD, data=data, page=page)
        draw(_figure_rows(known), _note(found, evidence), options.out / FIGURE)
        options.rule.write_text(json.dumps(evidence, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        print(f"{written}; {options.rule}")


def _figure_rows(known: dict[Quantity, list[Known]]) -> dict[str, dict[Quantity, Any]]:
    """Panels by number of steps, over all networks."""
    rows = {}
    for steps in STEPS:
        panels = {
            name: by_place([((e.cell.shift, e.cell.scenes), gain) for e, _, gain in cells if e.cell.steps == steps])
            for name, cells in known.items()
        }
        if len(panels["rate"]) >= FEWEST_PLACES:
            networks = sorted({e.cell.network for e, *_ in known["rate"] if e.cell.steps == steps}, key=NETWORKS.index)
            rows[f"{steps} steps ({', '.join(networks)})"] = panels
    return rows


def _note(found: Sequence[CellWorth], evidence: Evidence) -> str:
    return (
        f"dB of PSNR, judged by scenes or seeds that did not choose; bold: {THRESHOLD} dB or more. {len(found)} cells, "
        f"{evidence['trainings']} trainings;\ntwo trainings of one configuration differ by {evidence['noise']:.2f} dB "
        "(standard deviation over seeds). Dots: not trained yet."
    )


def _page(
    found: Sequence[CellWorth],
    known: dict[Quantity, list[Known]],
    facts: dict[str, Any],
    evidence: Evidence,
    records: dict[float, Records],
) -> Iterator[str]:
    machine = facts["environment"]
    yield "# Phase map: what tuning a fine-tuning is worth, ×4"
    yield ""
    yield (
        f"{today()}, `{facts['command']}`, {machine['hardware']}, {machine['versions']}, commit {machine['commit']}. "
        f"{facts['rows']} of {facts['rows_planned']} planned trainings ({facts['cpu_hours']} CPU hours), in "
        f"{facts['cells']} of {facts['cells_planned']} planned cells. With the cells `{OWN}` of the tabular benchmark, "
        f"{len(found)} cells have the default fine-tune, from {evidence['trainings']} trainings. "
        f"Seeds {', '.join(map(str, facts['seeds']))}."
    )
    yield ""
    yield (
        f"A second seed of the default differs by {seed_noise(found) or 0:.3f} dB (standard deviation of one training, "
        "pooled). Worths are in dB: chosen on one half of the validation scenes, judged on the other, and the other "
        "way round (the tabular benchmark's: chosen with one seed, judged with the other). "
        "Mean, and in brackets the values that a tenth of the cells lie below and above."
    )
    yield ""
    yield from _table(found, known)
    yield ""
    yield "| rule | facts | right, shift left out | right, domain left out | best constant, shift left out |"
    yield "|---|---|---:|---:|---:|"
    for threshold, of_threshold in records.items():
        yield from _records(of_threshold, threshold)
    yield ""
    yield (
        "Two judgements of one cell, by the one half of its scenes and by the other, agree whether a gain is reached "
        "as often as this. They share their trainings, so judgements of separate trainings would agree less often."
    )
    yield ""
    yield from _agreement(known, list(records))
    yield ""
    for kind, fit in evidence["fits"].items():
        for quantity, tree in fit["trees"].items():
            yield f"- {TITLES[quantity].replace(chr(10), ' ')}, {kind} facts: {_in_words(tree)}"


def _records(records: Records, threshold: float) -> Iterator[str]:
    names = {"rate": f"rate ≥ {threshold} dB", "rest": f"λ and depth ≥ {threshold} dB"}
    names |= {"beyond": f"a search beyond the portfolio ≥ {threshold} dB"}
    names |= {"verdict": f"what to search: nothing else gains {threshold} dB more"}
    if threshold == THRESHOLD:
        names |= {"steps": f"five times the steps ≥ {STEPS_THRESHOLD} dB"}
    for name, title in names.items():
        for kind, by_group in records.items():
            shift, content = by_group["shift"][name], by_group["content"][name]
            constant = f"{_share(shift, 'constant_right')}: {_ANSWERS.get(shift['constant'], shift['constant'])}"
            yield f"| {title} | {kind} | {_share(shift)} | {_share(content)} | {constant} |"


def _agreement(known: dict[Quantity, list[Known]], thresholds: Sequence[float]) -> Iterator[str]:
    columns = {name: title for name, title in _COLUMNS.items() if name != "steps"}  # for which nothing was chosen
    yield f"| gain | {' | '.join(columns.values())} |"
    yield "|---|---:|---:|---:|"
    for threshold in thresholds:
        shares = []
        for name in columns:
            said = [[gain >= threshold for gain in each.both_ways[name]] for each, *_ in known[name]]
            shares.append(_of_cells(sum(first == second for first, second in said), len(said)))
        yield f"| ≥ {threshold} dB | {' | '.join(shares)} |"


def _table(found: Sequence[CellWorth], known: dict[Quantity, list[Known]]) -> Iterator[str]:
    yield f"| {' | '.join(('cells', 'number', 'default − zero-shot', *_COLUMNS.values()))} |"
    yield "|---|---:|---:|---:|---:|---:|---:|"
    groups = {
        f"{network}, {steps} steps": [e for e in found if (e.cell.network, e.cell.steps) == (network, steps)]
        for network in NETWORKS
        for steps in STEPS
    }
    groups |= {shift: [e for e in found if e.cell.shift == shift] for shift in (*SHIFTS, OWN)}
    groups |= {
        f"{count} training scenes": [e for e in found if e.cell.scenes == count]
        for count in sorted({e.cell.scenes for e in found if e.cell.scenes is not None})
    }
    groups |= {"all training scenes": [e for e in found if e.cell.scenes is None], "all cells": list(found)}
    for name, cells in groups.items():
        if not cells:
            continue
        inside = {each.cell for each in cells}
        worth = [_spread([g for e, _, g in known[q] if e.cell in inside]) for q in _COLUMNS]
        gain = _spread([each.default - each.zero_shot for each in cells])
        yield f"| {name} | {len(cells)} | {gain} | {' | '.join(worth)} |"


def _spread(values: Sequence[float]) -> str:
    if not values:
        return "–"
    ordered = sorted(values)
    low, high = (ordered[round(share * (len(ordered) - 1))] for share in (0.1, 0.9))
    return f"{fmean(ordered):+.3f} ({low:+.2f}, {high:+.2f}; {len(ordered)})"


def _share(record: HeldOut, key: str = "right") -> str:
    return _of_cells(int(record[key]), record["cells"])  # type: ignore[literal-required]


def _of_cells(count: int, cells: int) -> str:
    return f"{count} of {cells} ({count / max(cells, 1):.0%})"


def _in_words(tree: Any) -> str:
    if "fact" not in tree:
        return f"{tree['median']:+.3f} dB ({tree['cells']} cells)"
    name = tree["fact"].replace("_", " ")
    yes, no = _in_words(tree["yes"]), _in_words(tree["no"])
    return f"[{name} ≤ {tree['at_most']:g}: {yes}; else {no}]"


def _told(each: CellWorth) -> dict[str, Any]:
    values = {name: getattr(each, name) for name in CellWorth.__slots__ if name not in ("cell", "both_ways")}
    cell = {name: getattr(each.cell, name) for name in type(each.cell).__slots__}
    return cell | {name: round(value, 4) if isinstance(value, float) else value for name, value in values.items()}


def _parsed() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument("--table", required=True, type=Path, help="Parquet file that table.py made")
    parser.add_argument("--tabular", type=Path, default=TABULAR, help="table of the tabular benchmark")
    parser.add_argument("--rule", type=Path, default=RULE, help=f"file of the rule ({RULE.name} of the package)")
    add_out(parser)
    return parser.parse_args()


if __name__ == "__main__":
    main()
