"""Sizes of the scenes of a run in samples, pixels times bands, and how many of them are done and left.

A file's bytes say little about the work, since compression takes a cloudless sea to a hundredth of a city. Headers are
read by a thread while the run works: of a file in a bucket its first bytes, which hold the header of a Cloud-Optimised
GeoTIFF. A scene whose header is not known yet counts by its bytes, with the mean samples per byte of those known.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from threading import Event, Lock, Thread

from rasterio.io import MemoryFile

from orchestrator.archive.batch.worker import samples_of
from orchestrator.archive.places.listing import Scene
from orchestrator.archive.scene.upscale import describe_scene
from orchestrator.foundation.buckets.s3 import read_range
from orchestrator.foundation.storage import Storage

_AT_ONCE = 8
_HEADER_BYTES = 2**16


def read_samples(scene: Scene) -> int | None:
    """Pixels times bands of a scene; None where its header is not at the start of an object, or cannot be read."""
    with suppress(Exception):  # whatever is wrong with it is said when its turn comes
        if scene.product is not None or not Storage(scene.source).remote:
            return samples_of(scene)
        with MemoryFile(read_range(scene.source, 0, _HEADER_BYTES), filename="header.tif") as memory:
            facts = describe_scene(memory.name)
            return facts.pixels * facts.bands
    return None


class SceneSizes:
    """Counts samples; a context that reads headers meanwhile.

    Args:
        scenes: The scenes of a run, in the order in which they are worked on.
        read: Reads a scene's header; gives its samples, or None.
    """

    def __init__(self, scenes: Sequence[Scene], read: Callable[[Scene], int | None] = read_samples) -> None:
        self._read, self._stopped = read, Event()
        self._unread, self._lock = iter(scenes), Lock()
        self._remote = any(Storage(scene.source).remote for scene in scenes[:1])
        self._known: dict[str, int] = {}
        self._ended: dict[str, bool] = {}
        self._header = _Total()
        self._done, self._left = _Total(), _Total(unknown=sum(scene.size for scene in scenes))

    def __enter__(self) -> "SceneSizes":
        """Starts to read."""
        for number in range(_AT_ONCE if self._remote else 1):
            Thread(target=self._read_headers, name=f"rayscale-headers-{number}", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stops reading; what is under way ends by itself."""
        self._stopped.set()

    def learn(self, scene: Scene, samples: int | None) -> None:
        """Notes the samples of a scene, unless they are known."""
        with self._lock:
            if not samples or scene.output in self._known:
                return
            finished = self._ended.get(scene.output)
            if finished is not False:
                total = self._done if finished else self._left
                self._count(total, scene, -1)
            self._known[scene.output] = samples
            self._header.known += samples
            self._header.unknown += scene.size
            if finished is not False:
                self._count(total, scene, 1)

    def end(self, scene: Scene, finished: bool) -> None:
        """Notes that a scene needs no more work; one that has failed says nothing about the speed of the others."""
        with self._lock:
            self._ended[scene.output] = finished
            self._count(self._left, scene, -1)
            if finished:
                self._count(self._done, scene, 1)

    def of(self, scene: Scene) -> float:
        """Samples of a scene, estimated where they are not known."""
        with self._lock:
            return self._known.get(scene.output, scene.size * self._density)

    def done_and_left(self) -> tuple[float, float]:
        """Samples of the scenes that are finished, and of those that have not ended."""
        with self._lock:
            return self._done.samples(self._density), self._left.samples(self._density)

    def _count(self, total: "_Total", scene: Scene, sign: int) -> None:
        if scene.output in self._known:
            total.known += sign * self._known[scene.output]
        else:
            total.unknown += sign * scene.size

    @property
    def _density(self) -> float:
        """Mean samples per byte."""
        return self._header.known / self._header.unknown if self._header.unknown else 1.0

    def _read_headers(self) -> None:
        while not self._stopped.is_set():
            with self._lock:
                scene = next(self._unread, None)
            if scene is None:
                return
            self.learn(scene, self._read(scene))


@dataclass(slots=True)
class _Total:
    """Samples of scenes whose headers are known, and bytes of the others."""

    known: int = 0
    unknown: int = 0

    def samples(self, density: float) -> float:
        return self.known + self.unknown * density
