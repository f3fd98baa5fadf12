"""The rule that predicts what a search is worth: a small regression tree for each quantity, and how often it is right.

Each tree is fitted to facts that are known before a search (:class:`orchestrator.analysis.search_worth.SearchFacts`).
It predicts the median of similar cells: a few in which tuning gains much would pull a mean over a threshold that most
do not reach. It is tested on cells of a shift, or of a domain's images, that it was not fitted to.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray
from sklearn.tree import DecisionTreeRegressor

from benchmarks.phase_map.plan import DEFAULT, DEGRADATIONS, OWN, Cell
from benchmarks.phase_map.worth import CellWorth, seed_noise, worth_of_steps
from orchestrator.analysis.search_worth import (
    FEWEST_CELLS,
    Evidence,
    FactSet,
    Fit,
    HeldOut,
    Leaf,
    Quantity,
    SearchFacts,
    Split,
    Verdict,
    facts_of,
    leaf_of,
    verdict_of,
)
from search_spaces import find_space
from trainables.network.architecture import preset

THRESHOLD = 0.02
"""dB from which a difference matters."""

COARSE = 0.1
"""dB, about twice what two trainings of one configuration differ by: a gain that a cell's few trainings can show."""

MORE_STEPS = 5
STEPS_THRESHOLD = 0.1
"""dB from which five times the steps count as worth their compute."""

DEPTHS = (0, 1, 2)
"""Questions on the way to a leaf that are compared; of equally good numbers the least is taken."""

FACTS: dict[FactSet, list[str]] = {
    "stated": [name for name in SearchFacts.__dataclass_fields__ if name != "zero_shot_gain"],
    "measured": list(SearchFacts.__dataclass_fields__),
}

Known = tuple[CellWorth, dict[str, float], float]
"""A cell, its facts and a worth in dB."""
Group = Callable[[CellWorth], str]
Predicted = dict[Quantity, dict[tuple[Cell, int], tuple[float, float]]]
"""By quantity and cell: what trees that were fitted to other groups predict, and what was found, in dB."""
Records = dict[FactSet, dict[str, dict[str, HeldOut]]]
"""How often predictions were right, by set of facts, what was held out (``shift`` or ``content``) and quantity."""

GROUPS: dict[str, Group] = {"shift": lambda each: shift_of(each.cell), "content": lambda each: each.cell.content}


def shift_of(cell: Cell) -> str:
    """The shift of a cell; each domain's own is one of its own."""
    return f"{cell.content}'s own" if cell.shift == OWN else cell.shift


def fitted(found: Sequence[CellWorth], trainings: int) -> tuple[Evidence, dict[float, Records]]:
    """The rule from all cells, and its records for gains of :data:`THRESHOLD` and of :data:`COARSE`."""
    known = known_worths(found)
    predicted = {facts: {name: _predicted(known, facts, group) for name, group in GROUPS.items()} for facts in FACTS}
    records: dict[float, Records] = {
        threshold: {
            facts: {name: _records(known, of_group, threshold) for name, of_group in by_group.items()}
            for facts, by_group in predicted.items()
        }
        for threshold in (THRESHOLD, COARSE)
    }
    evidence = Evidence(
        format=2,
        threshold=THRESHOLD,
        noise=round(seed_noise(found) or 0.0, 4),
        more_steps=MORE_STEPS,
        trainings=trainings,
        cells=len(found),
        networks=sorted({each.cell.network for each in found}),
        most_pixels=max(each.pixels for each in found),
        most_parameters=int(max(_facts(each)["parameters"] for each in found)),
        default_rate=DEFAULT.configuration.learning_rate,
        fits={
            facts: Fit(
                trees={name: tree_of(cells, facts) for name, cells in known.items()},
                held_out=records[THRESHOLD][facts]["shift"],  # type: ignore[typeddict-item]
            )
            for facts in FACTS
        },
    )
    return evidence, records


def known_worths(found: Sequence[CellWorth]) -> dict[Quantity, list[Known]]:
    """By quantity, the cells in which the map knows it."""
    known: dict[Quantity, list[Known]] = {"rate": [], "rest": [], "beyond": [], "steps": []}
    for each in found:
        worth: dict[Quantity, float | None] = {"rate": each.rate, "rest": each.rest, "beyond": each.beyond}
        for name, gain in worth.items():
            if gain is not None:
                known[name].append((each, _facts(each), gain))
    cells = {each.cell: each for each in found}
    for few in sorted({each.cell.steps for each in found}):
        for cell, longer in worth_of_steps(found, few, few * MORE_STEPS).items():
            known["steps"].append((cells[cell], _facts(cells[cell]), longer))
    return known


def tree_of(cells: Sequence[Known], facts: FactSet) -> Leaf | Split:
    """A regression tree, as plain values, with as many questions as predict cells of other shifts best."""
    if not cells:
        return Leaf(median=0.0, low=0.0, high=0.0, cells=0)
    return _tree(cells, facts, min(DEPTHS, key=lambda depth: _error(cells, facts, depth)))


def _error(cells: Sequence[Known], facts: FactSet, depth: int) -> float:
    """Mean absolute error in cells of each shift, predicted from those of the other shifts."""
    errors = []
    for shift in {shift_of(each.cell) for each, *_ in cells}:
        own, others = (
            [known for known in cells if (shift_of(known[0].cell) == shift) is same] for same in (True, False)
        )
        tree = _tree(others, facts, depth) if others else Leaf(median=0.0, low=0.0, high=0.0, cells=0)
        errors += [abs(leaf_of(tree, values)["median"] - gain) for _, values, gain in own]
    return float(np.mean(errors))


def _tree(cells: Sequence[Known], facts: FactSet, depth: int) -> Leaf | Split:
    names = FACTS[facts]
    values = np.array([[of[name] for name in names] for _, of, _ in cells])
    gains = np.array([gain for *_, gain in cells])
    if depth == 0:
        return _leaf(gains)
    model = DecisionTreeRegressor(
        criterion="absolute_error", max_depth=depth, min_samples_leaf=FEWEST_CELLS, random_state=0
    ).fit(values, gains)
    return _plain(model.tree_, names, gains, model.apply(values), 0)


def _leaf(gains: NDArray[np.float64]) -> Leaf:
    low, high = np.quantile(gains, [0.1, 0.9])
    return Leaf(median=_short(np.median(gains)), low=_short(low), high=_short(high), cells=len(gains))


def _plain(tree: Any, names: Sequence[str], gains: NDArray[np.float64], leaf: NDArray[np.int64], node: int) -> Any:
    if tree.children_left[node] == -1:
        return _leaf(gains[leaf == node])
    yes, no = (_plain(tree, names, gains, leaf, int(side[node])) for side in (tree.children_left, tree.children_right))
    return Split(fact=names[tree.feature[node]], at_most=float(f"{tree.threshold[node]:.4g}"), yes=yes, no=no)


def _short(value: float) -> float:
    return round(float(value), 4)


def _predicted(known: dict[Quantity, list[Known]], facts: FactSet, group: Group) -> Predicted:
    return {name: _held_out(cells, facts, group) for name, cells in known.items()}


def _records(known: dict[Quantity, list[Known]], predicted: Predicted, threshold: float) -> dict[str, HeldOut]:
    """How often predictions of at least ``threshold`` dB were right."""
    found: dict[str, HeldOut] = {}
    for name, of_cells in predicted.items():
        limit = STEPS_THRESHOLD if name == "steps" else threshold
        said = [(guess >= limit, gain >= limit) for guess, gain in of_cells.values()]
        found[name] = _record([guess == truth for guess, truth in said], [{truth} for _, truth in said], (False, True))
    parts: tuple[Quantity, ...] = ("rate", "rest", "beyond")
    cells = [cell for cell in predicted["rest"] if all(cell in predicted[name] for name in parts)]
    portfolio = {(each.cell, each.pixels): (each.search or 0.0) - gain for each, _, gain in known["beyond"]}
    worths = [(portfolio[cell], predicted["rate"][cell][1], predicted["rest"][cell][1]) for cell in cells]
    fitting = [_fitting(*worth, threshold) for worth in worths]
    advice = [verdict_of({name: predicted[name][cell][0] for name in parts}, threshold) for cell in cells]
    right = [said in fits for said, fits in zip(advice, fitting, strict=True)]
    return {**found, "verdict": _record(right, fitting, get_args(Verdict))}


def _fitting(portfolio: float, rate: float, rest: float, threshold: float = THRESHOLD) -> set[object]:
    """The verdicts over which no other one would have gained what matters."""
    gains: dict[Verdict, float] = {
        "the portfolio is enough": portfolio,
        "search the rate alone": rate,
        "search all settings": rate + rest,
    }
    return {verdict for verdict, gain in gains.items() if max(gains.values()) - gain < threshold}


def _held_out(cells: Sequence[Known], facts: FactSet, group: Group) -> dict[tuple[Cell, int], tuple[float, float]]:
    """By cell: the tree's prediction, and what was found."""
    found: dict[tuple[Cell, int], tuple[float, float]] = {}
    for name in sorted({group(each) for each, *_ in cells}):
        others = [known for known in cells if group(known[0]) != name]
        if len(others) < 2 * FEWEST_CELLS:
            continue
        tree = tree_of(others, facts)
        for each, values, gain in cells:
            if group(each) == name:
                found[each.cell, each.pixels] = leaf_of(tree, values)["median"], gain
    return found


def _record(right: Sequence[bool], fitting: Sequence[set[Any]], answers: Sequence[object]) -> HeldOut:
    """How many predictions were right, beside the constant answer that is right most often."""
    constants = {answer: sum(answer in fits for fits in fitting) for answer in answers}
    best = max(constants, key=lambda answer: constants[answer])
    return HeldOut(right=sum(right), constant=str(best), constant_right=constants[best], cells=len(right))


def _facts(each: CellWorth) -> dict[str, float]:
    cell = each.cell
    facts = facts_of(
        scenes=each.training_scenes,
        images=each.training_images,
        pixels=each.pixels,
        architecture=preset(cell.network, 4),
        degradation=find_space(cell.content).degradation if cell.shift == OWN else DEGRADATIONS[cell.shift],
        real_pairs=cell.shift == "real pairs",
        zero_shot_gain=each.zero_shot - each.bicubic,
    )
    return asdict(facts)
