"""Images out of Parquet files, read by the process that needs them."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pyarrow import fs

from trainables.images import decode
from trainables.prefetch import Prefetch

COLUMN, BATCH = "image", 16


@dataclass(frozen=True, slots=True)
class FileRows:
    """Some rows of a Parquet file.

    Attributes:
        path: As the file system takes it.
        first: The first row.
        last: The row behind the last one; None for the file's end.
    """

    path: str
    first: int = 0
    last: int | None = None


def equal_shares(files: Sequence[tuple[str, int]], shares: int) -> list[list[FileRows]]:
    """Divides files into shares of equally many rows, each of neighbouring rows.

    So that they are equal, up to ``shares - 1`` rows at the end belong to none.

    Args:
        files: Paths, and how many rows each has.
        shares: How many.
    """
    rows = sum(count for _, count in files) // shares
    return [list(_between(files, share * rows, (share + 1) * rows)) for share in range(shares)]


def _between(files: Sequence[tuple[str, int]], first: int, last: int) -> Iterator[FileRows]:
    start = 0
    for path, count in files:
        if max(first, start) < min(last, start + count):
            yield FileRows(path, max(first - start, 0), min(last - start, count))
        start += count


def read_parquet_images(
    files: Sequence[FileRows | str], filesystem: fs.FileSystem, *, threads: int = 1
) -> Iterator[NDArray[np.uint8]]:
    """One pass over the images of Parquet files, decoded, in the order of files and rows.

    While one batch of images is being decoded, the next is being read. At most two row groups are in memory, and of
    others than those that hold the rows nothing is read.

    Args:
        files: Files, or some rows of them; their column ``image`` holds encoded images.
        filesystem: Where the files are.
        threads: Images that are decoded at a time.

    Yields:
        uint8 (H, W, C), C being 1 or 3.
    """
    parts = [FileRows(file) if isinstance(file, str) else file for file in files]
    with closing(Prefetch(_encoded(parts, filesystem), ahead=1)) as batches, ThreadPoolExecutor(threads) as pool:
        for batch in batches:
            yield from pool.map(_decode, batch.column(COLUMN))


def _encoded(parts: Sequence[FileRows], filesystem: fs.FileSystem) -> Iterator[pa.RecordBatch]:
    for part in parts:
        with filesystem.open_input_file(part.path) as stream, pq.ParquetFile(stream, pre_buffer=True) as file:
            # Group by group, because pre-buffering more than one would hold a whole file in memory.
            start = 0
            for group in range(file.num_row_groups):
                count = file.metadata.row_group(group).num_rows
                first, last = max(part.first - start, 0), count if part.last is None else min(part.last - start, count)
                start += count
                if first < last:
                    rows = file.read_row_group(group, [COLUMN], use_threads=False)
                    yield from rows.slice(first, last - first).to_batches(BATCH)


def _decode(image: pa.Scalar) -> NDArray[np.uint8]:
    return decode(image.as_py(), checked=True).pixels
