"""Images of the source domain, for replay in fine-tuning and for measuring what a fine-tuned network has forgotten.

They come from the source's shards. A model that was not pretrained here has none; generated natural images, on which
the packaged models were trained, take their place.
"""

from collections.abc import Iterator
from functools import lru_cache
from itertools import islice

from orchestrator.data.shard_reader import read_split
from orchestrator.foundation.storage import Storage
from trainables.images.patch_pool import Pixels
from trainables.metrics.evaluation import NamedImage

_REPLAYED = 192
"""Most images that are replayed."""

GENERATED, LEAST_SIDE = 32, 192
"""Generated images to replay, a quarter of a second each, and their least side in pixels."""

_HELD_OUT_SEED = 1_000_000
"""Generated images from this seed on are trained on by nothing: pretraining counts seeds from 0."""


def replayed_images(shards: Storage | None, version: str, side: int) -> Iterator[Pixels]:
    """Training images of the source.

    Args:
        shards: The source's shards; None for generated images.
        version: Version of them, so that other images at the same place are read anew.
        side: Least height and width that a patch needs, in HR pixels.
    """
    return iter(_replayed(shards, version, side))


def held_out_images(shards: Storage | None, count: int) -> list[NamedImage]:
    """Images of the source that no training uses: the shards' validation split, or generated ones.

    Args:
        shards: As above.
        count: Most images.
    """
    found = list(islice(read_split(shards, "validation"), count)) if shards is not None else []
    return found or [drawn_image(_HELD_OUT_SEED + i, LEAST_SIDE) for i in range(count)]


@lru_cache(maxsize=1)
def _replayed(shards: Storage | None, version: str, side: int) -> list[Pixels]:
    del version  # part of the key
    if shards is not None:
        return [image.pixels for image in islice(read_split(shards, "train"), _REPLAYED)]
    return [drawn_image(seed, max(side, LEAST_SIDE)).pixels for seed in range(GENERATED)]


def drawn_image(seed: int, side: int) -> NamedImage:
    """A generated natural image, which depends on its seed and side alone."""
    from trainables.samples import generate  # imports SciPy's transforms, which shards do not need

    return NamedImage(f"generated-{seed}", str(seed), generate("natural", seed, (side, side)))
