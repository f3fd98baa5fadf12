"""Defaults that make an experiment fill the GPUs that its cluster has or may grow to."""

from collections.abc import Mapping
from typing import Any


def filling_the_cluster(content: Mapping[str, Any]) -> dict[str, object]:
    """Settings of an experiment, with workers and concurrent trials that fill ``cluster.gpus`` where none are given.

    Only where ``cluster.gpus`` is set, since the experiment must not depend on the GPUs that exist at the moment.
    Values of a wrong type are left to the checks that follow.

    Args:
        content: The settings as given.
    """
    filled, gpus = dict(content), _number(content, "cluster", "gpus")
    targets = content.get("targets")
    domains = len(targets) if isinstance(targets, dict) else 0
    for section, share, setting, parts in (
        ("pretraining", "gpus_per_worker", "workers", 1),
        ("search", "gpus_per_trial", "concurrent_trials", max(1, domains)),
    ):
        wanted, settings = _number(content, section, share), content.get(section)
        if gpus and wanted and isinstance(settings, dict) and settings.get(setting) is None:
            at_once = int(gpus * int(1 / wanted)) if wanted < 1 else int(gpus / wanted)  # a fraction lies on one GPU
            filled[section] = settings | {setting: max(1, min(10_000, at_once // parts))}
    return filled


def _number(content: Mapping[str, Any], section: str, name: str) -> float:
    settings = content.get(section)
    value = settings.get(name) if isinstance(settings, dict) else None
    return float(value) if isinstance(value, (int, float)) and value > 0 else 0.0
