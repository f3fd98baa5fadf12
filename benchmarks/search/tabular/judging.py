"""Regret, cost and rank correlation of replayed policies, and the two questions that a table answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau, spearmanr

from benchmarks.search.tabular.grid import FULL, SECOND_SEED
from benchmarks.search.tabular.policies import OWN_STARTS, Policy, Trace
from benchmarks.search.tabular.table import DomainTable
from orchestrator.search.early_stopping import Stopping

REGRET_LIMIT_DB = 0.02
DEFAULT = Policy("gp", OWN_STARTS)
"""The search's own: see orchestrator.experiment.settings.Search and orchestrator.jobs.study_starts."""
STOPPINGS = tuple(Stopping(factor, grace) for factor in (2, 4) for grace in (1, 2, 4))

Row = dict[str, Any]
Results = Mapping[Policy, Mapping[str, Sequence[Trace]]]
"""Traces by policy and domain, one for each seed."""


@dataclass(frozen=True, slots=True)
class Quartiles:
    """Median and quartiles of regret in dB over domains and seeds."""

    low: float
    median: float
    high: float


def regrets(tables: Sequence[DomainTable], traces: Mapping[str, Sequence[Trace]], trials: int) -> NDArray[np.float64]:
    """Regret in dB against the table's best after so many trials: (domains, seeds)."""
    return np.array([[table.best - trace.best[trials - 1] for trace in traces[table.name]] for table in tables])


def quartiles(values: NDArray[np.float64]) -> Quartiles:
    """Quartiles of all values."""
    return Quartiles(*(float(value) for value in np.quantile(values, (0.25, 0.5, 0.75))))


def expected_random_regret(table: DomainTable, trials: int) -> float:
    """Exact mean regret in dB of so many independent random suggestions, from each cell's share of the space."""
    order = np.argsort(table.objective, axis=None)
    scores, shares = table.objective.ravel()[order], table.shares.ravel()[order]
    none_better = np.clip(np.cumsum(shares), 0, 1) ** trials
    return float(table.best - np.sum(scores * np.diff(none_better, prepend=0.0)))


def rank_correlations(table: DomainTable) -> list[dict[str, float]]:
    """Spearman's ρ and Kendall's τ of each rung with the final score, over all cells and over the best quarter."""
    curves = table.curves.reshape(-1, table.rungs)
    curves = curves[~np.isnan(curves).any(1)]
    final = curves[:, -1]
    best = final >= np.quantile(final, 0.75)
    return [
        {
            "evaluation": rung + 1,
            "spearman": float(spearmanr(curves[:, rung], final).statistic),
            "kendall": float(kendalltau(curves[:, rung], final).statistic),
            "spearman_best_quarter": float(spearmanr(curves[best, rung], final[best]).statistic),
        }
        for rung in range(table.rungs)
    ]


def stopping_effects(tables: Sequence[DomainTable], results: Results, trials: int) -> list[dict[str, Any]]:
    """What each early stopping saves and costs against the same policy and seeds without it."""
    told = []
    for policy, traces in results.items():
        if policy.stopping is None:
            continue
        whole = results[Policy(policy.sampler, policy.starts)]
        added = regrets(tables, traces, trials) - regrets(tables, whole, trials)
        cost = np.array([[t.cost[trials - 1] for t in traces[table.name]] for table in tables])
        before = np.array([[t.cost[trials - 1] for t in whole[table.name]] for table in tables])
        told.append(
            {
                "policy": policy,
                "mean_regret_added_db": float(added.mean()),
                "median_regret_db": quartiles(regrets(tables, traces, trials)).median,
                "cost": float(cost.mean()),
                "saved": float(1 - cost.mean() / before.mean()),
            }
        )
    return told


def questions(tables: Sequence[DomainTable], results: Results, trials: int) -> list[dict[str, Any]]:
    """The two claims, answered from the replays; None where the replay has not enough trials or policies."""

    def median(policy: Policy, count: int) -> float | None:
        return quartiles(regrets(tables, results[policy], count)).median if known(policy, count) else None

    def known(policy: Policy, count: int) -> bool:
        return policy in results and count <= trials

    own, random = median(DEFAULT, 24), median(Policy("random", "none"), 24)
    warm, cold, later = (
        median(Policy("gp", starts), count) for starts, count in (("siblings", 8), ("none", 16), ("none", 24))
    )
    first = None if own is None or random is None else own <= REGRET_LIMIT_DB and own <= random / 2
    return [
        {
            "question": f"The search's own policy has a median regret of at most {REGRET_LIMIT_DB} dB at 24 trials, "
            "and at most half of random's",
            "values": {"own at 24": own, "random at 24": random},
            "answer": first,
        },
        {
            "question": "Starts from sibling domains reach at 8 trials what a search without starts reaches at 16",
            "values": {"siblings at 8": warm, "no starts at 16": cold, "no starts at 24": later},
            "answer": None if warm is None or cold is None else warm <= cold,
        },
    ]


def seed_noise(rows: Sequence[Row], domain: str) -> float | None:
    """Standard deviation in dB of one training's score over seeds, from the cells trained with two; None without any.

    A difference of two scores varies √2 times as much.
    """
    scores: dict[tuple[Any, ...], dict[str, float]] = {}
    for row in rows:
        if row["domain"] == domain and row["part"] in (FULL, SECOND_SEED) and row["psnr"] is not None:
            cell = (row["learning_rate"], row["lambda_"], row["frozen_depth"])
            scores.setdefault(cell, {})[row["part"]] = row["psnr"]
    pairs = [each for each in scores.values() if len(each) == 2]
    if not pairs:
        return None
    return float(np.sqrt(np.mean([(each[FULL] - each[SECOND_SEED]) ** 2 for each in pairs]) / 2))


def data_budgets(rows: Sequence[Row], domain: str) -> list[dict[str, Any]]:
    """The best row of each part that differs in training scenes, its gain, and what λ > 0 brings there."""
    told = []
    of_domain = [row for row in rows if row["domain"] == domain and row["psnr"] is not None]
    for part in dict.fromkeys(row["part"] for row in of_domain if row["part"] != SECOND_SEED):
        there = [row for row in of_domain if row["part"] == part]
        best = max(there, key=lambda row: row["psnr"])
        zero = [row["psnr"] for row in there if row["lambda_"] == 0]
        regularised = [row["psnr"] for row in there if row["lambda_"] > 0]
        gain = max(regularised) - max(zero) if zero and regularised else None
        told.append(
            {
                "part": part,
                "scenes": best["scenes"],
                "best": {name: best[name] for name in ("learning_rate", "lambda_", "frozen_depth", "psnr")},
                "over_zero_shot": best["psnr"] - best["zero_shot"],
                "over_bicubic": best["psnr"] - best["bicubic"],
                "lambda_brings": gain,
                "interpolation_brings": max(best["interpolated"]) - best["psnr"],
            }
        )
    return sorted(told, key=lambda each: each["scenes"])
