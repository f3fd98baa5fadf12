"""Stream of a training split's images to the training workers: each reads its own, or Ray Data reads for all.

Reading directly starts at once and costs the least; Ray Data decodes on CPUs of any node, for GPUs whose own node has
too few. Either way a worker gets passes over its share of the images, which is as large as every other worker's.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
import ray.train
from pyarrow import fs

from orchestrator.data.shard_reader import packed_files
from orchestrator.foundation.storage import Storage
from trainables.errors import ImageSetError
from trainables.images.parquet import (
    COLUMNS,
    FileRows,
    PackedFile,
    check_file,
    packed_images,
    read_parquet_images,
    shares_of,
)
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

    def dataset_passes(self) -> Callable[[], Iterator[Pixels]]:
        """On a worker: starts one pass over its part of the Ray dataset, uint8 (H, W, C).

        Raises:
            RunError: If the manifest is damaged; the passes raise it where a file or an image is.
        """
        shard = ray.train.get_dataset_shard(DATASET)
        return lambda: images_of(shard)

    def share(self, number: int, shares: int) -> "Share":
        """One of equal shares of the images, read directly.

        Raises:
            ImageSetError: If there are fewer images than shares.
        """
        return direct(self.shards, number, shares, self.threads)


@dataclass(frozen=True, slots=True)
class Share:
    """One of equal shares of the training images; a call starts one pass over it.

    Attributes:
        rows: Its rows of the shards.
        filesystem: File system that holds them.
        threads: Images that are decoded at a time.
    """

    rows: tuple[FileRows, ...]
    filesystem: fs.FileSystem
    threads: int

    def __len__(self) -> int:
        return sum(rows.last - rows.first for rows in self.rows if rows.last is not None)

    def __call__(self) -> Iterator[Pixels]:
        """One pass, uint8 (H, W, C)."""
        return read_parquet_images(self.rows, self.filesystem, threads=self.threads)

    def without_end(self, start: int) -> Iterator[Pixels]:
        """Passes without end, the first of which begins at image ``start``, counted over all passes."""
        left, rest = start % len(self), list[FileRows]()
        for rows in self.rows:
            count = (rows.last or 0) - rows.first
            if left < count:
                rest.append(replace(rows, first=rows.first + left))
            left = max(0, left - count)
        yield from read_parquet_images(rest, self.filesystem, threads=self.threads)
        while True:
            yield from self()


def direct(shards: Storage, number: int, shares: int, threads: int = 1) -> Share:
    """One of equal shares of the training images, read directly.

    Raises:
        ImageSetError: If there are fewer images than shares.
    """
    rows = shares_of(packed_files(shards, "train"), shares)[number]
    if not rows:
        raise ImageSetError(
            f"'{shards.uri}' has fewer training images than the {shares} workers of pretraining; take fewer workers."
        )
    return Share(tuple(rows), shards.filesystem, threads)


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
