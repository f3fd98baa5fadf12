"""All classical baselines of a domain, fitted to its training images and tuned on its validation images."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from torch import Tensor

from trainables.classical.example import AnchoredRegression, collect_examples, find_anchors, learn
from trainables.classical.interpolation import bilinear, lanczos
from trainables.classical.reconstruction import TotalVariation
from trainables.degradation import Degradation
from trainables.errors import UsageError
from trainables.images.patch_pool import PatchPool, TrainingImage
from trainables.metrics.evaluation import Pair, Upscaler, bicubic, mean_psnr
from trainables.network.architecture import SCALES

WEIGHTS = (0.003, 0.01, 0.03, 0.1)
ITERATIONS = (20, 80)
RIDGES = (0.1, 1.0, 10.0)
ANCHORS = 256
NEIGHBOURS = 2048
LR_PATCH = 24

_BATCH = 16
_BATCHES = 40


@dataclass(frozen=True, slots=True)
class ClassicalBaselines:
    """Upscalers that a domain's models are compared with.

    Attributes:
        upscalers: By name: bilinear, bicubic, lanczos, tv and example.
        chosen: For tv and example, the settings that won on validation and their mean PSNR in dB.
    """

    upscalers: dict[str, Upscaler]
    chosen: dict[str, dict[str, float]]


def fit_baselines(
    train_images: Iterable[TrainingImage],
    validation_pairs: Sequence[Pair],
    degradation: Degradation,
    scale: int,
    seed: int,
    lr_patch: int = LR_PATCH,
) -> ClassicalBaselines:
    """Fits and tunes every baseline; no test image is ever needed.

    Total variation tries :data:`WEIGHTS` × :data:`ITERATIONS`; the regression, learnt from 82,000 patches that are
    degraded anew as in fine-tuning, tries :data:`RIDGES`. The best mean validation PSNR wins.

    Args:
        train_images: The domain's HR training images (H, W, C), all uint8 or all uint16.
        validation_pairs: Pairs that parameters are chosen on, of other scenes than ``train_images``.
        degradation: The domain's degradation.
        scale: Scale factor r.
        seed: Chooses and degrades the training patches, and begins the clustering.
        lr_patch: Side in LR pixels of what is cut from a training image at once, 8 or more; less takes smaller images.

    Raises:
        UsageError: If there is no network of that scale, or validation pairs are missing or of another scale.
        ImageSetError: If no training image is large enough for a patch.
    """
    _check(validation_pairs, scale)
    tv, tv_chosen = _tune_total_variation(validation_pairs, degradation, scale)
    example, example_chosen = _tune_example(list(train_images), validation_pairs, degradation, scale, seed, lr_patch)
    return ClassicalBaselines(
        upscalers=fixed_baselines(scale) | {"tv": tv, "example": example},
        chosen={"tv": tv_chosen, "example": example_chosen},
    )


def fixed_baselines(scale: int) -> dict[str, Upscaler]:
    """The interpolations, which have nothing to fit: bilinear, bicubic and lanczos."""
    return {"bilinear": bilinear(scale), "bicubic": bicubic(scale), "lanczos": lanczos(scale)}


def _tune_total_variation(
    pairs: Sequence[Pair], degradation: Degradation, scale: int
) -> tuple[TotalVariation, dict[str, float]]:
    tried = [TotalVariation(degradation, scale, *settings) for settings in product(WEIGHTS, ITERATIONS)]
    found = [mean_psnr(upscale, pairs, scale) for upscale in tried]
    best = tried[found.index(max(found))]
    return best, {"weight": best.weight, "iterations": best.iterations, "validation_psnr": max(found)}


def _tune_example(
    images: list[TrainingImage],
    pairs: Sequence[Pair],
    degradation: Degradation,
    scale: int,
    seed: int,
    lr_patch: int,
) -> tuple[AnchoredRegression, dict[str, float]]:
    with PatchPool(
        lambda: iter(images),
        scale=scale,
        lr_patch=lr_patch,
        degradation=degradation,
        seed=seed,
        capacity=len(images) + 1,
        channels=pairs[0].lr.shape[0],
    ) as pool:
        examples = collect_examples(_batches(pool), scale, seed)
    anchors = find_anchors(examples, ANCHORS, seed)
    tried = learn(examples, anchors, NEIGHBOURS, RIDGES)
    found = [mean_psnr(upscale, pairs, scale) for upscale in tried]
    best = found.index(max(found))
    return tried[best], {"ridge": RIDGES[best], "validation_psnr": found[best]}


def _batches(pool: PatchPool) -> Iterator[tuple[Tensor, Tensor]]:
    return (pool.sample(_BATCH) for _ in range(_BATCHES))


def _check(pairs: Sequence[Pair], scale: int) -> None:
    if scale not in SCALES:
        raise UsageError(f"The scale factor must be one of {', '.join(map(str, SCALES))}, found {scale}.")
    if not pairs:
        raise UsageError("Classical baselines are tuned on validation images and need one or more, found none.")
    for pair in pairs:
        sides = [tuple(image.shape[-2:]) for image in (pair.lr, pair.hr)]
        if tuple(side * scale for side in sides[0]) != sides[1]:
            raise UsageError(f"Validation pair '{pair.name}' is not of scale {scale}: LR {sides[0]}, HR {sides[1]}.")
