"""A worker that upscales a part of a scene and records what the whole scene would take."""

import hashlib
import shutil
import time
from dataclasses import dataclass

from orchestrator.archive.batch.worker import ConsistencyObserver, Finished, Outcome, SceneWorker, Split, outcome_of
from orchestrator.archive.estimate.crop import crop_of, work_per_pixel
from orchestrator.archive.places.listing import Scene
from orchestrator.archive.scene.types import Rows
from orchestrator.archive.scene.upscale import upscale_scene
from orchestrator.foundation.record import Count, Number, Record
from orchestrator.foundation.storage import Storage

SAMPLES = "samples"


class Sample(Record):
    """Work of a whole scene, estimated from a part of it.

    Attributes:
        name: The scene's path below the archive.
        size: Its bytes.
        pixels: LR pixels of a band.
        samples: LR pixels of all bands.
        measured: LR pixels of a band that were upscaled.
        seconds: Seconds of a worker for the whole scene.
        output_bytes: Bytes of its output.
        scratch_bytes: Bytes of its work in progress.
        area_km2: Area in km²; None where its place is not known.
        wall: Seconds that the measurement took.
    """

    name: str
    size: Count
    pixels: Count
    samples: Count
    measured: Count
    seconds: Number
    output_bytes: Number
    scratch_bytes: Count
    area_km2: Number | None = None
    wall: Number


@dataclass(frozen=True, slots=True)
class SamplingWorker(SceneWorker):
    """Upscales a part of each scene; outputs go below the place of the measurement, which is removed afterwards."""

    @classmethod
    def of(cls, worker: SceneWorker) -> "SamplingWorker":
        """The same worker, but for what it upscales."""
        return cls(worker.context, worker.facts, worker.model)

    def begin(self, scene: Scene, workers: int) -> Outcome:
        """Measures a scene; where tasks with a GPU compute, one of them does."""
        return Split([(0, 1)]) if self.context.only_parts else self._measure(scene)

    def part(self, scene: Scene, rows: Rows) -> Outcome:
        """Measures a scene."""
        return self._measure(scene)

    def _measure(self, scene: Scene) -> Outcome:
        def work() -> Outcome:
            model, settings = self._ready_model(), scene.settings(self.context.settings)
            start, folder = time.monotonic(), self._folder(scene, own=True)
            try:
                source, fetched = self._fetch(scene, folder)
                crop = crop_of(source, folder, scene.name)
                cog, observer = folder / "part-of-output.tif", ConsistencyObserver(self.facts.scale)
                begun = time.monotonic()
                output = upscale_scene(crop.path, cog, folder, model, settings, self._provenance(scene), observer)
                fixed = max(time.monotonic() - begun - sum(output.seconds.values()), 0.0)
                outcome = self._store(scene, output, 0.0, observer.meter)
                if not isinstance(outcome, Finished):
                    return outcome
                more = crop.facts.pixels / crop.pixels
                geometry = work_per_pixel(source, model, settings) / work_per_pixel(crop.path, model, settings)
                phases = outcome.columns["seconds"]
                others = sum(taken for phase, taken in phases.items() if phase not in ("read", "model", "fetch"))
                sample = Sample(
                    name=scene.name,
                    size=scene.size,
                    pixels=crop.facts.pixels,
                    samples=crop.facts.pixels * crop.facts.bands,
                    measured=crop.pixels,
                    seconds=fetched + crop.read_seconds + fixed + more * (geometry * phases["model"] + others),
                    output_bytes=more * output.size,
                    scratch_bytes=crop.facts.scratch_bytes(self.facts.scale),
                    area_km2=crop.area_km2,
                    wall=time.monotonic() - start,
                )
                name = hashlib.sha256(scene.output.encode(errors="surrogateescape")).hexdigest()[:16]
                sample.write(Storage(self.context.out).child(SAMPLES, f"{name}.json"))
                return outcome
            finally:
                shutil.rmtree(folder, ignore_errors=True)

        return outcome_of(work)
