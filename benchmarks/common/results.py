"""Files of results: figures as JSON, tables as Markdown."""

import json
import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[1] / "results"

CPUS = f"{os.cpu_count()}cpu"
"""How a file's name says that all cores were used."""
ONE_THREAD = "1thread"


def today() -> str:
    """Today's date in UTC, as files and tables state it."""
    return datetime.now(UTC).date().isoformat()


def write_results(folder: Path, name: str, used: str | None, *, data: Any = None, page: str | None = None) -> Path:
    """Writes ``NAME_MACHINE-USED_DATE``, as .json and as .md.

    Args:
        folder: Made if it is missing.
        name: What was measured.
        used: What was used of the machine, such as :data:`CPUS`; None leaves it out.
        data: Figures; None for none.
        page: Markdown; None for none.

    Returns:
        The page, or the figures where there is no page.
    """
    machine = platform.machine() if used is None else f"{platform.machine()}-{used}"
    stem, written = f"{name}_{machine}_{today()}", folder
    folder.mkdir(parents=True, exist_ok=True)
    if data is not None:
        written = folder / f"{stem}.json"
        written.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    if page is not None:
        written = folder / f"{stem}.md"
        written.write_text(page, encoding="utf-8")
    return written
