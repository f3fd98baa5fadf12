"""Images out of Parquet files in one process: what streams to a pool where there is no cluster to do it."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pyarrow import fs

from trainables.images import decode
from trainables.prefetch import Prefetch

COLUMN, BATCH = "image", 16


def read_parquet_images(
    files: Sequence[str], filesystem: fs.FileSystem, *, threads: int = 1
) -> Iterator[NDArray[np.uint8]]:
    """One pass over the images of Parquet files, decoded, in the order of files and rows.

    While one batch of images is being decoded, the next is being read. At most two row groups are in memory.

    Args:
        files: Paths as ``filesystem`` takes them; their column ``image`` holds encoded images.
        filesystem: Where the files are.
        threads: Images that are decoded at a time.

    Yields:
        uint8 (H, W, C), C being 1 or 3.
    """
    with closing(Prefetch(_encoded(files, filesystem), ahead=1)) as batches, ThreadPoolExecutor(threads) as pool:
        for batch in batches:
            yield from pool.map(_decode, batch.column(COLUMN))


def _encoded(files: Sequence[str], filesystem: fs.FileSystem) -> Iterator[pa.RecordBatch]:
    for path in files:
        with filesystem.open_input_file(path) as stream, pq.ParquetFile(stream, pre_buffer=True) as file:
            # Group by group, because pre-buffering more than one would hold a whole file in memory.
            for group in range(file.num_row_groups):
                yield from file.read_row_group(group, [COLUMN], use_threads=False).to_batches(BATCH)


def _decode(image: pa.Scalar) -> NDArray[np.uint8]:
    return decode(image.as_py()).pixels
