"""What a run says: a moving line on a terminal, a plain line every half minute in a log, and the summary."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console

from orchestrator.archive.batch.driver import Progress
from orchestrator.archive.batch.summary import ArchiveSummary
from orchestrator.cli.output import print_passed_over
from orchestrator.runtime.progress import Display
from orchestrator.runtime.terminal import duration
from trainables.errors import printable

_NAMED = 20
"""Failures and outliers that are named; the ledger has them all."""


@contextmanager
def watching() -> Iterator[Callable[[Progress], None]]:
    """Shows the progress that it is told on standard error."""
    with Display(Console(stderr=True)).line() as show:
        yield lambda progress: show(progress.done, progress.scenes, progress_line(progress))


def progress_line(progress: Progress) -> str:
    """How far a run is: output per second, scenes and time left, failures so far."""
    rate = progress.megapixels / max(progress.seconds, 1e-9)
    parts = [f"{progress.done} of {scenes(progress.scenes)} done", f"{rate:.1f} MP/s"]
    parts.append(f"{progress.scenes - progress.done} left")
    if progress.seconds_left is not None:
        parts.append(f"about {duration(progress.seconds_left)}")
    parts.append(f"failed {_by_class(progress.failed)}" if progress.failed else "none failed")
    return ", ".join(parts)


def print_archive(told: ArchiveSummary) -> None:
    """What was written, skipped and failed, and what to do about it."""
    rate = told["megapixels"] / max(told["seconds"], 1e-9)
    print(
        f"{scenes(told['written'])} upscaled x{told['scale']} with {told['model']}, in {told['output']}"
        + (f" ({told['megapixels']:.1f} MP in {duration(told['seconds'])}, {rate:.1f} MP/s)" if told["written"] else "")
    )
    if told["skipped"]:
        print(f"{scenes(told['skipped'])} skipped: finished before (--overwrite makes them again)")
    for failure in told["failed"][:_NAMED]:
        print(f"failed: {printable(failure['file'])}: {failure.get('error', '')}: {printable(failure['reason'])}")
    if len(told["failed"]) > _NAMED:
        print(f"and {len(told['failed']) - _NAMED} more, named in the ledger")
    if told["failed"]:
        classes = Counter(failure.get("error", "") for failure in told["failed"])
        print(f"{scenes(len(told['failed']))} failed: {_by_class(classes)}")
    for outlier in told["flagged"][:_NAMED]:
        print(f"does not match its source: {printable(outlier['file'])}: {', '.join(outlier['flags'])}")
    print_passed_over(told.get("passed_over"))
    if told["odd_ledger_lines"]:
        count = told["odd_ledger_lines"]
        print(f"{count} odd {'line' if count == 1 else 'lines'} in the ledgers passed over:")
        for odd in told["odd_ledgers"][:_NAMED]:
            print(f"  {printable(odd)}")
    if told["leftovers"]:
        print("Left by killed runs of an earlier version, to be removed if none is working:")
        for name in told["leftovers"][:_NAMED]:
            print(f"  {told['output']}/{name}")
    if told["stopped"]:
        print(f"Given up with {scenes(told['not_tried'])} left: {told['stopped']}")
    print(f"Ledger: {told['ledger']}")


def scenes(count: int) -> str:
    """A number of scenes in words."""
    return f"{count} scene" if count == 1 else f"{count} scenes"


def _by_class(errors: Mapping[str, int]) -> str:
    return f"{sum(errors.values())} ({', '.join(f'{error} {count}' for error, count in sorted(errors.items()))})"
