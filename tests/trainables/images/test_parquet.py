"""Reading shards in one process."""

import hashlib
import io
import threading

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import fs

from trainables.errors import RunError
from trainables.images.codec import encode_png
from trainables.images.parquet import FileRows, equal_shares, read_parquet_images


@pytest.fixture
def images():
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (20 + i, 30, 1 if i % 3 == 0 else 3), np.uint8) for i in range(50)]


def write(path, rows):
    digests, names = [hashlib.sha256(row).hexdigest() for row in rows], [f"{i}.png" for i in range(len(rows))]
    columns = {"origin": names, "image": rows, "sha256": digests, "scene_id": ["s"] * len(rows)}
    pq.write_table(pa.table(columns), path, row_group_size=7)
    return str(path)


@pytest.mark.parametrize("threads", [1, 3])
def test_images_come_in_the_order_of_files_and_rows(tmp_path, images, threads):
    rows = [encode_png(image) for image in images]
    files = [write(tmp_path / "a", rows[:31]), write(tmp_path / "b", rows[31:])]
    read = list(read_parquet_images(files, fs.LocalFileSystem(), threads=threads))
    assert all(np.array_equal(a, b) for a, b in zip(read, images, strict=True))


def test_an_unreadable_image_is_an_error_and_stopping_early_ends_the_threads(tmp_path, images):
    rows = [encode_png(image) for image in images[:20]]
    file = write(tmp_path / "a", [*rows, b"no image"])
    before = set(threading.enumerate())
    stream = read_parquet_images([file], fs.LocalFileSystem())
    next(stream)
    stream.close()
    assert set(threading.enumerate()) <= before
    with pytest.raises(RunError, match=r"image '20.png' cannot be decoded \(not an image"):
        list(read_parquet_images([file], fs.LocalFileSystem()))
    with pytest.raises(RunError, match=r"Shard '.*c' is damaged: it cannot be read \(ArrowInvalid"):
        list(read_parquet_images([str(tmp_path / "c")], _Broken()))
    assert set(threading.enumerate()) <= before


def test_a_file_is_read_as_it_is_needed_and_once(tmp_path, images):
    file = write(tmp_path / "a", [encode_png(image) for image in images] * 8)
    size, files = (tmp_path / "a").stat().st_size, _Counted()
    stream = read_parquet_images([file], files)
    next(stream)
    assert 0 < files.bytes < size / 4
    assert len(list(stream)) == 8 * len(images) - 1
    # The end of a file, where its index is, may be read twice.
    assert size * 0.9 < files.bytes < size + 70_000


def test_some_rows_of_files_are_those_and_little_else_is_read(tmp_path, images):
    rows = [encode_png(image) for image in images]
    paths = [write(tmp_path / "a", rows * 8), write(tmp_path / "b", rows[31:])]
    files = _Counted()
    parts = [FileRows(paths[0], 12, 16), FileRows(paths[1], 17)]  # of two row groups of seven; the last two rows
    read = list(read_parquet_images(parts, files))
    assert all(np.array_equal(a, b) for a, b in zip(read, [*images[12:16], *images[48:]], strict=True))
    assert files.bytes < (tmp_path / "a").stat().st_size / 4


def test_shares_are_equal_neighbouring_and_apart():
    files = [("a", 5), ("b", 1), ("c", 7)]
    assert equal_shares(files, 1) == [[FileRows("a", 0, 5), FileRows("b", 0, 1), FileRows("c", 0, 7)]]
    assert equal_shares(files, 3) == [
        [FileRows("a", 0, 4)],
        [FileRows("a", 4, 5), FileRows("b", 0, 1), FileRows("c", 0, 2)],
        [FileRows("c", 2, 6)],
    ]
    assert equal_shares(files, 14) == [[]] * 14


class _Counted:
    """A file system that counts the bytes that are read."""

    bytes = 0

    def open_input_file(self, path):
        files = self

        class File(io.FileIO):
            def read(self, size=-1):
                data = super().read(size)
                files.bytes += len(data)
                return data

        return pa.PythonFile(File(path), mode="r")


class _Broken:
    """A file system whose files are no Parquet."""

    def open_input_file(self, path):
        return pa.PythonFile(io.BytesIO(b"not parquet, but long enough"), mode="r")
