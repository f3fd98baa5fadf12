"""The map as a figure: what the rate, λ and depth, and more steps are worth, by shift and training scenes."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, TwoSlopeNorm

from benchmarks.phase_map.plan import OWN, SCENES, SHIFTS
from benchmarks.phase_map.rule import THRESHOLD
from orchestrator.analysis.search_worth import Quantity

Place = tuple[str, int | None]
"""A shift and a number of training scenes."""
Panel = Mapping[Place, Sequence[float]]

TITLES: Mapping[Quantity, str] = {
    "rate": "best learning rate\nover the default",
    "rest": "λ and depth\nbeyond the best rate",
    "beyond": "a whole search\nbeyond the portfolio",
    "steps": "five times the steps\nat the default",
}
_SHIFTS = {**{shift: shift for shift in SHIFTS}, OWN: "domain's own"}
_INK, _MUTED = "#334155", "#94a3b8"
_COLOURS = LinearSegmentedColormap.from_list(
    "worth", [(0, "#93a8c9"), (0.5, "#f8fafc"), (0.75, "#f5b27a"), (1, "#c2410c")]
)
_NORM = TwoSlopeNorm(vmin=-0.1, vcenter=0, vmax=0.4)


def by_place(cells: Sequence[tuple[Place, float]]) -> dict[Place, list[float]]:
    """Worths by shift and training scenes."""
    found: dict[Place, list[float]] = defaultdict(list)
    for place, gain in cells:
        found[place].append(gain)
    return dict(found)


def draw(rows: Mapping[str, Mapping[Quantity, Panel]], note: str, file: Path) -> None:
    """Writes ``file`` as SVG and PNG.

    Args:
        rows: By number of steps in words, a panel for each quantity.
        note: Line below the panels.
        file: Path without its ending.
    """
    size = (11.6, 1.5 + 2.3 * len(rows))
    figure, grid = plt.subplots(len(rows), len(TITLES), figsize=size, squeeze=False, layout="constrained")
    for line, (name, panels) in zip(grid, rows.items(), strict=True):
        for axes, quantity in zip(line, TITLES, strict=True):
            _panel(axes, panels.get(quantity, {}))
        line[0].set_ylabel(name, fontsize=9, color=_INK)
        line[0].set_yticks(range(len(_SHIFTS)), list(_SHIFTS.values()), fontsize=8)
    for axes, title in zip(grid[0], TITLES.values(), strict=True):
        axes.set_title(title, fontsize=10, color=_INK)
    for axes in grid[-1]:
        axes.set_xlabel("training scenes", fontsize=8, color=_INK)
    figure.suptitle("Where tuning pays, and where it does not", fontsize=12, color=_INK)
    figure.supxlabel(note, fontsize=8, color=_INK)
    for ending, options in ((".svg", {}), (".png", {"dpi": 120})):
        figure.savefig(file.with_suffix(ending), **options)
    plt.close(figure)


def _panel(axes: Axes, panel: Panel) -> None:
    values = np.array([[fmean(panel[shift, scenes]) if (shift, scenes) in panel else np.nan for scenes in SCENES]
                       for shift in _SHIFTS])  # fmt: skip
    axes.imshow(np.ma.masked_invalid(values), cmap=_COLOURS, norm=_NORM, aspect="auto")
    axes.set_facecolor("#eef2f6")
    for (row, column), value in np.ndenumerate(values):
        if np.isnan(value):
            axes.text(column, row, "·", ha="center", va="center", color=_MUTED, fontsize=8)
            continue
        matters = value >= THRESHOLD
        colour = "white" if value > 0.3 else _INK if matters or value < -0.04 else _MUTED
        axes.text(
            column,
            row,
            _number(value),
            ha="center",
            va="center",
            fontsize=8,
            color=colour,
            fontweight="bold" if matters else "normal",
        )
    axes.set_xticks(range(len(SCENES)), ["all" if scenes is None else str(scenes) for scenes in SCENES], fontsize=8)
    axes.set_yticks([])
    axes.tick_params(length=0, colors=_INK)
    axes.spines[:].set_visible(False)


def _number(value: float) -> str:
    text = f"{value:+.2f}"
    return "0.00" if text[1:] == "0.00" else text.replace("-", "−")
