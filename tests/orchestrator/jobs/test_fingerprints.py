"""Golden fingerprints: equal inputs keep their digest, so that what finished before a change of code stays finished."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import tiny_experiment
import tiny_models

from orchestrator.archive.batch.archive_state import recipe_of
from orchestrator.archive.places.listing import Scene
from orchestrator.archive.scene.types import SceneSettings
from orchestrator.experiment.settings import Experiment
from orchestrator.foundation.file_listing import FileFacts
from orchestrator.foundation.storage import Storage
from orchestrator.image_sets.set_files import SourceFile
from orchestrator.jobs import stage_jobs as jobs_module
from orchestrator.jobs.stage_jobs import Jobs
from orchestrator.search.samplers import _seed_of
from trainables.images.picture_digest import picture_digest

GOLDEN = Path(__file__).parents[2] / "golden" / "fingerprints.json"
SPEED = {"search": {"kept_blocks": [1, 2], "cpus_per_trial": 2.0}}
BEFORE = {
    "finetuning": {"default_learning_rate": 1e-4},
    "search": {"starts": ["default", "siblings", "space"]},
}
"""Defaults of version 0.2 that have changed: with them, what finished then stays finished."""

CHANGES = {
    "as it is": {},
    "feature transfer": {"finetuning": {"transfer": "feature"}},
    "quality and speed": SPEED,
    "all settings of a search": {"search": {"sampler": "tpe", "starts": ["space"]}},
    "a model as source": {"source": {"model": "base-x4"}},
}


@dataclass
class Model:
    files: dict[str, bytes]


def fingerprints_of(jobs, domain="satellite"):
    files = [
        SourceFile(Storage("/images"), FileFacts("a/1.png", 123, 1767323045.5, "v1"), "a", False),
        SourceFile(Storage("/images"), FileFacts("b/ä.png", 7, 1767323046.0, "v2"), "b", True),
    ]
    return {
        "shards": jobs.shard_inputs(domain, files),
        "source": jobs.source_inputs(),
        "analysis": jobs.analysis_inputs(domain),
        "study": jobs.study_inputs(domain),
        "search": jobs.search_inputs(domain),
        "confirm": jobs.confirm_inputs(domain),
        "report": jobs.report_inputs(),
        "classical": jobs._classical_place(jobs._domain_job(domain)).uri.rpartition("/")[2],
        "speeds": jobs.speeds_place().uri.rpartition("/")[2],
    }


@pytest.fixture
def found(tmp_path, monkeypatch):
    monkeypatch.setattr(jobs_module, "read_manifest", lambda place: {"digest": place.uri.rpartition("/")[2]})
    monkeypatch.setattr(jobs_module, "digest_of_test", lambda locked, shards: "test")
    tiny_models.packaged(tmp_path, monkeypatch)
    all_found = {}
    for name, changes in CHANGES.items():
        content = tiny_experiment.settings("images", str(tmp_path))
        for section, before in BEFORE.items():
            content[section] |= before | changes.get(section, {})
        content |= {"source": changes["source"], "network": None} if "source" in changes else {}
        all_found[name] = fingerprints_of(Jobs(Experiment.model_validate(content)))
    scene = Scene("a.tif", "/in/a.tif", "version", 123, 1767323045.5, "/out/a.tif")
    recipe = recipe_of(Model({"card.json": b"{}", "model.safetensors": b"weights"}), SceneSettings())
    all_found["archive"] = {"scene": recipe.key(scene)}
    pixels = np.arange(5 * 4 * 3, dtype=np.uint8).reshape(5, 4, 3)
    all_found["pictures"] = {"colour": picture_digest(pixels), "gray": picture_digest(pixels[..., :1])}
    all_found["seeds of trials"] = {str(seed): _seed_of(seed, 7) for seed in (0, 42, 20251128)}
    return all_found


def test_no_fingerprint_has_changed(found):
    assert found == json.loads(GOLDEN.read_text(encoding="utf-8"))


def test_different_inputs_have_different_fingerprints(found):
    assert len({value["study"] for name, value in found.items() if name in CHANGES}) == len(CHANGES)
