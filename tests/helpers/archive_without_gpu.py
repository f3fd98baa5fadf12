"""Upscales an archive in GPU mode where only Ray counts GPUs: the network runs on CPUs, and takes its time.

``python archive_without_gpu.py ADDRESS GPUS MODEL SCENES OUT SCRATCH`` prints the summary as JSON.
"""

import json
import sys
import time
from dataclasses import replace

from orchestrator.archive.batch.listing import Scene, list_archive
from orchestrator.archive.batch.options import Options
from orchestrator.archive.batch.run import SharedModel, upscale_archive
from orchestrator.archive.batch.worker import Outcome, SceneWorker
from orchestrator.archive.scene.types import Rows, SceneSettings

SECONDS = 0.6


class OnCpu(SceneWorker):
    """The real worker with a network on the CPU; a part takes so long that a node can be lost meanwhile."""

    def part(self, scene: Scene, rows: Rows) -> Outcome:
        time.sleep(SECONDS)
        return SceneWorker.part(self, scene, rows)


def on_cpu(worker: SceneWorker) -> SceneWorker:
    """The same work without a GPU."""
    assert worker.context.settings.device == "cuda"
    assert isinstance(worker.model, SharedModel)
    model = SharedModel(worker.model.files, replace(worker.model.settings, device="cpu"))
    return OnCpu(worker.context, worker.facts, model)


if __name__ == "__main__":
    address, gpus, model, source, out, scratch = sys.argv[1:]
    options = Options(address=address, gpus=int(gpus), scratch=scratch)
    # No node here could tell the precision of its GPU.
    settings = SceneSettings(precision="float32", blocksize=128)
    scenes = list_archive(source, out, "cog").scenes
    print(json.dumps(upscale_archive(model, scenes, out, settings, options, lambda progress: None, on_cpu)))
