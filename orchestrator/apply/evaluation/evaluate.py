"""Evaluation of a model on folders of HR images, beside bicubic.

A set holds plain images, which are compared as in the literature (:mod:`trainables.metrics.psnr_ssim`), or GeoTIFF
scenes, which are compared by :mod:`orchestrator.apply.evaluation.scene_scores`: all of its files are TIFFs, and at
least one is not a plain image, or a setting for scenes is given. With a model whose card states a value range, it may
also hold other images of any depth and bands (:mod:`orchestrator.apply.evaluation.evaluate_deep`).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import PurePosixPath
from typing import TypeVar, cast

import numpy as np
import torch

from orchestrator.apply.evaluation.evaluate_deep import PART, DeepFiles, deep_files, evaluate_deep, value_upscaler
from orchestrator.apply.evaluation.evaluate_scenes import are_scenes, evaluate_scenes
from orchestrator.apply.evaluation.evaluation_record import DeepSet, Evaluation, PlainSet, SceneSet
from orchestrator.apply.evaluation.scene_scores import LEAST_LR_SIDE, as_models
from orchestrator.archive.scene.model_facts import facts_of
from orchestrator.archive.scene.types import BandMap, Normalisation, SceneSettings
from orchestrator.archive.scene.upscale import load_model
from orchestrator.foundation.file_listing import FileListing
from orchestrator.foundation.file_types import PICTURES, RASTER_INPUTS
from orchestrator.foundation.model_store import FoundModel, find_model
from orchestrator.foundation.statistics import paired_interval
from orchestrator.foundation.storage import Storage
from orchestrator.foundation.summaries import LeftOutFile
from orchestrator.foundation.task_progress import CountCallback
from orchestrator.image_sets.deep_reading import SLICE_AXIS, DeepReading, deep_reading
from orchestrator.image_sets.image_folder import with_lr
from orchestrator.image_sets.set_files import Skipped, SourceFile, list_images, no_usable_images, read_image
from search_spaces import find_space
from trainables.classical import fixed_baselines
from trainables.degradation import Degradation
from trainables.errors import UsageError, printable, reason_of
from trainables.images.raster import PreparedImage
from trainables.inference.downscaling import BackProject
from trainables.inference.precision import Precision
from trainables.inference.prepare import Prepared, prepared
from trainables.inference.upscale import upscale
from trainables.metrics.evaluation import NamedImage, Score, Upscaler, bicubic, compare, make_pairs, run
from trainables.metrics.lpips import Lpips
from trainables.metrics.means import mean_of_known

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class _Set:
    """Images to evaluate.

    ``lr`` is the folder of their LR counterparts, or the degradation that makes them; ``deep`` are images of any depth.
    """

    name: str
    place: Storage
    listing: FileListing
    lr: Storage | Degradation
    scenes: bool
    deep: DeepFiles | None
    files: Sequence[SourceFile]

    @property
    def paths(self) -> list[str]:
        return [facts.path for facts in self.listing.files]

    @property
    def degradation(self) -> Degradation | None:
        """Degradation that makes LR images; None where they are given."""
        return self.lr if isinstance(self.lr, Degradation) else None

    @property
    def plain(self) -> bool:
        """True for 8-bit gray and RGB images."""
        return not self.scenes and self.deep is None

    @property
    def skipped(self) -> list[Skipped]:
        """Files that cannot be opened."""
        return [Skipped(file.path, file.reason) for file in self.listing.refused]


def evaluate_model(
    model: str,
    images: Sequence[str],
    space: str | None = None,
    ensemble: bool = False,
    precision: Precision = "auto",
    baselines: bool = False,
    lr: Sequence[str] = (),
    normalisation: Normalisation = "auto",
    band_map: BandMap = "auto",
    lpips: bool = False,
    report_progress: CountCallback = lambda _, __: None,
    chip: int = PART,
    slice_axis: int = SLICE_AXIS,
    back_project: BackProject = "model",
) -> Evaluation:
    """Degrades, upscales and compares every image of every set.

    Args:
        model: Packaged name, folder or prefix of the model.
        images: Folders or prefixes with HR images, each a set.
        space: Search space whose degradation is used; that of the model's card by default.
        ensemble: Whether to average eight flips and rotations.
        precision: Precision of the convolutions.
        baselines: Whether to score bilinear and Lanczos interpolation too.
        lr: Folders or prefixes of LR images, one for each of ``images``: scenes of the same names, or pairs by name as
            of experiments (:mod:`orchestrator.image_sets.image_pairs`); if empty, LR is made by the degradation.
        normalisation: Normalisation of scenes, as for archives.
        band_map: Band map of scenes, as for archives.
        lpips: Whether to compare plain images by LPIPS too.
        report_progress: Called with the images done and the images of all sets.
        chip: Side in pixels of the parts into which larger images of any depth are cut.
        slice_axis: The axis of NIfTI volumes that slices are cut across.
        back_project: Back-projection of images that are not plain, as for archives; by default ``model``, as LR images
            are made.

    Returns:
        For each set: PSNR and SSIM of bicubic and of the model, the paired gain in dB, and the files left out; with
        ``baselines`` also PSNR and SSIM of the other interpolations, with ``lpips`` also LPIPS, None if all images
        are too small. Sets of scenes have further measures, and the scores of each scene in ``scenes``;
        sets of other images of any depth have ``protocol``, the values and pixels that are compared.

    Raises:
        UsageError: If there is no model or no usable image, or if settings do not go together.
    """
    settings = SceneSettings(
        threads=torch.get_num_threads(),
        precision=precision,
        normalisation=normalisation,
        band_map=band_map,
        back_project=back_project,
    )
    _check_lr(images, lr, space)
    found = find_model(model)
    net = prepared(found.net, precision=precision)
    lr_of: list[Storage | Degradation] = [Storage.at(place) for place in lr]
    if not lr:
        lr_of += [_degradation(found, space)] * len(images)
    plain: dict[str, Upscaler] = fixed_baselines(net.scale) if baselines else {"bicubic": bicubic(net.scale)}
    asked = (normalisation, band_map) != ("auto", "auto")
    sets = _sets(images, lr_of, asked, deep_reading(found, chip=chip, slice_axis=slice_axis), net.scale)
    _check_bands(found.where, net.channels, sets)
    if lpips and not any(image_set.plain for image_set in sets):
        raise UsageError("LPIPS is of plain 8-bit images; remove --lpips for sets of others.")
    perceived = Lpips() if lpips else None
    loaded = (
        as_models(load_model(found, settings), plain, ensemble) if any(image_set.scenes for image_set in sets) else {}
    )
    upscalers = {**plain, "model": _as_stored(net, ensemble)}
    deep_models = {
        image_set.deep.pixel_format.bands: value_upscaler(
            net, facts_of(found, net.precision), image_set.deep.pixel_format.bands, ensemble, back_project
        )
        for image_set in sets
        if image_set.deep
    }

    total, number = sum(len(image_set.paths) for image_set in sets), count(1)

    def counted(files: Iterable[Item]) -> Iterator[Item]:
        for file in files:
            yield file
            report_progress(next(number), total)

    def evaluate(image_set: _Set) -> PlainSet | SceneSet | DeepSet:
        result: PlainSet | SceneSet | DeepSet
        if image_set.deep is not None:
            ours = {**plain, "model": deep_models[image_set.deep.pixel_format.bands]}
            result = evaluate_deep(image_set.name, image_set.deep, counted, ours, image_set.degradation, net.scale)
        elif image_set.scenes:
            result = evaluate_scenes(
                image_set.name, image_set.place, counted(image_set.paths), image_set.lr, loaded, settings
            )
        else:
            made_by = image_set.degradation or Degradation()
            result = _evaluate_set(
                image_set.name, image_set.place, counted(image_set.files), upscalers, made_by, net.scale, perceived
            )
        result["skipped"] += [LeftOutFile(file=skipped.file, reason=skipped.reason) for skipped in image_set.skipped]
        result["passed_over"] = image_set.listing.report()
        return result

    return {
        "model": found.where,
        "scale": net.scale,
        "precision": net.precision,
        "degradation": None if isinstance(lr_of[0], Storage) else lr_of[0].describe(),
        "self_ensemble": ensemble,
        "sets": [evaluate(image_set) for image_set in sets],
    }


def _check_lr(images: Sequence[str], lr: Sequence[str], space: str | None) -> None:
    if lr and len(lr) != len(images):
        raise UsageError(f"Give --lr once for each --images, found {len(lr)} for {len(images)}.")
    if lr and space:
        raise UsageError(f"Give --lr, which has the LR images, or --space {space}, which makes them, not both.")


def _check_bands(model: str, channels: int, sets: Sequence[_Set]) -> None:
    plain = [image_set.place.uri for image_set in sets if image_set.plain]
    if plain and channels not in (1, 3):
        raise UsageError(
            f"Model '{model}' takes {channels} bands together, and '{plain[0]}' holds gray or colour images: give "
            f"GeoTIFFs of {channels} bands, or a model of 1 or 3 bands."
        )


def _degradation(model: FoundModel, space: str | None) -> Degradation:
    degradation = find_space(space).degradation if space else model.degradation
    if degradation is None:
        raise UsageError(f"The card of model '{model.where}' says no degradation: name a search space with --space.")
    return degradation


def _sets(
    images: Sequence[str], lr: Sequence[Storage | Degradation], asked: bool, reading: DeepReading | None, scale: int
) -> list[_Set]:
    """Lists all sets, and looks at those of any depth, before any is scored."""
    places = [Storage.at(place) for place in images]
    sets = []
    for name, place, lr_of_set in zip(_names(places), places, lr, strict=True):
        listing = list_images(place, _endings(reading))
        paths = [facts.path for facts in listing.files]
        if isinstance(lr_of_set, Storage):
            lr_of_set.check_readable()
        scenes = are_scenes(place, paths, asked or isinstance(lr_of_set, Storage))
        if asked and not scenes:
            raise UsageError(
                f"--normalisation and --band-map are for sets of TIFFs alone; '{place.uri}' holds other images."
            )
        files = [SourceFile(place, facts, printable(facts.path), False) for facts in listing.files]
        if isinstance(lr_of_set, Storage) and not scenes:
            files = with_lr(files, lr_of_set, _endings(reading), scale)
        deep = None if scenes else deep_files(files, reading, scale)
        if deep is not None and isinstance(lr_of_set, Degradation):
            lr_of_set = lr_of_set.for_format(deep.pixel_format)
        sets.append(_Set(name, place, listing, lr_of_set, scenes, deep, files))
    return sets


def _endings(reading: DeepReading | None) -> frozenset[str]:
    return PICTURES if reading is None else RASTER_INPUTS


def _evaluate_set(
    name: str,
    place: Storage,
    files: Iterable[SourceFile],
    upscalers: dict[str, Upscaler],
    degradation: Degradation,
    scale: int,
    lpips: Lpips | None,
) -> PlainSet:
    skipped: list[Skipped] = []
    scores: dict[str, list[Score]] = {arm: [] for arm in upscalers}
    perceived: dict[str, list[float | None]] = {arm: [] for arm in upscalers}
    for image in _read(files, LEAST_LR_SIDE * scale):
        if isinstance(image, Skipped):
            skipped.append(image)
            continue
        try:
            (pair,) = make_pairs([image], degradation, scale)
            outputs = {arm: run(upscaler, pair) for arm, upscaler in upscalers.items()}
            of_image = {arm: compare(output, pair, scale) for arm, output in outputs.items()}
            seen = {arm: lpips(output, pair.hr) for arm, output in outputs.items()} if lpips else {}
        except Exception as error:  # an error of one image must not end the evaluation
            skipped.append(Skipped(image.name, reason_of(error)))
            continue
        for arm in upscalers:
            scores[arm].append(of_image[arm])
            perceived[arm] += [seen[arm]] if lpips else []
    plain, ours = scores["bicubic"], scores["model"]
    if not ours:
        raise no_usable_images(place.uri, skipped)
    gains = [a.psnr - b.psnr for a, b in zip(ours, plain, strict=True)]
    result = {
        "name": name,
        "images": len(ours),
        **{arm: _means(of_arm, perceived[arm]) for arm, of_arm in scores.items()},
        "gain": asdict(paired_interval(gains, [item.name for item in ours])),
        "skipped": [asdict(item) for item in skipped],
    }
    return cast(PlainSet, result)


def _as_stored(net: Prepared, ensemble: bool) -> Upscaler:
    """Upscaler of 8-bit LR images with the same output as ``rayscale upscale``."""

    def as_stored(lr: torch.Tensor) -> torch.Tensor:
        pixels = (lr[0] * 255).round().byte().permute(1, 2, 0).numpy()
        hr = torch.from_numpy(upscale(net, pixels, ensemble=ensemble))
        return hr.permute(2, 0, 1)[None].float() / 255

    return as_stored


def _read(files: Iterable[SourceFile], least_side: int) -> Iterator[NamedImage | Skipped]:
    for file in files:
        path = file.facts.path
        read = read_image(file.place, path, least_side)
        lr = None if file.lr is None else read_image(file.lr.place, file.lr.facts.path, 1)
        if isinstance(read, Skipped):
            yield read
        elif isinstance(lr, Skipped):
            yield Skipped(printable(path), f"its LR image '{lr.file}': {lr.reason}")
        else:
            yield NamedImage(path, path, read[1].pixels, lr=None if lr is None else PreparedImage(lr[1].pixels))


def _names(places: list[Storage]) -> list[str]:
    """Names of the sets: the last part of the path, or all of it if two names would be equal."""
    short = [PurePosixPath(place.uri).name or place.uri for place in places]
    return [name if short.count(name) == 1 else place.uri for name, place in zip(short, places, strict=True)]


def _means(scores: list[Score], perceived: list[float | None]) -> dict[str, float | None]:
    means = {"psnr": float(np.mean([s.psnr for s in scores])), "ssim": float(np.mean([s.ssim for s in scores]))}
    return means | ({"lpips": mean_of_known(perceived)} if perceived else {})
