"""Ranges of reflectance 0 to 1 in published products, recognised by the product's name in a path."""

import re
from typing import NamedTuple


class ProductRange(NamedTuple):
    """Stored values of reflectance 0 and 1, and the product whose metadata state them."""

    low: float
    high: float
    product: str


_SENTINEL_2 = re.compile(r"(?:^|[/\\])S2[A-D]_MSIL(?:1C|2A)_\d{8}T\d{6}_N(\d{4})_")
_LANDSAT = re.compile(r"(?:^|[/\\])L[COTEM]0[4-9]_L2S[PR]_\d{6}_\d{8}_\d{8}_02_T[12]_SR_B\d")
_HLS = re.compile(r"(?:^|[/\\])HLS\.[LS]30\.T\w{5}\.\d{7}T\d{6}\.v2\.0\.B\w\w\.")
_OFFSET_SINCE = 400
"""Processing baseline 04.00, from which on Sentinel-2 products have an offset of -1000."""


def product_range(path: str, dtype: str) -> ProductRange | None:
    """Range of a product; None for other files.

    Sentinel-2 levels 1C and 2A have the quantification value 10,000 and, since processing baseline 04.00, the offset
    -1000 (Sentinel-2 Products Specification Document); Landsat Collection 2 surface reflectance the scale 0.0000275 and
    the offset -0.2; Harmonized Landsat Sentinel-2 the scale 0.0001.

    Args:
        path: Path or URI of the file, whose folders may name the product.
        dtype: Data type of the file.
    """
    if dtype == "uint16" and (found := _SENTINEL_2.search(path)):
        offset = 1000 if int(found[1]) >= _OFFSET_SINCE else 0
        return ProductRange(offset, 10000 + offset, f"Sentinel-2, processing baseline {found[1][:2]}.{found[1][2:]}")
    if dtype == "uint16" and _LANDSAT.search(path):
        return ProductRange(0.2 / 2.75e-5, 1.2 / 2.75e-5, "Landsat Collection 2 surface reflectance")
    if dtype == "int16" and _HLS.search(path):
        return ProductRange(0, 10000, "Harmonized Landsat Sentinel-2")
    return None
