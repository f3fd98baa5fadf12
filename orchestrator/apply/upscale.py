"""Upscaling of image files with a model, without a cluster: one image, a folder or a prefix.

Outputs are written atomically and existing ones are skipped, so that the same command continues after an interruption.
A file that cannot be upscaled is reported with its reason, and the others go on.
"""

import time
from collections.abc import Callable, Collection, Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from threading import Event

from orchestrator.apply.device import check_device
from orchestrator.apply.existing_outputs import is_whole
from orchestrator.apply.file_outcome import Outcome
from orchestrator.apply.images_to_upscale import Work, missing, works_of
from orchestrator.archive.scene.types import Range
from orchestrator.foundation.file_listing import FileListing
from orchestrator.foundation.file_types import is_jpeg
from orchestrator.foundation.model_store import find_model_files
from orchestrator.foundation.storage import Storage
from orchestrator.foundation.summaries import Failure, UpscaleSummary
from orchestrator.foundation.task_progress import CountCallback
from trainables.inference.downscaling import BackProject
from trainables.inference.precision import Precision
from trainables.inference.tiling import TILE

_AGAIN = "remove it, or make it again with --overwrite"
_FILES_AT_ONCE = 2
"""Files in work at a time: one in the network while another is decoded or written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings for upscaling images.

    Attributes:
        tile: Largest side of a tile in LR pixels.
        threads: CPU threads of the network; None for all cores.
        device: One of :data:`orchestrator.apply.device.DEVICES`.
        overwrite: Whether to write outputs again that exist.
        ensemble: Whether to average eight flips and rotations.
        precision: Precision of the convolutions; ``auto`` is float32 for DICOM, arrays and volumes, which have more
            than 8 bits.
        value_range: Values of DICOM, arrays and volumes that mean 0 and 1, in their units, for all or by data type;
            None, and by data type for DICOM, for the range of the model's card.
        slice_axis: The axis of a NIfTI volume that its slices are cut across: 0, 1 or 2.
        back_project: Back-projection of DICOM, arrays and volumes, see :mod:`trainables.inference.radiometry`.
        strict: True to make flagged DICOM outputs failures.
    """

    tile: int = TILE
    threads: int | None = None
    device: str = "auto"
    overwrite: bool = False
    ensemble: bool = False
    precision: Precision = "auto"
    value_range: Range | Mapping[str, Range] | None = None
    slice_axis: int = 2
    back_project: BackProject = "on"
    strict: bool = False


def upscale_images(
    model: str,
    source: str,
    target: str,
    settings: Settings,
    report_progress: CountCallback,
    listing: FileListing | None = None,
    include: Collection[str] = (),
    exclude: Collection[str] = (),
) -> UpscaleSummary:
    """Upscales all images of a place.

    Args:
        model: Packaged name, folder or prefix of the model.
        source: An image file, a folder or an ``s3://`` prefix.
        target: A folder or prefix; for one file also a path that ends in .png or .jpg, for DICOM in .dcm or .tif, for
            arrays and volumes as the file does.
        settings: Settings for upscaling.
        report_progress: Called with the files done and the files to do.
        listing: Images of the folder to upscale; all by default.
        include: Patterns; if there are any, a path below the folder must match one. ``*`` matches ``/`` too.
        exclude: Patterns; a path must match none of them.

    Returns:
        Counts of written and skipped outputs, failures and notes with their files, and the files passed over.

    Raises:
        UsageError: If the work cannot start: no model, no image, no place to write to, or a wrong setting.
    """
    check_device(settings.device)
    works, listing = works_of(source, target, listing, include, exclude)
    found = find_model_files(model)
    to_do = works if settings.overwrite else missing(works, target)
    wanted = {work.target.uri for work in to_do}
    broken = [work for work in works if work.target.uri not in wanted and not is_whole(work.target)]

    from orchestrator.apply.image_network import ready_for_images  # with torch, after all refusals

    stopped = Event()
    net, upscale_file = ready_for_images(found.unpacked(), to_do, settings, stopped)
    start = time.monotonic()
    outcomes: list[Outcome] = []
    report_progress(0, len(to_do))
    # Closed at once, because Ctrl-C while progress is reported would otherwise stop the threads much later.
    with closing(_all(upscale_file, to_do, stopped)) as finished:
        for outcome in finished:
            outcomes.append(outcome)
            report_progress(len(outcomes), len(to_do))
    return {
        "model": found.where,
        "scale": net.scale,
        "output": Storage.at(target).uri,
        "written": sum(outcome.failure is None for outcome in outcomes),
        "skipped": len(works) - len(to_do) - len(broken),
        "failed": [
            *(Failure(file=file.path, reason=file.reason) for file in listing.refused),
            *(
                Failure(file=work.name, reason=f"its output exists and is no whole {_kind(work)}: {_AGAIN}")
                for work in broken
            ),
            *(Failure(file=o.name, reason=o.failure) for o in outcomes if o.failure is not None),
        ],
        "notes": [{"file": o.name, "note": o.note} for o in outcomes if o.note is not None],
        "megapixels": round(sum(outcome.pixels for outcome in outcomes) / 1e6, 3),
        "seconds": round(time.monotonic() - start, 1),
        "device": net.device.type,
        "precision": net.precision,
        "passed_over": listing.report(),
    }


def _all(function: Callable[[Work], Outcome], works: list[Work], stopped: Event) -> Generator[Outcome, None, None]:
    pool = ThreadPoolExecutor(_FILES_AT_ONCE)
    try:
        yield from pool.map(function, works)
    finally:
        stopped.set()
        pool.shutdown(cancel_futures=True)


def _kind(work: Work) -> str:
    return "JPEG" if is_jpeg(work.target.uri) else "PNG"
