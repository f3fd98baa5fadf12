"""Types shared by the parts of an archive's work: settings, facts and outcomes, all of which pickle.

LR is the source scene, HR its upscaled output, r the scale factor. Rows and columns count from the upper left corner,
``(first, last)`` means ``first <= row < last``. Bands count from 1, as in GDAL.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from math import gcd, inf
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NotRequired, TypedDict

import numpy as np
from numpy.typing import NDArray

from trainables.errors import RayScaleError, UsageError
from trainables.inference.downscaling import BackProject
from trainables.inference.precision import Precision

if TYPE_CHECKING:
    from trainables.inference.prepare import Prepared

Rows = tuple[int, int]
Range = tuple[float, float]
Normalisation = Literal["auto", "dtype", "scales", "measured"] | Range | Mapping[str, Range]
BandMap = Literal["auto", "singly"] | tuple[tuple[int, ...], ...]
Labels = Literal["auto", "repeat", "refuse", "filter"]

DTYPES = ("uint8", "uint16", "int16", "float32")
"""Data types that scenes may have."""

KINDS = {
    "unreadable": "there is no such file, it is empty, or it is no raster",
    "corrupt": "it opens, but some of its pixels cannot be read: cut short, or damaged",
    "unsupported": "a raster of a kind that must not be filtered or that no rule is known for",
    "normalisation": "nothing says which values of this data type mean 0 and 1",
    "model_mismatch": "the bands of the scene and of the model do not go together",
    "memory": "even the smallest tile does not fit",
    "disk": "no room for scratch files or for the output",
    "verification": "the output is not what was meant to be written, or the model gave values that are not finite",
    "flagged": "the output is flagged, and flagged ones are failures (raised by those who store)",
    "error": "anything else, with its name",
    "denied": "the storage refuses access (raised by those who fetch and store)",
    "transient": "the storage failed in a way that may pass (raised by those who fetch and store)",
    "outside": "the output would lie outside OUTPUT or among RayScale's own files (raised by those who store)",
}
"""Every kind of :class:`SceneError` with its meaning."""


class SceneError(RayScaleError):
    """One scene cannot be upscaled; the rest of its archive can.

    Attributes:
        kind: One of :data:`KINDS`.
        reason: A sentence or two for the user.
    """

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(kind, reason)
        self.kind, self.reason = kind, reason

    def __str__(self) -> str:
        return self.reason


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneSettings:
    """Settings for upscaling scenes.

    Attributes:
        memory_mb: Working memory of the network in MiB, from which the size of a tile follows. The tile is halved if
            memory still runs out.
        threads: CPU threads of the network and of compression.
        device: Device of the network, as torch names it.
        precision: Number format of convolutions.
        normalisation: Values that mean 0 and 1 to the network. ``auto``: 0 and 255 for uint8; for other types the first
            of the model's card, the file's scales and offsets, its product's, and an error. ``dtype``: the limits of
            the integer type. ``scales``: 0 and 1 after the file's scales and offsets. ``measured``: measured on a
            sample of an archive before its scenes start. Or the two values (low, high), for all scenes or by data type;
            types that are not named are as with ``auto``.
        range_from: Origin of stated values, as output tags name it.
        source_name: Path or URI whose names tell the product; by default the scene's own path.
        band_map: Bands that the network sees together: groups of band numbers in the network's order. A group of one
            band is replicated and the outputs averaged. ``auto``: the bands that the model's card names, if the file
            names them too; or the groups of the card; or all bands together if the network takes as many; or, if it
            takes 1 or 3, red, green and blue together if the file names them, and all others singly.
        bands: Names of the bands that are taken of a product, such as ``("B04", "B03", "B02")``; empty for those that
            suit the model. Single files keep all their bands.
        compression: Lossless compression of the output.
        blocksize: Side of the output's internal tiles in pixels, a multiple of 16 and at least 128.
        overviews: True if the output gets reduced-resolution overviews.
        expand_palette: True to turn a palette image into colours; otherwise it is refused.
        back_project: ``on`` adds, once, the upsampled difference of the source and the output's block means, so that
            the mean of the r×r output pixels of each source pixel is its value; ``model`` downscales the output as the
            model's training images were; ``off`` adds nothing. See :mod:`trainables.inference.radiometry`.
        labels: Treatment of bands of classes or flags (see ``class_bands``): ``auto`` repeats each value of recognised
            ones r×r times, ``refuse`` refuses their scene; ``repeat`` repeats all bands of all scenes, ``filter``
            treats all as images.
    """

    memory_mb: int = 1024
    threads: int = 1
    device: str = "cpu"
    precision: Precision = "auto"
    normalisation: Normalisation = "auto"
    range_from: str = "given"
    source_name: str = ""
    band_map: BandMap = "auto"
    bands: tuple[str, ...] = ()
    compression: Literal["zstd", "deflate"] = "zstd"
    blocksize: int = 512
    overviews: bool = True
    expand_palette: bool = False
    labels: Labels = "auto"
    back_project: BackProject = "on"

    def __post_init__(self) -> None:
        if self.memory_mb < 1 or self.threads < 1:
            raise UsageError(
                f"memory_mb and threads must be at least 1, found memory_mb {self.memory_mb}, threads {self.threads}."
            )
        if self.blocksize < 128 or self.blocksize % 16:
            raise UsageError(f"blocksize must be a multiple of 16 and at least 128, found {self.blocksize}.")
        if isinstance(self.normalisation, tuple):
            _check_range(self.normalisation)
        elif isinstance(self.normalisation, Mapping):
            for dtype, values in self.normalisation.items():
                if dtype not in DTYPES:
                    raise UsageError(f"A normalisation by data type is for {', '.join(DTYPES)}, found '{dtype}'.")
                _check_range(values)

    def of_the_result(self) -> dict[str, object]:
        """Settings that determine the output's bytes, for digests; memory and number of threads do not."""
        settings = {name: getattr(self, name) for name in _OF_THE_RESULT}
        if isinstance(self.normalisation, Mapping):
            settings["normalisation"] = dict(self.normalisation)
        # Added later: left out at their defaults.
        later = {
            "labels": (self.labels, "auto"),
            "range_from": (self.range_from, "given"),
            "back_project": (self.back_project, "on"),
            "bands": (self.bands, ()),
        }
        return settings | {name: value for name, (value, default) in later.items() if value != default}

    def row_step(self, scale: int) -> int:
        """Number of LR rows after which a row of the output's internal tiles ends."""
        return self.blocksize // gcd(self.blocksize, scale)

    def for_bands(self, bands: int, dtype: str) -> "SceneSettings":
        """The same with smaller internal tiles where a scene has so many bands that they would not fit a cache."""
        side = self.blocksize
        while side > 128 and side % 32 == 0 and bands * np.dtype(dtype).itemsize * side**2 > _LARGEST_BLOCK:
            side //= 2
        return self if side == self.blocksize else replace(self, blocksize=side)


def _check_range(values: Range) -> None:
    low, high = values
    if not -inf < low < high < inf:
        raise UsageError(f"normalisation must be two values LOW,HIGH with LOW below HIGH, found {low:g},{high:g}.")


_LARGEST_BLOCK = 2**25
"""Most bytes of an output's internal tile in all bands: two must fit GDAL's cache, or each band decodes it again."""

_OF_THE_RESULT = (
    *("precision", "normalisation", "band_map", "compression", "blocksize", "overviews", "expand_palette"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """Facts about a model that are known without its weights.

    Attributes:
        name: Name in its card, or else of its folder; its location does not change outputs.
        digest: SHA-256 of the weights.
        scale: Scale factor r.
        channels: Number of bands that the network takes and gives.
        radius: Receptive radius in LR pixels.
        precision: Number format of its convolutions, resolved.
        value_range: (low, high) by data type, such as ``{"uint16": (0, 10000)}``, from the card's ``value_range``.
        band_map: Groups by the number of bands of a scene, such as ``{4: ((1, 2, 3), (4,))}``, from the card's
            ``band_map``.
        band_names: Name of each band that the network takes, from the card's ``band_names``; none if it has none.
        decimation: Decimation of its training images, from the card's ``degradation``; None if it states none.
    """

    name: str
    digest: str
    scale: int
    channels: int
    radius: int
    precision: str
    value_range: dict[str, tuple[float, float]] = field(default_factory=dict)
    band_map: dict[int, tuple[tuple[int, ...], ...]] = field(default_factory=dict)
    band_names: tuple[str, ...] = ()
    decimation: str | None = None


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A network ready to compute, with facts about it.

    Attributes:
        facts: Facts known without the weights.
        net: The network.
        bytes_per_pixel: Working memory per LR pixel of a tile, measured.
    """

    facts: ModelFacts
    net: "Prepared"
    bytes_per_pixel: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneFacts:
    """Facts about a source file that are known before its pixels are read.

    Attributes:
        width: LR columns.
        height: LR rows.
        bands: Bands as GDAL counts them, alpha included.
        dtype: NumPy name of the data type.
        kind: Kind of georeferencing: ``georeferenced`` (an affine transform), ``gcps``, ``rpcs`` or ``none``.
        driver: GDAL's short name of the format.
        palette: True if its one band holds indices of colours.
    """

    width: int
    height: int
    bands: int
    dtype: str
    kind: Literal["georeferenced", "gcps", "rpcs", "none"]
    driver: str
    palette: bool = False

    @property
    def pixels(self) -> int:
        """LR pixels of a band."""
        return self.width * self.height

    def raw_bytes(self, scale: int, rows: int | None = None) -> int:
        """Bytes of the uncompressed output, or of as many LR rows of it."""
        bands = 3 if self.palette else self.bands
        return (rows or self.height) * self.width * scale**2 * bands * np.dtype(self.dtype).itemsize

    def scratch_bytes(self, scale: int) -> int:
        """Room that one scene needs on local disk: raw HR pixels and their overviews, a third more."""
        return int(1.35 * self.raw_bytes(scale)) + 2**20


@dataclass(frozen=True, slots=True)
class TileView:
    """One finished piece of the output, for measurements while its pixels are in memory; arrays are valid in the call.

    Attributes:
        row: First LR row.
        column: First LR column.
        lr: (bands, h, w), source values of the image bands (no alpha); invalid ones are undefined.
        hr: (bands, r·h, r·w), output values in the output's data type.
        valid: bool (bands, h, w), False where the source is nodata, NaN or masked.
        low: (bands,) value that means 0 to the network.
        high: (bands,) value that means 1 to the network.
        around: (bands, h + 2, w + 2), ``lr`` with one more pixel to each side, the scene continued by reflection.
        around_valid: ``valid`` likewise; None where every sample has a value.
        named: Positions of the bands red, green and nir, where these are known.
        seen: Positions of the bands that the network saw; None if it saw all.
    """

    row: int
    column: int
    lr: NDArray[Any]
    hr: NDArray[Any]
    valid: NDArray[np.bool_]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    around: NDArray[Any]
    around_valid: NDArray[np.bool_] | None = None
    named: Mapping[str, int] = field(default_factory=dict)
    seen: tuple[int, ...] | None = None


Observer = Callable[[TileView], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class PartFacts:
    """Facts about some upscaled rows of a scene.

    Attributes:
        path: Raw uncompressed BigTIFF of r·(last - first) HR rows, on local disk.
        rows: LR rows (first, last).
        tile: LR rows and columns that were computed at once, without the halo.
        halo: LR pixels around a tile that were read and computed beside it.
        seconds: By phase: read, model, write.
        valid: Image samples (pixels times bands) of the LR source that are valid.
        samples: All image samples of these rows.
        minimum: Minimum of valid output values, for each image band; None where a band has none.
        maximum: Likewise.
    """

    path: Path
    rows: Rows
    tile: tuple[int, int]
    halo: int
    seconds: dict[str, float]
    valid: int
    samples: int
    minimum: list[float | None]
    maximum: list[float | None]


class StacItem(TypedDict):
    """A STAC item as plain JSON values."""

    type: str
    stac_version: str
    stac_extensions: list[str]
    id: str
    geometry: dict[str, object] | None
    bbox: NotRequired[list[float]]
    properties: dict[str, object]
    links: list[dict[str, object]]
    assets: dict[str, dict[str, object]]


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneOutput:
    """A finished output.

    Attributes:
        path: The COG.
        size: Its bytes.
        sha256: Its digest.
        width: HR columns.
        height: HR rows.
        bands: Bands, alpha included.
        dtype: NumPy name of the data type.
        item: STAC item as plain JSON values; the asset's href is the COG's file name.
        seconds: By phase: read, model, write, assemble, overviews, encode, verify.
        tile: LR rows and columns computed at once.
        halo: LR pixels around them.
        normalisation: Values that meant 0 and 1, as the output's tags state it.
        band_map: Bands that the network saw together.
        valid_share: Share of valid image samples, 0 to 1.
        minimum: Minimum of valid values, for each image band.
        maximum: Likewise.
        notes: Notes for the user, such as ``georef: none``.
    """

    path: Path
    size: int
    sha256: str
    width: int
    height: int
    bands: int
    dtype: str
    item: StacItem
    seconds: dict[str, float]
    tile: tuple[int, int]
    halo: int
    normalisation: str
    band_map: str
    valid_share: float
    minimum: list[float | None]
    maximum: list[float | None]
    notes: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Origin of an output.

    Attributes:
        item_id: Id of the STAC item.
        source: Origin of the scene, for the item's ``derived_from`` link.
        acquired: Acquisition time of the scene; by default that of its tags, or the source file's last change.
    """

    item_id: str
    source: str
    acquired: datetime | None = None
