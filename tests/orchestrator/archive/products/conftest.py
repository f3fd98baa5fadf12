"""Archives of products, upscaled in this process."""

import pytest
import tiny_models

from orchestrator.archive.batch.run import Options, upscale_archive
from orchestrator.archive.ledger.ledger import read_events
from orchestrator.archive.places.listing import list_archive
from orchestrator.archive.scene.types import SceneSettings
from orchestrator.foundation.storage import Storage
from orchestrator.runtime.task_runner import in_process


@pytest.fixture
def source(tmp_path):
    return tmp_path / "in"


@pytest.fixture
def upscale(tmp_path):
    model = tiny_models.write(tmp_path / "model", tiny_models.net(2))

    def run(source, out="out", **settings):
        scenes = list_archive(str(source), str(tmp_path / out)).scenes
        chosen = SceneSettings(precision="float32", blocksize=128, **settings)
        summary = upscale_archive(
            model, scenes, str(tmp_path / out), chosen, Options(), lambda _: None, start=in_process
        )
        events = {e["name"]: e for e in read_events(Storage.at(str(tmp_path / out))) if e["event"] == "scene"}
        return summary, events

    return run
