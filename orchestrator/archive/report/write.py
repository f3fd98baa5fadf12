"""Everything that is written beside an archive's outputs when a run ends: the STAC collection and the report."""

import time
from collections import Counter
from collections.abc import Mapping

from orchestrator.archive.batch.summary import ArchiveSummary
from orchestrator.archive.report.collection import write_collection
from orchestrator.archive.report.footprints import FootprintMap
from orchestrator.archive.report.item_table import Row
from orchestrator.archive.report.outcomes import SceneOutcome, read_latest_outcomes
from orchestrator.archive.report.page import FailureClass, Shown, render_page
from orchestrator.archive.report.record import ArchiveReport, RunFigures
from orchestrator.archive.report.thumbnails import thumbnails_of
from orchestrator.archive.report.well_known_binary import geometry_of
from orchestrator.foundation.storage import Storage
from trainables.errors import RayScaleError, reason_of
from trainables.version import __version__

FOLDER, PAGE, FIGURES = "_report", "index.html", "report.json"
PICTURED, LISTED, EXAMPLES = 12, 100, 5
"""Most scenes with pictures, most flagged scenes by name, and most failures of a class."""

_RUNS_KEPT = 1000


def write_overview(out: Storage, summary: ArchiveSummary, price_per_hour: float | None = None) -> str | None:
    """Writes the STAC collection of an archive's outputs and its report, of all runs.

    Args:
        out: Place of the outputs.
        summary: Summary of the run that has just ended.
        price_per_hour: Price of all machines per hour, in any currency.

    Returns:
        The reason why they could not be written; None if all is well. The outputs are whole in either case.
    """
    try:
        outcomes = read_latest_outcomes(out)
        footprints, placed_seconds = FootprintMap(), 0.0

        def observe(output: str, row: Row) -> None:
            nonlocal placed_seconds
            if row["geometry"] is not None:
                footprints.add(geometry_of(row["geometry"]), bool(outcomes[output].flags))
                placed_seconds += outcomes[output].worker_seconds

        write_collection(out, outcomes, observe)
        report = _figures(out, summary, price_per_hour, outcomes, footprints, placed_seconds)
        out.child(FOLDER, PAGE).write_bytes(_page(report, outcomes, footprints).encode(errors="replace"))
        out.child(FOLDER, FIGURES).write_json(report.model_dump(mode="json"))
    except (OSError, RayScaleError) as error:
        reason = reason_of(error).rstrip(".")
        return f"The report and the STAC collection could not be written ({reason}); the next run writes them."
    return None


def _figures(
    out: Storage,
    summary: ArchiveSummary,
    price_per_hour: float | None,
    outcomes: Mapping[str, SceneOutcome],
    footprints: FootprintMap,
    placed_seconds: float,
) -> ArchiveReport:
    done = [outcome for outcome in outcomes.values() if outcome.status == "ok"]
    flags = Counter(flag for outcome in done for flag in outcome.flags)
    return ArchiveReport(
        rayscale=__version__,
        model=summary["model"],
        scale=summary["scale"],
        output=out.uri,
        scenes=len(done),
        failed=_by_count(Counter(outcome.error for outcome in outcomes.values() if outcome.status == "failed")),
        flagged=sum(bool(outcome.flags) for outcome in done),
        flags=_by_count(flags),
        megapixels=round(sum(outcome.pixels for outcome in done) / 1e6, 3),
        output_bytes=sum(outcome.output_bytes for outcome in done),
        worker_hours=round(sum(outcome.worker_seconds for outcome in done) / 3600, 6),
        placed=footprints.count,
        area_km2=round(footprints.area, 6),
        placed_worker_hours=round(placed_seconds / 3600, 6),
        runs=[*_former_runs(out, summary["run"]), _run_figures(summary, price_per_hour)][-_RUNS_KEPT:],
    )


def _former_runs(out: Storage, run: str) -> list[RunFigures]:
    record = ArchiveReport.read(out.child(FOLDER, FIGURES))
    return [] if record is None else [former for former in record.runs if former.run != run]


def _run_figures(summary: ArchiveSummary, price_per_hour: float | None) -> RunFigures:
    return RunFigures(
        run=summary["run"],
        ended=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        written=summary["written"],
        skipped=summary["skipped"],
        failed=len(summary["failed"]),
        megapixels=summary["megapixels"],
        seconds=summary["seconds"],
        device=summary["device"],
        precision=summary["precision"],
        price_per_hour=price_per_hour,
    )


def _page(report: ArchiveReport, outcomes: Mapping[str, SceneOutcome], footprints: FootprintMap) -> str:
    by_name = sorted(outcomes.values(), key=lambda outcome: outcome.name)
    flagged = [outcome for outcome in by_name if outcome.status == "ok" and outcome.flags]
    others = [outcome for outcome in by_name if outcome.status == "ok" and not outcome.flags]
    pictured = flagged[:PICTURED]
    pictured += _spread(others, PICTURED - len(pictured))
    examples: dict[str, list[SceneOutcome]] = {error: [] for error in report.failed}
    for outcome in by_name:
        if outcome.status == "failed" and len(examples[outcome.error]) < EXAMPLES:
            examples[outcome.error].append(outcome)
    failures = [FailureClass(error, count, examples[error]) for error, count in report.failed.items()]
    shown = [Shown(outcome, thumbnails_of(outcome, report.scale)) for outcome in pictured]
    return render_page(report, footprints.svg(), flagged[:LISTED], failures, shown)


def _spread(outcomes: list[SceneOutcome], count: int) -> list[SceneOutcome]:
    """As many outcomes, evenly spread over the list."""
    if len(outcomes) <= count:
        return outcomes
    return [outcomes[i * len(outcomes) // count] for i in range(count)]


def _by_count(counts: Counter[str]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
