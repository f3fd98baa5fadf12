"""What tuning is worth in each cell of the map, judged on scenes that chose nothing.

A worth is a difference in PSNR, in dB, between two chosen configurations. Each is chosen on one half of the validation
scenes and judged on the other, then with the halves exchanged, and the two differences are averaged: every scene judges
once, and none judges what it chose. A worth can therefore be negative: choosing has cost PSNR.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from benchmarks.phase_map.plan import DEFAULT, Cell
from benchmarks.phase_map.rows import Row
from search_spaces.portfolio import PORTFOLIO

Configuration = tuple[float, float, int, str, int | None]
"""Learning rate, λ, frozen depth, regularizer and rank of the adapters."""

DEFAULT_CONFIGURATION: Configuration = (DEFAULT.configuration.learning_rate, 0.0, 0, DEFAULT.regularizer, None)
_HALVES = ("psnr_choosing", "psnr_judging")
FEWEST_SCENES = 4
"""Validation scenes below which a cell is not judged: each half needs two."""

Keep = Callable[[Configuration], bool]

BothWays = tuple[float, float]
"""A worth in dB as the second half of the scenes judges it, and as the first one does."""


def _any(configuration: Configuration) -> bool:
    return True


def _is_default(configuration: Configuration) -> bool:
    return configuration == DEFAULT_CONFIGURATION


def _of_portfolio(configuration: Configuration) -> bool:
    first = ((tried.learning_rate, tried.lambda_, tried.frozen_depth) for tried in PORTFOLIO)
    return configuration[:3] in first and configuration[4] is None


def _rate_alone(configuration: Configuration) -> bool:
    return configuration[1] == 0 and configuration[2] == 0 and configuration[4] is None


def _with_depth(configuration: Configuration) -> bool:
    return configuration[1] == 0 and configuration[4] is None


def _with_adapters(configuration: Configuration) -> bool:
    return configuration[1] == 0 and configuration[2] == 0


def _without_adapters(configuration: Configuration) -> bool:
    return configuration[4] is None


def _with_l2_sp(configuration: Configuration) -> bool:
    return configuration[2] == 0 and configuration[3] == "l2-sp" and configuration[4] is None


def _with_replay(configuration: Configuration) -> bool:
    rehearsed = configuration[1] == 0 or configuration[3] == "replay"
    return configuration[2] == 0 and rehearsed and configuration[4] is None


_COMPARED: dict[str, tuple[Keep, Keep]] = {
    "rate": (_rate_alone, _is_default),
    "depth": (_with_depth, _rate_alone),
    "lambda_": (_with_l2_sp, _rate_alone),
    "replay": (_with_replay, _rate_alone),
    "adapters": (_with_adapters, _rate_alone),
    "rest": (_without_adapters, _rate_alone),
    "search": (_any, _is_default),
    "beyond": (_any, _of_portfolio),
}
"""By worth, the configurations that are chosen among, and those over which the choice gains it."""


@dataclass(frozen=True, slots=True)
class CellWorth:
    """What tuning is worth in one cell; None where the map lacks the trainings.

    Attributes:
        cell: Place on the map.
        pixels: LR pixels of all patches of one training.
        training_scenes: Scenes that were trained on.
        training_images: Their images.
        validation_scenes: Scenes that chose and judged.
        bicubic: PSNR in dB of bicubic interpolation.
        zero_shot: PSNR in dB of the source model as it is.
        default: PSNR in dB of the default fine-tune.
        configurations: How many were trained with the first seed.
        rate: dB of the best learning rate over the default's.
        depth: dB of freezing, beyond the best rate.
        lambda_: dB of λ with L2-SP, beyond the best rate.
        replay: dB of λ with replay, beyond the best rate.
        adapters: dB of training adapters in place of the weights, beyond the best rate.
        rest: dB of depth, λ and replay together, beyond the best rate.
        search: dB of everything over the default.
        beyond: dB of everything over the portfolio, the better of the two configurations that every study tries first.
        noise: dB by which a second seed of the default differs, over √2; None without a second seed.
        both_ways: By worth, the two judgements whose mean it is.
    """

    cell: Cell
    pixels: int
    training_scenes: int
    training_images: int
    validation_scenes: int
    bicubic: float
    zero_shot: float
    default: float
    configurations: int
    rate: float | None
    depth: float | None
    lambda_: float | None
    replay: float | None
    adapters: float | None
    rest: float | None
    search: float | None
    beyond: float | None
    noise: float | None
    both_ways: Mapping[str, BothWays]


def worths(rows: Iterable[Row]) -> list[CellWorth]:
    """What tuning is worth in every cell that has the default fine-tune and enough validation scenes."""
    found = [_worth(cell_of(of_cell[0]), of_cell) for of_cell in rows_by_cell(rows)]
    return [each for each in found if each is not None]


def rows_by_cell(rows: Iterable[Row]) -> list[list[Row]]:
    """Rows of each cell that were trained with steps of one size on one kind of hardware."""
    found: dict[tuple[object, ...], list[Row]] = defaultdict(list)
    for row in rows:
        found[cell_of(row), row["batch"], row["lr_patch"], row["hardware"]].append(row)
    return list(found.values())


def cell_of(row: Row) -> Cell:
    """The cell of a row."""
    return Cell(row["network"], row["steps"], row["scenes"], row["shift"], row["content"])


def worth_of_steps(found: Sequence[CellWorth], few: int, many: int) -> dict[Cell, float]:
    """By cell with few steps, dB that the default fine-tune gains with many. Nothing is chosen: all scenes judge."""
    default = {_apart_from_steps(each): each.default for each in found if each.cell.steps == many}
    return {
        each.cell: default[_apart_from_steps(each)] - each.default
        for each in found
        if each.cell.steps == few and _apart_from_steps(each) in default
    }


def seed_noise(found: Iterable[CellWorth]) -> float | None:
    """Standard deviation in dB of one training over seeds, pooled over cells; None without a second seed."""
    squares = [each.noise**2 for each in found if each.noise is not None]
    return math.sqrt(fmean(squares)) if squares else None


def _apart_from_steps(each: CellWorth) -> tuple[object, ...]:
    cell = each.cell
    return cell.network, cell.scenes, cell.shift, cell.content, each.pixels // cell.steps


def _worth(cell: Cell, rows: Sequence[Row]) -> CellWorth | None:
    first = {_configuration(row): row for row in rows if row["seed"] == 0 and row["psnr_judging"] is not None}
    default = first.get(DEFAULT_CONFIGURATION)
    scenes = len(set(rows[0]["image_scenes"]))
    if default is None or scenes < FEWEST_SCENES:
        return None
    second = [r for r in rows if r["seed"] == 1 and _configuration(r) == DEFAULT_CONFIGURATION and r["image_psnr"]]
    return worth_of(
        cell,
        first,
        pixels=cell.steps * default["batch"] * default["lr_patch"] ** 2,
        training_scenes=default["training_scenes"],
        training_images=default["training_images"],
        validation_scenes=scenes,
        bicubic=fmean(default["image_bicubic"]),
        zero_shot=fmean(default["image_zero_shot"]),
        default=fmean(default["image_psnr"]),
        noise=(fmean(second[0]["image_psnr"]) - fmean(default["image_psnr"])) / math.sqrt(2) if second else None,
    )


def worth_of(cell: Cell, rows: Mapping[Configuration, Row], **facts: Any) -> CellWorth:
    """The worths of one cell.

    Args:
        cell: Place on the map.
        rows: By configuration, the scores ``psnr_choosing`` and ``psnr_judging``, which exchange their parts.
        facts: The other attributes of a :class:`CellWorth`.
    """
    compared = {name: _beyond(rows, *keeps) for name, keeps in _COMPARED.items()}
    both_ways = {name: both for name, both in compared.items() if both is not None}
    means = {name: None if both is None else fmean(both) for name, both in compared.items()}
    return CellWorth(cell=cell, configurations=len(rows), both_ways=both_ways, **means, **facts)


def _beyond(rows: Mapping[Configuration, Row], wide: Keep, narrow: Keep) -> BothWays | None:
    """How far the choice among ``wide`` lies above that among ``narrow``; None where they are the same ones."""
    wider, narrower = ([row for key, row in rows.items() if keep(key)] for keep in (wide, narrow))
    if len(wider) == len(narrower):
        return None
    first, second = (_judged(wider, *each) - _judged(narrower, *each) for each in (_HALVES, _HALVES[::-1]))
    return first, second


def _judged(rows: Sequence[Row], choosing: str, judging: str) -> float:
    return float(max(rows, key=lambda row: row[choosing])[judging])


def _configuration(row: Row) -> Configuration:
    return row["learning_rate"], row["lambda_"], row["frozen_depth"], row["regularizer"], row.get("adapter_rank")
