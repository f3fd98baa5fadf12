"""Domains of the benchmarks of transfer, made from their options."""

import argparse
from typing import Any

from benchmarks.common.domain import Domain, Settings
from benchmarks.common.domain_images import PAINTER
from orchestrator.experiment.image_settings import ImageSet
from orchestrator.foundation.model_store import FoundModel
from orchestrator.foundation.storage import Storage
from trainables.loops.settings import Budget


def domain_of(name: str, root: Storage, model: FoundModel, options: argparse.Namespace, out: Storage) -> Domain:
    """A domain with its training images packed, and the settings of a benchmark's options."""
    settings = Settings(
        budget=Budget(steps=options.steps, batch=options.batch, evaluations=1),
        lr_patch=options.lr_patch,
        validation_images=options.validation_images,
        validation_crop=options.validation_crop,
    )
    domain = Domain(name, images_of_split(name, "train", options.scenes), root, model, settings, out)
    domain.shards(None)
    return domain


def images_of_split(name: str, split: str, scenes: str) -> ImageSet:
    """Images of train/ or val/ of a domain."""
    found: Any = scenes
    if scenes == "table":
        pattern = PAINTER if name == "art" else None
        found = {"table": "manifest.csv", "scene_column": "scene_group", "pattern": pattern}
    return ImageSet.model_validate({"images": f"{name}/{split}", "scenes": found})


def further(options: argparse.Namespace) -> list[str]:
    """Options as a result states them, without places."""
    told = []
    for name, value in vars(options).items():
        if name not in ("root", "out", "results", "estimate", "model") and value is not None:
            values = [str(each) for each in value] if isinstance(value, list) else [str(value)]
            told += [f"--{name.replace('_', '-')}", *values]
    return told
