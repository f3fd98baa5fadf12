"""The report's plots.

Numbers below a plot's range are drawn as hollow triangles at its lower edge, never dropped: one bad trial must neither
disappear nor flatten all others.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from statistics import fmean
from typing import Any, Literal

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from orchestrator.confirm.record import Difference
from orchestrator.foundation.vocabulary import Verdict
from orchestrator.report.schema import CurvePoint, DomainReport, Front, Trial
from orchestrator.report.svg import (
    BETTER,
    INK,
    MARK,
    MUTED,
    SURFACE,
    TIE,
    WINNER,
    WORSE,
    draw,
    legend,
    log_ticks,
    view,
)
from trainables.loops.settings import TransferConfiguration

Setting = Literal["learning_rate", "lambda_", "frozen_depth"]
SETTINGS: tuple[Setting, ...] = ("learning_rate", "lambda_", "frozen_depth")

_VERDICT: dict[Verdict, tuple[str, str]] = {
    "better": (BETTER, "o"),
    "no difference that matters": (TIE, "P"),
    "tie": (TIE, "s"),
    "worse": (WORSE, "D"),
    "too few scenes": (MUTED, "^"),
    "too few scenes to exclude rare harm": (BETTER, "v"),
}
_PSNR = "Validation PSNR (dB)"


def interval_plot(domain: DomainReport, rows: Sequence[tuple[str, Difference]], name: str) -> str:
    """Draws labelled differences of test PSNR with their 95 % intervals against a zero line."""

    def paint(axes: Axes) -> None:
        for row, (_, difference) in enumerate(rows):
            colour, marker = _VERDICT[difference.verdict]
            axes.plot([difference.low, difference.high], [row, row], color=colour, lw=1.8)
            axes.plot([difference.mean], [row], marker, color=colour, ms=5.5)
        axes.axvline(0, color=INK, lw=1)
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
    return draw(name, f"Differences on test, {domain.space}", described, paint, (4.5, 0.62 + 0.4 * len(rows)))


def search_history(domain: DomainReport, name: str) -> str:
    """Draws each trial's validation PSNR in the order of the search, with the best so far."""
    floor, ceiling = view([t.psnr for t in domain.trials] + [_source_score(domain)])

    def paint(axes: Axes) -> None:
        _mark_source(axes, domain)
        best = _best_so_far(domain.trials)
        axes.step(
            [n for n, _ in best],
            [v for _, v in best],
            where="post",
            color=MUTED,
            lw=1.2,
            label="best so far" if best else None,
        )
        _scatter(axes, domain, lambda trial: trial.number, floor)
        axes.set_ylim(floor, ceiling)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("Trial number")
        axes.set_ylabel(_PSNR)
        legend(axes)

    scored = [v for _, v in _best_so_far(domain.trials)]
    diverged = sum(t.status == "diverged" for t in domain.trials)
    described = f"{len(domain.trials)} trials, {diverged} diverged." + (
        f" Best validation PSNR {max(scored):.2f} dB." if scored else ""
    )
    return draw(name, f"Search history, {domain.space}", described, paint, (4.5, 3.1))


def setting_scatter(domain: DomainReport, setting: Setting, name: str) -> str:
    """Draws one setting of every trial against validation PSNR; λ of exactly 0 has a lane of its own."""
    floor, ceiling = view([t.psnr for t in domain.trials])
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
            log_ticks(axes, shown, lane if setting == "lambda_" else None)
        _scatter(axes, domain, place, floor)
        axes.set_ylim(floor, ceiling)
        axes.set_xlabel(label)
        axes.set_ylabel(_PSNR)

    low, high = (f"{f(values):.3g}" if values else "none" for f in (min, max))
    return draw(name, f"{label} against {_PSNR}", f"Values from {low} to {high}.", paint, (3.9, 3.0))


def front_plot(domain: DomainReport, front: Front, name: str) -> str:
    """Draws every finished trial's speed against its validation PSNR, and the front that bounds them."""
    scored = [(t.speed, t.psnr) for t in domain.trials if t.speed is not None and t.psnr is not None]
    floor, ceiling = view([psnr for _, psnr in scored])
    points = [(point.megapixels_per_second, point.search_psnr) for point in front.points]

    def paint(axes: Axes) -> None:
        inside = [(speed, psnr) for speed, psnr in scored if psnr >= floor]
        below = [(speed, floor) for speed, psnr in scored if psnr < floor]
        groups = (("trials", inside, "o", MARK), ("below the range", below, "v", SURFACE))
        for label, drawn, marker, inner in groups:
            if drawn:
                look: dict[str, Any] = {"color": MARK, "mfc": inner, "ms": 4.5, "alpha": 0.8, "clip_on": False}
                axes.plot(*zip(*drawn, strict=True), marker, label=label, **look)
        if points:
            heights = [max(psnr, floor) for _, psnr in points]
            look = {"color": WINNER, "mfc": "none", "ms": 9, "drawstyle": "steps-pre", "label": "front"}
            axes.plot([speed for speed, _ in points], heights, "o-", **look)
        for point, (speed, psnr) in zip(front.points, points, strict=True):
            place = speed, max(psnr, floor)
            axes.annotate(str(point.kept_blocks), place, (6, 5), textcoords="offset points", color=WINNER)
        axes.set_ylim(floor, ceiling)
        axes.margins(x=0.1)
        axes.set_xlabel("Speed of output (MP/s)")
        axes.set_ylabel(_PSNR)
        legend(axes)

    described = "; ".join(
        f"{point.kept_blocks} blocks kept: {speed:.3g} MP/s, {psnr:.2f} dB"
        for point, (speed, psnr) in zip(front.points, points, strict=True)
    )
    return draw(name, f"Front of quality and speed, {domain.space}", described or "No trial.", paint, (4.5, 3.1))


def learning_curves(domain: DomainReport, name: str) -> str:
    """Draws the validation PSNR of every trial over its steps, the winner on top."""
    winner = winning_trial(domain)
    curves = {t.number: _points(t.curve) for t in domain.trials}
    floor, ceiling = view([v for t in domain.trials for _, v in curves[t.number] if t.status == "finished"])

    def paint(axes: Axes) -> None:
        seen: set[str] = set()
        for trial in sorted(domain.trials, key=lambda t: (t is winner, t.origin == "default")):
            look: dict[str, Any] = {"color": MARK, "lw": 0.9, "alpha": 0.45}
            kind = "other trials"
            if trial.status == "diverged":
                look, kind = {"color": WORSE, "lw": 1, "ls": ":"}, "diverged"
            elif trial.status == "stopped":
                look, kind = {"color": MUTED, "lw": 0.9, "ls": "-."}, "stopped early"
            elif trial.origin == "default":
                look, kind = {"color": INK, "lw": 1.3, "ls": "--"}, "default fine-tune"
            if trial is winner:
                look, kind = {"color": WINNER, "lw": 2}, "winner"
            points = curves[trial.number]
            if points:
                # A curve of one point has no line to see: it needs a marker.
                marker = "o" if len(points) == 1 else None
                label = None if kind in seen else kind
                axes.plot(*zip(*points, strict=True), ms=3, marker=marker, label=label, **look)
                seen.add(kind)
        axes.set_ylim(floor, ceiling)
        axes.set_xlabel("Training step")
        axes.set_ylabel(_PSNR)
        legend(axes)

    described = f"{len(domain.trials)} trials over up to {domain.steps_per_trial} steps."
    return draw(name, f"Learning curves, {domain.space}", described, paint, (4.5, 3.1))


def loss_curve(loss: Sequence[CurvePoint], name: str) -> str:
    """Draws the source model's training loss."""
    points = _points(loss)

    def paint(axes: Axes) -> None:
        if points:
            axes.plot(*zip(*points, strict=True), color=MARK, lw=1.3, marker="o" if len(points) == 1 else None)
        axes.set_xlabel("Training step")
        axes.set_ylabel("Training loss (no unit)")

    described = f"From {points[0][1]:.4g} to {points[-1][1]:.4g}." if points else "No values."
    return draw(name, "Training loss of the source model", described, paint, (4.5, 2.6))


def winning_trial(domain: DomainReport) -> Trial | None:
    """Returns the first trial of the domain's configuration, or None if no trial had it."""
    chosen: TransferConfiguration | None = domain.configuration
    same = (t for t in domain.trials if t.configuration == chosen and t.status == "finished")
    return next(same, None) if chosen else None


def _scatter(axes: Axes, domain: DomainReport, place: Callable[[Trial], float], floor: float) -> None:
    """Plots trials by kind; the order of drawing keeps the winner visible."""
    winner = winning_trial(domain)
    groups: dict[str, tuple[list[Trial], dict[str, Any]]] = {
        "sampled": ([], {"marker": "o", "color": MARK, "ms": 4.5, "alpha": 0.8}),
        "start": ([], {"marker": "s", "color": MARK, "mfc": SURFACE, "ms": 4.5}),
        "default fine-tune": ([], {"marker": "D", "color": INK, "mfc": SURFACE, "ms": 5.5}),
        "below the range": ([], {"marker": "v", "color": MARK, "mfc": SURFACE, "ms": 5}),
        "stopped early": ([], {"marker": "1", "color": MUTED, "ms": 6, "mew": 1.2}),
        "diverged": ([], {"marker": "x", "color": WORSE, "ms": 5.5, "mew": 1.5}),
        "winner": ([], {"marker": "o", "color": WINNER, "mfc": "none", "ms": 10, "mew": 1.8}),
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


def _mark_source(axes: Axes, domain: DomainReport) -> None:
    score = _source_score(domain)
    if score is not None:
        axes.axhline(score, color=MUTED, lw=1, ls=(0, (4, 3)), label="source as it is")


def _source_score(domain: DomainReport) -> float | None:
    for candidate in domain.candidates:
        scores = [v for v in candidate.scores if math.isfinite(v)]
        if candidate.configuration is None and (scores or candidate.search_psnr is not None):
            return candidate.search_psnr if candidate.search_psnr is not None else fmean(scores)
    return None


def _best_so_far(trials: Iterable[Trial]) -> list[tuple[int, float]]:
    best: list[tuple[int, float]] = []
    for trial in sorted(trials, key=lambda t: t.number):
        if trial.psnr is not None and math.isfinite(trial.psnr):
            best.append((trial.number, max(trial.psnr, best[-1][1]) if best else trial.psnr))
    return best


def _points(curve: Iterable[CurvePoint]) -> list[tuple[int, float]]:
    return [(p.step, p.value) for p in curve if math.isfinite(p.value)]
