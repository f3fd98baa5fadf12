"""Results of an experiment that must not depend on where it ran, read from its storage."""

import json
from typing import Any

from orchestrator.foundation.storage import Storage

TIMES = ("seconds", "cpu_seconds", "finished_at")


def trials(home: Storage, domain: str) -> list[dict[str, Any]]:
    """Records of a domain's trials by number, without times."""
    study = home.child("search", domain)
    names = sorted(file.path for file in study.files() if file.path.rpartition("/")[2].removesuffix(".json").isdigit())
    told = [json.loads(study.child(name).read_bytes()) for name in names]
    assert told, f"no trials of {domain}"
    return [{key: value for key, value in record.items() if key not in TIMES} for record in told]


def confirmed(home: Storage, domain: str) -> dict[str, Any]:
    """Winner of a domain, and the test scores of all that was confirmed."""
    result = home.child("confirm", domain, "stage.json").read_json()["result"]
    return {name: result[name] for name in ("winner", "validation", "arms", "differences")}
