"""Types of satellite products.

A product is a set of files that are one scene, such as a Sentinel-2 ``.SAFE`` folder. Listing an archive finds its kind
and place only (:class:`Product`); a worker reads its metadata, which gives the :class:`Layers` that become one raster.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from orchestrator.archive.scene.types import SceneError

ProductKind = Literal["sentinel-2", "landsat", "planet", "naip", "stac", "vrt", "eopf", "zarr", "safe", "nitf"]
"""Kinds of products; ``safe`` and ``zarr``, of other missions than Sentinel-2, are refused with advice."""


@dataclass(frozen=True, slots=True)
class Product:
    """A product as an archive lists it.

    Attributes:
        kind: What it is.
        place: Its folder, or its one file, as a URI or an absolute path.
        main: Name of its leading file below ``place``; empty where ``place`` is a folder that is the product, such as
            ``.SAFE``, or a single file.
        item: Its STAC item as JSON; empty for other kinds.
    """

    kind: ProductKind
    place: str
    main: str = ""
    item: str = ""


@dataclass(frozen=True, slots=True)
class Layer:
    """One band of a product, and what its values mean.

    Attributes:
        file: Name of its file among the product's members.
        name: Name of the band, such as ``B04`` or ``SR_B4``.
        common: What it shows, by STAC's common names: ``red``, ``nir``, ``swir16``, …; empty if it shows none of them.
        band: Number of the band in its file.
        scale: Physical value of a step of the stored values.
        offset: Physical value of a stored 0.
        classes: True if its values are classes, masks or flags, which have no mean.
        resolution: Side of a pixel in metres, as metadata say; 0 where they do not.
    """

    file: str
    name: str
    common: str = ""
    band: int = 1
    scale: float = 1.0
    offset: float = 0.0
    classes: bool = False
    resolution: float = 0.0


@dataclass(frozen=True, slots=True)
class Mask:
    """A raster that marks pixels without a value.

    Attributes:
        file: Name of its file among the product's members.
        name: Its name in notes.
        band: Number of the band in its file.
        bits: A pixel has no value if any of these bits is set.
        value: Or if it has this value; None for none.
    """

    file: str
    name: str
    band: int = 1
    bits: int = 0
    value: int | None = None


@dataclass(frozen=True, slots=True)
class Layers:
    """All bands that a product offers.

    Attributes:
        layers: The bands.
        nodata: Stored value of pixels without a value; None if metadata name none.
        masks: Rasters that mark further pixels without a value.
        tags: Tags of the raster: the product's name, its processing baseline and when it was acquired.
        notes: What a user should know, such as a mask that is missing.
        whole: True if all bands lie in one file, and are taken together unless a person names some.
    """

    layers: tuple[Layer, ...]
    nodata: float | None = None
    masks: tuple[Mask, ...] = ()
    tags: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    whole: bool = False


@dataclass(frozen=True, slots=True)
class ModelBands:
    """Bands that a model takes.

    Attributes:
        channels: Their number.
        names: Their names, if its card states them.
    """

    channels: int
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Assembled:
    """A product as one raster.

    Attributes:
        path: A GeoTIFF.
        notes: Bands that were left out, masks that were applied, and what was resampled.
    """

    path: Path
    notes: tuple[str, ...] = ()


def product_tags(name: str, acquired: str, baseline: str = "") -> dict[str, str]:
    """Tags of a product's raster, as far as they are known.

    Args:
        name: Name of the product.
        acquired: Time of its acquisition.
        baseline: Processing baseline.
    """
    tags = {"PRODUCT": name, "PROCESSING_BASELINE": baseline, "ACQUISITIONDATETIME": acquired}
    return {tag: text for tag, text in tags.items() if text}


def unreadable(reason: str) -> SceneError:
    """Failure of a product that lacks a file, or whose metadata cannot be read."""
    return SceneError("unreadable", reason)
