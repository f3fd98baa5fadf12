"""Drawing of plots: colours, style, ranges, and SVG text for inlining into a page.

Every colour is a CSS variable of the page, so that one drawing serves light mode, dark mode and print.
"""

import io
import math
import re
from collections.abc import Callable, Iterable, Sequence
from html import escape
from statistics import median
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Placeholder colours, none of them black, which matplotlib omits from its SVG as the default.
INK, MUTED, LINE, SURFACE = "#010101", "#010102", "#010103", "#010104"
MARK, WINNER, BETTER, TIE, WORSE = "#010105", "#010106", "#010107", "#010108", "#010109"
_VARIABLES = {
    INK: "--ink",
    MUTED: "--muted",
    LINE: "--line",
    SURFACE: "--surface",
    MARK: "--mark",
    WINNER: "--winner",
    BETTER: "--better",
    TIE: "--tie",
    WORSE: "--worse",
}
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "rayscale",
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 8,
    "axes.labelsize": 8,
    "axes.linewidth": 0.8,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": True,
    "figure.facecolor": "none",
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "text.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 7.5,
}
_NO_METADATA = {"Creator": None, "Date": None, "Format": None, "Type": None}


def draw(name: str, title: str, described: str, paint: Callable[[Axes], None], size: tuple[float, float]) -> str:
    """Calls ``paint`` with axes of a size in inches; returns an ``<svg>`` with a title and a description.

    ``name`` is the prefix of the ids of its parts, which must be unique on the page.
    """
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=size, layout="constrained")
        paint(figure.add_subplot())
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata=_NO_METADATA)
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, f"var({variable})")
    svg = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", svg)
    opening = (
        f'<svg role="img" aria-labelledby="{name}-title {name}-desc"><title id="{name}-title">{escape(title)}'
        f'</title><desc id="{name}-desc">{escape(described)}</desc>'
    )
    attributes, body = svg[4:].split(">", 1)
    attributes = re.sub(r'\s(?:width|height)="[^"]*pt"', "", attributes)
    return opening.replace("<svg", f"<svg{attributes}", 1) + body


def view(values: Iterable[float | None]) -> tuple[float, float]:
    """Chooses the range of an axis so that a few very low values do not flatten all others."""
    kept = [v for v in values if v is not None and math.isfinite(v)]
    if not kept:
        return 0.0, 1.0
    top, middle, low = max(kept), median(kept), min(kept)
    low = max(low, middle - 5 * max(top - middle, 0.02))
    margin = 0.08 * (top - low) or 0.05
    return low - margin, top + margin


def legend(axes: Axes) -> None:
    """Adds a legend above the axes if anything drawn has a label."""
    if axes.get_legend_handles_labels()[1]:
        axes.legend(
            loc="lower center",
            bbox_to_anchor=(0.47, 1.0),
            ncols=4,
            handlelength=1.5,
            columnspacing=1.1,
        )


def log_ticks(axes: Axes, values: Sequence[float], lane: float | None) -> None:
    """Sets ticks at whole powers of ten around ``values``; ``lane`` is the position of exactly 0, if there is one."""
    low, high = (min(values), max(values)) if values else (1e-5, 1e-2)
    axes.set_xlim(low / 1.7, max(high, low * 10) * 1.7)
    first = math.ceil(math.log10(low if lane is None else lane * 1.5) - 1e-9)
    decades = range(first, math.floor(math.log10(axes.get_xlim()[1])) + 1)
    ticks, labels = [10.0**d for d in decades], [f"1e{d}" for d in decades]
    if lane is not None:
        axes.axvspan(axes.get_xlim()[0], lane * 1.7, color=LINE, alpha=0.45, lw=0)
        ticks, labels = [lane, *ticks], ["0", *labels]
    axes.set_xticks(ticks, labels)
    axes.minorticks_off()
