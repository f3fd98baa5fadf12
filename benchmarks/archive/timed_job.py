"""One scene through the whole archive path, timed by the processor time of this process."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from orchestrator.archive.scene.types import LoadedModel, Provenance, SceneSettings
from orchestrator.archive.scene.upscale import upscale_scene

Json = dict[str, Any]
OUTPUT = "out.tif"
"""Name of what is written."""


def timed_job(scene: Path, folder: Path, loaded: LoadedModel, settings: SceneSettings) -> Json:
    """Seconds of the process, whole and in the network."""
    inside, run = [0.0], loaded.net.run

    def timed(lr: torch.Tensor) -> torch.Tensor:
        start = time.process_time()
        hr = run(lr)
        inside[0] += time.process_time() - start
        return hr

    loaded = LoadedModel(loaded.facts, replace(loaded.net, run=timed), loaded.bytes_per_pixel)
    start = time.process_time()
    told = upscale_scene(scene, folder / OUTPUT, folder, loaded, settings, Provenance(item_id="x", source="x"))
    taken = time.process_time() - start
    return {"cpu_s": taken, "network_s": inside[0], "megapixels": told.width * told.height / 1e6}
