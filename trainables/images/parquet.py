"""Images out of Parquet files, read by the process that needs them, each compared with its row's digest."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pyarrow import fs

from trainables.errors import RayScaleError, RunError, UnreadableImageError, reason_of
from trainables.images.codec import decode
from trainables.images.packed_raster import MAGIC, unpack
from trainables.images.prefetch import Prefetch
from trainables.images.raster import GRAY, PLAIN, RGB, PixelFormat, PreparedImage, Raster

COLUMNS = ("image", "sha256", "origin", "scene_id")
"""Columns that every reader needs: the encoded image, its digest, its name and its scene."""

PAIR_COLUMNS = ("lr_image", "lr_sha256")
"""Columns of pairs beside these: the encoded LR image and its digest."""

BATCH = 16

_TAIL, _INDEX_READ = 8, 64 * 2**10
"""Bytes behind the index: its length and a magic word; and how much of a file's end is read to find it."""

REMEDY = (
    "Restore the shards from a copy, or delete their domain's folder below shards/, to have the next run pack the "
    "images again."
)


@dataclass(frozen=True, slots=True)
class PackedFile:
    """One Parquet file as its manifest describes it.

    Attributes:
        path: As the file system takes it.
        bytes: Its size.
        rows: Number of images.
        scenes: The scenes that its split holds, which every row's is one of.
        index: Its :func:`index_digest`; None in manifests of version 0.2.0.
        pixel_format: What the values of its images mean.
        paired: True if its rows hold LR images too.
    """

    path: str
    bytes: int
    rows: int
    scenes: frozenset[str]
    index: str | None = None
    pixel_format: PixelFormat = PLAIN
    paired: bool = False


@dataclass(frozen=True, slots=True)
class FileRows:
    """Some rows of a Parquet file.

    Attributes:
        path: As the file system takes it.
        first: The first row.
        last: The row behind the last one; None for the file's end.
        packed: The file's entry in the manifest; None without a manifest.
    """

    path: str
    first: int = 0
    last: int | None = None
    packed: PackedFile | None = None


@dataclass(frozen=True, slots=True)
class PackedImage:
    """One row of a shard: an image's bytes, their SHA-256, its name, its scene and the file that it was read from.

    Of a pair it is the HR image, and ``lr`` is the LR image.
    """

    data: bytes
    digest: str
    origin: str
    scene: str
    path: str
    pixel_format: PixelFormat = PLAIN
    lr: "PackedImage | None" = None

    def pixels(self) -> NDArray[Any]:
        """The pixels as networks are trained on them, (H, W, C), of bytes that fit their digest.

        Raises:
            RunError: If they do not fit it, or cannot be decoded.
        """
        return self.prepared().pixels

    def prepared(self) -> PreparedImage:
        """The same, with the mask of the pixels that have a value."""
        return self.pixel_format.prepared(self.raster())

    def raster(self) -> Raster:
        """The image with its own values."""
        self.check()
        try:
            return decode_row(self.data, self.pixel_format)
        except Exception as error:
            raise damaged(self.path, f"image '{self.origin}' cannot be decoded ({reason_of(error)})") from None

    def check(self) -> None:
        """Compares the bytes with their digest.

        Raises:
            RunError: If they do not fit it.
        """
        if sha256(self.data).hexdigest() != self.digest:
            raise damaged(self.path, f"image '{self.origin}' is not the one that was packed, its SHA-256 is another")


def decode_row(data: bytes, pixel_format: PixelFormat) -> Raster:
    """An image of a shard: an encoded file, or a packed raster of the format's bands.

    Raises:
        UnreadableImageError: If it cannot be decoded, or is of another data type.
    """
    if not data.startswith(MAGIC):
        pixels = decode(data, checked=True).pixels
        return Raster(pixels, GRAY if pixels.shape[2] == 1 else RGB)
    raster = unpack(data, pixel_format.bands, pixel_format.units)
    if raster.values.dtype != pixel_format.dtype:
        raise UnreadableImageError(f"its values are {raster.values.dtype}, not {pixel_format.dtype}")
    return raster


def damaged(path: str, what: str) -> RunError:
    """The error for a shard that is not as it was packed: what is wrong in it, and what to do."""
    return RunError(f"Shard '{path}' is damaged: {what}. {REMEDY}")


@contextmanager
def naming_damage(path: str) -> Iterator[None]:
    """Turns whatever reading a shard raises, in its index, its pages or its storage, into one sentence that names it.

    Raises:
        RunError: If anything was raised that is no error of our own.
    """
    try:
        yield
    except RayScaleError:
        raise
    except FileNotFoundError:
        raise damaged(path, "the file is missing") from None
    except Exception as error:
        raise damaged(path, f"it cannot be read ({reason_of(error)})") from None


def equal_shares(files: Sequence[tuple[str, int]], shares: int) -> list[list[FileRows]]:
    """Divides files into shares of equally many rows, each of neighbouring rows.

    So that they are equal, up to ``shares - 1`` rows at the end belong to none.

    Args:
        files: Paths, and the number of rows of each.
        shares: Number of shares.
    """
    rows = sum(count for _, count in files) // shares
    return [list(_between(files, share * rows, (share + 1) * rows)) for share in range(shares)]


def shares_of(files: Sequence[PackedFile], shares: int) -> list[list[FileRows]]:
    """Divides files as :func:`equal_shares` does; what is read of them is compared with what the manifest says."""
    packed = {file.path: file for file in files}
    parts = equal_shares([(file.path, file.rows) for file in files], shares)
    return [[replace(rows, packed=packed[rows.path]) for rows in share] for share in parts]


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
        files: Files, or some rows of them, with the columns :data:`COLUMNS`.
        filesystem: File system that holds the files.
        threads: Images that are decoded at a time.

    Yields:
        uint8 (H, W, C), C being 1 or 3.

    Raises:
        RunError: If a file is missing, cannot be read, is another than its manifest says, or holds an image that does
            not fit its digest.
    """
    parts = [FileRows(file) if isinstance(file, str) else file for file in files]
    with closing(Prefetch(_batches(parts, filesystem), ahead=1)) as batches, ThreadPoolExecutor(threads) as pool:
        for batch in batches:
            yield from pool.map(PackedImage.pixels, batch)


def _batches(parts: Sequence[FileRows], filesystem: fs.FileSystem) -> Iterator[list[PackedImage]]:
    for part in parts:
        with naming_damage(part.path):
            yield from _batches_of(part, filesystem)


def _batches_of(part: FileRows, filesystem: fs.FileSystem) -> Iterator[list[PackedImage]]:
    with _opened(part.path, filesystem, part.packed) as file:
        # Group by group, because pre-buffering more than one would hold a whole file in memory.
        start = 0
        for group in range(file.num_row_groups):
            count = file.metadata.row_group(group).num_rows
            first, last = max(part.first - start, 0), count if part.last is None else min(part.last - start, count)
            start += count
            if first < last:
                rows = file.read_row_group(group, columns_of(part.packed), use_threads=False)
                for batch in rows.slice(first, last - first).to_batches(BATCH):
                    yield packed_images(part.path, batch, part.packed)


@contextmanager
def _opened(path: str, filesystem: fs.FileSystem, packed: PackedFile | None) -> Iterator[pq.ParquetFile]:
    """A file whose size, index, columns and rows are as its manifest says."""
    with filesystem.open_input_file(path) as stream:
        if packed is not None:
            check_size(packed, stream.size())
            _check_index(packed, stream)
        with pq.ParquetFile(stream, pre_buffer=True) as file:
            check_rows(path, file, packed)
            yield file


def check_file(packed: PackedFile, filesystem: fs.FileSystem) -> None:
    """Compares a file's size, index, columns and number of rows with its manifest; no image is read.

    Raises:
        RunError: If the file is missing, cannot be read or is another.
    """
    with naming_damage(packed.path), _opened(packed.path, filesystem, packed):
        pass


def index_digest(data: bytes) -> str:
    """SHA-256 of the index at the end of a Parquet file, which holds the bounds of its columns; "" if there is none.

    Args:
        data: The file, or its end with the whole index.
    """
    return sha256(data[-_index_bytes(data) :]).hexdigest() if len(data) >= _TAIL else ""


def _index_bytes(data: bytes) -> int:
    """Bytes from the index to the file's end, which states its length in front of the last four."""
    return min(int.from_bytes(data[-8:-4], "little") + _TAIL, len(data))


def _check_index(packed: PackedFile, stream: pa.NativeFile) -> None:
    # One read that is large enough for most; the reader behind this one caches nothing of it.
    if packed.index is None:
        return
    size = stream.size()
    end = stream.read_at(min(_INDEX_READ, size), max(size - _INDEX_READ, 0))
    if len(end) >= _TAIL and _index_bytes(bytes(end)) == len(end) < size:
        needed = min(int.from_bytes(end[-8:-4], "little") + _TAIL, size)
        end = stream.read_at(needed, size - needed)
    if index_digest(bytes(end)) != packed.index:
        raise damaged(packed.path, "its index has changed since it was written, its SHA-256 is another")


def check_size(packed: PackedFile, found: int) -> None:
    """Compares a file's size with its manifest.

    Raises:
        RunError: If it is another.
    """
    if found != packed.bytes:
        raise damaged(packed.path, f"it has {found} bytes, {packed.bytes} were written")


def check_rows(path: str, file: pq.ParquetFile, packed: PackedFile | None) -> None:
    """Compares a file's columns with those that readers need, and its rows with its manifest.

    Raises:
        RunError: If a column is missing or the number of rows is another.
    """
    missing = [column for column in columns_of(packed) if column not in file.schema_arrow.names]
    if missing:
        raise damaged(path, f"it has no column '{missing[0]}'")
    if packed is not None and file.metadata.num_rows != packed.rows:
        raise damaged(path, f"it holds {file.metadata.num_rows} images, {packed.rows} were written")


def columns_of(packed: PackedFile | None) -> list[str]:
    """The columns that readers need of a file."""
    return [*COLUMNS, *(PAIR_COLUMNS if packed is not None and packed.paired else ())]


def packed_images(path: str, batch: pa.RecordBatch, packed: PackedFile | None) -> list[PackedImage]:
    """The rows of a batch.

    Raises:
        RunError: If a row lacks a value, or shows a scene that the file's split does not hold, as it does where a file
            of another split has taken this one's name.
    """
    pixel_format = PLAIN if packed is None else packed.pixel_format
    columns = [batch.column(name).to_pylist() for name in columns_of(packed)]
    images = [_packed_image(row, path, pixel_format) for row in zip(*columns, strict=True)]
    for image in images:
        both = [image, *([image.lr] if image.lr else [])]
        texts = (image.origin, image.scene, *(part.digest for part in both))
        if not all(isinstance(part.data, bytes) for part in both) or not all(isinstance(text, str) for text in texts):
            raise damaged(path, f"the row of image '{image.origin}' is incomplete")
        if packed is not None and image.scene not in packed.scenes:
            raise damaged(path, f"image '{image.origin}' shows scene '{image.scene}', which its split does not hold")
    return images


def _packed_image(row: Sequence[Any], path: str, pixel_format: PixelFormat) -> PackedImage:
    data, digest, origin, scene, *lr = row
    packed_lr = PackedImage(lr[0], lr[1], f"{origin} (LR)", scene, path, pixel_format) if lr else None
    return PackedImage(data, digest, origin, scene, path, pixel_format, packed_lr)
