"""STAC items and item collections as inputs: assets are bands, by their names or common names.

Versions 1.0 (``eo:bands``, ``raster:bands``) and 1.1 (``bands``) are read. References lead to folders and buckets only.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote

from orchestrator.archive.products.types import Layer, Layers, Product, product_tags, unreadable
from orchestrator.archive.scene.class_bands import known_name
from orchestrator.archive.scene.types import SceneError
from orchestrator.foundation.file_types import RASTERS, suffix_of
from orchestrator.foundation.storage import Storage
from trainables.errors import UsageError, printable

_RASTER_TYPES = ("image/tiff", "image/jp2", "image/vnd.stac.geotiff")
_NO_DATA_ROLES = {"thumbnail", "overview", "visual", "metadata", "tilejson"}
_PICTURES = {"visual", "tci", "thumbnail", "preview", "rendered_preview", "overview"}
_CLASSES = ("classification:classes", "classification:bitfields")

Json = Mapping[str, Any]


def read_items(place: Storage) -> list[dict[str, Any]]:
    """Items of a STAC file: one item, or a collection of items.

    Raises:
        UsageError: If it is something else.
    """
    try:
        content = json.loads(place.read_bytes())
        kind = content.get("type")
        items = content["features"] if kind == "FeatureCollection" else [content]
        for item in items:
            objects = (item["assets"], item.get("properties") or {}, *item["assets"].values())
            if item["type"] != "Feature" or not isinstance(item["id"], str) or not all(map(_is_object, objects)):
                raise ValueError
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise UsageError(
            f"'{place.uri}' is no STAC item or item collection: expected a GeoJSON Feature or FeatureCollection whose "
            "features have an id and assets. For a STAC catalog or collection, name the file of an item."
        ) from None
    if not items:
        raise UsageError(f"The STAC item collection '{place.uri}' has no items.")
    return list(items)


def as_product(item: Json, folder: str) -> Product:
    """The product of an item whose references start from a folder; what is not read of it is left out."""
    properties = item.get("properties") or {}
    kept = {
        "id": item["id"],
        "properties": {name: properties[name] for name in ("datetime", "start_datetime") if name in properties},
        "assets": {key: asset for key, asset in item["assets"].items() if is_raster(key, asset)},
    }
    return Product("stac", folder, item=json.dumps(kept, sort_keys=True))


def item_key(name: str) -> str:
    """The path of an item's output, without its ending."""
    return name.replace("/", "_")


def read_item(item: Json) -> Layers:
    """Bands of an item.

    Raises:
        SceneError: ``unreadable`` or ``unsupported``, if it has no asset that can be read.
    """
    assets = {key: asset for key, asset in item["assets"].items() if is_raster(key, asset)}
    if not assets:
        raise unreadable("The STAC item has no asset of raster data (GeoTIFF or JPEG 2000).")
    layers = {key: list(_layers(key, asset)) for key, asset in assets.items()}
    images = [key for key, bands in layers.items() if not any(layer.classes for layer in bands)]
    nodata = next((value for key in images or assets for value in _nodata(assets[key])), None)
    properties = item.get("properties") or {}
    tags = product_tags(str(item["id"]), str(properties.get("datetime") or properties.get("start_datetime") or ""))
    found = tuple(layer for bands in layers.values() for layer in bands)
    return Layers(found, nodata, (), tags, (), len(assets) == 1)


def is_raster(key: str, asset: Json) -> bool:
    """Returns True if an asset holds bands."""
    href, kind = str(asset.get("href") or ""), str(asset.get("type", ""))
    roles = set(asset.get("roles") or ())
    if not href or key.lower() in _PICTURES or roles & _NO_DATA_ROLES:
        return False
    return kind.startswith(_RASTER_TYPES) or suffix_of(href.partition("?")[0]) in RASTERS


def reference(href: str) -> str | None:
    """A reference as a path or an address of a bucket; None if it leads to a web server."""
    scheme, found, rest = href.partition("://")
    if not found or scheme.lower() == "s3":
        return href
    return unquote(rest) if scheme.lower() == "file" else None


def check_reference(href: str, name: str) -> str:
    """A reference that can be followed.

    Raises:
        SceneError: ``unsupported``, if it leads to a web server.
    """
    if (followed := reference(href)) is not None:
        return followed
    raise SceneError(
        "unsupported",
        f"Its band {name} lies at '{printable(href)[:120]}', and only folders and s3:// are read: download its "
        "assets and let their href say where they are.",
    )


def _is_object(value: object) -> bool:
    return isinstance(value, dict)


def _layers(key: str, asset: Json) -> Iterator[Layer]:
    bands = _bands(asset)
    for number, band in enumerate(bands, start=1):
        name = str(band.get("name") or "") or (key if len(bands) == 1 else f"{key}_{number}")
        common = str(band.get("eo:common_name") or band.get("common_name") or "")
        if not common and len(bands) == 1 and name != key:
            common = key.lower()
        stated = {**asset, **band}
        named = known_name(key) or known_name(name)
        yield Layer(
            str(asset["href"]),
            name,
            common,
            band=number,
            scale=_number(stated, "raster:scale", "scale", default=1.0),
            offset=_number(stated, "raster:offset", "offset", default=0.0),
            classes=bool(named) or any(word in stated for word in _CLASSES),
            resolution=_number(stated, "raster:spatial_resolution", "spatial_resolution", "gsd", default=0.0),
        )


def _bands(asset: Json) -> list[dict[str, Any]]:
    """Facts about each band of an asset; one band without facts if it states none."""
    if asset.get("bands"):
        return [dict(band) for band in asset["bands"]]
    colours, values = list(asset.get("eo:bands") or ()), list(asset.get("raster:bands") or ())
    count = max(len(colours), len(values), 1)
    blank: list[dict[str, Any]] = [{}] * count
    return [{**a, **b} for a, b in zip((values + blank)[:count], (colours + blank)[:count], strict=True)]


def _nodata(asset: Json) -> Iterator[float]:
    stated = (band for band in [*_bands(asset), asset] if band.get("nodata") is not None)
    return (_number(band, "nodata", default=0.0) for band in stated)


def _number(stated: Json, *names: str, default: float) -> float:
    value = next((stated[name] for name in names if stated.get(name) is not None), default)
    try:
        return float(value)
    except (TypeError, ValueError):
        raise unreadable(f"The STAC item states '{value}' for {names[0]}, which is no number.") from None
