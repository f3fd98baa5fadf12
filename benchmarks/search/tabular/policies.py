"""Search policies and what one of them does on a table: trial by trial, as a study of one trial at a time would.

A suggestion is drawn from the space's own continuous ranges by the search's own sampler and counts as the nearest cell
(:meth:`tabular.table.DomainTable.cell_of`); the sampler is told that cell's score for what it suggested. A repeated
cell costs a whole trial again: a search never meets the same continuous configuration twice and would train it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import optuna
from optuna.trial import TrialState

from benchmarks.search.tabular.table import Cell, DomainTable
from orchestrator.search.early_stopping import Stopper, Stopping
from orchestrator.search.region import Region
from orchestrator.search.samplers import RepeatableSampler

SAMPLERS = ("gp", "tpe", "random", "qmc", "grid")
STARTS = ("none", "space", "advice", "siblings")
OWN_STARTS = "space"
"""What the search itself starts from where no sibling is searched yet."""


@dataclass(frozen=True, slots=True)
class Policy:
    """How a domain is searched.

    Attributes:
        sampler: One of :data:`SAMPLERS`; ``grid`` tries all cells in random order.
        starts: First trials: ``none``; ``space``, the default fine-tune and the space's own; ``advice``, the default
            fine-tune, what the analysis of the domain advises and the space's own; ``siblings``, the default fine-tune
            and what a search of each other domain found best; ``portfolio``, cells chosen on the other domains.
        stopping: Early stopping; None trains every trial to its end.
        startup_trials: Trials before the sampler's model is used.
        near: Whether suggestions stay around the best trial so far, as the search's do.
    """

    sampler: str
    starts: str
    stopping: Stopping | None = None
    startup_trials: int = 5
    near: bool = False


@dataclass(frozen=True, slots=True)
class Trace:
    """What a policy did, trial by trial.

    Attributes:
        cells: The cell of each trial.
        best: Best score in dB of the trials that were trained to their end, so far.
        cost: Full trainings' worth of evaluations, so far.
        winners: The cell of the best such trial, so far.
    """

    cells: tuple[Cell, ...]
    best: tuple[float, ...]
    cost: tuple[float, ...]
    winners: tuple[Cell, ...]

    @property
    def repeats(self) -> int:
        """Trials whose cell had been tried before."""
        return len(self.cells) - len(set(self.cells))


def replay(table: DomainTable, policy: Policy, seed: int, trials: int, siblings: Sequence[Cell] = ()) -> Trace:
    """Searches a domain's table with a policy.

    Args:
        table: The domain.
        policy: How it is searched.
        seed: Start of the sampler's randomness.
        trials: How many trials.
        siblings: Cells that searches of the other domains found best, or the portfolio, for a policy that starts from
            them.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    region = Region(table.lambda_floor) if policy.near else None
    study = optuna.create_study(direction="maximize", sampler=_sampler(policy, seed, region))
    for point in _first_points(table, policy, seed, siblings):
        study.enqueue_trial(point)
    stopper = Stopper(policy.stopping, table.rungs) if policy.stopping else None
    cells: list[Cell] = []
    best, cost, winners = [-np.inf], [0.0], [(0, 0, 0)]
    for _ in range(trials):
        trial = study.ask(table.distributions)
        cell = table.cell_of(trial.params)
        spent, whole = int(table.spent[cell]), True
        if stopper is not None and not np.isnan(table.curves[cell]).any():
            spent = stopper.stops_at(table.curves[cell].tolist())
            whole = spent == table.rungs
        score = float(table.objective[cell])
        if whole:
            study.tell(trial, score)
        else:
            # Of another fidelity than the final scores: no sampler's model takes a failed trial in.
            study.tell(trial, state=TrialState.FAIL)
        better = whole and score > best[-1]
        cells.append(cell)
        cost.append(cost[-1] + spent / table.rungs)
        best.append(score if better else best[-1])
        winners.append(cell if better else winners[-1])
    return Trace(tuple(cells), tuple(best[1:]), tuple(cost[1:]), tuple(winners[1:]))


def _first_points(table: DomainTable, policy: Policy, seed: int, siblings: Sequence[Cell]) -> list[dict[str, Any]]:
    points = [] if policy.starts == "none" else list(table.starts)
    if policy.starts == "advice":
        points = [table.starts[0], *table.advice, *table.starts[1:]]
    if policy.starts == "siblings":
        tried = {table.cell_of(table.starts[0])}
        new = [cell for cell in dict.fromkeys(siblings) if cell not in tried]
        points = [table.starts[0], *map(table.point, new)]
    if policy.starts == "portfolio":
        points = [table.point(cell) for cell in siblings]
    if policy.sampler == "grid":
        tried = {table.cell_of(point) for point in points}
        cells = [cell for cell in product(*(range(len(axis)) for axis in table.axes)) if cell not in tried]
        order = np.random.default_rng(seed).permutation(len(cells))
        points += [table.point(cells[position]) for position in order]
    return points


def _sampler(policy: Policy, seed: int, region: Region | None) -> optuna.samplers.BaseSampler:
    if policy.sampler == "qmc":
        return optuna.samplers.QMCSampler(seed=seed, scramble=True, warn_independent_sampling=False)
    kind = "random" if policy.sampler == "grid" else policy.sampler
    return RepeatableSampler(kind, seed, policy.startup_trials, region)
