"""Which configurations are trained: a full grid, and thinner ones for a second seed and for few training scenes."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from search_spaces import TransferSpace
from trainables.errors import UsageError
from trainables.loops.settings import TransferConfiguration

FULL, SECOND_SEED, SECOND_SEED_FROZEN = "full", "second seed", "second seed, frozen"


@dataclass(frozen=True, slots=True)
class Grid:
    """Learning rates × λ × frozen depths, each ascending; the first λ is exactly 0."""

    learning_rates: tuple[float, ...]
    lambdas: tuple[float, ...]
    frozen_depths: tuple[int, ...]

    def configurations(self) -> list[TransferConfiguration]:
        """Every cell, the frozen depth running fastest."""
        return [
            TransferConfiguration(learning_rate=rate, lambda_=lambda_, frozen_depth=depth)
            for rate, lambda_, depth in product(self.learning_rates, self.lambdas, self.frozen_depths)
        ]


@dataclass(frozen=True, slots=True)
class Part:
    """One of a domain's grids.

    Attributes:
        name: What its rows are called.
        seed: Seed of its trainings.
        scenes: Training scenes; None for all.
        grid: Its cells.
    """

    name: str
    seed: int
    scenes: int | None
    grid: Grid


def grid_of(space: TransferSpace, depth_limit: int, counts: tuple[int, int, int]) -> Grid:
    """The grid over a space: both ends of each range included, learning rate and λ above 0 evenly spread in log.

    Args:
        space: The domain's search space.
        depth_limit: Largest frozen depth of the network.
        counts: How many learning rates, λ (0 is one of them) and frozen depths.

    Raises:
        UsageError: If a count leaves an axis without both ends, or is more than there are depths.
    """
    deepest = depth_limit if space.deepest is None else min(space.deepest, depth_limit)
    rates, lambdas, depths = counts
    if rates < 2 or lambdas < 3 or not 2 <= depths <= deepest + 1:
        raise UsageError(
            "A grid needs at least 2 learning rates, 3 λ (0 is one of them) and 2 frozen depths, at most "
            f"{deepest + 1} of the last here; found {rates}, {lambdas} and {depths}."
        )
    return Grid(
        learning_rates=_spread(*space.learning_rate, rates),
        lambdas=(0.0, *_spread(*space.lambda_, lambdas - 1)),
        frozen_depths=tuple(round(deepest * i / (depths - 1)) for i in range(depths)),
    )


def parts_of(full: Grid, seed: int, few_scenes: Sequence[int]) -> list[Part]:
    """The full grid, a second seed, and every second rate and depth for each number of few scenes.

    The second seed trains all cells with nothing frozen, and of the others those where the first seed's best ones lie:
    what was chosen by one seed's scores is judged by the other's.
    """
    unfrozen = Grid(full.learning_rates, full.lambdas, full.frozen_depths[:1])
    frozen = Grid(full.learning_rates[2:], full.lambdas[:3], full.frozen_depths[1:3])
    thin = Grid(full.learning_rates[1::2], full.lambdas, full.frozen_depths[::2])
    few = [Part(f"{scenes} scenes", seed, scenes, thin) for scenes in dict.fromkeys(few_scenes)]
    return [
        Part(FULL, seed, None, full),
        Part(SECOND_SEED, seed + 1, None, unfrozen),
        Part(SECOND_SEED_FROZEN, seed + 1, None, frozen),
        *few,
    ]


def _spread(low: float, high: float, count: int) -> tuple[float, ...]:
    inner = np.geomspace(low, high, count)[1:-1]
    # Three digits, as one would write them; the ends stay exactly the space's.
    return (low, *(float(f"{value:.3g}") for value in inner), high)
