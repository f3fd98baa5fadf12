"""Work on one scene: fetch it, upscale it or a part of it, and store the output.

Nothing here raises for a bad scene: each function returns an outcome, so that only a process that dies is a failure of
the machinery. Pixels stay on disk; only these small outcomes travel.
"""

import hashlib
import json
import os
import re
import shutil
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Protocol

import numpy as np

from orchestrator.archive.batch.commit import publish
from orchestrator.archive.batch.plan import FLAGGED
from orchestrator.archive.ledger.ledger_event import Event
from orchestrator.archive.places.listing import SIDECAR, Scene
from orchestrator.archive.places.output_path import OUTSIDE, misplaced
from orchestrator.archive.places.workspace import enter_workspace
from orchestrator.archive.products.find import is_packed
from orchestrator.archive.products.identity import identity
from orchestrator.archive.products.read import assemble_product, assembled_in, range_note
from orchestrator.archive.products.types import ModelBands, Product
from orchestrator.archive.scene.types import (
    LoadedModel,
    ModelFacts,
    PartFacts,
    Provenance,
    Rows,
    SceneError,
    SceneOutput,
    SceneSettings,
    TileView,
)
from orchestrator.archive.scene.upscale import (
    check_scene,
    describe_scene,
    finish_scene,
    part_rows,
    upscale_part,
    upscale_scene,
)
from orchestrator.foundation.buckets.s3 import bucket_and_key, client, error_class, naming
from orchestrator.foundation.file_listing import version_on_disk
from orchestrator.foundation.storage import Storage
from trainables.errors import reason_of
from trainables.metrics.consistency_record import MeterState

if TYPE_CHECKING:
    from trainables.metrics.consistency import ConsistencyMeter

_COG_TYPE = "image/tiff; application=geotiff; profile=cloud-optimized"
_ITEM_TYPE = "application/geo+json"
_AT_ONCE = 8 * 2**20
"""Bytes of a scene that are fetched at once."""

_LARGE = 16 * 2**20
"""LR pixels above which a scene is always divided, where there is more than one worker."""

_NAME_CHARACTERS = 100

_SMALL = 2**20
"""LR pixels above which it is divided among workers who would be idle."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunContext:
    """Settings and places that all scenes of a run share.

    Attributes:
        run: Name of the run.
        out: Place of all outputs.
        scratch: Folder of workspaces, the same path on every node.
        settings: Settings for upscaling, the precision resolved.
        only_parts: True to split every scene, so that tasks that compute never encode.
        mode: Permissions of outputs: what the umask of the driver lets through.
        strict: True to make scenes with flagged outputs failures.
    """

    run: str
    out: str
    scratch: str
    settings: SceneSettings
    only_parts: bool = False
    mode: int = 0o666
    strict: bool = False


@dataclass(frozen=True, slots=True)
class Finished:
    """A scene whose output is in place; ``columns`` are the ledger's."""

    columns: Event


@dataclass(frozen=True, slots=True)
class Failed:
    """A scene that cannot be upscaled."""

    error: str
    message: str


@dataclass(frozen=True, slots=True)
class Split:
    """A scene that several workers are to share, by rows of its LR pixels."""

    rows: list[Rows]


@dataclass(frozen=True, slots=True)
class PartFinished:
    """Some rows of a scene, on the disk of a node.

    Attributes:
        part: Facts about them.
        meter: State of the meter that compared them with their source; a meter itself would make the driver load torch.
    """

    part: PartFacts
    meter: MeterState | None = None


@dataclass(frozen=True, slots=True)
class Unfit:
    """The node cannot compute, whatever the scene."""

    reason: str


Outcome = Finished | Failed | Split | PartFinished | Unfit


@dataclass(slots=True)
class ConsistencyObserver:
    """Compares the output with its source while both are in memory.

    Attributes:
        scale: Scale factor r.
        meter: Meter of what was compared so far; None before the first view.
    """

    scale: int
    meter: "ConsistencyMeter | None" = None

    def __call__(self, view: TileView) -> None:
        """Adds one piece of the output."""
        if self.meter is None:
            from trainables.metrics.consistency import ConsistencyMeter

            self.meter = ConsistencyMeter(self.scale, len(view.lr))
        self.meter.add(
            view.lr,
            view.hr,
            np.all(view.valid, axis=0),
            view.low,
            view.high,
            view.around,
            view.around_valid,
            view.named,
            view.seen,
        )


class Worker(Protocol):
    """Interface of the worker that a driver hands to its pool; tests put their own in its place."""

    def begin(self, scene: Scene, workers: int) -> Outcome:
        """Upscales a scene, or divides it; ``workers`` says how many are free to share it, 0 that there is but one."""

    def part(self, scene: Scene, rows: Rows) -> Outcome:
        """Upscales some rows."""

    def finish(self, scene: Scene, parts: list[PartFinished]) -> Outcome:
        """Joins parts and stores the output."""


@dataclass(frozen=True, slots=True)
class SceneWorker:
    """The real worker.

    Attributes:
        context: Context of the run.
        facts: Facts about the model that need no weights.
        model: Gives the model, loaded once in each process.
    """

    context: RunContext
    facts: ModelFacts
    model: Callable[[], LoadedModel]

    def samples(self, scene: Scene) -> int | None:
        """Pixels times bands of a scene, from its header; None where it would have to be fetched first."""
        return samples_of(scene)

    def begin(self, scene: Scene, workers: int) -> Outcome:
        """Upscales a scene; one that is too large for one worker, or whose encoding is another's, is divided."""

        def work() -> Outcome:
            settings = scene.settings(self.context.settings)
            reason = misplaced(scene.output, self.context.out)
            if reason is not None:
                return Failed(OUTSIDE, reason)
            folder, split = self._folder(scene, own=True), False
            try:
                source, fetched = self._fetch(scene, folder)
                facts = check_scene(source, self.facts, settings)
                parts = _parts(facts.pixels, workers)
                if parts > 1 or self.context.only_parts:
                    rows = part_rows(facts, self.facts.scale, settings, parts)
                    if len(rows) > 1 or self.context.only_parts:
                        split = True
                        return Split(rows)
                self._check_room(facts.scratch_bytes(self.facts.scale))
                cog = folder / _name(scene)
                observer = ConsistencyObserver(self.facts.scale)
                model = self._ready_model()
                output = upscale_scene(source, cog, folder, model, settings, self._provenance(scene), observer)
                return self._store(scene, output, fetched, observer.meter)
            finally:
                shutil.rmtree(folder, ignore_errors=True)
                if scene.product is not None and not split:
                    shutil.rmtree(self._folder(scene), ignore_errors=True)

        return outcome_of(work)

    def part(self, scene: Scene, rows: Rows) -> Outcome:
        """Upscales some rows of a scene."""

        def work() -> Outcome:
            model, folder = self._ready_model(), self._folder(scene)
            source, fetched = self._fetch(scene, folder)
            path = folder / f"rows-{rows[0]}-{rows[1]}.tif"
            observer = ConsistencyObserver(self.facts.scale)
            output = upscale_part(source, rows, path, model, scene.settings(self.context.settings), observer)
            meter = None if observer.meter is None else observer.meter.state()
            return PartFinished(replace(output, seconds={"fetch": fetched, **output.seconds}), meter)

        return outcome_of(work)

    def finish(self, scene: Scene, parts: list[PartFinished]) -> Outcome:
        """Joins all parts of a scene and stores the output; the network is not needed."""

        def work() -> Outcome:
            folder = self._folder(scene)
            source, fetched = self._fetch(scene, folder)
            output = finish_scene(
                source,
                sorted((done.part for done in parts), key=lambda part: part.rows),
                folder / _name(scene),
                self.facts,
                scene.settings(self.context.settings),
                self._provenance(scene),
            )
            outcome = self._store(scene, output, fetched, _merged([done.meter for done in parts]))
            shutil.rmtree(folder, ignore_errors=True)
            return outcome

        return outcome_of(work)

    def _ready_model(self) -> LoadedModel:
        try:
            return self.model()
        except (AssertionError, RuntimeError) as error:  # torch's, if there is no GPU that it can use
            if self.context.settings.device != "cuda":
                raise
            raise _UnfitError(f"PyTorch cannot use the GPU of {socket.gethostname()}: {reason_of(error)}") from None

    def _folder(self, scene: Scene, own: bool = False) -> Path:
        name = hashlib.sha256(scene.output.encode(errors="surrogateescape")).hexdigest()[:16]
        workspace = enter_workspace(Path(self.context.scratch), self.context.run)
        folder = workspace / (f"{name}-{os.getpid()}" if own else name)
        folder.mkdir(exist_ok=True)
        return folder

    def _fetch(self, scene: Scene, folder: Path) -> tuple[Path, float]:
        """The scene as a local file, and the seconds that took; what lies in a bucket is fetched once a folder."""
        if scene.product is not None:
            return self._assemble(scene, scene.product)
        return self._fetch_file(scene, folder)

    def _assemble(self, scene: Scene, product: Product) -> tuple[Path, float]:
        """A product as one raster, which all parts of the scene on this machine share."""
        start, folder = time.monotonic(), self._folder(scene)
        if assembled_in(folder) is None:
            _check_unchanged(scene)
        local = self._fetch_file(scene, folder)[0] if is_packed(product) else None
        model, bands = ModelBands(self.facts.channels, self.facts.band_names), self.context.settings.bands
        assembled = assemble_product(product, local, bands, model, folder, scene.modified)
        return assembled.path, time.monotonic() - start

    def _fetch_file(self, scene: Scene, folder: Path) -> tuple[Path, float]:
        place = Storage(scene.source)
        if not place.remote:
            return Path(place.path), 0.0
        start, path = time.monotonic(), folder / _fetched_name(scene)
        if not path.exists():
            bucket, key = bucket_and_key(scene.source)
            temporary = folder / f"fetching-{os.getpid()}"
            with naming(scene.source, "read"):
                # The very object that was listed, or none.
                found = client().get_object(Bucket=bucket, Key=key, IfMatch=f'"{scene.version}"')
                with found["Body"] as body, temporary.open("wb") as file:
                    shutil.copyfileobj(body, file, _AT_ONCE)
            # Where nothing else tells when a scene was taken, the time of its last change does.
            os.utime(temporary, (scene.modified, scene.modified))
            temporary.replace(path)
        return path, time.monotonic() - start

    def _check_room(self, needed: int) -> None:
        free = shutil.disk_usage(self.context.scratch).free
        if free < needed:
            raise SceneError(
                "disk", f"{self.context.scratch} has {free / 1e9:.1f} GB free, and {needed / 1e9:.1f} GB are needed"
            )

    def _provenance(self, scene: Scene) -> Provenance:
        key = scene.output.removeprefix(self.context.out).strip("/")
        return Provenance(item_id=str(PurePosixPath(key).with_suffix("")).replace("/", "_"), source=scene.source)

    def _store(self, scene: Scene, output: SceneOutput, fetched: float, meter: "ConsistencyMeter | None") -> Outcome:
        _check_unchanged(scene)
        if self.context.strict and meter is not None and (flags := meter.result().flags):
            raise SceneError(FLAGGED, f"its output is flagged: {', '.join(flags)}; without --strict it is kept")
        start, target = time.monotonic(), Storage(scene.output)
        item = output.path.with_name(output.path.name + SIDECAR)
        item.write_text(
            json.dumps(output.item, indent=2, ensure_ascii=False), encoding="utf-8", errors="backslashreplace"
        )
        out, mode = Storage(self.context.out), self.context.mode
        with naming(scene.output, "written"):
            # The item first: where there is an output, there is its item.
            publish(item, Storage(scene.output + SIDECAR), _ITEM_TYPE, out, mode)
            publish(output.path, target, _COG_TYPE, out, mode)
        upload = time.monotonic() - start
        seconds = {**output.seconds, "fetch": output.seconds.get("fetch", 0.0) + fetched, "upload": upload}
        if scene.product is not None and (assembled := assembled_in(self._folder(scene))) is not None:
            differing = range_note(assembled.path, self.facts, scene.settings(self.context.settings))
            own = [*assembled.notes, *([differing] if differing else [])]
            output = replace(output, notes=[*output.notes, *own])
        return Finished(_columns(output, seconds) | {"consistency": meter.result().to_dict() if meter else None})


def samples_of(scene: Scene) -> int | None:
    """Pixels times bands of a scene, from its header; None where it would have to be fetched first.

    Raises:
        SceneError: If it cannot be opened.
    """
    if scene.product is not None or Storage(scene.source).remote:
        return None
    facts = describe_scene(scene.source)
    return facts.pixels * facts.bands


class _UnfitError(Exception):
    """The node cannot compute."""


def _merged(states: list[MeterState | None]) -> "ConsistencyMeter | None":
    from trainables.metrics.consistency import ConsistencyMeter

    meters = [ConsistencyMeter.of(state) for state in states if state is not None]
    for meter in meters[1:]:
        meters[0].merge(meter)
    return meters[0] if meters else None


def _parts(pixels: int, workers: int) -> int:
    """Number of parts of a scene: each of a size that is worth its halo, and small enough to be lost."""
    return max(-(-pixels // _LARGE), min(-(-pixels // _SMALL), workers)) if workers else 1


def _check_unchanged(scene: Scene) -> None:
    place = Storage(scene.source)
    if scene.product is not None:
        if identity(scene.product).version != scene.version:
            raise SceneError("transient", "one of its files changed since it was listed")
    elif not place.remote and version_on_disk(Path(place.path).stat()) != scene.version:
        raise SceneError("transient", "it changed while it was upscaled")


def _fetched_name(scene: Scene) -> str:
    """A name that keeps the band's part (``…_SCL.tif``), and is a file's on any disk."""
    source = PurePosixPath(scene.source)
    words = re.sub(r"[^A-Za-z0-9_.-]", "_", source.stem)[-_NAME_CHARACTERS:]
    return f"source-{words}{source.suffix.lower()}"


def _name(scene: Scene) -> str:
    return PurePosixPath(scene.output).name


def _columns(output: SceneOutput, seconds: dict[str, float]) -> Event:
    return {
        "width": output.width,
        "height": output.height,
        "bands": output.bands,
        "dtype": output.dtype,
        "tile": list(output.tile),
        "halo": output.halo,
        "normalisation": output.normalisation,
        "band_map": output.band_map,
        "seconds": {phase: round(taken, 3) for phase, taken in seconds.items()},
        "valid_percent": round(100 * output.valid_share, 4),
        "minimum": output.minimum,
        "maximum": output.maximum,
        "notes": output.notes,
        "output_bytes": output.size,
        "sha256": output.sha256,
    }


def outcome_of(work: Callable[[], Outcome]) -> Outcome:
    """The outcome of some work on a scene, whatever it raises."""
    try:
        return work()
    except _UnfitError as error:
        return Unfit(str(error))
    except SceneError as error:
        return Failed(error.kind, error.reason)
    except MemoryError:
        return Failed("memory", "there is not enough memory")
    except Exception as error:  # whatever it is, the next scene must go on
        return Failed(*error_class(error))
