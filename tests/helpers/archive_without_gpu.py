"""Upscales an archive in GPU mode where only Ray counts GPUs: the network runs on CPUs.

``python archive_without_gpu.py ADDRESS GPUS MODEL SCENES OUT SCRATCH`` prints the summary as JSON. On a node whose ID
is the name of a file in SCRATCH-held, nothing ends any more.
"""

import json
import sys
import time
from dataclasses import replace
from pathlib import Path

import ray

from orchestrator.archive.batch.options import Options
from orchestrator.archive.batch.run import SharedModel, upscale_archive
from orchestrator.archive.batch.worker import Outcome, SceneWorker
from orchestrator.archive.places.listing import Scene, list_archive
from orchestrator.archive.scene.types import Rows, SceneSettings


class Held(SceneWorker):
    """The real worker, which stops for good on a node that is to be lost."""

    def part(self, scene: Scene, rows: Rows) -> Outcome:
        held = Path(f"{self.context.scratch}-held", ray.get_runtime_context().get_node_id())
        while held.exists():
            time.sleep(0.1)
        return SceneWorker.part(self, scene, rows)


def on_cpu(worker: SceneWorker, kind: type[SceneWorker] = SceneWorker) -> SceneWorker:
    """The same work without a GPU."""
    assert worker.context.settings.device == "cuda"
    assert isinstance(worker.model, SharedModel)
    model = SharedModel(worker.model.files, replace(worker.model.settings, device="cpu"))
    return kind(worker.context, worker.facts, model)


def held_on_cpu(worker: SceneWorker) -> SceneWorker:
    """The same as `on_cpu`; nothing ends on a node that is to be lost."""
    return on_cpu(worker, Held)


if __name__ == "__main__":
    address, gpus, model, source, out, scratch = sys.argv[1:]
    options = Options(address=address, gpus=int(gpus), scratch=scratch)
    # No node here could tell the precision of its GPU.
    settings = SceneSettings(precision="float32", blocksize=128)
    scenes = list_archive(source, out, "cog").scenes
    print(json.dumps(upscale_archive(model, scenes, out, settings, options, lambda progress: None, held_on_cpu)))
