"""Images that wait to be written to shards in another order than they were read, outside memory."""

import tempfile
import threading
from dataclasses import dataclass
from types import TracebackType

import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Spooled:
    """Bytes in a spool.

    Attributes:
        start: Where they begin.
        packed: How many they are there.
        size: How many they are.
    """

    start: int
    packed: int
    size: int


class Spool:
    """A temporary file of compressed bytes, in the folder that ``TMPDIR`` names; it has no name and leaves nothing."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115  closed by __exit__
        self._codec = pa.Codec("zstd", compression_level=1)
        self._lock = threading.Lock()
        self._end = 0

    def __enter__(self) -> "Spool":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def put(self, data: bytes) -> Spooled:
        """Appends bytes; several threads may.

        Raises:
            OSError: If there is no room.
        """
        packed = self._codec.compress(data, asbytes=True)
        with self._lock:
            start = self._end
            self._file.seek(start)
            self._file.write(packed)
            self._end += len(packed)
        return Spooled(start, len(packed), len(data))

    def get(self, spooled: Spooled) -> bytes:
        """The bytes again."""
        with self._lock:
            self._file.seek(spooled.start)
            packed = self._file.read(spooled.packed)
        data: bytes = self._codec.decompress(packed, spooled.size, asbytes=True)
        return data
