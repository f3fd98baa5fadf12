"""STAC items as rows of a Parquet table in the layout of stac-geoparquet 1.1, which is GeoParquet 1.1.

Properties are columns of their own, ``datetime`` is a time stamp, ``geometry`` is well-known binary in longitude and
latitude (OGC:CRS84), and ``bbox`` a structure that readers filter by.
"""

import itertools
import json
import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
from pyarrow import parquet as pq

from orchestrator.archive.report.well_known_binary import KINDS, geometry_of, well_known_binary
from orchestrator.archive.scene.types import StacItem

Row = dict[str, Any]
"""A row of the table, by column."""

ROWS_AT_ONCE = 10_000
"""Rows of a row group, which are in memory at once."""

_TEXT, _TEXTS = pa.string(), pa.list_(pa.string())
_BAND = pa.struct(
    {"name": _TEXT, "description": _TEXT, "data_type": _TEXT, "nodata": pa.float64(), "unit": _TEXT}.items()
)
_ASSET = pa.struct(
    {
        "href": _TEXT,
        "type": _TEXT,
        "roles": _TEXTS,
        "bands": pa.list_(_BAND),
        "file:checksum": _TEXT,
        "file:size": pa.int64(),
    }.items()
)
_PROPERTIES: dict[str, pa.DataType] = {
    "processing:software": pa.struct([("rayscale", _TEXT)]),
    "proj:code": _TEXT,
    "proj:wkt2": _TEXT,
    "proj:shape": pa.list_(pa.int64()),
    "proj:transform": pa.list_(pa.float64()),
    "rayscale:bands": _TEXT,
    "rayscale:datetime_from": _TEXT,
    "rayscale:model": _TEXT,
    "rayscale:model_sha256": _TEXT,
    "rayscale:no_geometry": _TEXT,
    "rayscale:scale": pa.int32(),
}
SCHEMA = pa.schema(
    {
        "type": _TEXT,
        "stac_version": _TEXT,
        "stac_extensions": _TEXTS,
        "id": _TEXT,
        "geometry": pa.binary(),
        "bbox": pa.struct([(side, pa.float64()) for side in ("xmin", "ymin", "xmax", "ymax")]),
        "datetime": pa.timestamp("us", tz="UTC"),
        "collection": _TEXT,
        "links": pa.list_(pa.struct([("rel", _TEXT), ("href", _TEXT), ("type", _TEXT)])),
        "assets": pa.struct([("data", _ASSET)]),
        **_PROPERTIES,
    }.items()
)
"""Columns of the table."""


def row_of(item: StacItem, href: str, collection: str) -> Row:
    """A row of the table.

    Args:
        item: The item.
        href: Path of the item's asset, relative to the table.
        collection: Id of the collection.

    Raises:
        KeyError, TypeError, ValueError: If it is no item as this version writes it.
    """
    asset, properties = item["assets"]["data"], item["properties"]
    bbox = item.get("bbox")
    time = datetime.fromisoformat(str(properties["datetime"]))
    if time.tzinfo is None:
        raise ValueError(f"a time has a zone, found {time}")
    return {
        "type": "Feature",
        "stac_version": item["stac_version"],
        "stac_extensions": item["stac_extensions"],
        "id": item["id"],
        "geometry": None if item["geometry"] is None else well_known_binary(item["geometry"]),
        "bbox": None if bbox is None else dict(zip(("xmin", "ymin", "xmax", "ymax"), map(float, bbox), strict=True)),
        "datetime": time,
        "collection": collection,
        "links": [
            {"rel": "collection", "href": "./collection.json", "type": "application/json"},
            *({"rel": link["rel"], "href": link["href"], "type": None} for link in item["links"]),
        ],
        "assets": {
            "data": {
                **{field.name: asset.get(field.name) for field in _ASSET},
                "href": href,
                # JSON has no NaN, which STAC writes as a text; a column has.
                "bands": [
                    {**band, "nodata": _nodata(band.get("nodata"))} for band in cast(Any, asset.get("bands", []))
                ],
            }
        },
        **{name: properties.get(name) for name in _PROPERTIES},
    }


def fitting(rows: list[Row]) -> list[Row]:
    """Those of some rows whose values have the types of the columns, as people can edit items."""
    try:
        pa.Table.from_pylist(rows, schema=SCHEMA)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        middle = len(rows) // 2
        return fitting(rows[:middle]) + fitting(rows[middle:]) if middle else []
    return rows


def item_of(row: Row) -> dict[str, Any]:
    """The STAC item of a row, with null geometry where it has none; what is null is left out otherwise."""
    names = ("type", "stac_version", "stac_extensions", "id", "collection", "links", "assets")
    bbox = row["bbox"]
    properties = {name: row[name] for name in _PROPERTIES if row[name] is not None}
    return {
        **{name: _without_nulls(row[name]) for name in names},
        **({} if bbox is None else {"bbox": list(bbox.values())}),
        "geometry": None if row["geometry"] is None else geometry_of(row["geometry"]),
        "properties": {"datetime": row["datetime"].isoformat().replace("+00:00", "Z"), **properties},
    }


@dataclass(slots=True)
class Extent:
    """Extent of items in space and time.

    Attributes:
        items: Number of items.
        bbox: West, south, east and north in degrees, all longitudes if an item crosses 180°; None without any place.
        first: Earliest time; None without items.
        last: Latest time.
        kinds: Types of their geometries.
    """

    items: int = 0
    bbox: tuple[float, float, float, float] | None = None
    first: datetime | None = None
    last: datetime | None = None
    kinds: set[str] = field(default_factory=set)

    def add(self, row: Row) -> None:
        """Takes in an item."""
        self.items += 1
        time = row["datetime"]
        self.first = time if self.first is None else min(self.first, time)
        self.last = time if self.last is None else max(self.last, time)
        if row["geometry"] is not None:
            self.kinds.add(KINDS[struct.unpack_from("<I", row["geometry"], 1)[0]])
        if row["bbox"] is not None:
            west, south, east, north = row["bbox"].values()
            west, east = (-180.0, 180.0) if west > east else (west, east)
            w, s, e, n = self.bbox or (west, south, east, north)
            self.bbox = min(w, west), min(s, south), max(e, east), max(n, north)


def write_table(path: Path, rows: Iterable[Row], collection_of: Callable[[Extent], dict[str, Any]]) -> dict[str, Any]:
    """Writes a table.

    Args:
        path: The file.
        rows: Rows of :func:`row_of`, of which :data:`ROWS_AT_ONCE` are in memory.
        collection_of: Gives the STAC collection of the table's items.

    Returns:
        The collection, which the table holds too.
    """
    extent, remaining = Extent(), iter(rows)
    with pq.ParquetWriter(path, SCHEMA, compression="zstd") as writer:
        while batch := list(itertools.islice(remaining, ROWS_AT_ONCE)):
            for row in batch:
                extent.add(row)
            writer.write_table(pa.Table.from_pylist(batch, schema=SCHEMA))
        collection = collection_of(extent)
        stac = {"version": "1.1.0", "collections": {collection["id"]: collection}}
        writer.add_key_value_metadata({"geo": json.dumps(_geo(extent)), "stac-geoparquet": json.dumps(stac)})
    return collection


def rows_of(path: Path) -> Iterator[Row]:
    """Rows of a table of this layout; none where it is of another, or damaged."""
    try:
        with pq.ParquetFile(path) as table:
            if not table.schema_arrow.equals(SCHEMA):
                return
            for batch in table.iter_batches(ROWS_AT_ONCE):
                yield from batch.to_pylist()
    except (OSError, pa.ArrowException):
        return


def _geo(extent: Extent) -> dict[str, Any]:
    sides = {side: ["bbox", side] for side in ("xmin", "ymin", "xmax", "ymax")}
    geometry = {
        "encoding": "WKB",
        "geometry_types": sorted(extent.kinds),
        "orientation": "counterclockwise",
        "covering": {"bbox": sides},
        **({} if extent.bbox is None else {"bbox": extent.bbox}),
    }
    return {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": geometry}}


def _nodata(value: Any) -> float | None:
    return None if value is None else float(value)


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: "nan" if key == "nodata" and item != item else _without_nulls(item)
            for key, item in value.items()
            if item is not None
        }
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value
