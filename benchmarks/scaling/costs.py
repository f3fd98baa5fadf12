"""Measured costs of a cluster, as `measure.py` wrote them."""

import json
from pathlib import Path
from typing import Any


def newest(folder: Path) -> dict[str, Any]:
    """The costs of the newest result; none without one."""
    files = sorted(folder.glob("cluster-costs_*.json"))
    found: dict[str, Any] = json.loads(files[-1].read_text(encoding="utf-8"))["costs"] if files else {}
    return found
