"""Defaults that have changed since an experiment began: it keeps those that it began with.

Otherwise an upgrade would search a finished experiment anew.
"""

import copy
from collections.abc import Mapping
from typing import Any

from orchestrator.foundation.storage import Storage

_BEFORE: dict[tuple[str, str], Any] = {
    ("finetuning", "default_learning_rate"): 1e-4,
    ("search", "starts"): ["default", "siblings", "space"],
    ("finish", "enabled"): False,
}
"""Earlier default of each setting whose default has changed; those of version 0.2.0, which had no finished models."""

_LATER = {"finish"}
"""Sections that version 0.2.0 did not have."""


def with_earlier_defaults(content: Mapping[str, Any], home: Storage) -> dict[str, object]:
    """An experiment's settings, with the earlier defaults that its folder says it began with.

    Args:
        content: The settings as given; what they state stays.
        home: The experiment's folder; settings of an unreadable one are left to the checks before a run.
    """
    try:
        written = home.child("experiment.json").read_json()
    except Exception:
        return dict(content)
    settings = written.get("settings") if isinstance(written, dict) else None
    kept = copy.deepcopy(dict(content))
    for (section, name), before in _BEFORE.items():
        recorded = settings.get(section) if isinstance(settings, dict) else None
        if section in _LATER and isinstance(settings, dict) and settings and section not in settings:
            recorded = {name: before}
        given = kept.get(section) or {}
        if (
            isinstance(recorded, dict)
            and isinstance(given, dict)
            and name not in given
            and recorded.get(name) == before
        ):
            kept[section] = given | {name: before}
    return _with_workers_as_begun(kept, settings)


def _with_workers_as_begun(content: dict[str, object], recorded: Any) -> dict[str, object]:
    """Settings with the number of workers that the experiment began with, whose default depends on ``cluster.gpus``."""
    given = content.get("pretraining")
    before = recorded.get("pretraining") if isinstance(recorded, dict) else None
    if isinstance(given, dict) and given.get("gpus_per_worker") and isinstance(before, dict) and "workers" in before:
        return content | {"pretraining": {"workers": before["workers"]} | given}
    return content
