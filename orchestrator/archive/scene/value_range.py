"""Value range of a scene for a network: a constant of the whole scene, which is stated and never guessed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestrator.archive.scene.samples import Sample, known_values
from orchestrator.archive.scene.types import DTYPES, ModelFacts, Range, SceneError, SceneSettings
from orchestrator.archive.scene.types import Normalisation as NormalisationOption
from orchestrator.archive.scene.values.products import product_range
from trainables.errors import UsageError


@dataclass(frozen=True, slots=True)
class Normalisation:
    """The values that mean 0 and 1 to the network, for each image band.

    Attributes:
        low: float64 (bands,).
        high: float64 (bands,).
        text: As output tags state it.
        stated: True if the range may be mistaken: a person, a card or a name states it, not the data type or the file.
    """

    low: NDArray[np.float64]
    high: NDArray[np.float64]
    text: str
    stated: bool = False


def normalisation(
    dtype: str,
    scales: Sequence[float],
    offsets: Sequence[float],
    model: ModelFacts,
    settings: SceneSettings,
    path: str = "",
) -> Normalisation:
    """Decides which values mean 0 and 1.

    Args:
        dtype: Data type of the scene.
        scales: GDAL's scale of each image band; 1 where the file has none.
        offsets: GDAL's offset of each image band.
        model: Whose card may say it.
        settings: Settings, which take precedence.
        path: Path or URI of the scene, whose names may tell its product.

    Raises:
        SceneError: ``normalisation``, if nothing says it.
    """
    option = settings.normalisation
    if isinstance(option, Mapping):
        if dtype in option:
            return _within_type(*option[dtype], dtype, len(scales), settings.range_from)
        option = "auto"
    count, scaled = len(scales), any(s != 1 for s in scales) or any(o != 0 for o in offsets)
    if isinstance(option, tuple):
        return _given(*option, dtype, count, settings.range_from)
    if option == "auto":
        if dtype == "uint8":
            return limits_of(dtype, count)
        if dtype in model.value_range:
            return _constant(*model.value_range[dtype], count, "the model's card", stated=True)
    if option in ("auto", "scales") and scaled:
        return _physical(np.array(scales, float), np.array(offsets, float))
    if option == "auto" and (known := product_range(path, dtype)) is not None:
        return _constant(known.low, known.high, count, known.product, stated=True)
    if option == "dtype" and dtype != "float32":
        return limits_of(dtype, count)
    found = {
        "auto": f"its values are {dtype} without scales and offsets, and the model's card has no value_range for them",
        "scales": "the file has no scales and offsets",
        "dtype": f"{dtype} has no limits that mean anything",
        "measured": "no range was measured, which takes an archive",
    }[option]
    raise SceneError(
        "normalisation",
        f"Nothing says which values mean black and white to the network: {found}. Give a normalisation of two values, "
        "such as 0,10000 for Sentinel-2 reflectance.",
    )


def limits_of(dtype: str, count: int) -> Normalisation:
    """The smallest and largest value of an integer type."""
    limits = np.iinfo(dtype)
    return _constant(limits.min, limits.max, count, f"limits of {dtype}")


def _given(low: float, high: float, dtype: str, count: int, why: str) -> Normalisation:
    """The range for a scene, given one for a whole archive: 8-bit scenes keep their own if it does not fit."""
    limits = np.iinfo("uint8")
    if dtype == "uint8" and not limits.min <= low < high <= limits.max:
        return limits_of(dtype, count)
    return _within_type(low, high, dtype, count, why)


def _within_type(low: float, high: float, dtype: str, count: int, why: str) -> Normalisation:
    """A range that was stated.

    Raises:
        SceneError: ``normalisation``, if it does not fit the data type.
    """
    if dtype != "float32":
        limits = np.iinfo(dtype)
        span = int(limits.max) - int(limits.min)
        if low >= limits.max or high <= limits.min or high - low > 2 * span:
            raise SceneError(
                "normalisation",
                f"The range {low:g} to {high:g} does not fit {dtype}, whose values are {limits.min} to {limits.max}. "
                "Give a normalisation within them.",
            )
    return _constant(low, high, count, why, stated=True)


def check_range(norm: Normalisation, samples: Sequence[Sample], bands: Sequence[int]) -> None:
    """Compares the range with a sample of the scene's values; dark, bright and flat scenes pass.

    Args:
        norm: The values that mean 0 and 1.
        samples: Windows of all image bands.
        bands: Positions of those that the network sees.

    Raises:
        SceneError: ``normalisation``, where values lie so far from it, or so close together, that they cannot be meant.
    """
    for band in bands:
        low, high, values = norm.low[band], norm.high[band], known_values(samples, [band]).astype(np.float64)
        if not values.size or values.min() == values.max():
            continue
        span = high - low
        beyond = values.min() > low + _FAR * span or values.max() < high - _FAR * span
        beyond = beyond or float(np.median(np.abs(values - low))) > _FARTHER * span
        narrow = samples[0][0].dtype.kind == "f" and float(np.abs(values - low).max()) < span / _NARROW
        if beyond or narrow:
            raise SceneError(
                "normalisation",
                f"The range {low:g} to {high:g} does not fit the values of band {band + 1}, which run from "
                f"{values.min():g} to {values.max():g}. Give a normalisation that does.",
            )


_FAR, _FARTHER = 5, 20
"""Spans of the range beyond which no value, and no usual value, can lie."""
_NARROW = 1000
"""Share of a range of decimals that values must fill: reflectances of 0 to 1 are not 0 to 10,000."""


def _constant(low: float, high: float, count: int, why: str, stated: bool = False) -> Normalisation:
    text = f"{low:g} to {high:g} ({why})"
    return Normalisation(np.full(count, float(low)), np.full(count, float(high)), text, stated)


def _physical(scales: NDArray[np.float64], offsets: NDArray[np.float64]) -> Normalisation:
    if not (scales > 0).all():
        raise SceneError(
            "normalisation", f"The file's scales must be above 0 to normalise by them, found {scales.min():g}."
        )
    low, high = (0 - offsets) / scales, (1 - offsets) / scales
    ranges = list(dict.fromkeys(f"{a:g} to {b:g}" for a, b in zip(low, high, strict=True)))
    return Normalisation(low, high, f"{', '.join(ranges)} (0 to 1 after the file's scales and offsets)")


def read_normalisation(*texts: str) -> NormalisationOption:
    """Parses normalisation options: a word or ``LOW,HIGH``, or any number of ``DTYPE=LOW,HIGH``.

    Raises:
        UsageError: If they are written otherwise.
    """
    if not texts:
        return "auto"
    if any("=" in text for text in texts):
        return _by_type(texts)
    if len(texts) > 1:
        raise _misread(" ".join(texts))
    match texts[0]:
        case "auto" | "dtype" | "scales" | "measured":
            return texts[0]
    return _ends(texts[0], texts[0])


def _by_type(texts: Sequence[str]) -> dict[str, Range]:
    ranges = {}
    for text in texts:
        dtype, found, ends = text.partition("=")
        if not found or dtype not in DTYPES or dtype in ranges:
            raise _misread(" ".join(texts))
        ranges[dtype] = _ends(ends, text)
    return ranges


def _ends(ends: str, text: str) -> Range:
    try:
        low, high = (float(value) for value in ends.split(","))
    except ValueError:
        raise _misread(text) from None
    return low, high


def _misread(text: str) -> UsageError:
    return UsageError(
        "--normalisation is auto, dtype, scales, measured or LOW,HIGH, or a range for each data type such as "
        f"uint16=0,10000 ({', '.join(DTYPES)}; each once), found '{text}'."
    )
