"""Upscaling of one scene: its facts, some of its rows upscaled, and all rows as one verified COG.

Several workers may share a scene: each calls :func:`upscale_part` for some rows, and one calls :func:`finish_scene`,
which needs no model and no GPU. The bytes of the output do not depend on how many parts there were. Torch is imported
where rows go through the network: who plans and counts scenes needs none.
"""

import itertools
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rasterio
from rasterio.enums import Resampling

from orchestrator.archive.scene.band_map import band_text
from orchestrator.archive.scene.band_roles import Meaning, settle
from orchestrator.archive.scene.geotiff.bigtiff import check_room, join, writing
from orchestrator.archive.scene.geotiff.cog import add_overviews, copy_as_cog, digest, published, verify
from orchestrator.archive.scene.geotiff.tags import carry_over, own_tags
from orchestrator.archive.scene.model_facts import facts_of
from orchestrator.archive.scene.reader import Scene, gdal
from orchestrator.archive.scene.stac import NO_GEOMETRY, make_item
from orchestrator.archive.scene.types import (
    LoadedModel,
    ModelFacts,
    Observer,
    PartFacts,
    Provenance,
    Rows,
    SceneError,
    SceneFacts,
    SceneOutput,
    SceneSettings,
)
from orchestrator.foundation.buckets.s3 import error_class
from orchestrator.foundation.model_store import FoundModel
from trainables.errors import UsageError
from trainables.inference.allocator import keep_freed_memory
from trainables.inference.tiling import LARGEST_TILE


def load_model(found: FoundModel, settings: SceneSettings) -> LoadedModel:
    """Prepares a model on the settings' device, sets torch's number of threads and, for a CPU, how memory is freed."""
    import torch

    from trainables.inference.prepare import prepared
    from trainables.inference.working_memory import bytes_per_pixel

    torch.set_num_threads(settings.threads)
    if settings.device == "cpu":
        keep_freed_memory()
    net = prepared(found.net, settings.device, settings.precision)
    return LoadedModel(facts_of(found, net.precision), net, bytes_per_pixel(net))


@contextmanager
def _named_failures() -> Iterator[None]:
    """Turns exceptions of one scene into a :class:`SceneError`, except errors of usage.

    Raises:
        SceneError: ``memory``, ``disk``, ``denied`` or ``error``.
    """
    try:
        with gdal():
            yield
    except (SceneError, UsageError):
        raise
    except MemoryError:
        raise SceneError("memory", "There is not enough memory for it.") from None
    except Exception as error:
        raise SceneError(*error_class(error)) from error


def describe_scene(path: Path | str) -> SceneFacts:
    """Opens a scene and returns its facts; its pixels are not read.

    Raises:
        SceneError: ``unreadable``, ``unsupported``, ``denied`` or ``transient``.
    """
    with _named_failures(), Scene(path) as scene:
        return scene.facts


def check_scene(path: Path | str, model: ModelFacts, settings: SceneSettings) -> SceneFacts:
    """Returns a scene's facts; fails if its header or a sample of its values shows that upscaling would fail.

    Raises:
        SceneError: As :func:`describe_scene`, ``normalisation`` or ``model_mismatch``.
    """
    with _named_failures(), Scene(path) as scene:
        settle(scene, model, settings)
        return scene.facts


def part_rows(facts: SceneFacts, scale: int, settings: SceneSettings, parts: int) -> list[Rows]:
    """Divides a scene among workers.

    Returns:
        LR rows of at most ``parts`` parts, about even; all but the last end where a row of the output's internal
        tiles ends, and, in scenes of many, where a row of the network's tiles does.
    """
    step = settings.for_bands(facts.bands, facts.dtype).row_step(scale)
    tile = max(1, LARGEST_TILE // step) * step
    step = tile if facts.height >= 4 * parts * tile else step
    steps = math.ceil(facts.height / step)
    count = max(1, min(parts, steps))
    edges = [round(steps * i / count) * step for i in range(count + 1)]
    return [(first, min(last, facts.height)) for first, last in itertools.pairwise(edges)]


def upscale_part(
    path: Path | str,
    rows: Rows,
    part_path: Path,
    model: LoadedModel,
    settings: SceneSettings,
    observe: Observer | None = None,
) -> PartFacts:
    """Upscales some rows into a raw tiled BigTIFF, in memory that does not grow with the scene's height.

    Args:
        path: The source, a local file or what GDAL opens.
        rows: One of :func:`part_rows`.
        part_path: Written here, replaced if there; removed after an error.
        model: A model of :func:`load_model`.
        settings: The same for all parts.
        observe: Called with each finished piece of the output.

    Raises:
        SceneError: ``corrupt``, ``memory``, ``disk``, or what :func:`check_scene` raises.
    """
    from orchestrator.archive.scene.rows import make_worker, upscale_rows

    with _named_failures(), Scene(path) as scene:
        meaning = settle(scene, model.facts, settings)
        settings = settings.for_bands(scene.facts.bands, scene.facts.dtype)
        check_room(part_path.parent, scene.facts.raw_bytes(model.facts.scale, rows[1] - rows[0]))
        worker = make_worker(scene, model, meaning, settings)
        return upscale_rows(worker, rows, part_path, settings, observe)


def finish_scene(
    path: Path | str,
    parts: list[PartFacts],
    cog_path: Path,
    model: ModelFacts,
    settings: SceneSettings,
    provenance: Provenance,
) -> SceneOutput:
    """Joins parts into one verified COG. Needs neither the weights nor a GPU.

    ``cog_path`` appears only when the file is complete, verified and on disk. A single part is given its overviews in
    place; parts are the caller's to remove.

    Args:
        path: The source, whose georeferencing and tags are taken over.
        parts: Parts of all rows, in any order.
        cog_path: Path of the output; an existing file is replaced. Its folder must exist.
        model: Named in the output's tags.
        settings: The same as of the parts.
        provenance: Named in the STAC item.

    Raises:
        SceneError: ``disk`` or ``verification``, or what :func:`check_scene` raises.
    """
    parts = sorted(parts, key=lambda part: part.rows)
    with _named_failures(), Scene(path) as scene:
        clock = _Clock({phase: sum(part.seconds[phase] for part in parts) for phase in ("read", "model", "write")})
        _check_parts(parts, scene.facts.height)
        meaning = settle(scene, model, settings)
        settings = settings.for_bands(scene.facts.bands, scene.facts.dtype)
        raw, temporary = parts[0].path, None
        try:
            if len(parts) > 1:
                check_room(raw.parent, scene.facts.scratch_bytes(model.scale))
                raw = temporary = parts[0].path.with_name(f"{parts[0].path.stem}.joined.tif")
                with clock.timed("assemble"):
                    join(parts, raw, scene, model.scale, settings)
            return _finish(scene, parts, raw, cog_path, model, settings, provenance, meaning, clock)
        finally:
            if temporary is not None:
                temporary.unlink(missing_ok=True)


def upscale_scene(
    path: Path | str,
    cog_path: Path,
    scratch: Path,
    model: LoadedModel,
    settings: SceneSettings,
    provenance: Provenance,
    observe: Observer | None = None,
) -> SceneOutput:
    """Upscales one scene as a whole.

    Args:
        path: The source.
        cog_path: Path of the output.
        scratch: Folder on local disk for the raw pixels; nothing is left in it.
        model: A model of :func:`load_model`.
        settings: Settings for upscaling.
        provenance: Named in the STAC item.
        observe: Called with each finished piece of the output.

    Raises:
        SceneError: An error of any kind.
    """
    with _named_failures():
        facts = check_scene(path, model.facts, settings)
        check_room(scratch, facts.scratch_bytes(model.facts.scale))
        raw = scratch / f"{cog_path.stem}.raw.tif"
        try:
            part = upscale_part(path, (0, facts.height), raw, model, settings, observe)
            return finish_scene(path, [part], cog_path, model.facts, settings, provenance)
        finally:
            raw.unlink(missing_ok=True)


@dataclass
class _Clock:
    seconds: dict[str, float]

    @contextmanager
    def timed(self, phase: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[phase] = round(time.perf_counter() - start, 4)


def _check_parts(parts: list[PartFacts], height: int) -> None:
    edges = [0, *(part.rows[1] for part in parts)]
    if [part.rows[0] for part in parts] != edges[:-1] or edges[-1] != height:
        raise UsageError(
            f"Parts must together be rows 0 to {height}, found {', '.join(str(part.rows) for part in parts)}."
        )


def _finish(
    scene: Scene,
    parts: list[PartFacts],
    raw: Path,
    cog_path: Path,
    model: ModelFacts,
    settings: SceneSettings,
    provenance: Provenance,
    meaning: Meaning,
    clock: _Clock,
) -> SceneOutput:
    norm, bands = meaning.norm, band_text(meaning.groups) or "none"
    with clock.timed("overviews"):
        notes = _describe(scene, raw, model, norm.text, bands)
        if settings.overviews:
            # Between two classes there is no mean.
            add_overviews(raw, settings.blocksize, Resampling.nearest if scene.repeated else Resampling.average)
    with published(cog_path) as partial:
        with clock.timed("encode"):
            copy_as_cog(raw, partial, settings)
        with clock.timed("verify"):
            verify(partial, raw, settings)
            sha256 = digest(partial)
        item = make_item(partial, cog_path.name, sha256, scene.path, provenance, model, {"rayscale:bands": bands})
        if why := item["properties"].get(NO_GEOMETRY):
            notes.append(f"its STAC item has no geometry: {why}")
        size = partial.stat().st_size
        with rasterio.open(partial) as cog:
            shape = cog.width, cog.height, cog.count
    samples = sum(part.samples for part in parts)
    return SceneOutput(
        path=cog_path,
        size=size,
        sha256=sha256,
        width=shape[0],
        height=shape[1],
        bands=shape[2],
        dtype=scene.facts.dtype,
        item=item,
        seconds=clock.seconds,
        tile=min(part.tile for part in parts),
        halo=parts[0].halo,
        normalisation=norm.text,
        band_map=bands,
        valid_share=sum(part.valid for part in parts) / samples,
        minimum=_over_parts(min, [part.minimum for part in parts]),
        maximum=_over_parts(max, [part.maximum for part in parts]),
        notes=notes,
    )


def _over_parts(which: Any, values: list[list[float | None]]) -> list[float | None]:
    known = [[value for value in band if value is not None] for band in zip(*values, strict=True)]
    return [which(band) if band else None for band in known]


def _describe(scene: Scene, raw: Path, model: ModelFacts, norm: str, bands: str) -> list[str]:
    with writing(raw), rasterio.open(raw, "r+") as target:
        tags = own_tags(model, norm, bands, [scene.image[band] for band in scene.repeated])
        return carry_over(scene, target, model.scale, tags)
