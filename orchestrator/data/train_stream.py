"""Stream of a training split's images to the training workers: each reads its own, or Ray Data reads for all.

Reading directly starts at once and costs the least; Ray Data decodes on CPUs of any node, for GPUs whose own node has
too few. Either way a worker gets passes over its share of the images, which is as large as every other worker's.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
import ray.train

from orchestrator.data.shard_reader import packed_files
from orchestrator.foundation.storage import Storage
from trainables.errors import ImageSetError
from trainables.images.parquet import COLUMNS, PackedFile, check_file, packed_images, read_parquet_images, shares_of
from trainables.images.patch_pool import Pixels

if TYPE_CHECKING:
    import ray.data

DATASET = "train"


@dataclass(frozen=True, slots=True)
class Ingest:
    """The training images of a set of shards.

    Attributes:
        shards: Place of the shards.
        reading: Reader: each worker, or Ray Data.
        threads: Images that a worker decodes at a time where it reads itself.
    """

    shards: Storage
    reading: Literal["direct", "ray_data"] = "direct"
    threads: int = 1

    def datasets(self) -> dict[str, Any]:
        """Datasets to give to a trainer."""
        return {DATASET: _dataset(self.shards)} if self.reading == "ray_data" else {}

    def passes(self) -> Callable[[], Iterator[Pixels]]:
        """On a worker: starts one pass over its images, uint8 (H, W, C).

        Raises:
            ImageSetError: If there are fewer images than workers.
            RunError: If the manifest is damaged; the passes raise it where a file or an image is.
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
    share = shares_of(packed_files(shards, "train"), workers)[rank]
    if not share:
        raise ImageSetError(
            f"'{shards.uri}' has fewer training images than the {workers} workers of pretraining; take fewer workers."
        )
    return lambda: read_parquet_images(share, shards.filesystem, threads=threads)


def _dataset(shards: Storage) -> "ray.data.Dataset":
    import ray.data

    files = packed_files(shards, "train")
    for file in files:
        check_file(file, shards.filesystem)
    paths = [file.path for file in files]
    rows = ray.data.read_parquet(paths, filesystem=shards.filesystem).select_columns(list(COLUMNS))
    split = PackedFile(shards.child("train").path, 0, 0, files[0].scenes if files else frozenset())
    return rows.map_batches(partial(_decode_batch, split=split), batch_size=16, batch_format="pyarrow")


def _decode_batch(table: pa.Table, split: PackedFile) -> dict[str, list[Any]]:
    rows = [row for batch in table.to_batches() for row in packed_images(split.path, batch, split)]
    images = [row.pixels() for row in rows]
    return {"pixels": [image.tobytes() for image in images], "shape": [list(image.shape) for image in images]}


def images_of(shard: Any) -> Iterator[Pixels]:
    """One pass over a worker's share of a Ray dataset."""
    for batch in shard.iter_batches(batch_size=8, batch_format="pyarrow", prefetch_batches=2):
        for pixels, shape in zip(batch["pixels"], batch["shape"], strict=True):
            yield np.frombuffer(pixels.as_buffer(), np.uint8).reshape(shape.as_py())
