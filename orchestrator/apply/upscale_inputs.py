"""Upscaling of all files at a place: scenes on Ray, if they are few and small in this process, as all others are.

A folder may hold all of them; one summary covers both.
"""

from collections.abc import Callable, Collection
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, NotRequired, ParamSpec, Protocol, cast

from orchestrator.apply.upscale import Settings, upscale_images
from orchestrator.archive.batch.options import Options
from orchestrator.archive.batch.output_lock import only_run
from orchestrator.archive.places.listing import Listing, list_archive
from orchestrator.archive.scene.types import SceneSettings
from orchestrator.foundation.file_types import FILE_OUTPUTS, PICTURE_OUTPUTS, As, suffix_of
from orchestrator.foundation.storage import Storage
from orchestrator.foundation.summaries import Failure, UpscaleSummary
from orchestrator.foundation.task_progress import CountCallback
from trainables.errors import UsageError

if TYPE_CHECKING:
    from orchestrator.archive.batch.archive_progress import Progress
    from orchestrator.archive.batch.summary import ArchiveSummary, Flagged
    from orchestrator.archive.estimate.plan_archive import ArchiveEstimate

P = ParamSpec("P")


class InputsSummary(UpscaleSummary):
    """One summary of images and scenes; if there were scenes, with the keys of :class:`ArchiveSummary`."""

    stopped: str | None
    ledger: NotRequired[str]
    run: NotRequired[str]
    errors: NotRequired[dict[str, int]]
    flagged: NotRequired[list["Flagged"]]
    leftovers: NotRequired[list[str]]
    odd_ledger_lines: NotRequired[int]
    odd_ledgers: NotRequired[list[str]]
    not_tried: NotRequired[int]


class UpscaleDisplay(Protocol):
    """Receives progress and results of each kind of inputs."""

    def images(self) -> AbstractContextManager[CountCallback]:
        """Shows the number of images done, and of all, while the block runs."""

    def scenes(self) -> AbstractContextManager[Callable[["Progress"], None]]:
        """Shows the progress of scenes while the block runs."""

    def note(self, text: str) -> None:
        """Shows what was decided before the work on scenes starts."""

    def images_done(self, result: UpscaleSummary) -> None:
        """Shows the summary of images."""

    def scenes_done(self, result: "ArchiveSummary") -> None:
        """Shows the summary of scenes."""


@dataclass(frozen=True, slots=True)
class Patterns:
    """Patterns that choose files of a folder by their paths below it; ``*`` matches ``/`` too.

    Attributes:
        include: A path must match one of these, if there are any.
        exclude: A path must match none of these.
    """

    include: Collection[str] = ()
    exclude: Collection[str] = ()


def upscale_inputs(
    model: str,
    source: str,
    target: str,
    as_: As,
    images: Settings,
    scenes: SceneSettings,
    options: Options,
    display: UpscaleDisplay,
    patterns: Patterns = Patterns(),
) -> InputsSummary:
    """Upscales all scenes and images of a place.

    Args:
        model: Packaged name, folder or prefix of the model.
        source: A file, a folder, an ``s3://`` prefix, or a list of scenes (.txt or .csv).
        target: A folder or prefix; for one plain image also a path that ends in .png or .jpg.
        as_: Inputs that become Cloud-Optimised GeoTIFFs.
        images: Settings for images.
        scenes: Settings for scenes.
        options: Options of the work on scenes, such as the cluster.
        display: Receives progress and results.
        patterns: Choice of files of a folder.

    Returns:
        One summary of images and scenes.

    Raises:
        UsageError: If the work cannot start, or another run works on the same outputs.
    """
    ending = suffix_of(target)
    listing = None
    if as_ != "png" and ending not in PICTURE_OUTPUTS:
        listing = list_archive(source, target, as_, patterns.include, patterns.exclude)
    archive = listing if listing is not None and listing.scenes else None
    if archive is not None and images.ensemble:
        raise UsageError(
            "--self-ensemble is not for scenes, which INPUT has: remove it, or leave the scenes out by --exclude."
        )
    results: list[UpscaleSummary] = []
    unlocked = nullcontext[Callable[[], None]](lambda: None)
    with unlocked if ending in FILE_OUTPUTS else only_run(Storage.at(target), options.side_by_side) as check:
        if archive is not None and options.max_cost is not None:
            estimate = _estimate(model, archive, target, scenes, options, display, check)
            display.note(f"Estimated to cost {estimate['price']:.2f} in {estimate['hours']:.2f} hours.")
        if archive is None or archive.images:
            plain = None if listing is None else listing.plain
            with display.images() as show:
                shown = _checked(check, show)
                results.append(
                    upscale_images(model, source, target, images, shown, plain, patterns.include, patterns.exclude)
                )
            display.images_done(results[-1])
        if archive is not None:
            result = _upscale_scenes(model, archive, target, scenes, options, display, check)
            display.scenes_done(result)
            results.append(result)
    return _merged(results)


def _upscale_scenes(
    model: str,
    listing: Listing,
    target: str,
    scenes: SceneSettings,
    options: Options,
    display: UpscaleDisplay,
    check: Callable[[], None],
) -> "ArchiveSummary":
    from orchestrator.archive.batch.run import upscale_archive  # which needs Ray
    from orchestrator.archive.report.write import write_overview

    with display.scenes() as show:
        result = upscale_archive(
            model, listing.scenes, target, scenes, options, _checked(check, show), report_note=display.note
        )
    if (problem := write_overview(Storage.at(target), result, options.price_per_hour)) is not None:
        display.note(problem)
    if not listing.images:  # with images, their summary has the files that were refused or passed over
        refused: list[Failure] = [
            {"file": o.path, "error": "unreadable", "reason": o.reason} for o in listing.plain.refused
        ]
        result["failed"] = [*refused, *result["failed"]]
        result["passed_over"] = listing.plain.report()
    return result


def plan_inputs(
    model: str,
    source: str,
    target: str,
    as_: As,
    scenes: SceneSettings,
    options: Options,
    display: UpscaleDisplay,
    patterns: Patterns = Patterns(),
) -> "ArchiveEstimate":
    """Estimates the work on all scenes of a place; plain images are left out.

    The arguments are those of :func:`upscale_inputs`.

    Raises:
        UsageError: If there are no scenes, the work cannot start, or it would cost more than ``options.max_cost``.
    """
    listing = list_archive(source, target, as_, patterns.include, patterns.exclude)
    if not listing.scenes:
        raise UsageError(
            f"--plan is for scenes (GeoTIFF, JPEG 2000), and '{source}' has none; --as cog takes all files."
        )
    return _estimate(model, listing, target, scenes, options, display)


def _estimate(
    model: str,
    listing: Listing,
    target: str,
    scenes: SceneSettings,
    options: Options,
    display: UpscaleDisplay,
    check: Callable[[], None] = lambda: None,
) -> "ArchiveEstimate":
    """Estimates the work on scenes, which may not cost more than ``options.max_cost``."""
    from orchestrator.archive.estimate.plan_archive import check_cost, plan_archive

    with display.scenes() as show:
        estimate = plan_archive(model, listing.scenes, target, scenes, options, _checked(check, show), display.note)
    if options.max_cost is not None:
        check_cost(estimate, options.max_cost)
    return estimate


def _checked(check: Callable[[], None], show: Callable[P, None]) -> Callable[P, None]:
    """A callback that shows progress, and ends a run whose lock another run has taken over."""

    def report(*args: P.args, **kwargs: P.kwargs) -> None:
        check()
        show(*args, **kwargs)

    return report


def _merged(results: list[UpscaleSummary]) -> InputsSummary:
    """One summary of plain images and scenes; keys of scenes come last."""
    merged: dict[str, object] = {"stopped": None}
    for result in results:
        merged.update(result)
    return cast(
        InputsSummary,
        {
            **merged,
            "written": sum(result["written"] for result in results),
            "skipped": sum(result["skipped"] for result in results),
            "megapixels": round(sum(result["megapixels"] for result in results), 3),
            "seconds": round(sum(result["seconds"] for result in results), 3),
            "failed": [failure for result in results for failure in result["failed"]],
            "notes": [note for result in results for note in result["notes"]],
        },
    )
