"""The report's plots, as SVG text for inlining into a page.

Every colour is a CSS variable of the page, so that one drawing serves light, dark and print. Numbers below
a plot's range are drawn as hollow triangles at its lower edge, never dropped: one bad trial must neither
disappear nor flatten all others.
"""

import io
import math
import re
from collections.abc import Callable, Iterable, Sequence
from html import escape
from statistics import fmean, median
from typing import Any, Literal

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from orchestrator.report import Configuration, CurvePoint, Difference, DomainReport, Front, Trial, Verdict

Setting = Literal["learning_rate", "lambda_", "frozen_depth"]
SETTINGS: tuple[Setting, ...] = ("learning_rate", "lambda_", "frozen_depth")

# Placeholder colours, none of them black: matplotlib leaves the default black out of its SVG.
_INK, _MUTED, _LINE, _SURFACE = "#010101", "#010102", "#010103", "#010104"
_MARK, _WINNER, _BETTER, _TIE, _WORSE = "#010105", "#010106", "#010107", "#010108", "#010109"
_VARIABLES = {
    _INK: "--ink",
    _MUTED: "--muted",
    _LINE: "--line",
    _SURFACE: "--surface",
    _MARK: "--mark",
    _WINNER: "--winner",
    _BETTER: "--better",
    _TIE: "--tie",
    _WORSE: "--worse",
}
_VERDICT: dict[Verdict, tuple[str, str]] = {
    "better": (_BETTER, "o"),
    "tie": (_TIE, "s"),
    "worse": (_WORSE, "D"),
    "too few scenes": (_MUTED, "^"),
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
    "axes.edgecolor": _MUTED,
    "axes.labelcolor": _INK,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": True,
    "figure.facecolor": "none",
    "grid.color": _LINE,
    "grid.linewidth": 0.6,
    "xtick.color": _MUTED,
    "ytick.color": _MUTED,
    "xtick.labelcolor": _INK,
    "ytick.labelcolor": _INK,
    "text.color": _INK,
    "legend.frameon": False,
    "legend.fontsize": 7.5,
}
_NO_METADATA = {"Creator": None, "Date": None, "Format": None, "Type": None}
_PSNR = "Validation PSNR (dB)"


def interval_plot(domain: DomainReport, rows: Sequence[tuple[str, Difference]], name: str) -> str:
    """Draws labelled differences of test PSNR with their 95 % intervals against a zero line."""

    def paint(axes: Axes) -> None:
        for row, (_, difference) in enumerate(rows):
            colour, marker = _VERDICT[difference.verdict]
            axes.plot([difference.low, difference.high], [row, row], color=colour, lw=1.8)
            axes.plot([difference.mean], [row], marker, color=colour, ms=5.5)
        axes.axvline(0, color=_INK, lw=1)
        axes.set_yticks(range(len(rows)), [label.replace(" − ", "\n− ") for label, _ in rows])
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
        axes.grid(False, axis="y")
        axes.spines["left"].set_visible(False)
        axes.margins(x=0.08)
        axes.set_xlabel("Difference of test PSNR (dB)")

    described = "; ".join(
        f"{label} {d.mean:+.3f} dB, interval {d.low:+.3f} to {d.high:+.3f}, {d.verdict}" for label, d in rows
    )
    return _svg(name, f"Differences on test, {domain.space}", described, paint, (4.5, 0.62 + 0.4 * len(rows)))


def search_history(domain: DomainReport, name: str) -> str:
    """Draws each trial's validation PSNR in the order of the search, with the best so far."""
    floor, ceiling = _view([t.psnr for t in domain.trials] + [_source_score(domain)])

    def paint(axes: Axes) -> None:
        _mark_source(axes, domain)
        best = _best_so_far(domain.trials)
        axes.step(
            [n for n, _ in best],
            [v for _, v in best],
            where="post",
            color=_MUTED,
            lw=1.2,
            label="best so far" if best else None,
        )
        _scatter(axes, domain, lambda trial: trial.number, floor)
        axes.set_ylim(floor, ceiling)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("Trial number")
        axes.set_ylabel(_PSNR)
        _legend(axes)

    scored = [v for _, v in _best_so_far(domain.trials)]
    diverged = sum(t.status == "diverged" for t in domain.trials)
    described = f"{len(domain.trials)} trials, {diverged} diverged." + (
        f" Best validation PSNR {max(scored):.2f} dB." if scored else ""
    )
    return _svg(name, f"Search history, {domain.space}", described, paint, (4.5, 3.1))


def setting_scatter(domain: DomainReport, setting: Setting, name: str) -> str:
    """Draws one setting of every trial against validation PSNR; λ of exactly 0 has a lane of its own."""
    floor, ceiling = _view([t.psnr for t in domain.trials])
    values: list[float] = [getattr(t.configuration, setting) for t in domain.trials]
    lane = domain.lambda_floor / 10**0.5
    label = {
        "learning_rate": "Learning rate (no unit, log scale)",
        "lambda_": "λ, weight of R (no unit, log scale)",
        "frozen_depth": "Frozen depth (blocks)",
    }[setting]

    def paint(axes: Axes) -> None:
        def place(trial: Trial) -> float:
            value: float = getattr(trial.configuration, setting)
            return max(value, lane) if setting == "lambda_" else value

        if setting == "frozen_depth":
            axes.set_xlim(-0.5, domain.frozen_depth_limit + 0.5)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        else:
            axes.set_xscale("log")
            shown = [lane] if setting == "lambda_" else []
            shown += [v for v in values if v > 0]
            _log_ticks(axes, shown, lane if setting == "lambda_" else None)
        _scatter(axes, domain, place, floor)
        axes.set_ylim(floor, ceiling)
        axes.set_xlabel(label)
        axes.set_ylabel(_PSNR)

    low, high = (f"{f(values):.3g}" if values else "none" for f in (min, max))
    return _svg(name, f"{label} against {_PSNR}", f"Values from {low} to {high}.", paint, (3.9, 3.0))


def front_plot(domain: DomainReport, front: Front, name: str) -> str:
    """Draws every finished trial's speed against its validation PSNR, and the front that bounds them."""
    scored = [(t.speed, t.psnr) for t in domain.trials if t.speed is not None and t.psnr is not None]
    floor, ceiling = _view([psnr for _, psnr in scored])
    points = [(point.megapixels_per_second, point.search_psnr) for point in front.points]

    def paint(axes: Axes) -> None:
        inside = [(speed, psnr) for speed, psnr in scored if psnr >= floor]
        below = [(speed, floor) for speed, psnr in scored if psnr < floor]
        groups = (("trials", inside, "o", _MARK), ("below the range", below, "v", _SURFACE))
        for label, drawn, marker, inner in groups:
            if drawn:
                look: dict[str, Any] = {"color": _MARK, "mfc": inner, "ms": 4.5, "alpha": 0.8, "clip_on": False}
                axes.plot(*zip(*drawn, strict=True), marker, label=label, **look)
        if points:
            heights = [max(psnr, floor) for _, psnr in points]
            look = {"color": _WINNER, "mfc": "none", "ms": 9, "drawstyle": "steps-pre", "label": "front"}
            axes.plot([speed for speed, _ in points], heights, "o-", **look)
        for point, (speed, psnr) in zip(front.points, points, strict=True):
            place = speed, max(psnr, floor)
            axes.annotate(str(point.kept_blocks), place, (6, 5), textcoords="offset points", color=_WINNER)
        axes.set_ylim(floor, ceiling)
        axes.margins(x=0.1)
        axes.set_xlabel("Speed of output (MP/s)")
        axes.set_ylabel(_PSNR)
        _legend(axes)

    described = "; ".join(
        f"{point.kept_blocks} blocks kept: {speed:.3g} MP/s, {psnr:.2f} dB"
        for point, (speed, psnr) in zip(front.points, points, strict=True)
    )
    return _svg(name, f"Front of quality and speed, {domain.space}", described or "No trial.", paint, (4.5, 3.1))


def learning_curves(domain: DomainReport, name: str) -> str:
    """Draws the validation PSNR of every trial over its steps, the winner on top."""
    winner = winning_trial(domain)
    curves = {t.number: _points(t.curve) for t in domain.trials}
    floor, ceiling = _view([v for t in domain.trials for _, v in curves[t.number] if t.status == "finished"])

    def paint(axes: Axes) -> None:
        seen: set[str] = set()
        for trial in sorted(domain.trials, key=lambda t: (t is winner, t.origin == "default")):
            look: dict[str, Any] = {"color": _MARK, "lw": 0.9, "alpha": 0.45}
            kind = "other trials"
            if trial.status == "diverged":
                look, kind = {"color": _WORSE, "lw": 1, "ls": ":"}, "diverged"
            elif trial.status == "stopped":
                look, kind = {"color": _MUTED, "lw": 0.9, "ls": "-."}, "stopped early"
            elif trial.origin == "default":
                look, kind = {"color": _INK, "lw": 1.3, "ls": "--"}, "default fine-tune"
            if trial is winner:
                look, kind = {"color": _WINNER, "lw": 2}, "winner"
            points = curves[trial.number]
            if points:
                # A curve of one point is no line: it still has to be seen.
                marker = "o" if len(points) == 1 else None
                label = None if kind in seen else kind
                axes.plot(*zip(*points, strict=True), ms=3, marker=marker, label=label, **look)
                seen.add(kind)
        axes.set_ylim(floor, ceiling)
        axes.set_xlabel("Training step")
        axes.set_ylabel(_PSNR)
        _legend(axes)

    described = f"{len(domain.trials)} trials over up to {domain.steps_per_trial} steps."
    return _svg(name, f"Learning curves, {domain.space}", described, paint, (4.5, 3.1))


def loss_curve(loss: Sequence[CurvePoint], name: str) -> str:
    """Draws the source model's training loss."""
    points = _points(loss)

    def paint(axes: Axes) -> None:
        if points:
            axes.plot(*zip(*points, strict=True), color=_MARK, lw=1.3, marker="o" if len(points) == 1 else None)
        axes.set_xlabel("Training step")
        axes.set_ylabel("Training loss (no unit)")

    described = f"From {points[0][1]:.4g} to {points[-1][1]:.4g}." if points else "No values."
    return _svg(name, "Training loss of the source model", described, paint, (4.5, 2.6))


def winning_trial(domain: DomainReport) -> Trial | None:
    """Returns the trial that first tried the domain's configuration, or None where no trial did."""
    chosen: Configuration | None = domain.configuration
    same = (t for t in domain.trials if t.configuration == chosen and t.status == "finished")
    return next(same, None) if chosen else None


def _scatter(axes: Axes, domain: DomainReport, place: Callable[[Trial], float], floor: float) -> None:
    """Plots trials by what they are; the order of drawing keeps the winner visible."""
    winner = winning_trial(domain)
    groups: dict[str, tuple[list[Trial], dict[str, Any]]] = {
        "sampled": ([], {"marker": "o", "color": _MARK, "ms": 4.5, "alpha": 0.8}),
        "start": ([], {"marker": "s", "color": _MARK, "mfc": _SURFACE, "ms": 4.5}),
        "default fine-tune": ([], {"marker": "D", "color": _INK, "mfc": _SURFACE, "ms": 5.5}),
        "below the range": ([], {"marker": "v", "color": _MARK, "mfc": _SURFACE, "ms": 5}),
        "stopped early": ([], {"marker": "1", "color": _MUTED, "ms": 6, "mew": 1.2}),
        "diverged": ([], {"marker": "x", "color": _WORSE, "ms": 5.5, "mew": 1.5}),
        "winner": ([], {"marker": "o", "color": _WINNER, "mfc": "none", "ms": 10, "mew": 1.8}),
    }
    for trial in domain.trials:
        kind = {"default": "default fine-tune", "sampler": "sampled"}.get(trial.origin, "start")
        if trial.status == "stopped":
            kind = "stopped early"
        elif trial.status == "diverged" or trial.psnr is None or not math.isfinite(trial.psnr):
            kind = "diverged"
        elif trial.psnr < floor:
            kind = "below the range"
        groups[kind][0].append(trial)
        if trial is winner:
            groups["winner"][0].append(trial)
    for kind, (trials, look) in groups.items():
        at_edge = kind in ("stopped early", "diverged", "below the range")
        heights = [floor if at_edge or t.psnr is None else t.psnr for t in trials]
        if trials:
            axes.plot([place(t) for t in trials], heights, ls="none", label=kind, clip_on=False, **look)


def _log_ticks(axes: Axes, values: Sequence[float], lane: float | None) -> None:
    low, high = (min(values), max(values)) if values else (1e-5, 1e-2)
    axes.set_xlim(low / 1.7, max(high, low * 10) * 1.7)
    first = math.ceil(math.log10(low if lane is None else lane * 1.5) - 1e-9)
    decades = range(first, math.floor(math.log10(axes.get_xlim()[1])) + 1)
    ticks, labels = [10.0**d for d in decades], [f"1e{d}" for d in decades]
    if lane is not None:
        axes.axvspan(axes.get_xlim()[0], lane * 1.7, color=_LINE, alpha=0.45, lw=0)
        ticks, labels = [lane, *ticks], ["0", *labels]
    axes.set_xticks(ticks, labels)
    axes.minorticks_off()


def _mark_source(axes: Axes, domain: DomainReport) -> None:
    score = _source_score(domain)
    if score is not None:
        axes.axhline(score, color=_MUTED, lw=1, ls=(0, (4, 3)), label="source as it is")


def _source_score(domain: DomainReport) -> float | None:
    for candidate in domain.candidates:
        scores = [v for v in candidate.validation_psnr if math.isfinite(v)]
        if candidate.configuration is None and (scores or candidate.search_psnr is not None):
            return candidate.search_psnr if candidate.search_psnr is not None else fmean(scores)
    return None


def _legend(axes: Axes) -> None:
    if axes.get_legend_handles_labels()[1]:
        axes.legend(
            loc="lower center",
            bbox_to_anchor=(0.47, 1.0),
            ncols=4,
            handlelength=1.5,
            columnspacing=1.1,
        )


def _best_so_far(trials: Iterable[Trial]) -> list[tuple[int, float]]:
    best: list[tuple[int, float]] = []
    for trial in sorted(trials, key=lambda t: t.number):
        if trial.psnr is not None and math.isfinite(trial.psnr):
            best.append((trial.number, max(trial.psnr, best[-1][1]) if best else trial.psnr))
    return best


def _points(curve: Iterable[CurvePoint]) -> list[tuple[int, float]]:
    return [(p.step, p.value) for p in curve if math.isfinite(p.value)]


def _view(values: Iterable[float | None]) -> tuple[float, float]:
    """Chooses the range of an axis so that a few far too low values do not flatten all others."""
    kept = [v for v in values if v is not None and math.isfinite(v)]
    if not kept:
        return 0.0, 1.0
    top, middle, low = max(kept), median(kept), min(kept)
    low = max(low, middle - 5 * max(top - middle, 0.02))
    margin = 0.08 * (top - low) or 0.05
    return low - margin, top + margin


def _svg(name: str, title: str, described: str, paint: Callable[[Axes], None], size: tuple[float, float]) -> str:
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=size, layout="constrained")
        paint(figure.add_subplot())
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata=_NO_METADATA)
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, f"var({variable})")
    # Many drawings share a page: their ids must not meet.
    svg = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", svg)
    opening = (
        f'<svg role="img" aria-labelledby="{name}-title {name}-desc"><title id="{name}-title">{escape(title)}'
        f'</title><desc id="{name}-desc">{escape(described)}</desc>'
    )
    attributes, body = svg[4:].split(">", 1)
    attributes = re.sub(r'\s(?:width|height)="[^"]*pt"', "", attributes)
    return opening.replace("<svg", f"<svg{attributes}", 1) + body
