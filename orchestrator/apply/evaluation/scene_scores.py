"""Scores of upscalers on an HR scene: each upscales the LR scene like one of an archive.

Outputs are compared with the HR scene where values are valid, band by band on the scale of the normalisation, that is
on the network's scale of 0 to 1, without a border of r pixels.
"""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import rasterio
import torch
from numpy.typing import NDArray
from torch import Tensor

from orchestrator.apply.evaluation.scene_pairs import check_pair, degraded, read_whole, readable, write_lr
from orchestrator.archive.scene.band_map import band_text
from orchestrator.archive.scene.band_roles import settle
from orchestrator.archive.scene.nodata import enlarged
from orchestrator.archive.scene.reader import Scene, gdal
from orchestrator.archive.scene.types import LoadedModel, SceneSettings
from orchestrator.archive.scene.upscale import upscale_part
from orchestrator.archive.scene.value_range import Normalisation
from orchestrator.foundation.storage import Storage
from trainables.degradation import Degradation
from trainables.images.codec import UnreadableImageError
from trainables.inference.prepare import Prepared
from trainables.inference.upscale import self_ensemble
from trainables.inference.working_memory import bytes_per_pixel
from trainables.metrics.evaluation import Upscaler
from trainables.metrics.means import mean_of_known
from trainables.metrics.psnr_ssim import psnr, ssim
from trainables.metrics.spectral import ergas, sam, scc

LEAST_LR_SIDE = 16
_KERNEL_RADIUS = 4
"""Radius of any interpolation in LR pixels: Lanczos's three, and one for the border."""


@dataclass(frozen=True, slots=True)
class SceneScore:
    """Scores of an upscaler on a scene; None for undefined measures.

    Attributes:
        psnr: Mean of the bands' PSNR in dB; the peak is the normalisation's span.
        psnr_by_band: PSNR of each band; None for a blank one.
        ssim: Mean of the bands' SSIM.
        scc: Mean of the bands' spatial correlation.
        sam: Spectral angle in degrees; None with fewer than two bands that are not blank.
        ergas: ERGAS in per cent; None in the same case.
    """

    psnr: float
    psnr_by_band: list[float | None]
    ssim: float | None
    scc: float | None
    sam: float | None
    ergas: float | None


@dataclass(frozen=True, slots=True)
class ScoredScene:
    """Properties of a scene, and its scores by upscaler."""

    name: str
    bands: int
    dtype: str
    normalisation: str
    band_map: str
    scores: dict[str, SceneScore]


def as_models(model: LoadedModel, upscalers: Mapping[str, Upscaler], ensemble: bool) -> dict[str, LoadedModel]:
    """Wraps upscalers as models for archives, by name, the model itself last."""
    models = {}
    for name, upscaler in upscalers.items():
        net = Prepared(upscaler, model.net.device, "float32", model.net.scale, _KERNEL_RADIUS, model.net.channels)
        models[name] = replace(model, facts=replace(model.facts, radius=_KERNEL_RADIUS), net=net)
    net = replace(model.net, run=self_ensemble(model.net)) if ensemble else model.net
    per_pixel = bytes_per_pixel(net)
    return models | {"model": LoadedModel(model.facts, net, per_pixel)}


def score_scene(
    name: str,
    hr: Storage,
    lr: Storage | Degradation,
    models: Mapping[str, LoadedModel],
    settings: SceneSettings,
) -> ScoredScene:
    """Makes or reads the LR scene, upscales and compares it; all of the scene is in memory.

    Args:
        name: Name of the scene.
        hr: The HR file.
        lr: The LR file, or the degradation that makes LR from HR, which is then cut to a multiple of r.
        models: Upscalers of one scale.
        settings: As for archives.

    Raises:
        SceneError: If a file cannot be read, has a palette, or its normalisation or bands are unknown.
        UnreadableImageError: If the two files do not fit, are too small, or hold nothing to compare.
    """
    facts = models["model"].facts
    with gdal(), TemporaryDirectory(prefix="rayscale-") as folder, readable(hr) as path, Scene(path) as scene:
        _check_size(scene, LEAST_LR_SIDE * facts.scale)
        # Classes have no PSNR; the LR scene is not checked, because HR holds none.
        meaning = settle(scene, facts, replace(settings, labels="refuse"))
        settings = replace(settings, labels="filter")
        scratch, scores = Path(folder), {}
        with _lr_file(lr, scene, facts.scale, scratch) as lr_path, Scene(lr_path) as source:
            reference, valid = _cut(scene, facts.scale)
            valid = valid & enlarged(read_whole(source)[1], facts.scale)
            target, own = _normalised(reference, valid, meaning.norm), settle(source, facts, settings).norm
            for arm, model in models.items():
                # Baselines are interpolation alone.
                own_settings = settings if arm == "model" else replace(settings, back_project="off")
                pixels = _upscaled(lr_path, source, model, own_settings, scratch / f"{arm}.tif")
                scores[arm] = compare(_normalised(pixels, valid, own), target, torch.from_numpy(valid), facts.scale)
    return ScoredScene(name, len(scene.image), scene.facts.dtype, meaning.norm.text, band_text(meaning.groups), scores)


def compare(output: Tensor, target: Tensor, valid: Tensor, scale: int) -> SceneScore:
    """Scores an output. Bands that are blank in the HR scene are left out: reproduced exactly, they would rule means.

    Args:
        output: (bands, H, W) on the scale of the normalisation.
        target: The HR scene, likewise.
        valid: Mask of the same shape.
        scale: Scale factor r, and width of the border that is left out.

    Raises:
        UnreadableImageError: If nothing is left to compare.
    """
    inner = slice(scale, -scale)
    output, target, valid = (array[:, inner, inner] for array in (output, target, valid))
    compared = [not _blank(band, known) for band, known in zip(target, valid, strict=True)]
    if not any(compared):
        raise UnreadableImageError("no band has two different values where HR and LR are valid")
    by_band = [
        _of_band(*band) if scored else (None, None, None)
        for band, scored in zip(zip(output, target, valid, strict=True), compared, strict=True)
    ]
    first, second, everywhere, many = output[compared], target[compared], valid[compared].all(0), sum(compared) > 1
    peak_ratio, similarity, correlation = map(mean_of_known, zip(*by_band, strict=True))
    assert peak_ratio is not None
    return SceneScore(
        psnr=peak_ratio,
        psnr_by_band=[band[0] for band in by_band],
        ssim=similarity,
        scc=correlation,
        sam=sam(first, second, everywhere) if many else None,
        ergas=ergas(first, second, 1 / scale, everywhere) if many else None,
    )


def _blank(band: Tensor, valid: Tensor) -> bool:
    values = band[valid]
    return not values.numel() or bool(values.min() == values.max())


def _of_band(output: Tensor, target: Tensor, valid: Tensor) -> tuple[float | None, float | None, float | None]:
    """PSNR, SSIM and SCC of a band."""
    first, second = output.double() * 255, target.double() * 255
    similarity = ssim(first, second, valid)
    return psnr(first, second, valid), None if math.isnan(similarity) else similarity, scc(first, second, valid)


def _check_size(scene: Scene, least: int) -> None:
    if min(scene.facts.width, scene.facts.height) < least:
        found = f"{scene.facts.width}×{scene.facts.height}"
        raise UnreadableImageError(f"{found} pixels, smaller than the {least}×{least} needed")


def _cut(scene: Scene, scale: int) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """A scene without the rows and columns at its end that do not fill an LR pixel."""
    pixels, valid = read_whole(scene)
    height, width = (side // scale * scale for side in pixels.shape[1:])
    return pixels[:, :height, :width], valid[:, :height, :width]


@contextmanager
def _lr_file(lr: Storage | Degradation, hr: Scene, scale: int, scratch: Path) -> Iterator[str]:
    if isinstance(lr, Degradation):
        lr_file = scratch / "lr.tif"
        write_lr(lr_file, *degraded(*_cut(hr, scale), lr, scale), hr)
        yield str(lr_file)
        return
    with readable(lr) as path:
        with Scene(path) as source:
            check_pair(source, hr, scale)
        yield path


def _upscaled(path: str, source: Scene, model: LoadedModel, settings: SceneSettings, raw: Path) -> NDArray[Any]:
    """Image bands of the output of `rayscale upscale`."""
    part = upscale_part(path, (0, source.facts.height), raw, model, settings)
    with rasterio.open(part.path) as output:
        pixels: NDArray[Any] = output.read(source.image)
    raw.unlink()
    return pixels


def _normalised(pixels: NDArray[Any], valid: NDArray[np.bool_], norm: Normalisation) -> Tensor:
    """Stored values on the scale of the network; 0 for samples without a value."""
    low, span = norm.low[:, None, None], (norm.high - norm.low)[:, None, None]
    return torch.from_numpy(np.where(valid, (pixels - low) / span, 0).astype(np.float32))
