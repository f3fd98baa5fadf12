"""The STAC item of an output (SpatioTemporal Asset Catalog 1.1), with the projection and processing extensions."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import rasterio
from pystac.extensions.file import FileExtension
from pystac.extensions.projection import ProjectionExtension
from rasterio.errors import CRSError
from rasterio.transform import AffineTransformer, GCPTransformer, RPCTransformer
from rasterio.warp import transform_geom

from orchestrator.archive.contract import ModelFacts, Provenance
from orchestrator.archive.source import GDAL_ERRORS
from trainables.version import __version__

_PROCESSING = "https://stac-extensions.github.io/processing/v1.2.0/schema.json"
_EDGE = 5
"""Points along each edge of a footprint, since straight edges are not straight in another projection."""

_TIMES = (("", "ACQUISITIONDATETIME"), ("IMAGERY", "ACQUISITIONDATETIME"), ("", "TIFFTAG_DATETIME"))
_FORMATS = ("%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S", "%Y:%m:%d %H:%M:%S")


def make_item(
    cog: Path,
    href: str,
    sha256: str,
    source: Path | str,
    provenance: Provenance,
    model: ModelFacts,
    properties: dict[str, Any],
) -> dict[str, Any]:
    """Describes an output.

    Args:
        cog: The finished file.
        href: Of the asset, relative to the item.
        sha256: Of the file.
        source: The scene, whose date is taken where nothing else says one.
        provenance: Identifier, source and date.
        model: What upscaled it.
        properties: Further properties.

    Returns:
        The item as plain JSON values. An output without georeferencing has a null geometry and no bounding box.
    """
    with rasterio.open(cog) as dataset:
        geometry = _footprint(dataset)
        taken, why = _taken(dataset, source, provenance)
        item = pystac.Item(
            id=provenance.item_id,
            geometry=geometry,
            bbox=_bounds(geometry) if geometry else None,
            datetime=taken,
            properties={
                "processing:software": {"rayscale": __version__},
                "rayscale:datetime_from": why,
                "rayscale:model": model.name,
                "rayscale:model_sha256": model.digest,
                "rayscale:scale": model.scale,
                **properties,
            },
            stac_extensions=[_PROCESSING],
        )
        bands = [_band(dataset, band) for band in dataset.indexes]
        asset = pystac.Asset(href, media_type=pystac.MediaType.COG, roles=["data"], extra_fields={"bands": bands})
        asset.extra_fields["gsd"] = None
        asset.extra_fields.pop("gsd")
        item.add_asset("data", asset)
        _project(item, dataset)
        file = FileExtension.ext(asset, add_if_missing=True)
        file.apply(checksum=f"1220{sha256}", size=cog.stat().st_size)  # 12 20: SHA-256 of 32 bytes, as a multihash
    item.add_link(pystac.Link(pystac.RelType.DERIVED_FROM, provenance.source))
    told: dict[str, Any] = item.to_dict(include_self_link=False, transform_hrefs=False)
    return told


def _band(dataset: "rasterio.io.DatasetReader", band: int) -> dict[str, Any]:
    nodata = dataset.nodata
    told = {
        "name": f"b{band}",
        "description": dataset.descriptions[band - 1],
        "data_type": dataset.dtypes[band - 1],
        "nodata": "nan" if nodata is not None and np.isnan(nodata) else nodata,
        "unit": dataset.units[band - 1],
    }
    return {name: value for name, value in told.items() if value not in (None, "")}


def _project(item: pystac.Item, dataset: "rasterio.io.DatasetReader") -> None:
    crs = dataset.crs or dataset.gcps[1]
    epsg = None if crs is None else crs.to_epsg()
    projection = ProjectionExtension.ext(item, add_if_missing=True)
    projection.apply(
        code=None if epsg is None else f"EPSG:{epsg}",
        wkt2=crs.to_wkt("WKT2_2019") if crs is not None and epsg is None else None,
        shape=[dataset.height, dataset.width],
        transform=None if dataset.transform.is_identity else list(dataset.transform),
    )


def _footprint(dataset: "rasterio.io.DatasetReader") -> dict[str, Any] | None:
    """The outline in longitude and latitude; None where the file does not say where it is."""
    along = np.linspace(0, 1, _EDGE)[:-1]
    zero, one = np.zeros_like(along), np.ones_like(along)
    x = np.concatenate([along, one, 1 - along, zero]) * dataset.width
    y = np.concatenate([zero, along, one, 1 - along]) * dataset.height
    points, points_crs = dataset.gcps
    try:
        if points:
            crs, transformer = points_crs, GCPTransformer(points)
        elif dataset.crs is not None:
            crs, transformer = dataset.crs, AffineTransformer(dataset.transform)
        elif dataset.rpcs:
            crs, transformer = "EPSG:4326", RPCTransformer(dataset.rpcs, rpc_height=dataset.rpcs.height_off)
        else:
            return None
        if crs is None:
            return None
        with transformer:
            xs, ys = transformer.xy(y, x, offset="ul")
        ring = [(float(a), float(b)) for a, b in zip(xs, ys, strict=True)]
        outline = {"type": "Polygon", "coordinates": [[*ring[::-1], ring[-1]]]}
        geometry: dict[str, Any] = transform_geom(crs, "EPSG:4326", outline, antimeridian_cutting=True, precision=7)
    except (*GDAL_ERRORS, CRSError, ValueError):
        return None
    return geometry if np.isfinite(_bounds(geometry)).all() else None


def _bounds(geometry: dict[str, Any]) -> list[float]:
    polygons = geometry["coordinates"] if geometry["type"] == "MultiPolygon" else [geometry["coordinates"]]
    points = np.array([point for polygon in polygons for ring in polygon for point in ring])[:, :2]
    return [*points.min(0).tolist(), *points.max(0).tolist()]


def _taken(dataset: "rasterio.io.DatasetReader", source: Path | str, provenance: Provenance) -> tuple[datetime, str]:
    if provenance.acquired is not None:
        return provenance.acquired, "caller"
    for namespace, name in _TIMES:
        text = dataset.tags(ns=namespace or None).get(name, "")
        for form in _FORMATS:
            try:
                return datetime.strptime(text.removesuffix("Z")[:19], form).replace(tzinfo=UTC), name
            except ValueError:
                continue
    file = Path(str(source))
    changed = file.stat().st_mtime if file.exists() else 0.0
    return datetime.fromtimestamp(int(changed), UTC), "file modification time"
