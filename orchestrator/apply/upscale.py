"""Upscaling of image files with a model, without a cluster: one image, a folder or a prefix.

Outputs are written atomically and existing ones are skipped, so that the same command continues after an interruption.
A file that cannot be upscaled is reported with its reason, and the others go on.
"""

import time
from collections import Counter
from collections.abc import Callable, Collection, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from threading import Event, Lock

import torch
from torch import Tensor

from orchestrator.apply.device import chosen_device
from orchestrator.apply.existing_outputs import is_whole, replaced_input
from orchestrator.apply.picture import available_memory, upscale_picture
from orchestrator.dicom.slice import Normalisation
from orchestrator.dicom.upscale import DicomSettings, upscale_slice
from orchestrator.foundation.file_listing import FileListing, list_tree, nothing_found
from orchestrator.foundation.file_types import (
    DICOM,
    INPUTS,
    PICTURE_OUTPUTS,
    PICTURES,
    PNG,
    TIFF,
    Kind,
    is_jpeg,
    is_tiff,
    kind_of,
    suffix_of,
)
from orchestrator.foundation.model_store import find_model
from orchestrator.foundation.sidecars import ENDINGS, by_small_letters, files_beside, lost_beside
from orchestrator.foundation.storage import Storage
from orchestrator.foundation.summaries import Failure, UpscaleSummary
from orchestrator.foundation.task_progress import CountCallback
from trainables.errors import ImageSetError, UnreadableImageError, UsageError, reason_of
from trainables.inference.precision import Precision
from trainables.inference.prepare import Prepared, prepared
from trainables.inference.upscale import TILE
from trainables.network.model_card import ModelCard

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
        precision: Precision of the convolutions; ``auto`` is float32 for DICOM, which has more than 8 bits.
        dicom: Values of a DICOM slice that mean 0 and 1: limits of its stored bits, its window, or two rescaled values;
            None for the range of the model's card, or for the stored bits if it states none.
    """

    tile: int = TILE
    threads: int | None = None
    device: str = "auto"
    overwrite: bool = False
    ensemble: bool = False
    precision: Precision = "auto"
    dicom: Normalisation | None = None


@dataclass(frozen=True, slots=True)
class _Work:
    """An image to upscale: its name for messages, kind, source, target, and a message on what would be lost."""

    name: str
    kind: Kind
    source: Storage
    target: Storage
    lost: str | None = None

    @property
    def dicom(self) -> bool:
        return self.kind == "dicom"


@dataclass(frozen=True, slots=True)
class _Outcome:
    name: str
    failure: str | None = None
    note: str | None = None
    pixels: int = 0


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
        target: A folder or prefix; for one file also a path that ends in .png or .jpg, for DICOM in .dcm or .tif.
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
    device = chosen_device(settings.device)
    works, listing = _works(source, target, listing, include, exclude)
    found = find_model(model)
    to_do = works if settings.overwrite else _missing(works, target)
    wanted = {work.target.uri for work in to_do}
    broken = [work for work in works if work.target.uri not in wanted and not is_whole(work.target)]
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    stopped = Event()
    net = _stoppable(prepared(found.net, device, settings.precision), stopped)
    start, lock, outcomes = time.monotonic(), Lock(), []
    deep = net
    if settings.precision == "auto" and any(work.dicom for work in to_do):
        deep = _stoppable(prepared(found.net, device, "float32"), stopped)
    how = DicomSettings(
        digest=found.card["sha256"],
        model=found.where,
        normalisation=settings.dicom or _range_of_card(found.card),
        units="" if settings.dicom else str(found.card.get("units") or ""),
        tile=settings.tile,
        ensemble=settings.ensemble,
    )

    def upscale_file(work: _Work) -> _Outcome:
        return _upscale_slice(deep, how, work, lock) if work.dicom else _upscale_file(net, work, settings, lock)

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
        "device": device.type,
        "precision": net.precision,
        "passed_over": listing.report(),
    }


def _range_of_card(card: ModelCard) -> Normalisation:
    stated = (card.get("value_range") or {}).get("dicom")
    return (float(stated[0]), float(stated[1])) if stated else "stored"


def _all(function: Callable[[_Work], _Outcome], works: list[_Work], stopped: Event) -> Generator[_Outcome, None, None]:
    pool = ThreadPoolExecutor(_FILES_AT_ONCE)
    try:
        yield from pool.map(function, works)
    finally:
        stopped.set()
        pool.shutdown(cancel_futures=True)


def _stoppable(net: Prepared, stopped: Event) -> Prepared:
    """A network that raises before the next tile once ``stopped`` is set, so that Ctrl-C ends a large image soon."""

    def run(lr: Tensor) -> Tensor:
        if stopped.is_set():
            raise RuntimeError("interrupted")
        return net.run(lr)

    return replace(net, run=run)


def _upscale_slice(net: Prepared, how: DicomSettings, work: _Work, lock: Lock) -> _Outcome:
    try:
        source = work.source.read_bytes()
        with lock:
            data, facts = upscale_slice(source, net, how, is_tiff(work.target.uri))
        work.target.write_bytes(data)
    except Exception as error:  # an error of one file must not end the run
        return _failed(work, error)
    flags = facts["consistency"]["flags"]
    notes = facts["notes"] + ([f"its output does not match it: {', '.join(flags)}"] if flags else [])
    return _Outcome(work.name, note="; ".join(notes) or None, pixels=facts["width"] * facts["height"])


def _upscale_file(net: Prepared, work: _Work, settings: Settings, lock: Lock) -> _Outcome:
    try:
        if work.lost is not None:
            raise UnreadableImageError(work.lost)
        data = work.source.read_bytes()
        jpeg = is_jpeg(work.target.uri)
        picture = upscale_picture(data, net, jpeg, settings.tile, settings.ensemble, lock, available_memory())
        work.target.write_bytes(picture.data)
    except Exception as error:
        return _failed(work, error)
    return _Outcome(work.name, note=picture.note, pixels=picture.pixels)


def _failed(work: _Work, error: Exception) -> _Outcome:
    """Outcome of a file that failed with an error."""
    if isinstance(error, MemoryError):
        return _Outcome(
            work.name, failure="too little memory is free for it; cut it into pieces, or save it as GeoTIFF"
        )
    return _Outcome(work.name, failure=reason_of(error))


def _works(
    source: str, target: str, listing: FileListing | None, include: Collection[str], exclude: Collection[str]
) -> tuple[list[_Work], FileListing]:
    """All images with the places of their outputs, and the listing with other files.

    Raises:
        UsageError: If there is no image, or an output would replace an input.
    """
    place, out = Storage.at(source), Storage.at(target)
    if place.remote:
        place.check_readable()
    if place.check_found() == "file":
        works, listing = [_work_of_file(place, out)], FileListing()
        beside = by_small_letters(files_beside(place))
    else:
        place.check_readable()
        listing = listing or list_tree(place, INPUTS, include, exclude, outputs=out)
        works = _works_of_folder(place, out, listing)
        beside = by_small_letters([place.child(facts.path).path for facts in list_tree(place, ENDINGS).files])
    if replaced_input((work.source, work.target) for work in works) or _below(out, place):
        raise UsageError(f"OUTPUT '{out.uri}' must lie outside INPUT '{place.uri}', whose images it would mix with.")
    _parent(works[0].target).check_writable()
    return [_with_what_lies_beside(work, beside) for work in works], listing


def _work_of_file(place: Storage, out: Storage) -> _Work:
    name, suffix = PurePosixPath(place.uri).name, suffix_of(out.uri)
    kind = kind_of(name, "png")
    if kind not in ("picture", "dicom"):
        raise ImageSetError(f"'{place.uri}' is no image ({', '.join(sorted(INPUTS))}).")
    if kind == "dicom":
        if suffix in (DICOM, *TIFF):
            return _Work(name, kind, place, out)
        if suffix in PICTURES:
            raise UsageError(f"OUTPUT '{out.uri}' must end in .dcm or .tif, or be a folder: '{name}' is DICOM.")
        return _Work(name, kind, place, out.child(name))
    if suffix in PICTURE_OUTPUTS:
        return _Work(name, kind, place, out)
    if suffix in PICTURES:
        raise UsageError(f"OUTPUT '{out.uri}' must end in .png or .jpg, or be a folder.")
    return _Work(name, kind, place, out.child(f"{PurePosixPath(name).stem}{PNG}"))


def _works_of_folder(place: Storage, out: Storage, listing: FileListing) -> list[_Work]:
    if suffix_of(out.uri) in PICTURES:
        raise UsageError(f"OUTPUT '{out.uri}' must be a folder, because INPUT '{place.uri}' is one.")
    paths = [facts.path for facts in listing.files]
    if not paths:
        raise ImageSetError(nothing_found(place, listing, INPUTS))
    kinds = {path: kind_of(path, "png") for path in paths}
    plain = {
        path: path if kind == "dicom" else str(PurePosixPath(path).with_suffix(PNG)) for path, kind in kinds.items()
    }
    of_a_name = Counter(name.lower() for path, name in plain.items() if kinds[path] != "dicom")
    # Where photo.jpg and photo.png lie together, both keep their whole name.
    names = {path: f"{path}{PNG}" if of_a_name[name.lower()] > 1 else name for path, name in plain.items()}
    count = Counter(names.values())
    while more := {path: f"{name}{PNG}" for path, name in names.items() if count[name] > 1 and plain[path] == name}:
        names |= more  # and where photo.jpg.png lies there too, it gets one more ending
        count = Counter(names.values())
    return [_Work(path, kinds[path], place.child(path), out.child(names[path])) for path in paths]


def _with_what_lies_beside(work: _Work, beside: dict[str, str]) -> _Work:
    def read(path: str) -> bytes:
        return replace(work.source, uri=work.source.uri.removesuffix(work.source.path) + path).read_bytes()

    try:
        return replace(work, lost=None if work.dicom else lost_beside(work.source.path, beside, read))
    except Exception as error:
        return replace(work, lost=f"what lies beside it cannot be read: {reason_of(error)}")


def _missing(works: list[_Work], target: str) -> list[_Work]:
    if len(works) == 1:
        return [work for work in works if not work.target.exists()]
    out = Storage.at(target)
    existing = {out.child(facts.path).uri for facts in out.files()}
    return [work for work in works if work.target.uri not in existing]


def _kind(work: _Work) -> str:
    return "JPEG" if is_jpeg(work.target.uri) else "PNG"


def _below(inner: Storage, outer: Storage) -> bool:
    if inner.remote or outer.remote:
        return f"{inner.uri}/".startswith(f"{outer.uri}/")
    return Path(inner.path).resolve().is_relative_to(Path(outer.path).resolve())


def _parent(file: Storage) -> Storage:
    return Storage(file.uri.rpartition("/")[0])
