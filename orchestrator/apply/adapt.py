"""Adaptation of a model to a domain with LR images only, without a cluster.

The model is fine-tuned on cross-scale pairs (:mod:`trainables.loops.cross_scale`) of most images, and then compared
with the source model on such pairs of the others. The gain at the images' own scale cannot be measured without HR
images.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TypedDict

import numpy as np
import torch

from orchestrator.data.image_sets import Skipped, SourceFile, left_out, list_files, read_image
from orchestrator.experiment.image_settings import ImageSet
from orchestrator.foundation.file_listing import FileListing
from orchestrator.foundation.model_store import FoundModel, find_rgb_model, write_model
from orchestrator.foundation.statistics import FEWEST_SCENES, Interval, paired_interval
from orchestrator.foundation.storage import Storage
from orchestrator.foundation.summaries import LeftOutFile, PassedOver
from orchestrator.foundation.task_progress import CountCallback
from orchestrator.foundation.vocabulary import Verdict
from search_spaces import TransferSpace, find_space
from trainables.errors import ImageSetError, UsageError
from trainables.loops.cross_scale import adapt, least_side, patch_that_fits
from trainables.loops.finetune import Budget, TransferConfiguration
from trainables.metrics.evaluation import NamedImage, Upscaler, bicubic, make_pairs, score
from trainables.network.model_files import CARD, WEIGHTS

MOST_IMAGES = 500
"""Most LR images that are used; of more, a fixed random choice."""

_HELD_OUT_SHARE, _BATCH = 0.2, 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings of an adaptation.

    Attributes:
        steps: Optimiser steps.
        learning_rate: Peak learning rate.
        seed: Seed of the patches.
        scenes: Whether a scene is a ``file`` or a ``folder``; no scene is both trained on and held out.
        keep: Whether to write the model even if it is no better than the source model.
    """

    steps: int
    learning_rate: float
    seed: int = 0
    scenes: str = "file"
    keep: bool = False


class HeldOutPsnr(TypedDict):
    """PSNR in dB on held-out cross-scale pairs."""

    bicubic: float
    source: float
    adapted: float


class Gain(TypedDict):
    """A paired difference of PSNR in dB with its 95 % interval over scenes."""

    mean: float
    low: float
    high: float
    scenes: int


class Comparison(TypedDict):
    """Comparison of an adapted model with its source model on held-out images."""

    model: str
    scale: int
    space: str
    degradation: str
    images: int
    held_out: int
    patch: int
    psnr: HeldOutPsnr
    gain: Gain
    verdict: Verdict
    worth_it: bool


class AdaptResult(Comparison):
    """Result of an adaptation, with the place of the model and whether it was written."""

    skipped: list[LeftOutFile]
    passed_over: PassedOver
    output: str
    written: bool


def adapt_model(
    images: str, out: str, model: str, space: str, settings: Settings, report_progress: CountCallback
) -> AdaptResult:
    """Adapts a model to LR images and writes it if it is better than the source model.

    Args:
        images: Folder or prefix of LR images like those to be upscaled.
        out: Folder or prefix of the adapted model, without a model in it.
        model: Packaged name, folder or prefix of the source model.
        space: Search space whose degradation the images went through.
        settings: Settings of the adaptation.
        report_progress: Called with the steps done and all steps.

    Returns:
        PSNR in dB of bicubic, source and adapted model on held-out cross-scale pairs, the paired gain, whether it was
        worth it and whether the model was written.

    Raises:
        UsageError: If there is no model, space or usable image, or ``out`` holds a model already.
        DivergedError: If training diverges.
    """
    place, target = Storage.at(out), find_space(space)
    configuration = TransferConfiguration(learning_rate=settings.learning_rate, lambda_=0.0, frozen_depth=0)
    found = find_rgb_model(model)
    if any(place.child(name).exists() for name in (WEIGHTS, CARD)):
        raise UsageError(f"There is a model at '{place.uri}' already; name another OUT, or remove it.")
    place.check_writable()
    scale = found.net.architecture.scale
    files, listing = _list(images, settings.scenes)
    train, held_out, skipped = _split(*_read(files, listing, scale))
    compared = _train_and_compare(found, target, train, held_out, configuration, settings, report_progress)
    result: AdaptResult = {
        **compared,
        "skipped": [{"file": left_out.file, "reason": left_out.reason} for left_out in skipped],
        "passed_over": listing.report(),
        "output": place.uri,
        "written": compared["worth_it"] or settings.keep,
    }
    if result["written"]:
        write_model(place, found.net, _card(found, target, settings, result))
    return result


def _train_and_compare(
    found: FoundModel,
    space: TransferSpace,
    train: list[NamedImage],
    held_out: list[NamedImage],
    configuration: TransferConfiguration,
    settings: Settings,
    report_progress: CountCallback,
) -> Comparison:
    net, scale = found.net, found.net.architecture.scale
    pairs = make_pairs(held_out, space.degradation, scale)

    def scores(upscale: Upscaler) -> list[float]:
        return [image_score.psnr for image_score in score(upscale, pairs, scale)]

    before, plain = scores(net), scores(bicubic(scale))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(settings.seed)
    budget = Budget(steps=settings.steps, batch=_BATCH, evaluations=min(10, settings.steps))
    pixels = [image.pixels for image in train]
    adapt(
        net.to(device),
        pixels,
        space.degradation,
        configuration,
        budget,
        settings.seed,
        lambda _: 0.0,  # nothing is validated during training: held-out images are scored only at its end
        lambda step, _: report_progress(step, settings.steps),
    )
    after = scores(net.cpu())
    gain = paired_interval(np.subtract(after, before).tolist(), [image.scene for image in held_out])
    return {
        "model": found.where,
        "scale": scale,
        "space": space.id,
        "degradation": space.degradation.describe(),
        "images": len(train),
        "held_out": len(held_out),
        "patch": patch_that_fits(pixels, scale),
        "psnr": {
            "bicubic": float(np.mean(plain)),
            "source": float(np.mean(before)),
            "adapted": float(np.mean(after)),
        },
        "gain": {"mean": gain.mean, "low": gain.low, "high": gain.high, "scenes": gain.scenes},
        "verdict": gain.verdict,
        "worth_it": _worth_it(gain),
    }


def _worth_it(gain: Interval) -> bool:
    """True if the interval of the gain is above zero, or with too few scenes for an interval, its mean."""
    return gain.mean > 0 if gain.scenes < FEWEST_SCENES else gain.verdict == "better"


def _list(images: str, scenes: str) -> tuple[list[SourceFile], FileListing]:
    listings: list[FileListing] = []
    chosen = ImageSet.model_validate({"images": images, "scenes": scenes})
    files = list_files(chosen, Storage.at("."), report=lambda _, listing: listings.append(listing))
    return files, listings[0]


def _read(files: Sequence[SourceFile], listing: FileListing, scale: int) -> tuple[list[NamedImage], list[Skipped]]:
    usable: list[NamedImage] = []
    skipped = [Skipped(entry.path, entry.reason) for entry in listing.refused]
    for file in sorted(files, key=lambda file: _digest(file.facts.path)):
        read = read_image(file.place, file.facts.path, least_side(scale))
        if isinstance(read, Skipped):
            skipped.append(read)
        elif len(usable) < MOST_IMAGES:
            usable.append(NamedImage(file.facts.path, file.scene, read[1].pixels))
    return usable, skipped


def _split(
    usable: Sequence[NamedImage], skipped: list[Skipped]
) -> tuple[list[NamedImage], list[NamedImage], list[Skipped]]:
    """Images to train on, and images to hold out: a fifth of the scenes, more if that is too few for a verdict."""
    scenes = sorted({image.scene for image in usable}, key=_digest)
    if len(scenes) < 2:
        raise ImageSetError(
            f"There are usable LR images of {len(scenes)} scenes; adapting needs 2, one of them to compare "
            f"on{left_out(skipped)}."
        )
    wanted = max(FEWEST_SCENES, round(_HELD_OUT_SHARE * len(scenes)))
    held = set(scenes[: max(1, min(len(scenes) // 3, wanted))])
    train = [image for image in usable if image.scene not in held]
    return train, [image for image in usable if image.scene in held], skipped


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _card(found: FoundModel, space: TransferSpace, settings: Settings, result: AdaptResult) -> dict[str, object]:
    return {
        "name": PurePosixPath(result["output"]).name,
        "degradation": space.degradation.to_dict(),
        "configuration": {"learning_rate": settings.learning_rate, "lambda_": 0.0, "frozen_depth": 0},
        "seed": settings.seed,
        "lineage": {
            "source": found.where,
            "source_model": found.card["sha256"],
            "source_licence": found.licence,
            "adapted": "without HR: on cross-scale pairs of LR images",
        },
        "adaptation": {
            "space": space.id,
            "steps": settings.steps,
            "batch": _BATCH,
            "images": result["images"],
            "held_out": result["held_out"],
            "patch": result["patch"],
            "worth_it": result["worth_it"],
            "verdict": result["verdict"],
        },
        "data_licence": "not stated",
        "metrics": {"held_out_cross_scale": {"psnr": result["psnr"], "gain": result["gain"]}},
    }
