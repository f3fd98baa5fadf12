"""Output of an archive run: a moving line on a terminal, a plain line every half minute in a log, and the summary."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console

from orchestrator.archive.batch.archive_progress import Progress
from orchestrator.archive.batch.summary import ArchiveSummary
from orchestrator.cli.output import print_passed_over
from orchestrator.foundation.quantities import duration, number, plural, size
from orchestrator.runtime.progress import Display
from trainables.errors import printable

if TYPE_CHECKING:
    from orchestrator.archive.estimate.plan_archive import ArchiveEstimate

_NAMED = 20
"""Most failures and outliers that are listed; the ledger has them all."""


@contextmanager
def watching() -> Iterator[Callable[[Progress], None]]:
    """Shows the progress that it is called with on standard error."""
    display = Display(Console(stderr=True))
    said: set[str] = set()
    latest = ""
    with display.line() as show:

        def watch(progress: Progress) -> None:
            nonlocal latest
            for note in progress.notes:
                if note not in said:
                    said.add(note)
                    display.log(note)
            if progress.joined is not None and str(progress.joined) != latest:
                latest = str(progress.joined)
                display.log(latest)
            show(progress.done, progress.scenes, progress_line(progress))

        yield watch


def progress_line(progress: Progress) -> str:
    """Progress of a run in words: output per second, scenes and time left, failures so far."""
    rate = progress.megapixels / max(progress.seconds, 1e-9)
    parts = [f"{progress.done} of {_scenes(progress.scenes)} done", f"{rate:.1f} MP/s"]
    parts.append(f"{progress.scenes - progress.done} left")
    if progress.elsewhere:
        parts.append(f"{progress.elsewhere} by other runs")
    left = progress.seconds_left
    parts.append("time unknown" if left is None else f"about {duration(left)}")
    if progress.joined is not None and progress.joined.missing:
        parts.append(f"waiting for {progress.joined.missing} of {progress.joined.wanted} GPUs")
    parts.append(f"failed {_by_class(progress.failed)}" if progress.failed else "none failed")
    return ", ".join(parts)


def print_archive(summary: ArchiveSummary) -> None:
    """Prints the numbers of written, skipped and failed scenes, and how to handle failures."""
    rate = summary["megapixels"] / max(summary["seconds"], 1e-9)
    print(
        f"{_scenes(summary['written'])} upscaled x{summary['scale']} with {summary['model']}, in {summary['output']}"
        + (
            f" ({summary['megapixels']:.1f} MP in {duration(summary['seconds'])}, {rate:.1f} MP/s)"
            if summary["written"]
            else ""
        )
    )
    if summary["skipped"]:
        print(f"{_scenes(summary['skipped'])} skipped: finished by other runs (--overwrite makes them again)")
    for failure in summary["failed"][:_NAMED]:
        print(f"failed: {printable(failure['file'])}: {failure.get('error', '')}: {printable(failure['reason'])}")
    if len(summary["failed"]) > _NAMED:
        print(f"and {len(summary['failed']) - _NAMED} more, named in the ledger")
    if summary["failed"]:
        classes = Counter(failure.get("error", "") for failure in summary["failed"])
        print(f"{_scenes(len(summary['failed']))} failed: {_by_class(classes)}")
    for outlier in summary["flagged"][:_NAMED]:
        print(f"flagged: {printable(outlier['file'])}: {', '.join(outlier['flags'])}")
    print_passed_over(summary.get("passed_over"))
    if summary["odd_ledger_lines"]:
        print(f"{plural(summary['odd_ledger_lines'], 'odd line')} in the ledgers passed over:")
        for odd in summary["odd_ledgers"][:_NAMED]:
            print(f"  {printable(odd)}")
    if summary["leftovers"]:
        print("Left by killed runs of an earlier version, to be removed if none is working:")
        for name in summary["leftovers"][:_NAMED]:
            print(f"  {summary['output']}/{name}")
    if summary["stopped"]:
        print(f"Given up with {_scenes(summary['not_tried'])} left: {summary['stopped']}")
    print(f"Ledger: {summary['ledger']}")


def print_estimate(estimate: "ArchiveEstimate") -> None:
    """Prints the estimate of a run, with the sample that it rests on."""
    failed, share = estimate["sampled_failed"], 100 * estimate["sampled_share"]
    print(
        f"{_scenes(estimate['scenes'])} to upscale, {estimate['finished']} finished"
        + (f", {estimate['not_tried']} not tried (failed before, or cannot start)" if estimate["not_tried"] else "")
        + f"; {estimate['sampled']} sampled"
        + (f", failed {_by_class(failed)}" if failed else "")
        + f"; {share:{'.0f' if share >= 10 else '.2g'}} % of the pixels upscaled"
    )
    print(
        f"Time: {duration(3600 * estimate['hours'])} with {plural(estimate['workers'], 'worker')}, "
        f"{number(estimate['core_hours'])} core-hours for {estimate['megapixels']:,.0f} MP"
    )
    print(f"Bytes: {size(estimate['output_bytes'])} of outputs, {size(estimate['scratch_bytes'])} of scratch")
    area = estimate["area_km2"]
    if estimate["price"] is None:
        print("Price: give --price-per-hour for an estimate.")
    else:
        per_area = estimate["price_per_1000_km2"]
        print(f"Price: {estimate['price']:.2f}" + (f", {per_area:.2f} per 1,000 km²" if per_area is not None else ""))
    if area:
        print(f"Area: {area:,.0f} km², {number(1000 * estimate['core_hours'] / area)} core-hours per 1,000 km²")


def _scenes(count: int) -> str:
    return plural(count, "scene")


def _by_class(errors: Mapping[str, int]) -> str:
    return f"{sum(errors.values())} ({', '.join(f'{error} {count}' for error, count in sorted(errors.items()))})"
