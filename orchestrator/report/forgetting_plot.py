"""The plot of target gain against forgetting."""

from typing import Any

from matplotlib.axes import Axes

from orchestrator.report.forgetting import Forgetting, SourceTrial
from orchestrator.report.svg import INK, MARK, SURFACE, WINNER, draw, legend, view


def forgetting_plot(space: str, forgetting: Forgetting, name: str) -> str:
    """Draws the gain of every finished trial against its loss of source PSNR, the limit, and the front.

    Args:
        space: Id of the domain's search space.
        forgetting: The trials.
        name: Prefix of the ids of the figure's parts.
    """
    trials = forgetting.trials
    floor, ceiling = view([trial.gain for trial in trials] + [0.0])

    def paint(axes: Axes) -> None:
        groups: tuple[tuple[str, list[SourceTrial], dict[str, Any]], ...] = (
            ("within the limit", [t for t in trials if t.feasible], {"color": MARK}),
            ("beyond it", [t for t in trials if not t.feasible], {"color": MARK, "mfc": SURFACE}),
            ("best within it", [t for t in trials if t.best], {"color": WINNER, "mfc": "none", "ms": 10, "mew": 1.8}),
        )
        front = [trial for trial in trials if trial.on_front]
        if front:
            _plot(axes, front, floor, "", {"color": MARK, "lw": 1, "drawstyle": "steps-post", "label": "front"}, "-")
        for label, drawn, look in groups:
            if drawn:
                _plot(axes, drawn, floor, "o", {"ms": 4.5, "label": label, "clip_on": False} | look, "none")
        axes.axvline(forgetting.limit, color=INK, lw=1, ls="--", label="limit")
        axes.set_ylim(floor, ceiling)
        axes.margins(x=0.08)
        axes.set_xlabel("Loss of source PSNR (dB)")
        axes.set_ylabel("Gain of validation PSNR (dB)")
        legend(axes)

    described = "; ".join(f"trial {t.number}: gain {t.gain:+.2f} dB, loss {t.loss:.2f} dB" for t in trials)
    return draw(name, f"Gain against forgetting, {space}", described or "No trial.", paint, (4.5, 3.1))


def _plot(axes: Axes, trials: list[SourceTrial], floor: float, marker: str, look: dict[str, Any], line: str) -> None:
    heights = [max(trial.gain, floor) for trial in trials]
    axes.plot([trial.loss for trial in trials], heights, marker=marker, ls=line, **look)
