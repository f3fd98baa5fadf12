"""Sentinel-2 products of levels 1C and 2A in EOPF's Zarr format, ESA's successor of SAFE.

Bands are arrays of Zarr format 2 or 3, such as ``measurements/reflectance/r10m/b04``. Their attributes state scale and
offset as CF does: value = stored value × ``scale_factor`` + ``add_offset``. The arrays ``x`` and ``y`` beside a band
are the centres of its pixels (EOPF Product Structure and Format Definition, Sentinel-2; CF Conventions 1.11, 8.1).
"""

import json
import math
import re
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.dtypes import check_dtype
from rasterio.errors import CRSError
from rasterio.windows import Window

from orchestrator.archive.products.members import Members, free_name
from orchestrator.archive.products.sentinel2 import COMMON_NAMES, NO_DATA_CLASS
from orchestrator.archive.products.types import Layer, Layers, Mask, product_tags, unreadable
from orchestrator.archive.scene.geotiff.bigtiff import check_room, writing
from orchestrator.archive.scene.open_raster import gdal
from orchestrator.archive.scene.strips import usable_nodata
from orchestrator.archive.scene.types import SceneError
from trainables.errors import reason_of

if TYPE_CHECKING:
    import zarr

_BAND = re.compile(
    r"(?:measurements/reflectance|quality/atmosphere|conditions/mask/l2a_classification)/r(?P<side>\d\d)m/"
    r"(?P<band>b\d\d|b8a|scl|aot|wvp)"
)
_ROOT = re.compile(r"(?P<root>(?:[^/]+\.zarr/)?)(?:\.zgroup|zarr\.json)")
_CRS = ("proj:code", "proj:epsg", "proj:wkt2")
_BASELINE = re.compile(r"_N(\d\d)(\d\d)_")
_MOST_CHUNK = 2**29
"""Bytes of a chunk, which is in memory as a whole; those of products have 7 MB."""
_EVEN = 1e-6
"""Largest difference of two steps between pixels, in pixels."""

Json = Mapping[str, Any]


class EopfProduct:
    """A product, whose arrays become GeoTIFFs one by one.

    Args:
        members: Files of the ``.zarr`` folder, or of an archive that holds it.

    Attributes:
        notes: What a user should know of the bands that were asked for.

    Raises:
        SceneError: ``unreadable``, if it is no Zarr group.
    """

    def __init__(self, members: Members) -> None:
        self._members, self.notes = members, list[str]()
        self._documents: dict[str, Json] = {}
        self._names = set(members.names())
        roots = sorted((found["root"] for name in self._names if (found := _ROOT.fullmatch(name))), key=len)
        if not roots:
            raise unreadable("It has no .zgroup or zarr.json, which a Zarr product has; download it again.")
        self._root = roots[0]
        self._third = f"{self._root}zarr.json" in self._names

    def layers(self) -> Layers:
        """All bands.

        Raises:
            SceneError: ``unreadable``, if metadata are missing or damaged.
        """
        reflectance_first = sorted(self._arrays(), key=lambda array: (not array.startswith("measurements/"), array))
        found = [_BAND.fullmatch(array) for array in reflectance_first]
        arrays = [match for match in found if match is not None]
        if not any(match["band"].startswith("b") for match in arrays):
            raise unreadable(
                "It has no band in measurements/reflectance/r10m, r20m or r60m, which Sentinel-2 products of levels 1C "
                "and 2A have; download it again, or convert its bands to one GeoTIFF."
            )
        layers = tuple(self._layer(match) for match in arrays)
        masks = tuple(Mask(layer.file, "SCL", value=NO_DATA_CLASS) for layer in layers if layer.name == "SCL")[:1]
        bands = [match[0] for match in arrays if match["band"].startswith("b")]
        return Layers(layers, self._nodata(bands[0]), masks, self._tags())

    def locate(self, array: str, folder: Path) -> Path:
        """An array as a GeoTIFF in ``folder``, which is written if it is not there yet.

        Raises:
            SceneError: ``unreadable`` or ``corrupt``, if it cannot be read, or ``disk``.
        """
        target = free_name(f"{array}.tif", folder)
        if not target.exists():
            group = array.rpartition("/")[0]
            band, x, y = (self._opened(name, folder) for name in (array, f"{group}/x", f"{group}/y"))
            partial = target.with_name(f"{secrets.token_hex(8)}.tif")
            try:
                centres = [_values(axis, f"{group}/{name}") for axis, name in ((x, "x"), (y, "y"))]
                self._write(array, band, _transform(array, band.shape, *centres), partial)
                partial.replace(target)
            finally:
                partial.unlink(missing_ok=True)
        return target

    def _arrays(self) -> Iterator[str]:
        ending = "/zarr.json" if self._third else "/.zarray"
        own = (name.removeprefix(self._root) for name in self._names if name.startswith(self._root))
        return (name.removesuffix(ending) for name in own if name.endswith(ending))

    def _layer(self, found: re.Match[str]) -> Layer:
        name, array, side = found["band"].upper(), found[0], float(found["side"])
        if name == "SCL":
            return Layer(array, name, classes=True, resolution=side)
        if self._is_float(array):  # physical values already
            return Layer(array, name, COMMON_NAMES.get(name, ""), resolution=side)
        stated = self._attributes(array)
        try:
            scale, offset = float(stated["scale_factor"]), float(stated.get("add_offset", 0))
        except (KeyError, TypeError, ValueError):
            scale, offset = math.nan, math.nan
        if not (math.isfinite(scale) and math.isfinite(offset) and scale):
            raise unreadable(f"Its array {array} states no scale_factor and add_offset; download the product again.")
        return Layer(array, name, COMMON_NAMES.get(name, ""), scale=scale, offset=offset, resolution=side)

    def _nodata(self, array: str) -> float | None:
        stated = self._attributes(array)
        value = stated.get("_FillValue", stated.get("fill_value", self._facts(array).get("fill_value")))
        try:
            return None if value is None else float(value)
        except (TypeError, ValueError):
            return None

    def _is_float(self, array: str) -> bool:
        facts = self._facts(array)
        return "f" in str(facts.get("data_type", facts.get("dtype", "")))

    def _tags(self) -> dict[str, str]:
        item = _mapping(self._attributes("").get("stac_discovery"))
        properties, name = _mapping(item.get("properties")), str(item.get("id") or "")
        acquired = properties.get("datetime") or properties.get("start_datetime") or ""
        baseline = _BASELINE.search(name)
        return product_tags(name, str(acquired), f"{baseline[1]}.{baseline[2]}" if baseline else "")

    def _crs(self, array: str) -> rasterio.CRS:
        root = self._attributes("")
        item, other = _mapping(root.get("stac_discovery")), _mapping(root.get("other_metadata"))
        places = (
            self._attributes(array),
            _mapping(item.get("properties")),
            {"proj:code": other.get("horizontal_CRS_code")},
        )
        stated = next((place[key] for place in places for key in _CRS if place.get(key)), None)
        if stated is None:
            raise unreadable(f"Neither its array {array} nor the product states a coordinate system (proj:code).")
        try:
            return rasterio.CRS.from_user_input(stated)
        except (CRSError, TypeError, ValueError):
            raise unreadable(f"The coordinate system of its array {array} cannot be used: {stated!s:.60}.") from None

    def _write(self, array: str, band: "zarr.Array[Any]", transform: Affine, path: Path) -> None:
        height, width = band.shape
        check_room(path.parent, height * width * band.dtype.itemsize)
        missing = band.nchunks - band.nchunks_initialized
        if missing:
            self.notes.append(f"{missing} of {band.nchunks} chunks of {array} are not in the product: without values")
        nodata = usable_nodata(self._nodata(array), band.dtype.name)
        facts = {"dtype": band.dtype.name, "count": 1, "nodata": nodata, "crs": self._crs(array)}
        size = {"width": width, "height": height, "transform": transform}
        with gdal(), writing(path):
            target = rasterio.open(path, "w", driver="GTiff", tiled=True, bigtiff="if_safer", **size, **facts)
        with gdal(), target:
            for first in range(0, height, band.chunks[0]):
                rows = _values(band, array, slice(first, first + band.chunks[0]))
                with writing(path):
                    target.write(
                        rows.astype(band.dtype.newbyteorder("="), copy=False),
                        1,
                        window=Window(0, first, width, rows.shape[0]),
                    )

    def _opened(self, array: str, folder: Path) -> "zarr.Array[Any]":
        """An array whose files are on a local disk.

        Raises:
            SceneError: ``unreadable``, if there is none that can be opened.
        """
        import zarr  # half a second, for this kind of product alone

        place = self._members.tree(f"{self._root}{array}", folder)
        try:
            opened = zarr.open_array(str(place), mode="r", zarr_format=3 if self._third else 2)
            dimensions = 1 if PurePosixPath(array).name in ("x", "y") else 2
            if opened.ndim != dimensions or not check_dtype(opened.dtype.name) or opened.dtype.kind == "c":
                raise ValueError(f"it has {opened.ndim} dimensions of {opened.dtype}, expected {dimensions} of numbers")
            if math.prod(opened.chunks) * opened.dtype.itemsize > _MOST_CHUNK:
                raise ValueError(f"its chunks have more than {_MOST_CHUNK >> 20} MB")
        except (OSError, ValueError, TypeError, KeyError, RuntimeError) as error:
            raise unreadable(f"Its array {array} cannot be opened ({reason_of(error)}).") from None
        return opened

    def _attributes(self, node: str) -> Json:
        """Attributes of a group or array, those that EOPF nests among them."""
        facts = self._facts(node)
        found = _mapping(facts.get("attributes")) if self._third else self._document(f"{node}/.zattrs".lstrip("/"))
        return {**_mapping(found.get("_eopf_attrs")), **found}

    def _facts(self, node: str) -> Json:
        """Zarr's own metadata of a group or array."""
        if self._third:
            nodes = _mapping(_mapping(self._read("zarr.json").get("consolidated_metadata")).get("metadata"))
            return _mapping(nodes.get(node)) or self._document(f"{node}/zarr.json".lstrip("/"))
        return self._document(f"{node}/.zarray".lstrip("/"))

    def _document(self, name: str) -> Json:
        """A file of metadata; empty where there is none."""
        nodes = {} if self._third else _mapping(self._read(".zmetadata").get("metadata"))
        return _mapping(nodes.get(name)) or self._read(name)

    def _read(self, name: str) -> Json:
        """A file, which is fetched and parsed once."""
        whole = f"{self._root}{name}"
        if whole not in self._names:
            return {}
        if whole not in self._documents:
            try:
                self._documents[whole] = _mapping(json.loads(self._members.read(whole)))
            except (ValueError, RecursionError) as error:
                reason = reason_of(error)
                raise unreadable(f"Its metadata {whole} are no JSON ({reason}); download the product again.") from None
        return self._documents[whole]


def _mapping(value: object) -> Json:
    return value if isinstance(value, dict) else {}


def _values(array: "zarr.Array[Any]", name: str, rows: slice = slice(None)) -> NDArray[Any]:
    try:
        return np.asarray(array[rows])
    except (OSError, ValueError, TypeError, KeyError, RuntimeError) as error:
        raise SceneError("corrupt", f"Chunks of its array {name} cannot be read: {reason_of(error)}.") from None


def _transform(array: str, shape: tuple[int, ...], x: NDArray[Any], y: NDArray[Any]) -> Affine:
    """From pixels to coordinates, of the centres of columns and rows.

    Raises:
        SceneError: ``unreadable``, if they are not those of an even grid with north at the top.
    """
    steps = [np.diff(centres.astype(np.float64)) for centres in (x, y)]
    even = all(step.size and np.ptp(step) <= _EVEN * abs(step[0]) for step in steps)
    if (y.size, x.size) != shape or not even or not (steps[0][0] > 0 > steps[1][0]):
        raise unreadable(
            f"The coordinates x and y beside its array {array} are no even grid of {shape[1]}×{shape[0]} pixels with "
            "north at the top; download the product again."
        )
    right, down = (float(step.mean()) for step in steps)
    return Affine(right, 0, float(x[0]) - right / 2, 0, down, float(y[0]) - down / 2)
