"""A PNG is used only if all its rows are there and undamaged."""

import tracemalloc
import zlib

import numpy as np
import pytest
from encoded_images import encoded, picture, png
from PIL import Image

from trainables.images import png_chunks
from trainables.images.codec import UnreadableImageError, decode
from trainables.images.png_chunks import SIGNATURE, Chunk, check_rows, read_chunks, with_chunks

PIXELS = picture(100, 100)
ROWS = b"".join(b"\0" + row.tobytes() for row in PIXELS)


@pytest.mark.parametrize("held", [0, 1, 3, 50, 99])
def test_missing_rows_are_counted_and_never_black(held):
    with pytest.raises(UnreadableImageError, match=f"cut short: it holds {held} of its 100 rows; copy it again"):
        decode(png(ROWS[: held * 301], 100, 100))


def test_all_rows_and_rows_too_many_are_fine():
    for rows in (ROWS, ROWS + bytes(5000)):
        np.testing.assert_array_equal(decode(png(rows, 100, 100)).pixels, PIXELS)


def test_half_a_row_is_missing_too():
    with pytest.raises(UnreadableImageError, match="holds 99 of its 100 rows"):
        decode(png(ROWS[:-1], 100, 100))


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 9), (9, 1), (5, 5), (8, 8), (17, 31)])
@pytest.mark.parametrize(("bits", "colour"), [(1, 0), (4, 3), (8, 2), (8, 6), (16, 4)])
def test_rows_of_interlaced_pngs_are_counted_as_libpng_writes_them(width, height, bits, colour):
    per_pixel = bits * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    starts = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
    needed = 0
    for left, top, across, down in starts:
        columns, rows = len(range(left, width, across)), len(range(top, height, down))
        needed += rows * (1 + -(-columns * per_pixel // 8)) if columns else 0
    check_rows(read_chunks(png(bytes(needed), width, height, bits, colour, interlaced=1)))
    with pytest.raises(UnreadableImageError, match=f"not all of its {height} rows"):
        check_rows(read_chunks(png(bytes(needed - 1), width, height, bits, colour, interlaced=1)))


def test_a_picture_cut_anywhere_is_refused():
    data = encoded(PIXELS)
    for length in range(0, len(data) - 1, 97):
        with pytest.raises(UnreadableImageError):
            decode(data[:length])


def test_a_flipped_bit_in_the_rows_is_refused_whether_or_not_it_can_be_inflated():
    data = encoded(PIXELS, compress_level=0)
    for place in range(60, len(data) - 20, 1501):
        damaged = bytearray(data)
        damaged[place] ^= 4
        with pytest.raises(UnreadableImageError, match="checksum of a chunk IDAT differs"):
            decode(bytes(damaged))
    body = bytearray(zlib.compress(ROWS))
    body[len(body) // 2] ^= 255
    header = read_chunks(data)[0]
    rewritten = [header, Chunk(b"IDAT", bytes(body)), Chunk(b"IEND", b"")]  # with a checksum that fits the damage
    with pytest.raises(UnreadableImageError, match=r"damaged|cut short|decoded"):
        decode(SIGNATURE + b"".join(chunk.encoded() for chunk in rewritten))


def test_a_picture_in_many_pieces_is_whole():
    chunks = read_chunks(encoded(PIXELS))
    body = b"".join(chunk.data for chunk in chunks if chunk.kind == b"IDAT")
    pieces = [Chunk(b"IDAT", body[k : k + 50]) for k in range(0, len(body), 50)]
    data = SIGNATURE + b"".join(chunk.encoded() for chunk in [chunks[0], *pieces, Chunk(b"IEND", b"")])
    np.testing.assert_array_equal(decode(data).pixels, PIXELS)


def test_rows_are_counted_in_little_memory():
    chunks = read_chunks(png(bytes(20_001 * 4000), 20_000, 4000, colour=0))
    tracemalloc.start()
    check_rows(chunks)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20


def test_what_so_few_bytes_cannot_become_is_not_even_inflated(monkeypatch):
    monkeypatch.setattr(png_chunks, "inflated", lambda pieces, most: pytest.fail("inflated"))
    with pytest.raises(UnreadableImageError, match="holds not all of its 20000 rows"):
        check_rows(read_chunks(png(bytes(1000), 20_000, 20_000)))


def test_a_header_that_is_not_first_is_refused():
    chunks = read_chunks(encoded(PIXELS))
    with pytest.raises(UnreadableImageError, match="header is not where it belongs"):
        check_rows(chunks[1:])


def test_added_chunks_can_be_read():
    data = with_chunks(encoded(PIXELS), [Chunk(b"tEXt", b"Author\0somebody")])
    image = Image.open(__import__("io").BytesIO(data))
    image.load()
    assert image.info["Author"] == "somebody"
    assert [chunk.kind for chunk in read_chunks(data)][:2] == [b"IHDR", b"tEXt"]
