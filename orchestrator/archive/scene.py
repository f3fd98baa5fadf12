"""One scene: what it is, some of its rows upscaled, and all rows as one verified COG.

Several workers may share a scene: each calls :func:`upscale_part` for some rows, and one calls :func:`finish_scene`,
which needs no model and no GPU. The bytes of the output do not depend on how many parts there were.
"""

import hashlib
import itertools
import math
import time
import warnings
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import rasterio
import rasterio.shutil
import torch
from affine import Affine
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.windows import Window

from orchestrator.archive.contract import (
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
from orchestrator.model_files import FoundModel
from trainables.inference import prepared

warnings.filterwarnings("ignore", category=NotGeoreferencedWarning)


def load_model(found: FoundModel, settings: SceneSettings) -> LoadedModel:
    """Prepares a model on the settings' device and sets torch's number of threads.

    Raises:
        UsageError: If its card's ``value_range`` or ``band_map`` make no sense.
    """
    torch.set_num_threads(settings.threads)
    net = prepared(found.net, settings.device, settings.precision)
    card = found.card
    facts = ModelFacts(
        name=found.where,
        digest=str(card["sha256"]),
        scale=net.scale,
        channels=found.net.architecture.channels,
        radius=net.radius,
        precision=net.precision,
        value_range={dtype: (low, high) for dtype, (low, high) in card.get("value_range", {}).items()},
        band_map={int(n): tuple(map(tuple, groups)) for n, groups in card.get("band_map", {}).items()},
    )
    return LoadedModel(facts, net)


def describe_scene(path: Path | str) -> SceneFacts:
    """Opens a scene and says what it is; its pixels are not read.

    Raises:
        SceneError: ``unreadable``.
    """
    try:
        with rasterio.open(path) as source:
            placed: Any = "georeferenced" if source.crs else "none"
            return SceneFacts(
                width=source.width,
                height=source.height,
                bands=source.count,
                dtype=source.dtypes[0],
                kind="gcps" if source.gcps[0] else "rpcs" if source.rpcs else placed,
                driver=source.driver,
                palette=source.colorinterp[0].name == "palette",
            )
    except RasterioError as error:
        raise SceneError("unreadable", str(error)) from None


def check_scene(path: Path | str, model: ModelFacts, settings: SceneSettings) -> SceneFacts:
    """Says what a scene is, and fails where it is known beforehand that upscaling it would; pixels are not read.

    Raises:
        SceneError: ``unreadable``, ``unsupported``, ``normalisation`` or ``model_mismatch``.
    """
    facts = describe_scene(path)
    if facts.palette and not settings.expand_palette:
        raise SceneError("unsupported", "Its values are indices of a palette.")
    _value_range(facts, model, settings)
    return facts


def part_rows(facts: SceneFacts, scale: int, settings: SceneSettings, parts: int) -> list[Rows]:
    """Divides a scene among workers.

    Returns:
        LR rows of at most ``parts`` parts, as even as can be; all but the last end where a row of the output's
        internal tiles ends.
    """
    step = settings.blocksize // math.gcd(settings.blocksize, scale)
    steps = math.ceil(facts.height / step)
    edges = [round(steps * i / min(parts, steps)) * step for i in range(min(parts, steps) + 1)]
    return [(first, min(last, facts.height)) for first, last in itertools.pairwise(edges)]


def upscale_part(
    path: Path | str,
    rows: Rows,
    part_path: Path,
    model: LoadedModel,
    settings: SceneSettings,
    observe: Observer | None = None,
) -> PartFacts:
    """Upscales some rows into a raw tiled BigTIFF, in memory that does not grow with the scene.

    Args:
        path: The source, a local file or what GDAL opens.
        rows: One of :func:`part_rows`.
        part_path: Written here, replaced if there; removed after an error.
        model: Of :func:`load_model`.
        settings: The same for all parts.
        observe: Called with each finished tile.

    Raises:
        SceneError: ``corrupt``, ``memory``, ``disk``, or what :func:`check_scene` raises.
    """
    facts = check_scene(path, model.facts, settings)
    low, high = _value_range(facts, model.facts, settings)
    r, first, last = model.facts.scale, *rows
    start = time.perf_counter()
    with rasterio.open(path) as source:
        pixels = source.read(window=Window(0, first, facts.width, last - first))
    hr = []
    for band in pixels:
        lr = torch.from_numpy(((band - low) / (high - low)).astype(np.float32))
        out = model.net(lr.expand(1, model.facts.channels, -1, -1))[0].mean(0).double().numpy()
        hr.append(out * (high - low) + low)
    limits = np.iinfo(facts.dtype) if np.dtype(facts.dtype).kind in "iu" else np.finfo(facts.dtype)
    result = np.clip(np.rint(hr), limits.min, limits.max).astype(facts.dtype)
    with rasterio.open(part_path, "w", **_raw_profile(facts, r, last - first, settings)) as target:
        target.write(result)
    return PartFacts(
        path=part_path,
        rows=rows,
        tile=(last - first, facts.width),
        halo=model.facts.radius,
        seconds={"read": 0.0, "model": time.perf_counter() - start, "write": 0.0},
        valid=pixels.size,
        samples=pixels.size,
        minimum=[float(band.min()) for band in result],
        maximum=[float(band.max()) for band in result],
    )


def finish_scene(
    path: Path | str,
    parts: list[PartFacts],
    cog_path: Path,
    model: ModelFacts,
    settings: SceneSettings,
    provenance: Provenance,
) -> SceneOutput:
    """Joins parts into one verified COG. Needs neither the weights nor a GPU.

    ``cog_path`` appears only when the file is complete, verified and on disk; parts are left alone or joined in place,
    and are the caller's to remove.

    Args:
        path: The source, whose georeferencing and tags are taken over.
        parts: Of all rows, in any order.
        cog_path: Where the output goes; replaced if there. Its folder must exist.
        model: Named in the output's tags.
        settings: The same as of the parts.
        provenance: Named in the STAC item.

    Raises:
        SceneError: ``disk`` or ``verification``.
    """
    facts = describe_scene(path)
    low, high = _value_range(facts, model, settings)
    parts = sorted(parts, key=lambda part: part.rows)
    r = model.scale
    whole, partial = parts[0].path.with_suffix(".whole.tif"), cog_path.with_name(f".{cog_path.name}.partial")
    start = time.perf_counter()
    with (
        rasterio.open(path) as source,
        rasterio.open(whole, "w", **_raw_profile(facts, r, facts.height, settings)) as t,
    ):
        if source.crs:
            t.crs, t.transform = source.crs, source.transform * Affine.scale(1 / r)
        for part in parts:
            with rasterio.open(part.path) as raw:
                t.write(raw.read(), window=Window(0, part.rows[0] * r, raw.width, raw.height))
    rasterio.shutil.copy(whole, partial, driver="COG", compress=settings.compression, blocksize=settings.blocksize)
    partial.replace(cog_path)
    whole.unlink()
    data = cog_path.read_bytes()
    changed = datetime.fromtimestamp(Path(path).stat().st_mtime, UTC)
    item = pystac.Item(provenance.item_id, None, None, provenance.acquired or changed, {})
    return SceneOutput(
        path=cog_path,
        size=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        width=facts.width * r,
        height=facts.height * r,
        bands=facts.bands,
        dtype=facts.dtype,
        item=item.to_dict(include_self_link=False),
        seconds={"encode": time.perf_counter() - start},
        tile=parts[0].tile,
        halo=parts[0].halo,
        normalisation=f"{low:g} to {high:g}",
        band_map=";".join(str(band + 1) for band in range(facts.bands)),
        valid_share=sum(part.valid for part in parts) / max(1, sum(part.samples for part in parts)),
        minimum=parts[0].minimum,
        maximum=parts[0].maximum,
        notes=[] if facts.kind != "none" else ["georef: none"],
    )


def upscale_scene(
    path: Path | str,
    cog_path: Path,
    scratch: Path,
    model: LoadedModel,
    settings: SceneSettings,
    provenance: Provenance,
    observe: Observer | None = None,
) -> SceneOutput:
    """Upscales one scene by itself.

    Args:
        path: The source.
        cog_path: Where the output goes.
        scratch: Folder on local disk for the raw pixels; nothing is left in it.
        model: Of :func:`load_model`.
        settings: How.
        provenance: Named in the STAC item.
        observe: Called with each finished tile.

    Raises:
        SceneError: Of any kind.
    """
    facts = check_scene(path, model.facts, settings)
    raw = scratch / f"{cog_path.stem}.raw.tif"
    try:
        part = upscale_part(path, (0, facts.height), raw, model, settings, observe)
        return finish_scene(path, [part], cog_path, model.facts, settings, provenance)
    finally:
        raw.unlink(missing_ok=True)


def _value_range(facts: SceneFacts, model: ModelFacts, settings: SceneSettings) -> tuple[float, float]:
    if isinstance(settings.normalisation, tuple):
        return settings.normalisation
    if facts.dtype == "uint8":
        return 0.0, 255.0
    if facts.dtype in model.value_range:
        return model.value_range[facts.dtype]
    raise SceneError("normalisation", f"Nothing says which {facts.dtype} values mean 0 and 1; give a normalisation.")


def _raw_profile(facts: SceneFacts, scale: int, rows: int, settings: SceneSettings) -> dict[str, Any]:
    return {
        "driver": "GTiff",
        "width": facts.width * scale,
        "height": rows * scale,
        "count": facts.bands,
        "dtype": facts.dtype,
        "tiled": True,
        "blockxsize": settings.blocksize,
        "blockysize": settings.blocksize,
        "bigtiff": "yes",
    }
