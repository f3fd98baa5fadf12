"""The rule that predicts what a search is worth: a small regression tree for each quantity, and how often it is right.

Each tree is fitted to facts that are known before a search (:class:`orchestrator.analysis.search_worth.SearchFacts`).
It is tested on cells of a shift, or of a domain's images, that it was not fitted to.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.tree import DecisionTreeRegressor

from benchmarks.phase_map.plan import DEFAULT, DEGRADATIONS, OWN, Cell
from benchmarks.phase_map.worth import CellWorth, seed_noise, worth_of_steps
from orchestrator.analysis.search_worth import (
    FEWEST_CELLS,
    Evidence,
    HeldOut,
    Leaf,
    Quantity,
    SearchFacts,
    Split,
    facts_of,
    leaf_of,
    verdict_of,
)
from search_spaces import find_space
from trainables.network.architecture import preset

THRESHOLD = 0.02
"""dB from which a difference matters."""

MORE_STEPS = 5
STEPS_THRESHOLD = 0.1
"""dB from which five times the steps count as worth their compute."""

DEPTH = 2
"""Questions on the way to a leaf."""

Known = tuple[CellWorth, dict[str, float], float]
"""A cell, its facts and a worth in dB."""
Group = Callable[[CellWorth], str]

GROUPS: dict[str, Group] = {"shift": lambda each: shift_of(each.cell), "content": lambda each: each.cell.content}


def shift_of(cell: Cell) -> str:
    """The shift of a cell; each domain's own is one of its own."""
    return f"{cell.content}'s own" if cell.shift == OWN else cell.shift


def fitted(found: Sequence[CellWorth], trainings: int) -> tuple[Evidence, dict[str, dict[str, HeldOut]]]:
    """The rule from all cells, and its record by what was held out: ``shift`` or ``content``."""
    known = known_worths(found)
    records = {name: _records(known, group) for name, group in GROUPS.items()}
    evidence = Evidence(
        format=1,
        threshold=THRESHOLD,
        noise=round(seed_noise(found) or 0.0, 4),
        more_steps=MORE_STEPS,
        trainings=trainings,
        cells=len(found),
        networks=sorted({each.cell.network for each in found}),
        most_pixels=max(each.pixels for each in found),
        most_parameters=int(max(_facts(each)["parameters"] for each in found)),
        default_rate=DEFAULT.configuration.learning_rate,
        trees={name: tree_of(cells) for name, cells in known.items()},
        held_out=records["shift"],  # type: ignore[typeddict-item]
    )
    return evidence, records


def known_worths(found: Sequence[CellWorth]) -> dict[Quantity, list[Known]]:
    """By quantity, the cells in which the map knows it."""
    known: dict[Quantity, list[Known]] = {"rate": [], "rest": [], "steps": []}
    for each in found:
        if each.rate is not None:
            known["rate"].append((each, _facts(each), each.rate))
        if each.rest is not None:
            known["rest"].append((each, _facts(each), each.rest))
    cells = {each.cell: each for each in found}
    for few in sorted({each.cell.steps for each in found}):
        for cell, gain in worth_of_steps(found, few, few * MORE_STEPS).items():
            known["steps"].append((cells[cell], _facts(cells[cell]), gain))
    return known


def tree_of(cells: Sequence[Known]) -> Leaf | Split:
    """A regression tree of at most :data:`DEPTH` questions, as plain values."""
    if not cells:
        return Leaf(mean=0.0, low=0.0, high=0.0, cells=0)
    names = list(SearchFacts.__dataclass_fields__)
    facts = np.array([[values[name] for name in names] for _, values, _ in cells])
    gains = np.array([gain for *_, gain in cells])
    model = DecisionTreeRegressor(max_depth=DEPTH, min_samples_leaf=FEWEST_CELLS, random_state=0).fit(facts, gains)
    return _plain(model.tree_, names, gains, model.apply(facts), 0)


def _plain(tree: Any, names: Sequence[str], gains: NDArray[np.float64], leaf: NDArray[np.int64], node: int) -> Any:
    if tree.children_left[node] == -1:
        own = gains[leaf == node]
        low, high = np.quantile(own, [0.1, 0.9])
        return Leaf(mean=_short(own.mean()), low=_short(low), high=_short(high), cells=len(own))
    yes, no = (_plain(tree, names, gains, leaf, int(side[node])) for side in (tree.children_left, tree.children_right))
    return Split(fact=names[tree.feature[node]], at_most=float(f"{tree.threshold[node]:.4g}"), yes=yes, no=no)


def _short(value: float) -> float:
    return round(float(value), 4)


def _records(known: dict[Quantity, list[Known]], group: Group) -> dict[str, HeldOut]:
    """How often predictions were right, each from cells of the other groups alone."""
    predicted = {name: _held_out(cells, group) for name, cells in known.items()}
    found = {
        name: _record([(guess >= limit, constant >= limit, gain >= limit) for guess, constant, gain in cells.values()])
        for name, cells in predicted.items()
        for limit in [STEPS_THRESHOLD if name == "steps" else THRESHOLD]
    }
    both = [
        (predicted["rate"][cell], predicted["rest"][cell]) for cell in predicted["rest"] if cell in predicted["rate"]
    ]
    verdicts = [tuple(verdict_of(rate[i], rest[i], THRESHOLD) for i in range(3)) for rate, rest in both]
    return {**found, "verdict": _record(verdicts)}


def _held_out(cells: Sequence[Known], group: Group) -> dict[object, tuple[float, float, float]]:
    """By cell: the tree's prediction, the other groups' mean, and what was found."""
    found: dict[object, tuple[float, float, float]] = {}
    for name in sorted({group(each) for each, *_ in cells}):
        others = [known for known in cells if group(known[0]) != name]
        if len(others) < 2 * FEWEST_CELLS:
            continue
        tree, constant = tree_of(others), float(np.mean([gain for *_, gain in others]))
        for each, facts, gain in cells:
            if group(each) == name:
                found[each.cell] = leaf_of(tree, facts)["mean"], constant, gain
    return found


def _record(said: Sequence[tuple[object, ...]]) -> HeldOut:
    return HeldOut(
        right=sum(guess == truth for guess, _, truth in said),
        constant_right=sum(constant == truth for _, constant, truth in said),
        cells=len(said),
    )


def _facts(each: CellWorth) -> dict[str, float]:
    cell = each.cell
    facts = facts_of(
        scenes=each.training_scenes,
        images=each.training_images,
        pixels=each.pixels,
        architecture=preset(cell.network, 4),
        degradation=find_space(cell.content).degradation if cell.shift == OWN else DEGRADATIONS[cell.shift],
        real_pairs=cell.shift == "real pairs",
    )
    return asdict(facts)
