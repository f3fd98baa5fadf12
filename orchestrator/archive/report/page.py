"""The page of an archive's report: one HTML file of bounded size that needs no network and no other file."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from orchestrator.archive.report.outcomes import SceneOutcome
from orchestrator.archive.report.record import ArchiveReport
from orchestrator.archive.report.thumbnails import SPOT, Thumbnails
from orchestrator.foundation.page import page_environment
from orchestrator.foundation.quantities import number, size
from trainables.errors import printable

RUNS_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Shown:
    """A scene that the page shows with its pictures."""

    outcome: SceneOutcome
    pictures: Thumbnails


@dataclass(frozen=True, slots=True)
class FailureClass:
    """Failures of one class, with some of the scenes."""

    error: str
    count: int
    examples: Sequence[SceneOutcome]


def render_page(
    report: ArchiveReport,
    map_svg: Markup | None,
    flagged: Sequence[SceneOutcome],
    failures: Sequence[FailureClass],
    shown: Sequence[Shown],
) -> str:
    """Renders the page.

    Args:
        report: The figures.
        map_svg: Map of the footprints; None leaves the section out.
        flagged: Flagged scenes to list.
        failures: Failures by class, the most frequent first.
        shown: Scenes with pictures, flagged ones first.
    """
    environment = page_environment(Path(__file__).parent / "templates")
    environment.filters.update(number=number, size=size, printable=printable)
    return environment.get_template("archive.html.j2").render(
        report=report,
        map_svg=map_svg,
        flagged=flagged,
        failures=failures,
        shown=shown,
        spot=SPOT,
        runs=report.runs[-RUNS_SHOWN:][::-1],
        failed=sum(report.failed.values()),
    )
