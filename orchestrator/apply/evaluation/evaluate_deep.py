"""Evaluation of upscalers on a set of images of any depth and bands, in the range of the model's card."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor

from orchestrator.apply.evaluation.evaluation_record import DeepScores, DeepSet
from orchestrator.apply.evaluation.scene_scores import LEAST_LR_SIDE
from orchestrator.archive.scene.band_map import name_groups
from orchestrator.archive.scene.types import ModelFacts, SceneError
from orchestrator.experiment.image_settings import DeepImages
from orchestrator.foundation.statistics import paired_interval
from orchestrator.image_sets.deep_reading import DeepReading
from orchestrator.image_sets.image_folder import format_of_files, holds_deep, named_image, read_file
from orchestrator.image_sets.set_files import Skipped, SourceFile, no_usable_images
from trainables.degradation import Degradation
from trainables.errors import ImageSetError, UsageError, reason_of
from trainables.images.raster import PixelFormat
from trainables.inference.downscaling import BackProject, downscaling_of
from trainables.inference.prepare import Prepared
from trainables.inference.upscale import upscale_groups
from trainables.metrics.evaluation import NamedImage, Score, Upscaler, compare, make_pairs, run
from trainables.metrics.means import mean_of_known

REAL_LR = "images of their own"
"""Origin of LR images that are not made from HR."""

PART = 1024
"""Side in pixels of the parts into which larger images are cut; up to half as much again is kept whole."""


@dataclass(frozen=True, slots=True)
class DeepFiles:
    """Files of a set, and how they are read.

    Attributes:
        files: The listed files.
        deep: Bands and size of parts.
        pixel_format: What the values mean.
        notes: Lines that a user should know.
    """

    files: Sequence[SourceFile]
    deep: DeepImages
    pixel_format: PixelFormat
    notes: list[str]


def deep_files(files: Sequence[SourceFile], reading: DeepReading | None, scale: int) -> DeepFiles | None:
    """Looks at a sample of a set; None of 8-bit gray and RGB images, which are not read by a range.

    Raises:
        ImageSetError: If none can be used, or they are not of one kind or do not fit the range.
    """
    if reading is None or not holds_deep(files, reading):
        return None
    pixel_format, notes = format_of_files(files, reading, LEAST_LR_SIDE * scale, scale)
    return None if pixel_format.plain else DeepFiles(files, reading.deep, pixel_format, notes)


def value_upscaler(
    net: Prepared, facts: ModelFacts, bands: Sequence[str], ensemble: bool, back_project: BackProject
) -> Upscaler:
    """A model as an upscaler of images of some bands, which it sees together as in archives.

    Raises:
        UsageError: If the bands do not fit the model.
    """
    try:
        groups = name_groups(bands, facts)
    except SceneError as error:
        raise UsageError(error.reason) from None

    downscaling = downscaling_of(back_project, facts.decimation)

    def upscale(lr: Tensor) -> Tensor:
        values = lr[0].permute(1, 2, 0).numpy()
        hr = upscale_groups(net, values, groups, ensemble=ensemble, downscaling=downscaling)
        return torch.from_numpy(hr).permute(2, 0, 1)[None]

    return upscale


def evaluate_deep(
    name: str,
    chosen: DeepFiles,
    counted: Callable[[Sequence[SourceFile]], Iterable[SourceFile]],
    upscalers: Mapping[str, Upscaler],
    degradation: Degradation | None,
    scale: int,
) -> DeepSet:
    """Scores every image of a set, or its parts, degraded in its own format, or with its own LR image.

    Args:
        name: Name of the set.
        chosen: Its files.
        counted: Passes on the files and counts them.
        upscalers: Upscalers by name; ``bicubic`` and ``model`` among them.
        degradation: The one that makes LR images, for this format; None of files with LR images of their own.
        scale: Scale factor r.

    Returns:
        Means of each upscaler over images, the paired gain in dB with its interval over files, and what was left out.

    Raises:
        ImageSetError: If there is no usable image, or files differ in data type or bands.
    """
    stated, skipped = chosen.pixel_format, list[Skipped]()
    made_by = degradation or Degradation().for_format(stated)  # which says how outputs are rounded
    scores: dict[str, list[Score]] = {arm: [] for arm in upscalers}
    for file in counted(chosen.files):
        for read in read_file(file, chosen.deep, LEAST_LR_SIDE * scale, scale=scale):
            if isinstance(read, Skipped):
                skipped.append(read)
                continue
            shape, chip = read
            if (shape.dtype, shape.bands) != (stated.dtype, stated.bands):
                raise ImageSetError(
                    f"'{file.facts.path}' is {shape.text}, and other images of '{file.place.uri}' are {stated.dtype} "
                    f"({', '.join(stated.bands)}): give sets of one data type and the same bands."
                )
            image = named_image(file, chip, stated)
            try:
                for arm, score in _scored(image, upscalers, made_by, scale).items():
                    scores[arm].append(score)
            except Exception as error:  # an error of one image must not end the evaluation
                skipped.append(Skipped(image.name, reason_of(error).rstrip(".")))
    plain, ours = scores["bicubic"], scores["model"]
    if not ours:
        raise no_usable_images(chosen.files[0].place.uri, skipped)
    gains = [a.psnr - b.psnr for a, b in zip(ours, plain, strict=True)]
    result = {
        "name": name,
        "images": len(ours),
        "bands": list(stated.bands),
        "protocol": _protocol(stated, scale),
        "degradation": degradation.describe() if degradation else REAL_LR,
        "notes": chosen.notes,
        **{arm: _means(of_arm) for arm, of_arm in scores.items()},
        "gain": asdict(paired_interval(gains, [score.scene for score in ours])),
        "skipped": [asdict(item) for item in skipped],
    }
    return cast(DeepSet, result)


def _scored(
    image: NamedImage, upscalers: Mapping[str, Upscaler], degradation: Degradation, scale: int
) -> dict[str, Score]:
    (pair,) = make_pairs([image], degradation, scale)
    return {arm: compare(run(upscale, pair), pair, scale) for arm, upscale in upscalers.items()}


def _means(scores: Sequence[Score]) -> DeepScores:
    return {
        "psnr": float(np.mean([score.psnr for score in scores])),
        "psnr_by_band": np.mean([score.bands for score in scores], axis=0).tolist(),
        "ssim": float(np.mean([score.ssim for score in scores])),
        "sam": mean_of_known(score.sam for score in scores),
        "ergas": mean_of_known(score.ergas for score in scores),
    }


def _protocol(pixel_format: PixelFormat, scale: int) -> str:
    return (
        f"{pixel_format.describe()}; PSNR and SSIM are of each band on that range, then the mean over bands; left out "
        f"are a border of {scale} pixels, and LR pixels of which a part has no value"
    )
