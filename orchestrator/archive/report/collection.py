"""The outputs of an archive as a STAC collection: ``_stac/collection.json`` and ``_stac/items.parquet``.

The table is kept up to date: items that it holds already, of outputs that have not changed, are not read again.
"""

import itertools
import posixpath
import tempfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from orchestrator.archive.places.listing import SIDECAR
from orchestrator.archive.report.item_table import Extent, Row, fitting, row_of, rows_of, write_table
from orchestrator.archive.report.outcomes import SceneOutcome
from orchestrator.foundation.storage import Storage
from trainables.version import __version__

FOLDER = "_stac"
COLLECTION, TABLE = "collection.json", "items.parquet"
LINKED = 10_000
"""Most items that the collection links to; the table has all."""

_READS_AT_ONCE, _ITEMS_AT_ONCE = 16, 1000
_GLOBE = (-180.0, -90.0, 180.0, 90.0)


def write_collection(
    out: Storage, outcomes: Mapping[str, SceneOutcome], observe: Callable[[str, Row], None] = lambda output, row: None
) -> None:
    """Writes the collection of all outputs that are in place.

    Args:
        out: Place of the outputs.
        outcomes: Latest outcome of each scene, by the place of its output.
        observe: Called with the place of each output and its row of the table.

    Raises:
        OSError: If an item cannot be read or the collection cannot be written.
    """
    place = out.child(FOLDER)
    existing = {out.child(file.path).uri: file.size for file in out.files()}
    wanted = {
        f"../{output.removeprefix(out.uri).lstrip('/')}": outcome
        for output, outcome in outcomes.items()
        if outcome.status == "ok" and existing.get(output) == outcome.output_bytes
    }
    linked: list[str] = []

    def rows() -> Iterator[Row]:
        for row in _rows(before, wanted, _id_of(out)):
            href = row["assets"]["data"]["href"]
            if len(linked) < LINKED:
                linked.append(href)
            observe(wanted[href].output, row)
            yield row

    with tempfile.TemporaryDirectory(prefix="rayscale-stac-") as folder:
        before, after = Path(folder, "before.parquet"), Path(folder, TABLE)
        if place.child(TABLE).uri in existing:
            before.write_bytes(place.child(TABLE).read_bytes())
        collection = write_table(after, rows(), lambda extent: _collection(_id_of(out), extent, linked))
        place.child(TABLE).write_bytes(after.read_bytes())
        place.child(COLLECTION).write_json(collection)


def _rows(before: Path, wanted: dict[str, SceneOutcome], collection: str) -> Iterator[Row]:
    """Rows of the former table that still hold, then those of further outputs."""
    left = dict(wanted)
    for row in rows_of(before):
        asset = row["assets"]["data"]
        outcome = left.get(asset["href"])
        if outcome is not None and asset["file:checksum"] == _checksum(outcome) and row["collection"] == collection:
            del left[asset["href"]]
            yield row
    hrefs = iter(sorted(left))
    with ThreadPoolExecutor(_READS_AT_ONCE) as pool:
        while batch := list(itertools.islice(hrefs, _ITEMS_AT_ONCE)):
            read = pool.map(lambda href: _row(href, left[href], collection), batch)
            yield from fitting([row for row in read if row is not None])


def _row(href: str, outcome: SceneOutcome, collection: str) -> Row | None:
    """The row of an output; None where its item is gone, or not of this output."""
    item = Storage(outcome.output + SIDECAR).read_json()
    try:
        row = row_of(item, href, collection)
    except (AttributeError, KeyError, TypeError, ValueError):
        return None
    return row if row["assets"]["data"]["file:checksum"] == _checksum(outcome) else None


def _checksum(outcome: SceneOutcome) -> str:
    return f"1220{outcome.sha256}"


def _id_of(out: Storage) -> str:
    return posixpath.basename(out.uri.rstrip("/")) or "outputs"


def _collection(name: str, extent: Extent, linked: list[str]) -> dict[str, Any]:
    times = [None if time is None else time.isoformat().replace("+00:00", "Z") for time in (extent.first, extent.last)]
    return {
        "type": "Collection",
        "stac_version": "1.1.0",
        "id": name,
        "description": f"{extent.items} upscaled scenes by RayScale {__version__}.",
        "license": "other",
        "extent": {
            "spatial": {"bbox": [list(extent.bbox or _GLOBE)]},
            "temporal": {"interval": [times]},
        },
        "links": [
            {"rel": "root", "href": f"./{COLLECTION}", "type": "application/json"},
            *({"rel": "item", "href": href + SIDECAR, "type": "application/geo+json"} for href in linked),
        ],
        "assets": {
            "items": {
                "href": f"./{TABLE}",
                "title": "All items as stac-geoparquet",
                "type": "application/vnd.apache.parquet",
                "roles": ["collection-mirror"],
            }
        },
    }
