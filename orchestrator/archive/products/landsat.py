"""Landsat Collection 2 products of levels 1 and 2.

Bands are single GeoTIFFs. The MTL file (text, JSON or XML) names them and states the scale and offset of each; levels 1
and 2 use the same names for different numbers, so that each is read from its own group (Landsat Collection 2 Level 2
Science Product Guide). ``QA_PIXEL`` marks fill in bit 0.
"""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from orchestrator.archive.products.members import Members, parse_xml
from orchestrator.archive.products.types import Layer, Layers, Mask, product_tags, unreadable
from orchestrator.foundation.file_types import is_tiff
from trainables.errors import reason_of

PRODUCT_ID = r"L[COTEM]0[1-9]_L\w{3}_\d{6}_\d{8}_\d{8}_02_\w\w"
"""Pattern of a product's name."""
MTL = re.compile(rf"(?:^|/)({PRODUCT_ID})_MTL\.(?:txt|json|xml)$")
"""Name of a metadata file; the group is the product's name."""
_OLI = {"1": "coastal", "2": "blue", "3": "green", "4": "red", "5": "nir", "6": "swir16", "7": "swir22", "8": "pan"}
_TM = {"1": "blue", "2": "green", "3": "red", "4": "nir", "5": "swir16", "7": "swir22", "8": "pan"}
_FILL = 1
"""Bit of ``QA_PIXEL`` that marks fill."""
_BAND_KEY = re.compile(r"FILE_NAME_BAND_(\w+)")
_QUALITY_KEY = re.compile(r"FILE_NAME_QUALITY_\w+")

Groups = Mapping[str, Mapping[str, str]]
"""Groups of an MTL file by their names."""


def read_landsat(members: Members, main: str = "") -> Layers:
    """Reads the metadata of a product.

    Args:
        members: Files of the product.
        main: Name of its MTL file; found among the members if it is not stated.

    Raises:
        SceneError: ``unreadable``, if metadata are missing or damaged.
    """
    name = main or next((name for name in members.names() if MTL.search(name)), "")
    if not name:
        raise unreadable("Its metadata (…_MTL.txt, .json or .xml) are missing; download the whole product again.")
    groups, folder = read_mtl(members.read(name), name), PurePosixPath(name).parent
    contents = groups.get("PRODUCT_CONTENTS", {})
    level = contents.get("PROCESSING_LEVEL", "")
    layers = [
        layer
        for key, file in contents.items()
        if is_tiff(file) and (layer := _layer(key, file, folder, groups, level[:2], name)) is not None
    ]
    if not layers:
        raise unreadable(f"Its metadata {name} name no band (FILE_NAME_BAND_…); download the whole product again.")
    masks = tuple(Mask(layer.file, "QA_PIXEL", bits=_FILL) for layer in layers if layer.name == "QA_PIXEL")
    image = groups.get("IMAGE_ATTRIBUTES", {})
    day, time = image.get("DATE_ACQUIRED", ""), image.get("SCENE_CENTER_TIME", "")
    found = MTL.search(name)
    product = contents.get("LANDSAT_PRODUCT_ID", "") or (found[1] if found else "")
    return Layers(tuple(layers), 0.0, masks, product_tags(product, f"{day}T{time[:8]}Z" if day and time else day))


def read_mtl(data: bytes, name: str) -> Groups:
    """Reads an MTL file in any of its three formats.

    Raises:
        SceneError: ``unreadable``, if it is damaged.
    """
    try:
        if name.endswith(".xml"):
            tree = parse_xml(data, name)
            return {group.tag: {child.tag: (child.text or "").strip() for child in group} for group in tree}
        text = data.decode("utf-8", "replace")
        groups = json.loads(text)["LANDSAT_METADATA_FILE"] if name.endswith(".json") else dict(_odl(text))
        return {group: {key: str(value) for key, value in of_group.items()} for group, of_group in groups.items()}
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise unreadable(f"Its metadata {name} cannot be read ({reason_of(error)}); download them again.") from None


def _odl(text: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Groups of Object Description Language, as MTL files use it."""
    group: dict[str, str] = {}
    for line in text.splitlines():
        key, found, value = (part.strip() for part in line.partition("="))
        if key == "GROUP":
            group = {}
            if value.strip('"') != "LANDSAT_METADATA_FILE":
                yield value.strip('"'), group
        elif found and key != "END_GROUP":
            group[key] = value.strip('"')


def _layer(key: str, file: str, folder: PurePosixPath, groups: Groups, level: str, name: str) -> Layer | None:
    """A band by its key in the MTL file; None for what is no raster of the product."""
    member, stem = str(folder / file), PurePosixPath(file).stem
    label = re.sub(rf"^{PRODUCT_ID}_", "", stem)
    if _QUALITY_KEY.fullmatch(key):
        return Layer(member, label, classes=True)
    found = _BAND_KEY.fullmatch(key)
    if found is None:
        return Layer(member, label) if label.startswith("ST_") else None
    scale, offset = _scaling(found[1], groups, level, name)
    image = groups.get("IMAGE_ATTRIBUTES", {})
    common = (_OLI if "OLI" in image.get("SENSOR_ID", "") else _TM).get(found[1], "")
    if found[1].startswith("ST_") or (level == "L1" and found[1] in ("10", "11")):
        common = ""
    return Layer(member, label, common, scale=scale, offset=offset, resolution=15.0 if common == "pan" else 30.0)


def _scaling(band: str, groups: Groups, level: str, name: str) -> tuple[float, float]:
    """Scale and offset of a band: reflectance, or the temperature of level 2; 1 and 0 if none are stated."""
    kind = "TEMPERATURE" if band.startswith("ST_") else "REFLECTANCE"
    group: Mapping[str, Any] = groups.get(
        "LEVEL1_RADIOMETRIC_RESCALING" if level == "L1" else f"LEVEL2_SURFACE_{kind}_PARAMETERS", {}
    )
    scale, offset = group.get(f"{kind}_MULT_BAND_{band}"), group.get(f"{kind}_ADD_BAND_{band}")
    if scale is None or offset is None:
        return 1.0, 0.0
    try:
        return float(scale), float(offset)
    except ValueError:
        raise unreadable(
            f"Its metadata {name} state no number for the scale or offset of band {band}; download them again."
        ) from None
