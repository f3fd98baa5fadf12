"""What a portfolio and a search beyond it are worth in a domain that neither was chosen on, judged by another seed.

    python -m benchmarks.search.tabular.held_out benchmarks/tables/tabular.parquet

Each domain is held out in turn: the portfolio is the pair of cells with the least mean regret in the other domains. A
policy chooses a cell by the scores of the table's first seed and is judged by the second seed's score of that cell. The
reference is the choice of a search that tries every cell: regret is its judged score less the policy's, and is negative
where chance is with the policy. The search that pauses trains its suggestions to a rung, and only the best of them on.
"""

import argparse
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from statistics import fmean
from typing import Any

import numpy as np
import optuna
import torch
from numpy.typing import NDArray

from benchmarks.common.arguments import add_out, command, make_parser, one_sentence, positive
from benchmarks.common.environment import environment
from benchmarks.common.results import today, write_results
from benchmarks.search.tabular.grid import SECOND_SEED, SECOND_SEED_FROZEN
from benchmarks.search.tabular.policies import Policy, replay
from benchmarks.search.tabular.table import Cell, DomainTable, Row, domain_tables, read_table
from orchestrator.foundation.storage import Storage
from orchestrator.search.region import Region
from orchestrator.search.samplers import seed_of_study
from trainables.errors import UsageError

COSTS = (2, 4, 6, 8, 12)
"""Full trainings after which policies are judged."""

POLICIES = {
    "portfolio, then random near the best": Policy("random", "portfolio", startup_trials=2, near=True),
    "portfolio, then TPE near the best": Policy("tpe", "portfolio", startup_trials=5, near=True),
    "portfolio, then GP near the best": Policy("gp", "portfolio", startup_trials=5, near=True),
    "portfolio, then GP anywhere": Policy("gp", "portfolio", startup_trials=5),
    "GP from the space's starts (version 0.2)": Policy("gp", "space", startup_trials=5),
    "TPE from the space's starts": Policy("tpe", "space", startup_trials=5),
    "random": Policy("random", "none"),
}

PAUSES = ((8, 2, 2), (16, 2, 2), (16, 2, 4))
"""Suggestions, rung at which they pause (of 8), and how many of them are trained on."""


@dataclass(frozen=True, slots=True)
class Judge:
    """Scores of a domain's cells with the second seed.

    Attributes:
        scores: In dB; NaN where the cell was not trained again.
        offset: Mean difference in dB of the second seed's scores from the first's.
    """

    scores: NDArray[np.float64]
    offset: float

    def score(self, table: DomainTable, cell: Cell) -> float:
        """The second seed's score; the first's moved by the mean difference where a cell was trained once."""
        own = float(self.scores[cell])
        return float(table.objective[cell]) + self.offset if np.isnan(own) else own


def main() -> None:
    with one_sentence():
        data = judged(_options())
    page = describe(data)
    print(page)
    print(write_results(_options().out, "tabular-held-out", None, data=data, page=page))


def judged(options: argparse.Namespace) -> dict[str, Any]:
    """All figures of the page."""
    rows, facts = read_table(Storage.at(options.table))
    tables = domain_tables(rows, facts)
    judges = {table.name: judge_of(table, rows) for table in tables}
    portfolios = {table.name: portfolio_of([other for other in tables if other is not table]) for table in tables}
    start = time.monotonic()
    chosen = {name: _single(tables, cells) for name, cells in _fixed(tables, portfolios).items()}
    jobs = [(policy, table, seed, portfolios[table.name]) for policy in POLICIES.values() for table in tables
            for seed in range(options.seeds)]  # fmt: skip
    with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as pool:
        traces = list(pool.map(_replayed, jobs, chunksize=4))
    by_policy = len(tables) * options.seeds
    for number, name in enumerate(POLICIES):
        part = traces[number * by_policy : (number + 1) * by_policy]
        chosen[name] = {
            cost: {table.name: [trace[cost - 1] for trace in part[i * options.seeds : (i + 1) * options.seeds]]
                   for i, table in enumerate(tables)}
            for cost in COSTS
        }  # fmt: skip
    costs: dict[str, float] = {}
    for count, rung, promoted in PAUSES:
        for perfect in (False, True):
            name = f"portfolio, {count} near the best paused at {rung}/8, {promoted} trained on"
            name += ", chosen by their final scores (a bound)" * perfect
            costs[name] = 2 + count * rung / 8 + promoted * (1 - rung / 8)
            chosen[name] = {
                costs[name]: {
                    table.name: [
                        paused(table, portfolios[table.name], seed, count, rung, promoted, perfect)
                        for seed in range(options.seeds)
                    ]
                    for table in tables
                }
            }
    return {
        "command": command("search.tabular.held_out"),
        "date": today(),
        "environment": environment() | {"libraries": f"optuna {optuna.__version__}"},
        "seeds": options.seeds,
        "seconds": time.monotonic() - start,
        "portfolios": {
            name: [list(tables[0].point(cell).values()) for cell in cells] for name, cells in portfolios.items()
        },
        "portfolio_of_all": [list(tables[0].point(cell).values()) for cell in portfolio_of(tables)],
        "noise": {name: _noise(table, judges[name]) for name, table in zip(judges, tables, strict=True)},
        "policies": [
            {"name": name, "cost": cost, **_regret(tables, judges, cells)}
            for name, by_cost in chosen.items()
            for cost, cells in by_cost.items()
        ],
    }


def judge_of(table: DomainTable, rows: Sequence[Row]) -> Judge:
    """The second seed's scores of a domain.

    Raises:
        UsageError: If the table has none.
    """
    scores = np.full(table.objective.shape, np.nan)
    for row in rows:
        if row["domain"] == table.name and row["part"] in (SECOND_SEED, SECOND_SEED_FROZEN) and row["psnr"] is not None:
            values = (row["learning_rate"], row["lambda_"], row["frozen_depth"])
            scores[tuple(axis.index(value) for axis, value in zip(table.axes, values, strict=True))] = row["psnr"]
    both = scores - table.objective
    if np.isnan(both).all():
        raise UsageError(f"The table has no second seed of {table.name}; go on building it.")
    return Judge(scores, float(np.nanmean(both)))


def portfolio_of(tables: Sequence[DomainTable], size: int = 2) -> tuple[Cell, ...]:
    """The cells, at most two, with the least mean regret in some domains if the better one is taken in each."""
    regrets = np.stack([(table.best - table.objective).ravel() for table in tables])
    shape = tables[0].objective.shape
    if size == 1:
        return (_cell(int(regrets.mean(0).argmin()), shape),)
    pairs = np.minimum(regrets[:, :, None], regrets[:, None]).mean(0)
    first, second = np.unravel_index(int(pairs.argmin()), pairs.shape)
    return tuple(sorted((_cell(int(first), shape), _cell(int(second), shape))))


def paused(
    table: DomainTable, portfolio: Sequence[Cell], seed: int, count: int, rung: int, promoted: int, perfect: bool
) -> Cell:
    """Winner by the first seed of the portfolio and of those suggestions that were trained on.

    Args:
        table: The domain.
        portfolio: Cells that are trained to their end.
        seed: Seed of the suggestions.
        count: Suggestions, random and near the portfolio's best.
        rung: Evaluation at which they pause.
        promoted: How many of them are trained on: the best at the rung.
        perfect: Whether the final scores choose them instead, as no model of learning curves could do better.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    best = max(portfolio, key=lambda cell: table.objective[cell])
    space = Region(table.lambda_floor).around(table.point(best), table.distributions)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    cells = [table.cell_of(study.ask(space).params) for _ in range(count)]
    early = table.objective if perfect else table.curves[..., rung - 1]
    kept = sorted(dict.fromkeys(cells), key=lambda cell: -float(np.nan_to_num(early[cell], nan=-np.inf)))[:promoted]
    return max((*portfolio, *kept), key=lambda cell: table.objective[cell])


def describe(data: dict[str, Any]) -> str:
    """The page."""
    domains = list(data["noise"])
    lines = [f"# Portfolio and search in a held-out domain, {data['date']}", "", f"Command: `{data['command']}`", ""]
    lines += [f"- {name}: {value}" for name, value in data["environment"].items()]
    noise = ", ".join(f"{name} {value:.3f}" for name, value in data["noise"].items())
    lines += [
        f"- seeds 0 to {data['seeds'] - 1} of the samplers in each domain; {data['seconds']:.0f} s",
        f"- standard deviation of a score over training seeds, in dB: {noise}",
        "",
        "Cells are chosen by the first training seed and judged by the second. Regret in dB against the judged choice "
        "of a search of all 150 cells: mean over domains and samplers' seeds, then by domain. Cost in full trainings. "
        "*Judged by moving*: share of choices whose cell has one seed only; its score is moved by the mean difference "
        "of the seeds.",
        "",
        f"| policy | cost | mean | {' | '.join(domains)} | chosen and judged by one seed | judged by moving |",
        "|---|---:|---:|" + "---:|" * (len(domains) + 2),
    ]
    for one in data["policies"]:
        by_domain = " | ".join(f"{one['domains'][name]:.4f}" for name in domains)
        lines.append(
            f"| {one['name']} | {one['cost']:g} | **{one['mean']:.4f}** | {by_domain} | {one['same_seed']:.4f} | "
            f"{one['moved']:.0%} |"
        )
    lines += ["", "Portfolios, as (learning rate, sampled λ, frozen depth):", ""]
    for name, cells in [*data["portfolios"].items(), ("all domains", data["portfolio_of_all"])]:
        chosen = " and ".join("({:.3g}, {:.2g}, {:g})".format(*cell) for cell in cells)
        lines.append(f"- {'held out: ' * (name in data['portfolios'])}{name}: {chosen}")
    return "\n".join(lines) + "\n"


def _fixed(tables: Sequence[DomainTable], portfolios: dict[str, tuple[Cell, ...]]) -> dict[str, dict[str, list[Cell]]]:
    """Cells of policies that sample nothing, by domain."""
    old = tables[0].cell_of(tables[0].starts[0] | {"learning_rate": 1e-4})
    one = {t.name: portfolio_of([other for other in tables if other is not t], 1) for t in tables}
    return {
        "default fine-tune of version 0.2 (1e-4)": {table.name: [old] for table in tables},
        "default fine-tune (the portfolio's first)": {table.name: [portfolios[table.name][0]] for table in tables},
        "best cell of the other domains": {table.name: [*one[table.name]] for table in tables},
        "portfolio": {table.name: [*portfolios[table.name]] for table in tables},
    }


def _single(tables: Sequence[DomainTable], cells: dict[str, list[Cell]]) -> dict[float, dict[str, list[Cell]]]:
    cost = float(len(cells[tables[0].name]))
    return {cost: {t.name: [max(cells[t.name], key=lambda cell: t.objective[cell])] for t in tables}}


def _replayed(job: tuple[Policy, DomainTable, int, tuple[Cell, ...]]) -> tuple[Cell, ...]:
    torch.set_num_threads(1)
    policy, table, seed, portfolio = job
    return replay(table, policy, seed_of_study(seed, table.name), COSTS[-1], portfolio).winners


def _regret(
    tables: Sequence[DomainTable], judges: dict[str, Judge], cells: Mapping[str, Sequence[Cell]]
) -> dict[str, Any]:
    by_domain, same, moved = {}, [], []
    for table in tables:
        judge = judges[table.name]
        reference = judge.score(table, table.best_cell)
        by_domain[table.name] = reference - fmean(judge.score(table, cell) for cell in cells[table.name])
        same.append(table.best - fmean(float(table.objective[cell]) for cell in cells[table.name]))
        moved.append(fmean(float(np.isnan(judge.scores[cell])) for cell in cells[table.name]))
    return {
        "mean": fmean(by_domain.values()),
        "domains": by_domain,
        "same_seed": fmean(same),
        "moved": fmean(moved),
    }


def _noise(table: DomainTable, judge: Judge) -> float:
    """Standard deviation of one training's score over seeds, from cells with two."""
    return float(np.sqrt(np.nanmean((judge.scores - table.objective) ** 2) / 2))


def _cell(position: int, shape: tuple[int, ...]) -> Cell:
    rate, lambda_, depth = np.unravel_index(position, shape)
    return int(rate), int(lambda_), int(depth)


def _options() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument("table", help="table.parquet of build.py, a file or s3://")
    parser.add_argument("--seeds", type=positive, default=20, help="seeds of each sampler and domain (20)")
    parser.add_argument("--jobs", type=positive, default=1, help="processes (1)")
    add_out(parser)
    return parser.parse_args()


if __name__ == "__main__":
    main()
