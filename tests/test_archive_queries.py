"""The queries of docs/archive.md run on a ledger, and give what it holds."""

import re
from pathlib import Path

import duckdb
import pytest

from orchestrator.archive.batch.plan import Recipe, about, brief
from orchestrator.archive.ledger.ledger import FOLDER, Ledger
from orchestrator.archive.places.listing import Scene
from orchestrator.foundation.storage import Storage

PAGE = Path(__file__).parents[1] / "docs" / "archive.md"
QUERIES = re.findall(r"```sql\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
LEDGER = [query for query in QUERIES if "_stac" not in query]
OK = {"status": "ok", "width": 4000, "height": 2000, "bands": 4, "output_bytes": 10**9, "notes": ["georef: none"]}
OK |= {"seconds": {"read": 3.0, "model": 33.0}, "consistency": {"flags": ["shift"], "spectral_angle": 0.5}}


@pytest.fixture
def asked(tmp_path):
    """Two runs: the first fails twice, the second makes one of the scenes good; and a line that is no event."""
    recipe, folder = Recipe("model", "settings"), Storage.at(str(tmp_path)).child(FOLDER)
    a, b = (Scene(name, f"/in/{name}", "1-1", 1, 0.0, f"/out/{name}") for name in ("a.tif", "b.tif"))
    bad = {"status": "failed", "error": "corrupt", "message": "why"}
    first, second = Ledger(folder, "first", 1), Ledger(folder, "a-clock-that-was-set-back", 2)
    first.write([brief("attempt", a, recipe), about(a, recipe) | bad, about(b, recipe) | bad])
    second.write([{"event": "run", "skipped": 5, "failed_before": 1}, about(a, recipe) | OK])
    Path(folder.path, "merged-000003-00000000.jsonl").write_bytes(Path(first.uri).read_bytes())  # a merge was killed
    with Path(second.uri).open("a") as file:
        file.write("a note of somebody\n")
    base = duckdb.connect()
    create, *queries = [query.replace("OUTPUT", str(tmp_path)) for query in LEDGER]
    base.execute(create)
    return [base.execute(query).fetchall() for query in queries]


def test_they_give_what_the_ledger_holds(asked):
    assert asked == [
        [("corrupt", 1, "b.tif")],
        [(1, 0.008, 1.0, 1.25)],
        [("a.tif", ["shift"])],
        [("first", 0, 2, 0), ("a-clock-that-was-set-back", 1, 0, 5)],
    ]
