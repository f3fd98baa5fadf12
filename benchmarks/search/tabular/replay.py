"""Judges search policies by replaying them on a table that `build.py` wrote.

    python -m benchmarks.search.tabular.replay runs/tabular/table.parquet                       # the GP takes its time
    python -m benchmarks.search.tabular.replay runs/tabular/table.parquet --samplers tpe random # without the GP

Each policy searches each domain with each seed. `advice` is compared where `advice.py` has run. `siblings`
starts from what the search's own policy found in the other domains with the same seed. What a suggestion counts as and
what a repeated one costs: `policies.py`.
"""

import argparse
import hashlib
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from multiprocessing import get_context
from statistics import fmean
from typing import Any

import optuna
import ray
import scipy
import torch

from benchmarks.common.arguments import add_out, make_parser, one_sentence, positive
from benchmarks.common.environment import environment
from benchmarks.common.results import today, write_results
from benchmarks.search.tabular.judging import (
    DEFAULT,
    STOPPINGS,
    data_budgets,
    expected_random_regret,
    quartiles,
    questions,
    rank_correlations,
    regrets,
    seed_noise,
    stopping_effects,
)
from benchmarks.search.tabular.policies import OWN_STARTS, SAMPLERS, STARTS, Policy, Trace, replay
from benchmarks.search.tabular.table import Cell, DomainTable, domain_tables, read_advice, read_table
from benchmarks.search.tabular.telling import describe
from orchestrator.foundation.storage import Storage
from orchestrator.search.early_stopping import Stopping
from trainables.version import __version__

TRIAL_COUNTS = (4, 8, 12, 16, 24, 32)
SIBLING_TRIALS, STOPPING_TRIALS = 24, 24
SLOW_STOPPINGS = (Stopping(2, 2), Stopping(4, 1))
"""Of the GP, whose every suggestion takes a tenth of a second and more."""

Json = dict[str, Any]
Run = tuple[DomainTable, Policy, int, int, tuple[Cell, ...]]
Mapper = Callable[[Callable[[Run], Trace], list[Run]], Iterable[Trace]]
Traces = dict[Policy, dict[str, list[Trace]]]


def main() -> None:
    with one_sentence():
        told = judge(options := _parsed())
    page = describe(told)
    file = write_results(options.out, "tabular-replay", None, data=told, page=page)
    print(page)
    print(file)


def judge(options: argparse.Namespace) -> Json:
    """Replays every policy and says all that is measured of it."""
    place, start = Storage.at(options.table), time.monotonic()
    rows, facts = read_table(place)
    tables = domain_tables(rows, facts, read_advice(place))
    wanted = policies(options.samplers, advised=all(table.advice for table in tables))
    if options.jobs == 1:
        traces = replay_all(tables, wanted, options.seeds, options.trials)
    else:
        with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as pool:
            traces = replay_all(tables, wanted, options.seeds, options.trials, pool.map)
    counts = [count for count in TRIAL_COUNTS if count <= options.trials] or [options.trials]
    stopping_trials = min(STOPPING_TRIALS, options.trials)
    random = traces.get(Policy("random", "none"))
    kept = ("command", "created", "source", "budget", "lr_patch", "validation", "rows", "rows_wanted")
    libraries = f"rayscale {__version__}, optuna {optuna.__version__}, ray {ray.__version__}, scipy {scipy.__version__}"
    return {
        "command": "python -m benchmarks.search.tabular.replay TABLE " + _further(options),
        "date": today(),
        "environment": environment() | {"libraries": libraries},
        "table": {name: facts[name] for name in kept} | {"sha256": hashlib.sha256(place.read_bytes()).hexdigest()},
        "seeds": options.seeds,
        "trial_counts": counts,
        "seconds": time.monotonic() - start,
        "rungs": tables[0].rungs,
        "questions": questions(tables, traces, options.trials),
        "policies": [_policy(tables, policy, of, counts) for policy, of in traces.items() if policy.stopping is None],
        "expected_random_regret": {str(n): fmean(expected_random_regret(table, n) for table in tables) for n in counts},
        "mean_random_regret": {str(n): float(regrets(tables, random, n).mean()) for n in counts} if random else {},
        "stopping_trials": stopping_trials,
        "stopping": [_stopping(each) for each in stopping_effects(tables, traces, stopping_trials)],
        "domains": {table.name: _domain(table, rows) for table in tables},
    }


def policies(samplers: Sequence[str], advised: bool) -> list[Policy]:
    """Every policy that is compared, those whose traces others need first; from advice only where it is known."""
    kinds = [starts for starts in STARTS if advised or starts != "advice"]
    wanted = [Policy(DEFAULT.sampler if DEFAULT.sampler in samplers else samplers[0], OWN_STARTS)]
    for sampler in samplers:
        of_grid = sampler in ("grid", "qmc")
        wanted += [Policy(sampler, starts) for starts in (kinds[:2] if of_grid else kinds)]
        if not of_grid:
            settings = SLOW_STOPPINGS if sampler == "gp" else STOPPINGS
            wanted += [Policy(sampler, "space", stopping) for stopping in settings]
    return list(dict.fromkeys(wanted))


def replay_all(
    tables: Sequence[DomainTable], wanted: Sequence[Policy], seeds: int, trials: int, run: Mapper = map
) -> Traces:
    """Traces of each policy by domain, one for each seed; ``run`` maps a function over runs, as ``map`` does.

    The first policy is what searched the siblings: its winners after 24 trials are handed over.
    """
    first = wanted[0]
    traces: Traces = {first: _replayed(tables, first, seeds, trials, run, {})}
    handed = {
        (table.name, seed): tuple(
            traces[first][other.name][seed].winners[min(SIBLING_TRIALS, trials) - 1]
            for other in tables
            if other is not table
        )
        for table in tables
        for seed in range(seeds)
    }
    for policy in wanted[1:]:
        start = time.monotonic()
        traces[policy] = _replayed(tables, policy, seeds, trials, run, handed)
        print(f"{policy}: {time.monotonic() - start:.1f} s", file=sys.stderr, flush=True)
    return traces


def _replayed(
    tables: Sequence[DomainTable],
    policy: Policy,
    seeds: int,
    trials: int,
    run: Mapper,
    siblings: dict[tuple[str, int], tuple[Cell, ...]],
) -> dict[str, list[Trace]]:
    runs: list[Run] = [
        (table, policy, seed, trials, siblings.get((table.name, seed), ())) for table in tables for seed in range(seeds)
    ]
    found = list(run(_one, runs))
    return {table.name: found[i * seeds : (i + 1) * seeds] for i, table in enumerate(tables)}


def _one(job: Run) -> Trace:
    torch.set_num_threads(1)
    table, policy, seed, trials, siblings = job
    return replay(table, policy, seed, trials, siblings)


def _policy(
    tables: Sequence[DomainTable], policy: Policy, traces: dict[str, list[Trace]], counts: Sequence[int]
) -> Json:
    return {
        "sampler": policy.sampler,
        "starts": policy.starts,
        "startup_trials": policy.startup_trials,
        "regret": {str(n): asdict(quartiles(regrets(tables, traces, n))) for n in counts},
        "regret_by_domain": {
            table.name: {str(n): asdict(quartiles(regrets([table], traces, n))) for n in counts} for table in tables
        },
        "cost": {str(n): fmean(t.cost[n - 1] for each in traces.values() for t in each) for n in counts},
        "repeats": fmean(t.repeats for each in traces.values() for t in each),
    }


def _stopping(each: Json) -> Json:
    policy: Policy = each.pop("policy")
    assert policy.stopping
    return {"sampler": policy.sampler, "starts": policy.starts, **asdict(policy.stopping), **each}


def _domain(table: DomainTable, rows: Sequence[Json]) -> Json:
    of_domain = [row for row in rows if row["domain"] == table.name]
    rate, lambda_, depth = (axis[at] for axis, at in zip(table.axes, table.best_cell, strict=True))
    return {
        "best": {"learning_rate": rate, "lambda_": lambda_, "frozen_depth": depth, "psnr": table.best},
        "zero_shot": of_domain[0]["zero_shot"],
        "bicubic": of_domain[0]["bicubic"],
        "diverged": sum(row["status"] == "diverged" for row in of_domain),
        "seed_noise": seed_noise(rows, table.name),
        "correlations": rank_correlations(table),
        "data_budgets": data_budgets(rows, table.name),
    }


def _further(options: argparse.Namespace) -> str:
    return f"--samplers {' '.join(options.samplers)} --seeds {options.seeds} --trials {options.trials}"


def _parsed() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument("table", help="table.parquet of build.py, a file or s3://")
    parser.add_argument("--samplers", nargs="+", choices=SAMPLERS, default=list(SAMPLERS))
    parser.add_argument("--seeds", type=positive, default=20, help="seeds of each policy and domain (20)")
    parser.add_argument("--trials", type=positive, default=32, help="trials of each search (32)")
    parser.add_argument("--jobs", type=positive, default=1, help="processes (1)")
    add_out(parser)
    return parser.parse_args()


if __name__ == "__main__":
    main()
