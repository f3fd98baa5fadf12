"""Adaptation of a model to a domain with LR images only, without a cluster.

The model is fine-tuned on cross-scale pairs (:mod:`trainables.loops.cross_scale`) of most images, and then compared
with the source model on such pairs of the others. The gain at the images' own scale cannot be measured without HR
images.

Where the model's card or the settings state a value range, images of any depth and number of bands are learned from in
that range (:mod:`orchestrator.image_sets.deep_reading`); all others are 8-bit gray and RGB.
"""

from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import NotRequired, TypedDict

import numpy as np
import torch

from orchestrator.apply.adapt_images import read_lr_images, split_scenes
from orchestrator.foundation.model_store import FoundModel, check_free, check_rgb, find_model, write_model
from orchestrator.foundation.statistics import FEWEST_SCENES, Interval, paired_interval
from orchestrator.foundation.storage import Storage
from orchestrator.foundation.summaries import LeftOutFile, PassedOver
from orchestrator.foundation.task_progress import CountCallback
from orchestrator.foundation.vocabulary import Verdict
from orchestrator.image_sets.deep_reading import CHIP, SLICE_AXIS, ValueRange, deep_reading
from orchestrator.image_sets.values_and_bands import kept_values_and_bands, network_for
from search_spaces import TransferSpace, find_space
from trainables.images.raster import PreparedImage
from trainables.loops.cross_scale import adapt, patch_that_fits
from trainables.loops.settings import Budget, TransferConfiguration
from trainables.metrics.evaluation import NamedImage, Upscaler, bicubic, make_pairs, score
from trainables.network.bands import by_band
from trainables.network.network import SuperResolutionNet

_BATCH = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings of an adaptation.

    Attributes:
        steps: Optimiser steps.
        learning_rate: Peak learning rate.
        seed: Seed of the patches.
        scenes: Whether a scene is a ``file`` or a ``folder``; no scene is both trained on and held out.
        keep: Whether to write the model even if it is no better than the source model.
        value_range: Values that mean 0 and 1, for images of any depth; None where the model's card states them, or for
            8-bit gray and RGB.
        bands: Names of the bands to use, in this order; none for all, or those of the card.
        chip: Side in pixels of the chips into which larger images of any depth are cut.
        slice_axis: The axis of NIfTI volumes that slices are cut across.
    """

    steps: int
    learning_rate: float
    seed: int = 0
    scenes: str = "file"
    keep: bool = False
    value_range: ValueRange | None = None
    bands: tuple[str, ...] = ()
    chip: int = CHIP
    slice_axis: int = SLICE_AXIS


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
    """Comparison of an adapted model with its source model on held-out images; ``values`` are those of other depths."""

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
    values: NotRequired[str]


class AdaptResult(Comparison):
    """Result of an adaptation, with the place of the model and whether it was written."""

    skipped: list[LeftOutFile]
    notes: list[str]
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
        UsageError: If there is no model, space or usable image, ``out`` holds a model already, or the images' bands,
            depth or values do not fit the model.
        DivergedError: If training diverges.
    """
    place, target = Storage.at(out), find_space(space)
    configuration = TransferConfiguration(learning_rate=settings.learning_rate, lambda_=0.0, frozen_depth=0)
    found = find_model(model)
    reading = deep_reading(found, settings.value_range, settings.bands, settings.chip, settings.slice_axis)
    if reading is None:
        check_rgb(found)
    check_free(place)
    scale = found.net.architecture.scale
    read, listing = read_lr_images(images, settings.scenes, reading, scale)
    net = network_for(found, read.pixel_format)
    target = replace(target, degradation=target.degradation.for_format(read.pixel_format))
    train, held_out = split_scenes(read.images, read.skipped)
    compared = _train_and_compare(found, net, target, train, held_out, configuration, settings, report_progress)
    if not read.pixel_format.plain:
        compared["values"] = read.pixel_format.describe()
    result: AdaptResult = {
        **compared,
        "skipped": [{"file": left_out.file, "reason": left_out.reason} for left_out in read.skipped],
        "notes": read.notes,
        "passed_over": listing.report(),
        "output": place.uri,
        "written": compared["worth_it"] or settings.keep,
    }
    if result["written"]:
        facts = _card(found, target, settings, result) | kept_values_and_bands(found, read.pixel_format)
        write_model(place, net, facts)
    return result


def _train_and_compare(
    found: FoundModel,
    net: SuperResolutionNet,
    space: TransferSpace,
    train: list[NamedImage],
    held_out: list[NamedImage],
    configuration: TransferConfiguration,
    settings: Settings,
    report_progress: CountCallback,
) -> Comparison:
    scale = net.architecture.scale
    pairs = make_pairs(held_out, space.degradation, scale)

    def scores(upscale: Upscaler) -> list[float]:
        return [image_score.psnr for image_score in score(upscale, pairs, scale)]

    before, plain = scores(_as_it_is(found.net, net)), scores(bicubic(scale))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(settings.seed)
    budget = Budget(steps=settings.steps, batch=_BATCH, evaluations=min(10, settings.steps))
    images = [image.pixels if image.valid is None else PreparedImage(image.pixels, image.valid) for image in train]
    adapt(
        net.to(device),
        images,
        space.degradation,
        configuration,
        budget,
        settings.seed,
        lambda _: 0.0,  # nothing is validated during training: held-out images are scored only at its end
        lambda step, _: report_progress(step, settings.steps),
    )
    after = scores(net.cpu())
    gain = paired_interval(np.subtract(after, before).tolist(), [pair.scene for pair in pairs])
    return {
        "model": found.where,
        "scale": scale,
        "space": space.id,
        "degradation": space.degradation.describe(),
        "images": len(train),
        "held_out": len(pairs),
        "patch": patch_that_fits(images, scale),
        "psnr": {
            "bicubic": float(np.mean(plain)),
            "source": float(np.mean(before)),
            "adapted": float(np.mean(after)),
        },
        "gain": gain_of(gain),
        "verdict": gain.verdict,
        "worth_it": worth_it(gain),
    }


def _as_it_is(source: SuperResolutionNet, net: SuperResolutionNet) -> Upscaler:
    """The source model without adaptation; images with other bands than its own go through it one by one."""
    return source if source.architecture.channels == net.architecture.channels else by_band(source)


def gain_of(interval: Interval) -> Gain:
    """A gain as results and cards have it."""
    return {"mean": interval.mean, "low": interval.low, "high": interval.high, "scenes": interval.scenes}


def worth_it(gain: Interval) -> bool:
    """True if the interval of the gain is above zero, or with too few scenes for an interval, its mean."""
    return (gain.mean if gain.scenes < FEWEST_SCENES else gain.low) > 0


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
