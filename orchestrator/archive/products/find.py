"""Products among the files of an archive, found by the names that their publishers give them; nothing is opened."""

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

from orchestrator.archive.products.landsat import MTL, PRODUCT_ID
from orchestrator.archive.products.planet import ANALYTIC, METADATA, NAIP, UDM
from orchestrator.archive.products.types import Product, ProductKind
from orchestrator.foundation.file_listing import FileFacts
from orchestrator.foundation.file_types import NITF, suffix_of
from orchestrator.foundation.storage import Storage

_SAFE = re.compile(r"^(?P<root>(?:.*?/)?[^/]+\.(?P<kind>SAFE|zarr))/", re.IGNORECASE)
_SENTINEL_2 = re.compile(r"(?:^|/)(?:S2[A-D]_(?:\w+_)?MSIL|S02MSIL)(?:1C|2A)_[^/]*$")
_LANDSAT = re.compile(rf"(?:^|/)({PRODUCT_ID})(?:_[^/]*|\.tar)$")


@dataclass(frozen=True, slots=True)
class FoundProduct:
    """A product in a listing.

    Attributes:
        name: Its path below the archive, from which its output is named.
        product: The product.
        files: Files that are part of it, and no scenes of their own.
    """

    name: str
    product: Product
    files: tuple[FileFacts, ...]


def may_belong(path: str) -> bool:
    """Returns True if a file, by its path, may be part of a product, whatever its ending."""
    zipped = suffix_of(path) == ".zip" and bool(_SENTINEL_2.search(path))
    single = zipped or suffix_of(path) in NITF or bool(NAIP.search(path))
    return single or bool(_SAFE.match(path)) or any(pattern.search(path) for pattern, _ in _GROUPED)


def find_products(files: Iterable[FileFacts], place: Storage) -> tuple[list[FoundProduct], list[FileFacts]]:
    """Groups files into products.

    Args:
        files: Files of :func:`may_belong`, with paths below ``place``.
        place: The archive.

    Returns:
        The products, and the files that are part of none.
    """
    groups: dict[tuple[str, str], list[FileFacts]] = defaultdict(list)
    for facts in files:
        groups[_group_of(facts.path)].append(facts)
    products, others = [], []
    for (kind, name), group in groups.items():
        found, rest = _products_of(kind, name, group, place)
        products += found
        others += rest
    return products, others


def product_of_file(name: str, place: Storage) -> Product | None:
    """The product that a path leads to; None if it is none by its name.

    Args:
        name: Path of a ``.SAFE`` or ``.zarr`` folder, an archive, a metadata file or an image.
        place: The same as a place.
    """
    last = PurePosixPath(name).name
    suffix = suffix_of(last)
    if suffix == ".safe":
        return Product("sentinel-2" if _SENTINEL_2.search(last) else "safe", place.uri)
    if suffix == ".zarr" or last.lower().endswith(".zarr.zip"):
        return Product("eopf" if _SENTINEL_2.search(last) else "zarr", place.uri)
    if (suffix == ".zip" and _SENTINEL_2.search(last)) or (suffix == ".tar" and _LANDSAT.search(last)):
        return Product("sentinel-2" if suffix == ".zip" else "landsat", place.uri)
    if suffix in NITF:
        return Product("nitf", place.uri)
    if suffix == ".vrt":
        return Product("vrt", place.uri)
    for pattern, kind in _LED:
        if pattern.search(last):
            return Product(kind, place.uri.rpartition("/")[0], last)
    return None


def scene_name(path: str, product: Product) -> str:
    """Name of a product's scene by the path that leads to it: a Landsat product is named without ``_MTL.txt``."""
    found = MTL.search(path)
    return path if product.kind != "landsat" or found is None else path[: found.end(1)]


def is_packed(product: Product) -> bool:
    """Returns True if a product is one file that is fetched as a whole."""
    return not product.main and not product.item and suffix_of(product.place) not in (".safe", ".zarr")


def scene_start(product: Product) -> str:
    """Beginning of the names of a product's files in its folder; empty for all files below it."""
    for pattern, kind in _LED:
        if product.kind == kind and product.main and (found := pattern.search(product.main)):
            return product.main if kind == "naip" else found[1]
    return ""


def is_part(product: Product, path: str) -> bool:
    """Returns True if a file below a product's place is part of it, grouped by its path as in :func:`find_products`."""
    if not product.main or path == product.main:
        return True
    image = product.kind == "planet" and bool(ANALYTIC.search(path))
    return _group_of(path) == _group_of(product.main) and not image


_LED: tuple[tuple[re.Pattern[str], ProductKind], ...] = ((MTL, "landsat"), (ANALYTIC, "planet"), (NAIP, "naip"))
"""Products that are known by one of their files."""
_GROUPED = ((_LANDSAT, "landsat"), *((pattern, "planet") for pattern in (ANALYTIC, UDM, METADATA)))
"""Files of products that lie beside those of others; the group of each pattern is the product."""


def _group_of(path: str) -> tuple[str, str]:
    """Kind and name of the group that a file belongs to."""
    if found := _SAFE.match(path):
        return found["kind"].lower(), found["root"]
    folder = path.rpartition("/")[0]
    if suffix_of(path) not in (".tar", ".zip"):
        for pattern, kind in _GROUPED:
            if found := pattern.search(path):
                return kind, f"{folder}/{found[1]}".lstrip("/")
    return "file", path


def _products_of(
    kind: str, name: str, group: list[FileFacts], place: Storage
) -> tuple[list[FoundProduct], list[FileFacts]]:
    whole = tuple(group)
    if kind in ("safe", "zarr", "file"):
        product = product_of_file(name, place.child(name))
        return ([FoundProduct(name, product, whole)], []) if product is not None else ([], group)
    if kind == "landsat":
        mains = [facts.path for facts in group if MTL.search(facts.path)]
        product = product_of_file(min(mains), place.child(min(mains))) if mains else None
        return ([FoundProduct(name, product, whole)], []) if product is not None else ([], group)
    images = [facts for facts in group if ANALYTIC.search(facts.path)]
    if not images:
        return [], group
    beside = [facts for facts in group if facts not in images]
    found = [
        FoundProduct(facts.path, product, (facts, *beside))
        for facts in images
        if (product := product_of_file(facts.path, place.child(facts.path))) is not None
    ]
    return found, []
