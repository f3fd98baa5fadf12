"""Decodes a sample of an image set before anything is spent, so that a set of unusable files is refused at once."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from orchestrator.data.image_sets import Skipped, SourceFile, left_out, read_image
from orchestrator.data.shards import check_scene_count
from trainables.errors import ImageSetError, printable

SAMPLED = 24
"""Images of a folder that are decoded."""

SAMPLED_AT_MOST = 200
"""Images that are decoded until one can be used."""

_THREADS = 8


def check_sample(files: Sequence[SourceFile], least_side: int, shares: Mapping[str, float]) -> list[str]:
    """Decodes some images from all over each folder of a set.

    Args:
        files: The listed files of the set.
        least_side: Least height and width in pixels.
        shares: Shares of scenes that are set aside for validation and test.

    Returns:
        A line for each folder of which some of the decoded images cannot be used.

    Raises:
        ImageSetError: If none of a folder's images can be used, or too few to give each split a scene.
        StorageError: If the storage does not answer.
    """
    lines = []
    for folder in dict.fromkeys(file.place.uri for file in files):
        own = [file for file in files if file.place.uri == folder]
        first = spread(own, SAMPLED)
        skipped = _skipped(first, least_side)
        tried = len(first)
        if len(skipped) == tried:
            rest = [file for file in spread(own, SAMPLED_AT_MOST) if file not in first]
            more = _skipped(rest, least_side)
            skipped, tried = skipped + more, tried + len(rest)
        which = "of its images" if tried == len(own) else f"of {tried} images tried, of {len(own)},"
        if len(skipped) == tried:
            raise ImageSetError(f"'{folder}': none {which} can be used{left_out(skipped)}.")
        if not own[0].test:
            unusable = {skip.file for skip in skipped}
            scenes = {file.scene for file in own if printable(file.facts.path) not in unusable}
            check_scene_count(len(scenes), shares, skipped, folder)
        if skipped:
            lines.append(f"{folder}: {len(skipped)} {which} cannot be used{left_out(skipped)}")
    return lines


def spread(files: Sequence[SourceFile], most: int) -> list[SourceFile]:
    """At most so many files, from all over a listing."""
    return [files[i] for i in np.unique(np.linspace(0, len(files) - 1, most).round().astype(int))]


def _skipped(files: Sequence[SourceFile], least_side: int) -> list[Skipped]:
    with ThreadPoolExecutor(_THREADS) as pool:
        outcomes = pool.map(lambda file: read_image(file.place, file.facts.path, least_side), files)
        return [outcome for outcome in outcomes if isinstance(outcome, Skipped)]
