"""Scoring a model on a folder of HR images, beside bicubic."""

from dataclasses import asdict
from typing import Any

import numpy as np

from orchestrator.model_files import read_model
from orchestrator.statistics import paired_interval
from orchestrator.storage import Storage
from search_spaces import find_space
from trainables.degradation import Degradation
from trainables.errors import ImageSetError
from trainables.evaluation import NamedImage, Score, bicubic, make_pairs, score
from trainables.images import EXTENSIONS, UnreadableImageError, decode

_LEAST_LR_SIDE = 16


def evaluate_model(model: str, images: str, space: str | None = None) -> dict[str, Any]:
    """Degrades, upscales and compares every image.

    Args:
        model: Folder or prefix with a model's two files.
        images: Folder or prefix with HR images.
        space: Search space whose degradation is used; the one in the model's card by default.

    Returns:
        PSNR and SSIM of bicubic and of the model, the paired gain in dB, and the files that were left out.

    Raises:
        UsageError: If there is no model or no usable image.
    """
    place = Storage.at(model)
    place.check_readable()
    net, card = read_model(place)
    degradation = find_space(space).degradation if space else Degradation.from_dict(card["degradation"])
    scale = net.architecture.scale
    usable, skipped = _read(Storage.at(images), _LEAST_LR_SIDE * scale)
    pairs = make_pairs(usable, degradation, scale)
    plain, ours = score(bicubic(scale), pairs, scale), score(net, pairs, scale)
    gains = [a.psnr - b.psnr for a, b in zip(ours, plain, strict=True)]
    return {
        "scale": scale,
        "degradation": degradation.describe(),
        "images": len(pairs),
        "bicubic": _means(plain),
        "model": _means(ours),
        "gain": asdict(paired_interval(gains, [pair.name for pair in pairs])),
        "skipped": skipped,
    }


def _read(place: Storage, least_side: int) -> tuple[list[NamedImage], list[dict[str, str]]]:
    place.check_readable()
    usable, skipped = [], []
    for facts in place.files():
        if not facts.path.lower().endswith(tuple(EXTENSIONS)):
            continue
        try:
            image = decode(place.child(facts.path).read_bytes())
        except UnreadableImageError as error:
            skipped.append({"file": facts.path, "reason": str(error)})
            continue
        if min(image.height, image.width) < least_side:
            reason = f"{image.width}×{image.height} pixels, fewer than {least_side}×{least_side}"
            skipped.append({"file": facts.path, "reason": reason})
            continue
        usable.append(NamedImage(facts.path, facts.path, image.pixels))
    if not usable:
        raise ImageSetError(f"'{place.uri}' has no usable images ({len(skipped)} were left out).")
    return usable, skipped


def _means(scores: list[Score]) -> dict[str, float]:
    return {
        "psnr": float(np.mean([s.psnr for s in scores])),
        "ssim": float(np.mean([s.ssim for s in scores])),
    }
