"""Domain analysis: distances of the targets from the source in the source model's features."""

import hashlib
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median, pstdev

from orchestrator.analysis.advice import Advice, advise
from orchestrator.analysis.record import (
    AdvisedDomain,
    Analysis,
    Distance,
    DomainAnalysis,
    Interval,
    MeasuredDistance,
    SignalRecord,
    Spread,
)
from orchestrator.analysis.search_worth import SearchWorth, facts_of, predict
from orchestrator.data.shard_reader import pixel_format_of, read_manifest, read_split
from orchestrator.experiment.image_settings import ImageSet
from orchestrator.experiment.settings import Experiment, Finetuning
from orchestrator.foundation.model_store import FoundModel, find_model, find_rgb_model
from orchestrator.foundation.statistics import paired_interval
from orchestrator.foundation.storage import Storage
from orchestrator.foundation.task_progress import CountCallback
from orchestrator.image_sets.deep_reading import CHIP, SLICE_AXIS, DeepReading, ValueRange, deep_reading
from orchestrator.image_sets.image_folder import holds_deep, list_folder, read_folder
from orchestrator.image_sets.set_files import Skipped, no_usable_images, read_image
from search_spaces import TransferSpace, find_space
from trainables.degradation import Degradation
from trainables.domain_shift.cka import cka_estimate
from trainables.domain_shift.features import TILE, block_names
from trainables.domain_shift.observation import Observation, observe
from trainables.domain_shift.shift import FEWEST_SCENES, BlockShift, Measured, frechet_values, measure_shift
from trainables.errors import ImageSetError
from trainables.images.raster import PLAIN, PixelFormat
from trainables.metrics.evaluation import NamedImage, bicubic, make_pairs, mean_psnr
from trainables.metrics.scene_bootstrap import Estimate
from trainables.network.architecture import frozen_depth_limit
from trainables.network.bands import with_bands
from trainables.samples import generate

MOST_IMAGES = 96
"""Most images of each set that are analysed."""

GENERATED, GENERATED_SIDE = 64, 256
FEWEST_TARGET_SCENES = 2

GAIN_IMAGES, GAIN_CROP = 16, 128
"""Images on which the source model is compared with bicubic interpolation, and the HR pixels of their middle."""


@dataclass(frozen=True, slots=True)
class DomainImages:
    """Images of one domain.

    Attributes:
        name: What they are.
        images: At most :data:`MOST_IMAGES` of them.
        train: How many there are to train on.
        pixel_format: What their values mean.
        train_scenes: Scenes of those to train on; None for the scenes of ``images``.
    """

    name: str
    images: Sequence[NamedImage]
    train: int
    pixel_format: PixelFormat = PLAIN
    train_scenes: int | None = None


def analyze_experiment(experiment: Experiment, source_images: str | None, report_progress: CountCallback) -> Analysis:
    """Analyses every target of an experiment whose shards and source model are there; writes ``analysis.json``.

    Args:
        experiment: The experiment.
        source_images: Folder or prefix of images to take for the source's; by default the experiment's own, and
            generated ones where it starts from a model.
        report_progress: Called with (images done, of).

    Returns:
        As :func:`analyze_images`, with every target.

    Raises:
        UsageError: If a set is too small.
    """
    shards, scale = experiment.home.child("shards"), experiment.architecture.scale
    if source_images is not None:
        source = _of_folder(source_images, "file", scale)
    elif isinstance(experiment.source, ImageSet):
        source = _of_shards("the experiment's source images", shards.child("source"), MOST_IMAGES)
    else:
        source = _generated(GENERATED, scale)
    targets = {
        name: (_of_shards(name, shards.child(name), MOST_IMAGES), experiment.space(name)) for name in experiment.targets
    }
    analysis = _analyze(
        find_model(experiment.home.child("source").uri), source, targets, report_progress, experiment.finetuning
    )
    experiment.home.child("analysis", "analysis.json").write_json(analysis)
    return analysis


def observe_source(found: FoundModel, source: Storage | None, most: int) -> Observation:
    """Features of the source's images, or of generated ones where there are none.

    Raises:
        ImageSetError: If the set is too small.
    """
    of = (
        _of_shards("the source images", source, most)
        if source
        else _generated(GENERATED, found.net.architecture.scale, most)
    )
    _check_scenes(of, FEWEST_SCENES)
    return observe(found.net, of.images, found.degradation or Degradation())


def advise_target(
    found: FoundModel, reference: Observation, name: str, shards: Storage, space: TransferSpace, most: int
) -> AdvisedDomain:
    """The analysis of one target's shards with its advice.

    Where the set is too small there is none, and the reason: nothing that a search must fail for.

    Args:
        found: The source model.
        reference: Of :func:`observe_source`.
        name: The target.
        shards: Its shards, of which training and validation images alone are read.
        space: Its search space.
        most: Most images that are analysed.
    """
    try:
        domain = _of_shards(name, shards, most)
        _check_scenes(domain, FEWEST_TARGET_SCENES)
        return _compare(found, reference, domain, space, found.degradation or Degradation(), lambda: None)
    except ImageSetError as problem:
        return no_advice(problem)


def no_advice(problem: ImageSetError) -> AdvisedDomain:
    """Result in place of an analysis where a set is too small: nothing that a search must fail for."""
    return {"advice": None, "reason": str(problem)}


def analyze_images(
    model: str,
    images: str,
    space: str,
    scenes: str,
    source_images: str | None,
    report_progress: CountCallback,
    value_range: ValueRange | None = None,
    bands: Sequence[str] = (),
    chip: int = CHIP,
    slice_axis: int = SLICE_AXIS,
) -> Analysis:
    """Analyses one set of images without an experiment.

    Args:
        model: Packaged name, folder or prefix of the source model.
        images: Folder or prefix of target HR images; all of them may be read, so that test images must lie elsewhere.
        space: The target's search space.
        scenes: ``file`` or ``folder``: what an image's scene is.
        source_images: Folder or prefix of images to take for the source's; generated ones by default.
        report_progress: Called with (images done, of).
        value_range: Of target images of any depth, the values that mean 0 and 1; None where the model's card states
            them, or for 8-bit gray and RGB.
        bands: Names of the bands to use, in this order; none for all.
        chip: Side in pixels of the chips into which larger images of any depth are cut.
        slice_axis: The axis of NIfTI volumes that slices are cut across.

    Returns:
        The source, how it was measured, and for each target its distances, spectrum, noise and advice, as plain values.

    Raises:
        UsageError: If there is no such model or space, or a set is too small or does not fit the range.
    """
    found, target = find_rgb_model(model), find_space(space)
    scale = found.net.architecture.scale
    own = _of_folder(images, scenes, scale, deep_reading(found, value_range, bands, chip, slice_axis))
    source = _generated(GENERATED, scale) if source_images is None else _of_folder(source_images, "file", scale)
    return _analyze(found, source, {target.domain: (own, target)}, report_progress, Finetuning())


def _analyze(
    found: FoundModel,
    source: DomainImages,
    targets: dict[str, tuple[DomainImages, TransferSpace]],
    report_progress: CountCallback,
    finetuning: Finetuning,
) -> Analysis:
    plain = found.degradation or Degradation()
    sets = [source, *(domain for domain, _ in targets.values())]
    for domain, least in zip(sets, [FEWEST_SCENES] + [FEWEST_TARGET_SCENES] * len(targets), strict=True):
        _check_scenes(domain, least)
    done, of = itertools.count(1), sum(len(domain.images) for domain in sets)

    def step() -> None:
        report_progress(next(done), of)

    reference = observe(found.net, source.images, plain, on_image=step)
    analysed = {
        name: _compare(found, reference, domain, space, plain, step) for name, (domain, space) in targets.items()
    }
    for name, (domain, space) in targets.items():
        analysed[name]["search_worth"] = _search_worth(found, domain, space, finetuning)
    return {
        "model": found.where,
        "scale": found.net.architecture.scale,
        "blocks": list(block_names(found.net)),
        "tile": TILE,
        "source": {"images_from": source.name, "degradation": plain.describe(), **_signal(reference)},
        "targets": analysed,
    }


def _search_worth(found: FoundModel, domain: DomainImages, space: TransferSpace, finetuning: Finetuning) -> SearchWorth:
    facts = facts_of(
        scenes=domain.train_scenes or len({image.scene for image in domain.images}),
        images=domain.train,
        pixels=finetuning.pixels,
        architecture=found.net.architecture,
        degradation=space.degradation,
        real_pairs=any(image.lr is not None for image in domain.images),
        zero_shot_gain=_zero_shot_gain(found, domain, space) if domain.pixel_format.plain else None,
    )
    return predict(facts)


def _zero_shot_gain(found: FoundModel, domain: DomainImages, space: TransferSpace) -> float:
    """PSNR in dB of the source model as it is over bicubic interpolation, on a few of the images."""
    scale = found.net.architecture.scale
    pairs = make_pairs(domain.images[:GAIN_IMAGES], space.degradation, scale, GAIN_CROP)
    return mean_psnr(found.net.eval(), pairs, scale) - mean_psnr(bicubic(scale), pairs, scale)


def _check_scenes(domain: DomainImages, least: int) -> None:
    count = len({image.scene for image in domain.images})
    if count < least:
        raise ImageSetError(f"'{domain.name}' has usable images of {count} scenes; an analysis needs {least}.")


def _compare(
    found: FoundModel,
    source: Observation,
    domain: DomainImages,
    space: TransferSpace,
    plain: Degradation,
    step: Callable[[], None],
) -> DomainAnalysis:
    stated = domain.pixel_format
    net = found.net if stated.plain else with_bands(found.net, stated.bands)
    seen = observe(net, domain.images, space.degradation.for_format(stated), plain.for_format(stated), step)
    assert seen.plain_tiles is not None
    shifts, content = measure_shift(source.tiles, seen.tiles), frechet_values(source.tiles, seen.plain_tiles)
    cka = [cka_estimate(block) for block in seen.products]
    excess = median(shift.mmd.estimate.value - shift.mmd.floor for shift in shifts)
    limit = frozen_depth_limit(found.net.architecture)
    signal = _signal(seen)
    advice: Advice = advise(excess, [estimate.low for estimate in cka], domain.train, space, limit)
    result: DomainAnalysis = {
        "space": space.id,
        "degradation": space.degradation.describe(),
        "images": signal["images"],
        "scenes": signal["scenes"],
        "tiles": signal["tiles"],
        "spectral_slope": signal["spectral_slope"],
        "noise": signal["noise"],
        "frechet_over_floor": _interval(_over_floor(shifts)),
        "content_frechet_over_floor": median(
            value / shift.frechet.floor for value, shift in zip(content, shifts, strict=True)
        ),
        "mmd": _median([shift.mmd for shift in shifts]),
        "proxy_a": _median([shift.proxy_a for shift in shifts]),
        "per_block": [
            {
                "frechet": _distance(shift.frechet),
                "mmd": _distance(shift.mmd),
                "proxy_a": _distance(shift.proxy_a),
                "content_frechet": value,
                "cka": _interval(similar),
            }
            for shift, value, similar in zip(shifts, content, cka, strict=True)
        ],
        "advice": advice.record(),
    }
    if not stated.plain:
        result["values"] = stated.describe()
    return result


def _over_floor(shifts: list[BlockShift]) -> Estimate:
    """Fréchet distance in units of its floor, the median over blocks, each end of the interval likewise."""
    ends = ("value", "low", "high")
    return Estimate(*(median(getattr(s.frechet.estimate, end) / s.frechet.floor for s in shifts) for end in ends))


def _median(measured: list[Measured]) -> Distance:
    return {
        "value": median(distance.estimate.value for distance in measured),
        "low": median(distance.estimate.low for distance in measured),
        "high": median(distance.estimate.high for distance in measured),
        "floor": median(distance.floor for distance in measured),
    }


def _interval(estimate: Estimate) -> Interval:
    return {"value": estimate.value, "low": estimate.low, "high": estimate.high}


def _distance(measured: Measured) -> MeasuredDistance:
    return {"estimate": _interval(measured.estimate), "floor": measured.floor}


def _signal(seen: Observation) -> SignalRecord:
    """Counts, spectral slope and noise of a set."""
    return {
        "images": len(seen.noise),
        "scenes": seen.tiles.scene_count,
        "tiles": len(seen.tiles.scenes),
        "spectral_slope": _spread(seen.slopes),
        "noise": _spread(seen.noise),
    }


def _spread(pairs: Sequence[tuple[float, str]]) -> Spread | None:
    """Mean of each image's value, its interval over scenes and its standard deviation."""
    if not pairs:
        return None
    values = [value for value, _ in pairs]
    mean = paired_interval(values, [scene for _, scene in pairs])
    return {"mean": mean.mean, "low": mean.low, "high": mean.high, "scenes": mean.scenes, "spread": pstdev(values)}


def _of_shards(name: str, place: Storage, most: int) -> DomainImages:
    """Images of the training and the validation split, in the order of the shards, which is random."""
    manifest = read_manifest(place)
    every = (image for split in ("train", "validation") for image in read_split(place, split))
    images = list(itertools.islice(every, most))
    scenes = len(manifest["scenes"]["train"])
    return DomainImages(name, images, manifest["images"]["train"], pixel_format_of(manifest), scenes)


def _generated(count: int, scale: int, most: int = MOST_IMAGES) -> DomainImages:
    count = min(count, most)
    side = max(GENERATED_SIDE, TILE * scale)
    drawn = [NamedImage(str(i), str(i), generate("natural", i, (side, side))) for i in range(count)]
    return DomainImages(f"{count} generated natural images (no source images were named)", drawn, len(drawn))


def _of_folder(images: str, scenes: str, scale: int, reading: DeepReading | None = None) -> DomainImages:
    place = Storage.at(images)
    files, _ = list_folder(images, scenes, reading)
    if reading is not None and holds_deep(files, reading):
        found = read_folder(files, reading, TILE * scale, MOST_IMAGES)
        return DomainImages(place.uri, found.images, found.available, found.pixel_format)
    usable: list[NamedImage] = []
    skipped: list[Skipped] = []
    for file in sorted(files, key=lambda file: hashlib.sha256(file.facts.path.encode()).hexdigest()):
        read = read_image(place, file.facts.path, TILE * scale)
        if isinstance(read, Skipped):
            skipped.append(read)
        else:
            usable.append(NamedImage(file.facts.path, file.scene, read[1].pixels))
        if len(usable) == MOST_IMAGES:
            break
    if not usable:
        raise no_usable_images(place.uri, skipped)
    return DomainImages(place.uri, usable, len(files) - len(skipped))
