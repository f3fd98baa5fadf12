"""Domain shift between a target set and the source set, block by block, beside that of two halves of the source.

Both sets of every comparison have the same number of vectors, because the bias of a Fréchet distance depends on it. The
source's scenes are split at random: one half is the reference, the other stands for *no shift at all*. The
reference's distance to that other half is the **floor**; it holds all that small samples and the variety of the source
add. Values are means over several splits.

Shapes: T tiles, D features of a block. Features are divided by their standard deviation over the source.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from trainables.domain_shift.distances import (
    Array,
    frechet_distance,
    median_bandwidth,
    probe_errors,
    proxy_a_distance,
    squared_mmd,
)
from trainables.errors import UsageError
from trainables.metrics.scene_bootstrap import Estimate, Integers, bootstrap_estimate, drawn_scenes

_SPLITS = 4
_MOST_TILES = 400
FEWEST_SCENES = 4
"""The source is halved, and each half needs two scenes."""

Statistic = Callable[[Array, Array, Integers, Integers], float]


@dataclass(frozen=True, slots=True)
class TileSet:
    """One set's vectors.

    Attributes:
        vectors: For each block (T, D).
        scenes: (T,), number of each tile's scene.
    """

    vectors: tuple[Array, ...]
    scenes: Integers

    @property
    def scene_count(self) -> int:
        """Number of scenes."""
        return len(np.unique(self.scenes))


@dataclass(frozen=True, slots=True)
class Measured:
    """A distance with its 95 % interval, and its floor: the distance between two halves of the source."""

    estimate: Estimate
    floor: float


@dataclass(frozen=True, slots=True)
class BlockShift:
    """The three distances after one block."""

    frechet: Measured
    mmd: Measured
    proxy_a: Measured


def measure_shift(source: TileSet, target: TileSet, seed: int = 0, resamples: int = 100) -> list[BlockShift]:
    """All distances of every block.

    Args:
        source: Tiles of source images, of at least four scenes.
        target: Tiles of target images, of at least two scenes.
        seed: Seed of splits and resampling.
        resamples: Bootstrap resamples of each interval.

    Raises:
        UsageError: If there are too few scenes.
    """
    draws = list(_draws(source, target, seed))
    shifts = []
    for reference, vectors in zip(source.vectors, target.vectors, strict=True):
        block = _Block(reference, vectors, source.scenes, target.scenes, draws, seed, resamples)
        mmd = partial(squared_mmd, bandwidth=block.bandwidth())
        shifts.append(BlockShift(block.measured(_frechet, (0, np.inf)), block.measured(mmd), block.probed()))
    return shifts


def frechet_values(source: TileSet, target: TileSet, seed: int = 0) -> list[float]:
    """Fréchet distances of every block alone, as :func:`measure_shift` has them."""
    draws = list(_draws(source, target, seed))
    return [
        _Block(reference, vectors, source.scenes, target.scenes, draws, seed, 0).value(_frechet)
        for reference, vectors in zip(source.vectors, target.vectors, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class _Draw:
    """Row numbers of equally many tiles: of the reference half, the other half and the target."""

    reference: Integers
    other: Integers
    target: Integers


def _draws(source: TileSet, target: TileSet, seed: int) -> Iterator[_Draw]:
    if source.scene_count < FEWEST_SCENES or target.scene_count < 2:
        raise UsageError(
            f"Distances need images of at least {FEWEST_SCENES} source scenes and 2 target scenes, found "
            f"{source.scene_count} and {target.scene_count}."
        )
    rng = np.random.default_rng(seed)
    for _ in range(_SPLITS):
        known = rng.permutation(np.unique(source.scenes))
        halves = known[: len(known) // 2], known[len(known) // 2 :]
        sets = [_rows(source.scenes, half) for half in halves]
        sets.append(_rows(target.scenes, rng.permutation(np.unique(target.scenes))))
        count = min(_MOST_TILES, *map(len, sets))
        yield _Draw(*(_spread(rows, count) for rows in sets))


def _rows(scenes: Integers, wanted: Sequence[int] | Integers) -> Integers:
    return np.concatenate([np.flatnonzero(scenes == scene) for scene in wanted])


def _spread(rows: Integers, count: int) -> Integers:
    """``count`` rows, evenly spaced, so that every scene keeps its share."""
    return np.asarray(rows[np.linspace(0, len(rows) - 1, count).round().astype(int)])


def _frechet(first: Array, second: Array, _: Integers, __: Integers) -> float:
    return frechet_distance(first, second)


class _Block:
    """The vectors of one block, standardised, and the draws to compare them in."""

    def __init__(
        self,
        source: Array,
        target: Array,
        scenes1: Integers,
        scenes2: Integers,
        draws: list[_Draw],
        seed: int,
        resamples: int,
    ) -> None:
        # A dead channel has no spread on the source; what a target does to it must not count infinitely.
        spread = np.maximum(source.std(0), 1e-3 * source.std(0).max())
        self._source, self._target = (source - source.mean(0)) / spread, (target - source.mean(0)) / spread
        self._scenes1, self._scenes2, self._draws = scenes1, scenes2, draws
        self._seed, self._resamples = seed, resamples

    def bandwidth(self) -> float:
        first = self._draws[0]
        return median_bandwidth(self._source[first.reference], self._target[first.target])

    def value(self, statistic: Statistic) -> float:
        return float(np.mean([self._to_target(statistic, d.reference, d.target) for d in self._draws]))

    def measured(self, statistic: Statistic, bounds: tuple[float, float] = (-np.inf, np.inf)) -> Measured:
        def replicate(rng: np.random.Generator) -> float:
            draw = self._draws[rng.integers(len(self._draws))]
            ours = draw.reference[drawn_scenes(self._scenes1[draw.reference], rng)]
            theirs = draw.target[drawn_scenes(self._scenes2[draw.target], rng)]
            return self._to_target(statistic, ours, theirs)

        return Measured(self._estimate(self.value(statistic), replicate, bounds), self._floor(statistic))

    def probed(self) -> Measured:
        """Proxy A-distance; the interval resamples the errors on held-out scenes and fits no probe again."""
        draw = self._draws[0]
        scenes1, scenes2 = self._scenes1[draw.reference], self._scenes2[draw.target]
        first, second = probe_errors(self._source[draw.reference], self._target[draw.target], scenes1, scenes2)

        def replicate(rng: np.random.Generator) -> float:
            return proxy_a_distance(first[drawn_scenes(scenes1, rng)], second[drawn_scenes(scenes2, rng)])

        return Measured(self._estimate(proxy_a_distance(first, second), replicate, (0, 2)), self._floor(_probe))

    def _estimate(
        self, value: float, replicate: Callable[[np.random.Generator], float], bounds: tuple[float, float]
    ) -> Estimate:
        fewest = min(len(np.unique(self._scenes1[self._draws[0].reference])), len(np.unique(self._scenes2)))
        return bootstrap_estimate(value, replicate, fewest, resamples=self._resamples, seed=self._seed, bounds=bounds)

    def _to_target(self, statistic: Statistic, ours: Integers, theirs: Integers) -> float:
        return statistic(self._source[ours], self._target[theirs], self._scenes1[ours], self._scenes2[theirs])

    def _floor(self, statistic: Statistic) -> float:
        source, scenes = self._source, self._scenes1
        halves = [(draw.reference, draw.other) for draw in self._draws]
        return float(np.mean([statistic(source[a], source[b], scenes[a], scenes[b]) for a, b in halves]))


def _probe(first: Array, second: Array, scenes1: Integers, scenes2: Integers) -> float:
    return proxy_a_distance(*probe_errors(first, second, scenes1, scenes2))
