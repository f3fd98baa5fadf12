"""Cells of the phase map, the configurations that are trained in each, and the order in which they come.

The order is one of value for compute: the cheapest cells over all shifts and numbers of scenes first, then more of them
side by side with few of more steps and of a larger network, so that no axis is left out wherever the map stops.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Literal, get_args

from trainables.degradation import Degradation
from trainables.loops.settings import RegularizerName, TransferConfiguration

Network = Literal["tiny", "base", "large"]
Shift = Literal["bicubic", "blur", "noise", "strong noise", "codec", "real pairs"]
NETWORKS: tuple[Network, ...] = get_args(Network)
SHIFTS: tuple[Shift, ...] = get_args(Shift)
SCENES: tuple[int | None, ...] = (1, 2, 4, 16, None)
"""Training scenes; None for all."""
STEPS = (200, 1000, 4000)

DEGRADATIONS: Mapping[str, Degradation] = {
    "bicubic": Degradation(),
    "blur": Degradation(blur=(0.25, 0.5), decimation="area"),
    "noise": Degradation(noise=(0.005, 0.02)),
    "strong noise": Degradation(noise=(0.03, 0.12)),
    "codec": Degradation(jpeg=(50, 90), h264=(24, 36)),
    "real pairs": Degradation(),
}
"""What makes LR of HR; the LR images of pairs are a camera's (``benchmarks/common/hidden_camera.py``)."""

OWN = "own"
"""Shift of a cell of the tabular benchmark: that of its domain's search space."""

MODERATE, FAST, SLOW, FASTEST = 4.75e-4, 1.19e-3, 1.89e-4, 3e-3
"""Learning rates; the first is that of the default fine-tune."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A place on the map.

    Attributes:
        network: Network that is fine-tuned.
        steps: Optimiser steps.
        scenes: Training scenes; None for all.
        shift: How LR differs from what the source model was trained on: one of :data:`SHIFTS`, or :data:`OWN`.
        content: Domain of the images.
    """

    network: Network
    steps: int
    scenes: int | None
    shift: str
    content: str


@dataclass(frozen=True, slots=True)
class Choice:
    """One configuration with its regularizer, the seed of its training and the rank of its adapters; None for none."""

    configuration: TransferConfiguration
    regularizer: RegularizerName = "l2-sp"
    seed: int = 0
    adapter_rank: int | None = None


def _choice(
    rate: float,
    lambda_: float = 0.0,
    depth: int = 0,
    regularizer: RegularizerName = "l2-sp",
    seed: int = 0,
    adapter_rank: int | None = None,
) -> Choice:
    configuration = TransferConfiguration(learning_rate=rate, lambda_=lambda_, frozen_depth=depth)
    return Choice(configuration, regularizer, seed, adapter_rank)


DEFAULT = _choice(MODERATE)
RATES = (DEFAULT, _choice(FAST), _choice(SLOW))
CORE = (*RATES, _choice(FAST, depth=2), _choice(MODERATE, 1e-2), _choice(MODERATE, seed=1))
"""Enough to say what the rate, the depth and λ are worth beside the noise of a seed."""
BRIEF = tuple(choice for choice in CORE if choice.seed == 0 and choice.configuration.learning_rate != SLOW)
"""The fewest that say something of each of them."""
FURTHER = (
    _choice(FASTEST),
    _choice(MODERATE, depth=2),
    _choice(FAST, 1e-2),
    _choice(FAST, seed=1),
    _choice(MODERATE, depth=4),
    _choice(MODERATE, 1e-2, regularizer="replay"),
    _choice(MODERATE, 1e-3),
    _choice(FAST, 1e-2, 2),
    _choice(FASTEST, adapter_rank=1),
)
ALL = CORE + FURTHER

RANKS: Mapping[Network, int] = {"tiny": 1, "base": 2, "large": 4}
"""Rank of the adapters of each network, so that they have no more than 10 % of its parameters."""


def content_of(shift: Shift, scenes: int | None, contents: Sequence[str], turn: int = 0) -> str:
    """The domain whose images stand in a cell: a Latin square, so that no axis has one domain alone.

    Args:
        shift: Row of the square.
        scenes: Its column.
        contents: Domains that have more scenes than that.
        turn: How many places further; turns from 0 to the number of domains - 1 give each of them.
    """
    return contents[(SHIFTS.index(shift) + SCENES.index(scenes) + turn) % len(contents)]


def trainings(contents: Mapping[str, int], networks: Sequence[Network]) -> Iterator[tuple[Cell, Choice]]:
    """Every training that is planned, each once, in order.

    Args:
        contents: Training scenes of each domain.
        networks: Networks that are trained.
    """
    few: tuple[int | None, ...] = (1, 4, None)

    def layer(
        network: Network, steps: int, scenes: Sequence[int | None], choices: Sequence[Choice], turn: int = 0
    ) -> list[tuple[Cell, Choice]]:
        if network not in networks:
            return []
        found = []
        for turned, (row, shift) in product(range(len(scenes)), enumerate(SHIFTS)):
            count = scenes[(row + turned) % len(scenes)]
            enough = [name for name, most in contents.items() if count is None or most > count]
            if enough:
                cell = Cell(network, steps, count, shift, content_of(shift, count, enough, turn))
                found += [(cell, _for(network, choice)) for choice in choices]
        return found

    first = layer("tiny", 200, few, BRIEF)
    second = [
        layer("tiny", 1000, (None, 1, 4), CORE[:1]),
        [*layer("tiny", 200, few, CORE), *layer("tiny", 200, (2, 16), CORE)],
        layer("base", 200, (4, None), CORE),
    ]
    third = [
        [
            *layer("tiny", 200, SCENES, FURTHER),
            *(
                each
                for turn, choices in ((1, CORE), (2, CORE), (1, FURTHER), (3, CORE))
                for each in layer("tiny", 200, SCENES, choices, turn)
            ),
        ],
        layer("base", 200, (1, 2, 16), CORE),
        layer("tiny", 1000, few, BRIEF[1:]),
        layer("base", 1000, (None,), BRIEF),
        layer("tiny", 4000, (None,), CORE[:2]),
    ]
    rest = [
        each
        for steps, network, turn in product(STEPS, NETWORKS, range(len(contents)))
        for each in layer(network, steps, SCENES, ALL, turn)
    ]
    return iter(dict.fromkeys([*first, *_in_turn(second), *_in_turn(third), *rest]))


def _for(network: Network, choice: Choice) -> Choice:
    return replace(choice, adapter_rank=RANKS[network]) if choice.adapter_rank else choice


def _in_turn(layers: Sequence[Sequence[tuple[Cell, Choice]]]) -> Iterator[tuple[Cell, Choice]]:
    """All layers side by side, a cell's trainings together, each layer advancing at the same share of its length."""
    ranked = []
    for number, layer in enumerate(layers):
        begins = {cell: position for position, (cell, _) in reversed(list(enumerate(layer)))}
        ranked += [(begins[each[0]] / len(layer), number, position, each) for position, each in enumerate(layer)]
    return (each for *_, each in sorted(ranked, key=lambda entry: entry[:3]))
