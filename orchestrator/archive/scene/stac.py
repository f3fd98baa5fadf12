"""The STAC item of an output (SpatioTemporal Asset Catalog 1.1), with the projection and processing extensions."""

from pathlib import Path
from typing import cast

import numpy as np
import pystac
import rasterio
from pystac.extensions.file import FileExtension
from pystac.extensions.projection import ProjectionExtension
from rasterio.enums import WktVersion
from rasterio.errors import CRSError

from orchestrator.archive.scene.acquired import taken
from orchestrator.archive.scene.outline import outline
from orchestrator.archive.scene.types import ModelFacts, Provenance, StacItem
from trainables.version import __version__

_PROCESSING = "https://stac-extensions.github.io/processing/v1.2.0/schema.json"
NO_GEOMETRY = "rayscale:no_geometry"
"""Property with the reason why an output with a place has no geometry."""


def make_item(
    cog: Path,
    href: str,
    sha256: str,
    source: Path | str,
    provenance: Provenance,
    model: ModelFacts,
    properties: dict[str, object],
) -> StacItem:
    """Describes an output.

    Args:
        cog: The finished file.
        href: Path of the asset, relative to the item.
        sha256: SHA-256 of the file.
        source: The scene, whose date is taken where nothing else says one.
        provenance: Identifier, source and date.
        model: Model that upscaled it.
        properties: Further properties.

    Returns:
        The item as plain JSON values. An output whose place is not known has a null geometry and no bounding box; the
        property ``rayscale:no_geometry`` says why, unless it has no georeferencing at all.
    """
    with rasterio.open(cog) as dataset:
        place = outline(dataset)
        time, time_from = taken(dataset, source, provenance.acquired)
        item = pystac.Item(
            id=provenance.item_id,
            geometry=place.geometry,
            bbox=place.bbox,
            datetime=time,
            properties={
                "processing:software": {"rayscale": __version__},
                "rayscale:datetime_from": time_from,
                "rayscale:model": model.name,
                "rayscale:model_sha256": model.digest,
                "rayscale:scale": model.scale,
                **({NO_GEOMETRY: place.why} if place.why else {}),
                **properties,
            },
            stac_extensions=[_PROCESSING],
        )
        bands = [_band(dataset, band) for band in dataset.indexes]
        asset = pystac.Asset(href, media_type=pystac.MediaType.COG, roles=["data"], extra_fields={"bands": bands})
        item.add_asset("data", asset)
        _project(item, dataset)
        file = FileExtension.ext(asset, add_if_missing=True)
        file.apply(checksum=f"1220{sha256}", size=cog.stat().st_size)  # 12 20: SHA-256 of 32 bytes, as a multihash
    item.add_link(pystac.Link(pystac.RelType.DERIVED_FROM, provenance.source))
    return cast(StacItem, item.to_dict(include_self_link=False, transform_hrefs=False))


def _band(dataset: "rasterio.io.DatasetReader", band: int) -> dict[str, object]:
    nodata = dataset.nodata
    properties = {
        "name": f"b{band}",
        "description": dataset.descriptions[band - 1],
        "data_type": dataset.dtypes[band - 1],
        "nodata": "nan" if nodata is not None and np.isnan(nodata) else nodata,
        "unit": dataset.units[band - 1],
    }
    return {name: value for name, value in properties.items() if value not in (None, "")}


def _project(item: pystac.Item, dataset: "rasterio.io.DatasetReader") -> None:
    crs = dataset.crs or dataset.gcps[1]
    try:
        epsg = None if crs is None else crs.to_epsg()
        wkt2 = crs.to_wkt(version=WktVersion.WKT2_2019) if crs is not None and epsg is None else None
    except CRSError:
        epsg = wkt2 = None
    placed = not dataset.transform.is_identity and np.isfinite(dataset.transform[:6]).all()
    projection = ProjectionExtension.ext(item, add_if_missing=True)
    projection.apply(
        code=None if epsg is None else f"EPSG:{epsg}",
        wkt2=wkt2,
        shape=[dataset.height, dataset.width],
        transform=list(dataset.transform) if placed else None,
    )
