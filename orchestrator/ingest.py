"""How the images of a training split reach the workers that train: each reads its own, or Ray Data reads for all.

Reading directly starts at once and costs the least; Ray Data decodes on CPUs of any node, for GPUs whose own node has
too few. Either way a worker gets passes over its share of the images, which is as large as every other worker's.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import ray.train

from orchestrator.shards import split_files, split_rows
from orchestrator.storage import Storage
from trainables.errors import ImageSetError
from trainables.images import decode
from trainables.parquet import equal_shares, read_parquet_images
from trainables.patches import Pixels

if TYPE_CHECKING:
    import ray.data

DATASET = "train"


@dataclass(frozen=True, slots=True)
class Ingest:
    """The training images of a set of shards.

    Attributes:
        shards: Where they are.
        reading: Who reads them.
        threads: Images that a worker decodes at a time where it reads itself.
    """

    shards: Storage
    reading: Literal["direct", "ray_data"] = "direct"
    threads: int = 1

    def datasets(self) -> dict[str, Any]:
        """What a trainer is to be given."""
        return {DATASET: _dataset(self.shards)} if self.reading == "ray_data" else {}

    def passes(self) -> Callable[[], Iterator[Pixels]]:
        """On a worker: starts one pass over its images, uint8 (H, W, C).

        Raises:
            ImageSetError: If there are fewer images than workers.
        """
        if self.reading == "ray_data":
            shard = ray.train.get_dataset_shard(DATASET)
            return lambda: images_of(shard)
        context = ray.train.get_context()
        return direct(self.shards, context.get_world_rank(), context.get_world_size(), self.threads)


def direct(shards: Storage, rank: int, workers: int, threads: int = 1) -> Callable[[], Iterator[Pixels]]:
    """Starts one pass over a worker's share of the training images.

    Raises:
        ImageSetError: If there are fewer images than workers.
    """
    share = equal_shares(split_rows(shards, "train"), workers)[rank]
    if not share:
        raise ImageSetError(
            f"'{shards.uri}' has fewer training images than the {workers} workers of pretraining; take fewer workers."
        )
    return lambda: read_parquet_images(share, shards.filesystem, threads=threads)


def _dataset(shards: Storage) -> "ray.data.Dataset":
    import ray.data

    rows = ray.data.read_parquet(split_files(shards, "train"), filesystem=shards.filesystem).select_columns(["image"])
    return rows.map_batches(_decode_batch, batch_size=16)


def _decode_batch(batch: dict[str, Any]) -> dict[str, list[Any]]:
    images = [decode(data, checked=True).pixels for data in batch["image"]]
    return {"pixels": [image.tobytes() for image in images], "shape": [list(image.shape) for image in images]}


def images_of(shard: Any) -> Iterator[Pixels]:
    """One pass over a worker's share of a Ray dataset."""
    for batch in shard.iter_batches(batch_size=8, batch_format="pyarrow", prefetch_batches=2):
        for pixels, shape in zip(batch["pixels"], batch["shape"], strict=True):
            yield np.frombuffer(pixels.as_buffer(), np.uint8).reshape(shape.as_py())
