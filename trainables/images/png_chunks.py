"""Chunks of a PNG file: read with their checksums, counted against the picture's rows, and added to a file.

Follows the PNG specification, third edition (W3C 2025): section 5 for chunks, 8.1 for interlacing, 10.1 for the stream.
"""

import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass

from trainables.errors import UnreadableImageError

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Samples of a pixel, by colour type."""
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""First column, first row, and steps between columns and rows of each pass."""
_STEP, _SLICE = 1 << 20, 1 << 16
"""Bytes that come out of the stream and go into it at a time."""
_MOST_EXPANSION = 1032
"""Bytes that one byte of deflate can become at most."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """One chunk: its type of four letters, and its data."""

    kind: bytes
    data: bytes

    def encoded(self) -> bytes:
        """Returns the chunk with its length and checksum, as it lies in a file."""
        body = self.kind + self.data
        return struct.pack(">I", len(self.data)) + body + struct.pack(">I", zlib.crc32(body))


def read_chunks(data: bytes) -> list[Chunk]:
    """Reads all chunks up to IEND and verifies the checksum of those that a decoder needs.

    Raises:
        UnreadableImageError: If the file is cut short or a needed chunk is damaged.
    """
    chunks: list[Chunk] = []
    view, place = memoryview(data), len(SIGNATURE)
    while not chunks or chunks[-1].kind != b"IEND":
        if place + 12 > len(data):
            raise UnreadableImageError("the PNG is cut short: it ends without its last chunk; copy it again")
        length, kind = struct.unpack_from(">I4s", data, place)
        end = place + 12 + length
        if end > len(data):
            raise UnreadableImageError(f"the PNG is cut short: it ends within a chunk {_word(kind)}; copy it again")
        (checksum,) = struct.unpack_from(">I", data, end - 4)
        if kind[:1].isupper() and zlib.crc32(view[place + 4 : end - 4]) != checksum:
            raise UnreadableImageError(f"the PNG is damaged: the checksum of a chunk {_word(kind)} differs")
        chunks.append(Chunk(kind, data[place + 8 : end - 4]))
        place = end
    return chunks


def check_rows(chunks: list[Chunk]) -> None:
    """Makes sure that the compressed stream holds every row of the picture, in a MiB of memory.

    Decoders leave rows black that a valid stream does not hold.

    Raises:
        UnreadableImageError: If rows are missing or the stream is damaged.
    """
    if chunks[0].kind != b"IHDR" or len(chunks[0].data) != 13:
        raise UnreadableImageError("the PNG is damaged: its header is not where it belongs")
    width, height, bits, colour, _, _, interlaced = struct.unpack(">IIBBBBB", chunks[0].data)
    passes = _ADAM7 if interlaced else ((0, 0, 1, 1),)
    needed = sum(_bytes_of_pass(width, height, bits * _SAMPLES.get(colour, 1), *adam7_pass) for adam7_pass in passes)
    pieces = [chunk.data for chunk in chunks if chunk.kind == b"IDAT"]
    too_small = needed > _MOST_EXPANSION * sum(map(len, pieces)) + _STEP
    held = 0 if too_small else inflated(pieces, needed)
    if held < needed:
        found = "not all" if interlaced or too_small else held * height // needed
        raise UnreadableImageError(f"the PNG is cut short: it holds {found} of its {height} rows; copy it again")


def with_chunks(data: bytes, chunks: Iterable[Chunk]) -> bytes:
    """Adds chunks right after the header of an encoded PNG, where every kind of ancillary chunk may be."""
    end = len(SIGNATURE) + 25
    return data[:end] + b"".join(chunk.encoded() for chunk in chunks) + data[end:]


def _bytes_of_pass(width: int, height: int, bits: int, left: int, top: int, across: int, down: int) -> int:
    columns, rows = -((left - width) // across), -((top - height) // down)
    return rows * (1 + (columns * bits + 7) // 8) if columns > 0 and rows > 0 else 0


def inflated(pieces: Iterable[bytes], most: int) -> int:
    """Counts the bytes that a zlib stream becomes, and stops after ``most``."""
    stream, count = zlib.decompressobj(), 0
    try:
        for piece in pieces:
            for start in range(0, len(piece), _SLICE):
                rest = piece[start : start + _SLICE]
                while rest and not stream.eof and count <= most:
                    count += len(stream.decompress(rest, _STEP))
                    rest = stream.unconsumed_tail
        return count + len(stream.flush())
    except zlib.error:
        raise UnreadableImageError("the PNG is damaged: its compressed rows cannot be read") from None


def _word(kind: bytes) -> str:
    return kind.decode("ascii") if kind.isalpha() else "of unknown type"
