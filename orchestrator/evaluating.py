"""Scoring a model on folders of HR images, beside bicubic."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import torch

from orchestrator.image_sets import Skipped, left_out, read_image
from orchestrator.model_files import find_model
from orchestrator.statistics import paired_interval
from orchestrator.storage import Storage
from search_spaces import find_space
from trainables.classical import fixed_baselines
from trainables.degradation import Degradation
from trainables.errors import ImageSetError, UsageError
from trainables.evaluation import NamedImage, Score, Upscaler, bicubic, make_pairs, score
from trainables.images import EXTENSIONS
from trainables.inference import Prepared, prepared
from trainables.precision import Precision
from trainables.upscaling import upscale

_LEAST_LR_SIDE = 16


def evaluate_model(
    model: str,
    images: Sequence[str],
    space: str | None = None,
    ensemble: bool = False,
    precision: Precision = "auto",
    baselines: bool = False,
) -> dict[str, Any]:
    """Degrades, upscales and compares every image of every set.

    Args:
        model: Packaged name, folder or prefix of the model.
        images: Folders or prefixes with HR images, each a set.
        space: Search space whose degradation is used; the one in the model's card by default.
        ensemble: Whether the model's eight flips and rotations are averaged.
        precision: What its convolutions compute in.
        baselines: Whether bilinear and Lanczos interpolation are scored too.

    Returns:
        For each set: PSNR and SSIM of bicubic and of the model, the paired gain in dB, and the files left out; with
        ``baselines`` also PSNR and SSIM of the other interpolations.

    Raises:
        UsageError: If there is no model or no usable image.
    """
    found = find_model(model)
    net = prepared(found.net, precision=precision)
    degradation = find_space(space).degradation if space else found.degradation
    if degradation is None:
        raise UsageError(f"The card of model '{found.where}' says no degradation: name a search space with --space.")
    plain: dict[str, Upscaler] = fixed_baselines(net.scale) if baselines else {"bicubic": bicubic(net.scale)}
    upscalers = {**plain, "model": _as_stored(net, ensemble)}
    places = [Storage.at(place) for place in images]
    listed = [_list(place) for place in places]
    return {
        "model": found.where,
        "scale": net.scale,
        "precision": net.precision,
        "degradation": degradation.describe(),
        "self_ensemble": ensemble,
        "sets": [
            _evaluate_set(name, place, files, upscalers, degradation, net.scale)
            for name, place, files in zip(_names(places), places, listed, strict=True)
        ],
    }


def _evaluate_set(
    name: str,
    place: Storage,
    files: list[str],
    upscalers: dict[str, Upscaler],
    degradation: Degradation,
    scale: int,
) -> dict[str, Any]:
    skipped: list[Skipped] = []
    scores: dict[str, list[Score]] = {arm: [] for arm in upscalers}
    for image in _read(place, files, _LEAST_LR_SIDE * scale):
        if isinstance(image, Skipped):
            skipped.append(image)
            continue
        pair = make_pairs([image], degradation, scale)
        for arm, upscaler in upscalers.items():
            scores[arm] += score(upscaler, pair, scale)
    plain, ours = scores["bicubic"], scores["model"]
    if not ours:
        raise ImageSetError(f"'{place.uri}' has no usable images{left_out(skipped)}.")
    gains = [a.psnr - b.psnr for a, b in zip(ours, plain, strict=True)]
    return {
        "name": name,
        "images": len(ours),
        **{arm: _means(of_arm) for arm, of_arm in scores.items()},
        "gain": asdict(paired_interval(gains, [one.name for one in ours])),
        "skipped": [asdict(one) for one in skipped],
    }


def _as_stored(net: Prepared, ensemble: bool) -> Upscaler:
    """What ``rayscale upscale`` would write, for LR images of 8 bits."""

    def run(lr: torch.Tensor) -> torch.Tensor:
        pixels = (lr[0] * 255).round().byte().permute(1, 2, 0).numpy()
        hr = torch.from_numpy(upscale(net, pixels, ensemble=ensemble))
        return hr.permute(2, 0, 1)[None].float() / 255

    return run


def _list(place: Storage) -> list[str]:
    place.check_readable()
    files = [facts.path for facts in place.files() if facts.path.lower().endswith(tuple(EXTENSIONS))]
    if not files:
        raise ImageSetError(f"'{place.uri}' has no usable images: expected {', '.join(sorted(EXTENSIONS))}.")
    return files


def _read(place: Storage, files: list[str], least_side: int) -> Iterator[NamedImage | Skipped]:
    for path in files:
        read = read_image(place, path, least_side)
        yield read if isinstance(read, Skipped) else NamedImage(path, path, read[1].pixels)


def _names(places: list[Storage]) -> list[str]:
    """The last part of each path, or all of it where two sets would be called the same."""
    short = [PurePosixPath(place.uri).name or place.uri for place in places]
    return [name if short.count(name) == 1 else place.uri for name, place in zip(short, places, strict=True)]


def _means(scores: list[Score]) -> dict[str, float]:
    return {
        "psnr": float(np.mean([s.psnr for s in scores])),
        "ssim": float(np.mean([s.ssim for s in scores])),
    }
