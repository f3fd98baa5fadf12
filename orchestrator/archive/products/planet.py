"""PlanetScope scenes and NAIP aerial photographs, whose files do not name their bands.

PlanetScope: 4 bands (blue, green, red, near infrared) or 8; surface reflectance is stored times 10,000, radiance of
``AnalyticMS`` becomes reflectance by the coefficients of ``…_metadata.xml``. The usable data mask, ``udm2`` (band 8) or
``udm``, marks blackfill in bit 0 (PlanetScope Product Specification). NAIP: red, green, blue and near infrared.
"""

import re
from collections.abc import Collection

from orchestrator.archive.products.members import Members, parse_xml
from orchestrator.archive.products.types import Layer, Layers, Mask, product_tags, unreadable

_SCENE_ID = r"\d{8}_\d{6}_(?:\d\d_)?\w{4}"
ANALYTIC = re.compile(rf"(?:^|/)({_SCENE_ID})_([13]B)_AnalyticMS((?:_(?!DN_)\w+)?)\.tif$")
"""Name of an image; the groups are the scene, the level of processing, and what it was made into."""
UDM = re.compile(rf"(?:^|/)({_SCENE_ID})_[13]B_(?:udm2|AnalyticMS_DN_udm)(?:_clip)?\.tif$")
"""Name of a usable data mask; the group is the scene."""
METADATA = re.compile(rf"(?:^|/)({_SCENE_ID})_[13]B_[^/]*_metadata\w*\.xml$")
"""Name of a metadata file; the group is the scene."""
NAIP = re.compile(r"(?:^|/)m_\d{7}_(?:ne|nw|se|sw)_\d\d_\w+_\d{8}(?:_\d{8})?\.tiff?$", re.IGNORECASE)
"""Name of an aerial photograph."""
_NAIP_BANDS = ("red", "green", "blue", "nir")
_FOUR = ("blue", "green", "red", "nir")
_EIGHT = ("coastal_blue", "blue", "green_i", "green", "yellow", "red", "rededge", "nir")
_COMMON = {"coastal_blue": "coastal", "green_i": ""}
"""Common names of bands that differ from their own."""
_SURFACE_REFLECTANCE = 1e-4
_BLACKFILL = 1
_UDM2_UNUSABLE = 8
"""Band of udm2 with the bits of udm."""


def read_planet(members: Members, main: str) -> Layers:
    """Describes a PlanetScope image with its usable data mask and coefficients, as far as they lie beside it.

    Args:
        members: Files of its folder.
        main: Name of the image.

    Raises:
        SceneError: ``unreadable``, if its metadata are damaged.
    """
    found = ANALYTIC.search(main)
    if found is None:
        raise unreadable(f"Expected a PlanetScope image such as 20240315_101520_12_24a5_3B_AnalyticMS_SR.tif: {main}.")
    scene, level, product = found.groups()
    start = f"{scene}_{level}_"
    clip = "_clip" if product.endswith("_clip") else ""
    names = members.names()
    bands = _EIGHT if "_8b" in product else _FOUR
    surface = product.startswith("_SR")
    scales = [_SURFACE_REFLECTANCE] * len(bands) if surface else _coefficients(members, start, names, len(bands))
    layers = tuple(
        Layer(main, name, _COMMON.get(name, name), band=number, scale=scale)
        for number, (name, scale) in enumerate(zip(bands, scales, strict=True), start=1)
    )
    new = next((name for name in (f"{start}udm2{clip}.tif", f"{start}udm2.tif") if name in names), None)
    old = f"{start}AnalyticMS_DN_udm{clip}.tif"
    if new is not None:
        masks: tuple[Mask, ...] = (Mask(new, "udm2", _UDM2_UNUSABLE, _BLACKFILL),)
    else:
        masks = (Mask(old, "udm", 1, _BLACKFILL),) if old in names else ()
    notes = () if masks else ("there is no usable data mask (udm2) beside it",)
    day, time = scene.split("_")[:2]
    return Layers(layers, 0.0, masks, product_tags(scene, f"{day}T{time}Z"), notes, True)


def read_naip(main: str, count: int) -> Layers:
    """Describes a NAIP photograph of 4 bands, or of 3 without near infrared.

    Raises:
        SceneError: ``unreadable``, if it has another number of bands.
    """
    if count not in (3, 4):
        raise unreadable(f"A NAIP photograph has 3 or 4 bands, found {count}; rename the file if it is no NAIP.")
    bands = enumerate(_NAIP_BANDS[:count], start=1)
    return Layers(tuple(Layer(main, name, name, band=number) for number, name in bands), whole=True)


def _coefficients(members: Members, start: str, names: Collection[str], bands: int) -> list[float]:
    """Reflectance of a stored step of each band, from metadata of as many bands beside the image; 1 without any."""
    numbers = range(1, bands + 1)
    for name in names:
        if name.startswith(start) and METADATA.search(name):
            stated = _stated(members, name)
            if stated.keys() == set(numbers):
                return [stated[number] for number in numbers]
    return [1.0] * bands


def _stated(members: Members, name: str) -> dict[int, float]:
    """Coefficients that a metadata file states, by the number of the band."""
    stated: dict[int, float] = {}
    number = 0
    for element in parse_xml(members.read(name), name).iter():
        tag, text = element.tag.rpartition("}")[2], (element.text or "").strip()
        if tag == "bandNumber" and text.isdigit():
            number = int(text)
        elif tag == "reflectanceCoefficient":
            try:
                stated[number] = float(text)
            except ValueError:
                raise unreadable(f"Its metadata {name} hold a coefficient that is no number, '{text}'.") from None
    return stated
