"""Sentinel-2 products of levels 1C and 2A in the SAFE format.

Bands are the JPEG 2000 files below ``GRANULE/*/IMG_DATA``. ``MTD_MSIL1C.xml`` or ``MTD_MSIL2A.xml`` state the
quantification value and, since processing baseline 04.00, the radiometric offset of each band (Sentinel-2 Products
Specification Document; reflectance = (DN + offset) / quantification value).
"""

import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from xml.etree import ElementTree

from orchestrator.archive.products.members import Members, parse_xml
from orchestrator.archive.products.types import Layer, Layers, Mask, product_tags, unreadable
from orchestrator.foundation.file_types import JPEG_2000, suffix_of

_METADATA = re.compile(r"(?:^|/)MTD_MSI(L1C|L2A)\.xml$")
_FILE = re.compile(r"_(B\d\d|B8A|SCL|TCI|AOT|WVP)(?:_(\d\d)m)?$")
_BANDS = (
    *(("B01", "coastal", 60), ("B02", "blue", 10), ("B03", "green", 10), ("B04", "red", 10)),
    *(("B05", "rededge071", 20), ("B06", "rededge075", 20), ("B07", "rededge078", 20), ("B08", "nir", 10)),
    *(("B8A", "nir08", 20), ("B09", "nir09", 60), ("B10", "cirrus", 60), ("B11", "swir16", 20), ("B12", "swir22", 20)),
)
"""Bands in the order of their numbers in metadata (``band_id``): name, common name, own resolution in metres."""
COMMON_NAMES = {name: common for name, common, _ in _BANDS}
_NUMBER = {name: number for number, (name, _, _) in enumerate(_BANDS)}
_OWN = {name: resolution for name, _, resolution in _BANDS}
NO_DATA_CLASS = 0
"""Scene classification of pixels without data."""
_OFFSET_SINCE = 4


def read_sentinel2(members: Members) -> Layers:
    """Reads the metadata of a product.

    Args:
        members: Files of the ``.SAFE`` folder, or of an archive that holds it.

    Raises:
        SceneError: ``unreadable``, if metadata are missing or damaged.
    """
    names = members.names()
    metadata = [name for name in names if _METADATA.search(name)]
    if len(metadata) != 1:
        raise unreadable(
            "Expected one metadata file MTD_MSIL1C.xml or MTD_MSIL2A.xml in the product, found "
            f"{len(metadata) or 'none'}; download the whole product again, or name single files of it by --include."
        )
    name, root = metadata[0], PurePosixPath(metadata[0]).parent
    tree = parse_xml(members.read(name), name)
    facts = _Facts(tree, name)
    files = {str(PurePosixPath(path).with_suffix("")): path for path in names if suffix_of(path) in JPEG_2000}
    stated = [str(root / (text or "").strip()) for text in _texts(tree, "IMAGE_FILE")]
    # Older baselines list no files, or not all of them.
    images = dict.fromkeys([*stated, *(path for path in sorted(files) if "/IMG_DATA/" in path)])
    layers = [layer for path in images if (layer := _layer(path, files.get(path, f"{path}.jp2"), facts)) is not None]
    if not layers:
        raise unreadable("The product has no band in GRANULE/*/IMG_DATA; download it again.")
    granules = {layer.file.rpartition("/IMG_DATA/")[0] for layer in layers}
    if len(granules) > 1:
        raise unreadable(
            f"The product has {len(granules)} granules, as before December 2016; upscale their files one by one by "
            "--include '*/IMG_DATA/*'."
        )
    scenes = [layer for layer in layers if layer.name == "SCL"]
    masks = tuple(Mask(layer.file, "SCL", value=NO_DATA_CLASS) for layer in scenes if layer.file in names)[:1]
    notes = ("its scene classification (SCL) is missing and was not used as a mask",) if scenes and not masks else ()
    return Layers(tuple(layers), facts.nodata, masks, facts.tags, notes)


class _Facts:
    """Radiometry of a product as its metadata state it."""

    def __init__(self, tree: ElementTree.Element, name: str) -> None:
        level_2a = "L2A" in PurePosixPath(name).name
        kind = "BOA" if level_2a else "RADIO"
        quantification = "BOA_QUANTIFICATION_VALUE" if level_2a else "QUANTIFICATION_VALUE"
        baseline = next(_texts(tree, "PROCESSING_BASELINE"), "")
        try:
            stated = next(_texts(tree, quantification), "") or next(_texts(tree, f"L2A_{quantification}"), "nan")
            self.quantification = float(stated)
            self.aerosol = float(next(_texts(tree, "AOT_QUANTIFICATION_VALUE"), "1000"))
            self.vapour = float(next(_texts(tree, "WVP_QUANTIFICATION_VALUE"), "1000"))
            self.offsets = {
                int(element.get("band_id", "-1")): float(element.text or "nan")
                for element in tree.iter()
                if _tag(element) == f"{kind}_ADD_OFFSET"
            }
        except ValueError as error:
            raise unreadable(f"Its metadata {name} hold a number that cannot be read ({error}).") from None
        if not self.quantification > 0:
            raise unreadable(f"Its metadata {name} state no {quantification}; download the product again.")
        if baseline[:2].isdigit() and int(baseline[:2]) >= _OFFSET_SINCE and not self.offsets:
            raise unreadable(
                f"Its metadata {name} state no {kind}_ADD_OFFSET, which processing baseline {baseline} has; "
                "download the product again."
            )
        texts = list(_texts(tree, "SPECIAL_VALUE_TEXT")), list(_texts(tree, "SPECIAL_VALUE_INDEX"))
        special = dict(zip(*texts, strict=False))
        self.nodata = float(special["NODATA"]) if special.get("NODATA", "").isdigit() else 0.0
        acquired = next(_texts(tree, "DATATAKE_SENSING_START"), "") or next(_texts(tree, "PRODUCT_START_TIME"), "")
        self.tags = product_tags(next(_texts(tree, "PRODUCT_URI"), ""), acquired, baseline)


def _layer(path: str, file: str, facts: _Facts) -> Layer | None:
    """A band, or None for images that are no layer of the product."""
    found = _FILE.search(path)
    if found is None:
        return None
    name, resolution = found[1], float(found[2] or _OWN.get(found[1], 10))
    if name == "TCI":  # a picture of three of the bands
        return None
    if name == "SCL":
        return Layer(file, name, classes=True, resolution=resolution)
    if name in ("AOT", "WVP"):
        step = 1 / (facts.aerosol if name == "AOT" else facts.vapour)
        return Layer(file, name, scale=step, resolution=resolution)
    step = 1 / facts.quantification
    offset = facts.offsets.get(_NUMBER[name], 0.0) if name in _NUMBER else 0.0
    return Layer(file, name, COMMON_NAMES.get(name, ""), scale=step, offset=offset * step, resolution=resolution)


def _tag(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]


def _texts(tree: ElementTree.Element, tag: str) -> Iterator[str]:
    return ((element.text or "").strip() for element in tree.iter() if _tag(element) == tag)
