"""A product as one raster: its metadata are read, its bands chosen, and their pixels put into one GeoTIFF."""

import json
import os
import secrets
from pathlib import Path

import numpy as np
import rasterio
import rasterio.shutil

from orchestrator.archive.products.assemble import assemble
from orchestrator.archive.products.choose import choose
from orchestrator.archive.products.eopf import EopfProduct
from orchestrator.archive.products.find import scene_start
from orchestrator.archive.products.landsat import read_landsat
from orchestrator.archive.products.members import FolderMembers, Members, PackedMembers
from orchestrator.archive.products.planet import read_naip, read_planet
from orchestrator.archive.products.sentinel2 import read_sentinel2
from orchestrator.archive.products.stac_items import check_reference, read_item
from orchestrator.archive.products.types import Assembled, Layers, ModelBands, Product, unreadable
from orchestrator.archive.scene.geotiff.bigtiff import check_room
from orchestrator.archive.scene.open_raster import GDAL_ERRORS, gdal, open_raster, plain
from orchestrator.archive.scene.types import ModelFacts, SceneError, SceneSettings
from orchestrator.foundation.storage import Storage

_ADVICE = {
    "zarr": "Of products in Zarr, Sentinel-2 levels 1C and 2A of EOPF are read (S2?_MSIL1C_….zarr and "
    "S2?_MSIL2A_….zarr). Convert the bands of others to one GeoTIFF, for instance by gdal_translate of a GDAL with the "
    "Zarr driver.",
    "safe": "Of products in the SAFE format, Sentinel-2 levels 1C and 2A are read (S2?_MSIL1C_… and S2?_MSIL2A_…). "
    "Convert others to GeoTIFF by their own tools, such as SNAP.",
}
_RASTER, _NOTES = "product.tif", "product-notes.json"
_COPIED = {"vrt": "VRT", "nitf": "NITF"}
"""Kinds that are copied as they are, with GDAL's driver."""


def assemble_product(
    product: Product, local: Path | None, bands: tuple[str, ...], model: ModelBands, folder: Path, modified: float
) -> Assembled:
    """Makes one GeoTIFF of a product; what another process on this machine has made already is taken.

    Args:
        product: The product.
        local: Its one file on this machine, for a product of one file; None for a folder.
        bands: Names of bands; empty for those that suit the model.
        model: Bands that the model takes.
        folder: Scratch folder, which gets fetched and unpacked files too.
        modified: Time of the product's last change, seconds since 1970.

    Raises:
        SceneError: Of any kind that scenes have.
    """
    if (existing := assembled_in(folder)) is not None:
        return existing
    path, record = folder / _RASTER, folder / _NOTES
    partial = folder / f"assembling-{secrets.token_hex(8)}.tif"
    try:
        notes = _assemble(product, local, bands, model, folder, partial)
        temporary = partial.with_suffix(".json")
        temporary.write_text(json.dumps(notes), encoding="utf-8")
        temporary.replace(record)
        os.utime(partial, (modified, modified))
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return Assembled(path, tuple(notes))


def assembled_in(folder: Path) -> Assembled | None:
    """The raster that was made in a folder before; None if there is none."""
    path, record = folder / _RASTER, folder / _NOTES
    if not path.exists() or not record.exists():
        return None
    return Assembled(path, tuple(json.loads(record.read_text(encoding="utf-8"))))


def range_note(path: Path, model: ModelFacts, settings: SceneSettings) -> str | None:
    """A note if the model's card states another range than the product's metadata; the card is followed.

    Args:
        path: The raster of the product.
        model: The model.
        settings: Settings of the scene.
    """
    if settings.normalisation != "auto":
        return None
    with gdal(), open_raster(path) as dataset:
        stated = model.value_range.get(dataset.dtypes[0])
        scalings = [pair for pair in zip(dataset.scales, dataset.offsets, strict=True) if pair != (1.0, 0.0)]
    if stated is None or not scalings:
        return None
    scale, offset = scalings[0]
    low, high = -offset / scale, (1 - offset) / scale
    if max(abs(low - stated[0]), abs(high - stated[1])) < 0.5:
        return None
    return (
        f"the model's card means {stated[0]:g} to {stated[1]:g}, and the product's metadata {low:g} to {high:g} for "
        "reflectance 0 to 1; --normalisation scales follows the metadata"
    )


def _assemble(
    product: Product, local: Path | None, bands: tuple[str, ...], model: ModelBands, folder: Path, path: Path
) -> list[str]:
    if product.kind in _ADVICE:
        raise SceneError("unsupported", _ADVICE[product.kind])
    if product.kind in _COPIED:
        if bands:
            raise SceneError("unsupported", "--bands chooses bands of products, and this file is taken whole.")
        _copy(local, _COPIED[product.kind], path)
        return []
    members = _members(product, local)
    eopf = EopfProduct(members) if product.kind == "eopf" else None
    layers = _layers(product, members, folder) if eopf is None else eopf.layers()
    chosen = choose(layers, bands, model)

    def locate(file: str) -> Path:
        if eopf is not None:
            return eopf.locate(file, folder)
        if product.kind == "stac":
            names = [layer.name for layer in layers.layers if layer.file == file]
            file = check_reference(file, names[0])
        return members.local(file, folder)

    notes = [*layers.notes, *assemble(layers, chosen.layers, locate, path)]
    if eopf is not None:
        notes += eopf.notes
    if chosen.left_out:
        notes.append(f"bands left out: {', '.join(chosen.left_out)}; --bands names those that are wanted")
    return notes


def _members(product: Product, local: Path | None) -> Members:
    if local is not None and product.kind in ("sentinel-2", "eopf", "landsat"):
        return PackedMembers(local)
    return FolderMembers(Storage(product.place), scene_start(product), anywhere=product.kind == "stac")


def _layers(product: Product, members: Members, folder: Path) -> Layers:
    match product.kind:
        case "sentinel-2":
            return read_sentinel2(members)
        case "landsat":
            return read_landsat(members, product.main)
        case "planet":
            return read_planet(members, product.main)
        case "naip":
            with open_raster(members.local(product.main, folder)) as dataset:
                return read_naip(product.main, dataset.count)
        case _:
            return read_item(json.loads(product.item))


def _copy(source: Path | None, driver: str, path: Path) -> None:
    """Copies a raster with all that it says, opened by one driver.

    Raises:
        SceneError: ``unreadable``, ``corrupt`` or ``disk``.
    """
    if source is None:
        raise SceneError("unsupported", "A VRT in a bucket names files that are not fetched; copy all to a folder.")
    try:
        with gdal(), rasterio.open(source, driver=driver, sharing=False) as dataset:
            check_room(
                path.parent, sum(dataset.width * dataset.height * np.dtype(dtype).itemsize for dtype in dataset.dtypes)
            )
            rasterio.shutil.copy(dataset, path, driver="GTiff", tiled=True, bigtiff="if_safer")
    except GDAL_ERRORS as error:
        raise unreadable(f"It is no {driver} that can be opened with all its files: {plain(error)}.") from None
