"""Decodes a sample of an image set before anything is spent, so that a set of unusable files is refused at once."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from orchestrator.data.shards import check_scene_count
from orchestrator.experiment.image_settings import DeepImages, PairReading
from orchestrator.image_sets.deep_images import common_shape
from orchestrator.image_sets.pair_reading import check_pairs
from orchestrator.image_sets.sampled_images import SAMPLED, SampledImage, read_sample, spread
from orchestrator.image_sets.set_files import Skipped, SourceFile, left_out
from orchestrator.image_sets.value_ranges import Sampled, format_of
from trainables.errors import ImageSetError, printable
from trainables.images.raster import PLAIN

SAMPLED_AT_MOST = 200
"""Images that are decoded until one can be used."""

_THREADS, _DEEP_THREADS = 8, 2


class SetSample(NamedTuple):
    """Findings of a sample of a set: lines that a user should know, and the mean number of images of a file."""

    lines: list[str]
    images_per_file: float


def check_sample(
    files: Sequence[SourceFile],
    least_side: int,
    shares: Mapping[str, float],
    deep: DeepImages | None = None,
    pairs: PairReading | None = None,
) -> SetSample:
    """Decodes some images from all over each folder of a set.

    Args:
        files: The listed files of the set.
        least_side: Least height and width in pixels.
        shares: Shares of scenes that are set aside for validation and test.
        deep: How images of any depth are read; None for 8-bit gray and RGB.
        pairs: How LR images are read that the files have; None if they have none.

    Returns:
        Its lines name each folder of which some of the decoded images cannot be used, and values outside a range, and
        say how the images of pairs lie on each other.

    Raises:
        ImageSetError: If none of a folder's images can be used, or too few to give each split a scene; of images of any
            depth also if they differ in data type or bands, or do not fit the value range; of pairs also if their
            scale, registration, overlap or radiometry is wrong.
        StorageError: If the storage does not answer.
    """
    lines: list[str] = []
    found: list[SampledImage] = []
    read = 0
    for folder in dict.fromkeys(file.place.uri for file in files):
        own = [file for file in files if file.place.uri == folder]
        first = spread(own, SAMPLED)
        skipped, usable = _tried(first, least_side, deep, pairs)
        tried = len(first)
        if len(skipped) == tried:
            rest = [file for file in spread(own, SAMPLED_AT_MOST) if file not in first]
            more, usable = _tried(rest, least_side, deep, pairs)
            skipped, tried = skipped + more, tried + len(rest)
        found, read = found + usable, read + tried
        which = "of its images" if tried == len(own) else f"of {tried} images tried, of {len(own)},"
        if len(skipped) == tried:
            raise ImageSetError(f"'{folder}': none {which} can be used{left_out(skipped)}.")
        if not own[0].test:
            unusable = {skip.file for skip in skipped}
            scenes = {file.scene for file in own if printable(file.facts.path) not in unusable}
            check_scene_count(len(scenes), shares, skipped, folder)
        if skipped:
            lines.append(f"{folder}: {len(skipped)} {which} cannot be used{left_out(skipped)}")
    shape = common_shape([(image.name, image.shape) for image in found if image.shape])
    pixel_format, where = PLAIN, files[0].place.uri
    if deep is not None and shape is not None:
        samples = [Sampled(image.chip.sample(), image.chip.window) for image in found]
        pixel_format, notes = format_of(deep, shape, samples, where)
        lines += notes
    if pairs is not None:
        both = [(image.name, image.chip.raster, image.chip.lr) for image in found if image.chip.lr is not None]
        lines += check_pairs(both, pairs, pixel_format, where)
    return SetSample(lines, sum(image.images for image in found) / read)


def _tried(
    files: Sequence[SourceFile], least_side: int, deep: DeepImages | None, pairs: PairReading | None
) -> tuple[list[Skipped], list[SampledImage]]:
    with ThreadPoolExecutor(_THREADS if deep is None else _DEEP_THREADS) as pool:
        scale = 1 if pairs is None else pairs.scale
        outcomes = list(pool.map(lambda file: read_sample(file, least_side, deep, scale), files))
    skipped = [outcome for outcome in outcomes if isinstance(outcome, Skipped)]
    return skipped, [outcome for outcome in outcomes if not isinstance(outcome, Skipped)]
