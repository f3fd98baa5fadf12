"""Fine-tuning on the target's LR images alone, which are used as HR at their own scale.

Each image is degraded once more, by the domain's own degradation at the same scale factor, and the network learns to
undo that: cross-scale self-supervision (Shocher, Cohen and Irani 2018, "Zero-shot super-resolution using deep internal
learning", arXiv 1712.06087), here from the source model and for a whole set instead of from nothing for one image. It
assumes that patches look alike across scales. Noise and artefacts of the images are part of what is taken for HR.
"""

from collections.abc import Callable, Sequence

import torch

from trainables.degradation import Degradation
from trainables.errors import ImageSetError
from trainables.images.patch_pool import MARGIN, PatchPool, Pixels, smallest_image
from trainables.images.raster import PreparedImage
from trainables.loops.finetune import finetune
from trainables.loops.settings import Budget, TransferConfiguration
from trainables.network.model_files import weights_of
from trainables.network.network import SuperResolutionNet

LARGEST_PATCH, SMALLEST_PATCH = 32, 8
"""Sides of a patch after degrading, in pixels."""


def least_side(scale: int) -> int:
    """Least height and width in pixels that an LR image needs to be of use."""
    return smallest_image(SMALLEST_PATCH, scale)


def patch_that_fits(images: Sequence[Pixels | PreparedImage], scale: int) -> int:
    """Side of a patch after degrading, in pixels: what the smallest image has room for, 8 to 32.

    Raises:
        ImageSetError: If the smallest image is too small even for the smallest patch.
    """
    arrays = [image.pixels if isinstance(image, PreparedImage) else image for image in images]
    side: int = min(min(array.shape[:2]) for array in arrays)
    if side < least_side(scale):
        raise ImageSetError(
            f"Cross-scale pairs at x{scale} need images of at least {least_side(scale)} pixels, found {side}."
        )
    return min(LARGEST_PATCH, side // scale - 2 * MARGIN)


def adapt(
    net: SuperResolutionNet,
    images: Sequence[Pixels | PreparedImage],
    degradation: Degradation,
    configuration: TransferConfiguration,
    budget: Budget,
    seed: int,
    validate: Callable[[SuperResolutionNet], float],
    report: Callable[[int, float], None],
) -> list[tuple[int, float]]:
    """Fine-tunes ``net`` in place on cross-scale pairs of LR images.

    Args:
        net: The source model, on the device to train on.
        images: LR images (H, W, C), all uint8 or all uint16, of the network's bands.
        degradation: The domain's degradation.
        configuration: Learning rate, λ and frozen depth.
        budget: Steps, batch and evaluations.
        seed: Decides which patches are drawn and how they are degraded.
        validate: Scores the network in dB, higher is better.
        report: Called with (step, score) after each evaluation.

    Returns:
        The (step, score) pairs, the last one being the final score.

    Raises:
        DivergedError: If the loss or the score stops being finite.
        ImageSetError: If an image is too small for any patch, none has room for one between its invalid pixels, or
            images have unequal depths or bands.
    """
    scale = net.architecture.scale
    device: torch.device = next(net.parameters()).device
    pool = PatchPool(
        lambda: iter(images),
        scale=scale,
        lr_patch=patch_that_fits(images, scale),
        degradation=degradation,
        seed=seed,
        device=device,
        channels=net.architecture.channels,
    )
    with pool:
        return finetune(net, configuration, budget, pool, weights_of(net), validate, report)
