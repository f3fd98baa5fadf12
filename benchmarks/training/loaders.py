"""Loaders of training patches, ours and others, one row of a table each."""

import importlib
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from trainables.degradation import Degradation
from trainables.images.codec import decode
from trainables.images.patch_pool import MARGIN, PatchPool, smallest_image

SCALE, LR_PATCH, BATCH = 4, 32, 16
SIDE = smallest_image(LR_PATCH, SCALE)
DEGRADATION = Degradation()

Pixels = np.ndarray[Any, np.dtype[np.uint8]]
Pairs = Iterator[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Row:
    """One way to feed training.

    Attributes:
        loader: What reads the images.
        patches: Patches per decode.
        keep: Decoded images that our pool holds, or patches that a rival's shuffle buffer holds in each worker; None
            for all images, decoded once.
        workers: Processes beside the training process; 0 is a thread.
        degrade: Where patches become pairs of tensors: in the ``workers``, in the training process (``main``), or on a
            GPU that need not be there (``gpu``): the loader hands over HR patches, and the training process only issues
            the operations of pairs, on patches so small that their arithmetic is nothing.
        threads: Of the training process.
    """

    loader: str
    patches: int
    keep: int | None
    workers: int = 2
    degrade: str = "workers"
    threads: int = 1

    @property
    def ours(self) -> bool:
        """Whether this project's pool delivers."""
        return self.loader.startswith("pool")

    @property
    def name(self) -> str:
        """What the tables call it."""
        return f"{self.order}, pairs on the GPU" if self.degrade == "gpu" else self.order

    @property
    def order(self) -> str:
        """What the tables of shuffling call it: where pairs are made changes no order."""
        if self.keep is None:
            return f"{self.loader}, all images kept decoded"
        if self.patches == 1:
            return f"{self.loader}, 1 patch per decode"
        what = "images in the pool" if self.ours else "patches buffered in each worker"
        return f"{self.loader}, {self.patches} per decode, {self.keep} {what}"


RIVALS = ("DataLoader", "WebDataset", "MosaicML Streaming", "litdata")


def rows(pool: int, many: int, buffer: int) -> list[Row]:
    """The pool smaller than the data, each rival as usual and with reuse, and what fits data that memory can hold."""
    ours = [Row(f"pool < {reader}", 64, pool, 0, "main") for reader in ("Ray Data", "pyarrow")]
    usual = [Row(rival, 1, 64) for rival in RIVALS]
    reused = [Row(rival, many, buffer, 2, where) for rival in RIVALS for where in ("main", "workers")]
    kept = [Row("pool < pyarrow", 64, None, 0, "main"), Row("DataLoader", 1, None)]
    return [*ours, *usual, *reused, *kept]


# What the loaders share: from encoded images to pairs.


def crops(image: Pixels, count: int, rng: np.random.Generator) -> Iterator[Pixels]:
    """Random patches in random orientations, (3, SIDE, SIDE)."""
    for _ in range(count):
        row, column = (int(rng.integers(length - SIDE + 1)) for length in image.shape[:2])
        patch = np.rot90(image[row : row + SIDE, column : column + SIDE], int(rng.integers(4)))
        patch = patch[:, ::-1] if rng.integers(2) else patch
        yield np.broadcast_to(patch.transpose(2, 0, 1), (3, SIDE, SIDE))


def batches_of(patches: Iterator[Pixels], buffer_size: int, rng: np.random.Generator) -> Iterator[Pixels]:
    """Batches (BATCH, 3, SIDE, SIDE) as they come, or out of a shuffle buffer that is full before the first leaves."""
    if not buffer_size:
        while True:
            yield np.stack([next(patches) for _ in range(BATCH)])
    buffer = np.stack([next(patches) for _ in range(buffer_size)])
    while True:
        places = rng.choice(buffer_size, BATCH, replace=False)
        yield buffer[places]
        for place in places:
            buffer[place] = next(patches)


def pairs(hr: Tensor, noise: torch.Generator) -> tuple[Tensor, Tensor]:
    """Patches (N, 3, SIDE, SIDE) as uint8 to LR and HR, as the pool makes them."""
    hr = hr.float().div_(255)
    lr = DEGRADATION(hr, SCALE, torch.zeros(len(hr), dtype=torch.bool), noise)
    inner = MARGIN * SCALE
    return lr[..., MARGIN:-MARGIN, MARGIN:-MARGIN].contiguous(), hr[..., inner:-inner, inner:-inner].contiguous()


def issue_pairs(hr: Tensor, noise: torch.Generator) -> None:
    """Issues the operations of :func:`pairs`, as a host does for its GPU."""
    small = smallest_image(1, SCALE)
    pairs(hr[:2, :, :small, :small], noise)


class LeftToGpu(Degradation):
    """Only issues the degradation's operations, and gives every pixel of the grid in place of LR."""

    def __call__(self, hr: Tensor, scale: int, gray: Tensor, generator: torch.Generator) -> Tensor:
        small = smallest_image(1, scale)
        DEGRADATION(hr[:2, :, :small, :small], scale, gray[:2], generator)
        return hr[..., ::scale, ::scale]


class Batches(IterableDataset[Any]):
    """What a rival's worker does with the images that its reader gives it."""

    def __init__(self, row: Row, encoded: Callable[[int, int], Iterator[bytes]]) -> None:
        self.row, self.encoded = row, encoded

    def __iter__(self) -> Iterator[Any]:
        torch.set_num_threads(1)
        info = get_worker_info()
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        rng, noise = np.random.default_rng([7, worker]), torch.Generator().manual_seed(worker)
        patches = self._patches(self.encoded(worker, workers), rng)
        # One patch of each image: the readers' own shuffling is enough.
        buffer_size = 0 if self.row.patches == 1 else self.row.keep or 0
        for batch in batches_of(patches, buffer_size, rng):
            hr = torch.from_numpy(batch)
            yield pairs(hr, noise) if self.row.degrade == "workers" else hr

    def _patches(self, encoded: Iterator[bytes], rng: np.random.Generator) -> Iterator[Pixels]:
        if self.row.keep is None:
            images: dict[bytes, Pixels] = {}
            for data in encoded:
                if data in images:  # a pass is over, and nothing need be read again
                    break
                images[data] = decode(data).pixels
                yield from crops(images[data], 1, rng)
            while True:
                for number in rng.permutation(len(images)):
                    yield from crops(list(images.values())[number], 1, rng)
        for data in encoded:
            yield from crops(decode(data).pixels, self.row.patches, rng)


def delivered(row: Row, encoded: Callable[[int, int], Iterator[bytes]]) -> Pairs:
    noise = torch.Generator().manual_seed(0)
    prefetch = {"prefetch_factor": 4} if row.workers else {}
    for batch in DataLoader(Batches(row, encoded), batch_size=None, num_workers=row.workers, **prefetch):
        if row.degrade == "gpu":
            issue_pairs(batch, noise)
            yield batch, batch
        else:
            yield batch if row.degrade == "workers" else pairs(batch, noise)


# The readers. Each takes a place, a folder or s3://bucket/prefix, that `loader_data.prepare` has filled.


def pool(row: Row, place: str) -> Pairs:
    from orchestrator.data.shard_reader import split_files
    from orchestrator.foundation.storage import Storage

    shards = Storage.at(place).child("shards")
    if "Ray" in row.loader:
        read = _ray_reader(shards)
    else:
        from trainables.images.parquet import read_parquet_images

        files = split_files(shards, "train")

        def read() -> Iterator[Pixels]:
            return read_parquet_images(files, shards.filesystem)

    settings = {"capacity": row.keep} if row.keep else {}
    made = PatchPool(
        read,
        scale=SCALE,
        lr_patch=LR_PATCH,
        degradation=LeftToGpu() if row.degrade == "gpu" else DEGRADATION,
        seed=0,
        patches_per_image=row.patches,
        **settings,
    )
    global waits
    with made:
        while True:
            yield made.sample(BATCH)
            waits = made.waits


waits = 0
"""How often the pool had to wait."""


def _ray_reader(shards: Any) -> Callable[[], Iterator[Pixels]]:
    import ray

    from orchestrator.data.train_stream import Ingest, images_of

    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=2**29)
    ray.data.DataContext.get_current().enable_progress_bars = False
    shard = Ingest(shards, "ray_data").datasets()["train"].streaming_split(1, equal=True)[0]
    return lambda: images_of(shard)


def loose_files(row: Row, place: str) -> Pairs:
    remote = place.startswith("s3://")
    if remote:
        names = [key for key in _bucket_keys(place) if "/files/" in key]
    else:
        names = sorted(str(path) for path in (Path(place) / "files").iterdir())

    def encoded(worker: int, workers: int) -> Iterator[bytes]:
        order = np.random.default_rng(11)  # the same in every worker, so that each takes its own share
        read = _object_reader(place) if remote else lambda name: Path(name).read_bytes()
        while True:
            for name in order.permutation(names)[worker::workers] if row.keep else order.permutation(names):
                yield read(str(name))

    return delivered(row, encoded)


def _object_reader(place: str) -> Callable[[str], bytes]:
    import boto3

    client, bucket = boto3.client("s3"), place.split("/")[2]
    return lambda key: client.get_object(Bucket=bucket, Key=key)["Body"].read()


def _bucket_keys(place: str) -> list[str]:
    import boto3

    bucket, _, prefix = place.removeprefix("s3://").partition("/")
    pages = boto3.client("s3").get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    return [item["Key"] for page in pages for item in page.get("Contents", [])]


def web_dataset(row: Row, place: str) -> Pairs:
    import webdataset as wds

    gopen = importlib.import_module("webdataset.gopen")  # the package has a function of this name

    if place.startswith("s3://"):
        # WebDataset's own way to S3 is the `aws` command in a pipe for each shard; a client in the process is faster.
        def open_s3(url: str, mode: str = "rb", bufsize: int = 0, **_: Any) -> Any:
            import boto3

            bucket, _, key = url.removeprefix("s3://").partition("/")
            return boto3.client("s3").get_object(Bucket=bucket, Key=key)["Body"]

        gopen.gopen_schemes["s3"] = open_s3
        urls = [f"s3://{place.split('/')[2]}/{key}" for key in _bucket_keys(place) if key.endswith(".tar")]
    else:
        urls = sorted(str(path) for path in (Path(place) / "wds").glob("*.tar"))

    def encoded(worker: int, workers: int) -> Iterator[bytes]:
        data = wds.WebDataset(urls, shardshuffle=len(urls), seed=3).shuffle(64).repeat()
        for sample in data:
            yield sample["jpg"]

    return delivered(row, encoded)


def mosaic_streaming(row: Row, place: str) -> Pairs:
    from streaming import StreamingDataset
    from streaming.base.util import clean_stale_shared_memory

    clean_stale_shared_memory()
    remote = f"{place}/mds" if place.startswith("s3://") else None
    local = tempfile.mkdtemp() if remote else f"{place}/mds"
    data = StreamingDataset(remote=remote, local=local, shuffle=True, batch_size=1, shuffle_seed=3)
    for stream in data.streams if remote else ():
        # Else forked workers share the connection that fetched the index, and each gets pieces of the other's shards.
        stream._downloader.clean_up()

    def encoded(worker: int, workers: int) -> Iterator[bytes]:
        while True:
            for sample in data:
                yield sample["image"]

    return delivered(row, encoded)


def lit_data(row: Row, place: str) -> Pairs:
    import litdata

    options = {"endpoint_url": os.environ["AWS_ENDPOINT_URL"]} if place.startswith("s3://") else {}
    # Its downloader refuses a server without TLS unless told so, for which it has no argument.
    importlib.import_module("litdata.streaming.downloader")._OBSTORE_CLIENT_OPTIONS["allow_http"] = True
    data = litdata.StreamingDataset(
        f"{place}/litdata", cache_dir=tempfile.mkdtemp(), shuffle=True, storage_options=options
    )

    def encoded(worker: int, workers: int) -> Iterator[bytes]:
        while True:
            for sample in data:
                yield bytes(sample)

    return delivered(row, encoded)


READERS: dict[str, Callable[[Row, str], Pairs]] = {
    "pool < Ray Data": pool,
    "pool < pyarrow": pool,
    "DataLoader": loose_files,
    "WebDataset": web_dataset,
    "MosaicML Streaming": mosaic_streaming,
    "litdata": lit_data,
}
