"""The smallest experiment that goes through every stage: two domains, a handful of generated images and steps."""

from pathlib import Path
from typing import Any

import yaml

from trainables.samples import write_samples

DOMAINS = ("medical", "satellite")


def write_images(folder: Path) -> Path:
    for domain, scenes in {"natural": 5, "medical": 9, "satellite": 9}.items():
        write_samples(folder / domain, domain, scenes, 1, seed=3, size=(128, 128))
    return folder


def settings(root: str, storage: str, **changes: Any) -> dict[str, Any]:
    content: dict[str, Any] = {
        "name": "tiny",
        "storage": storage,
        "root": root,
        "network": "tiny",
        "source": {"images": "natural"},
        "pretraining": {"steps": 24, "batch": 2, "lr_patch": 16, "report_every": 4, "checkpoint_every": 8},
        "finetuning": {"steps": 8, "batch": 2, "lr_patch": 16, "evaluations": 2},
        "search": {"trials": 3, "startup_trials": 2, "validation_images": 2, "validation_crop": 64},
        "confirmation": {"top": 1, "seeds": 2, "ablation": False, "classical": False},
        "finish": {"enabled": False},
        "targets": {domain: {"images": domain, "test_share": 0.67} for domain in DOMAINS},
    }
    for key, value in changes.items():
        content[key] = {**content.get(key, {}), **value} if isinstance(value, dict) else value
    return content


def write_experiment(file: Path, content: dict[str, Any]) -> Path:
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    return file
