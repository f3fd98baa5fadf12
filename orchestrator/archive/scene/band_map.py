"""Bands of a scene that a network sees together: by their names, by their number, or as a person states them."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache

from orchestrator.archive.scene.types import BandMap, ModelFacts, SceneError, SceneSettings
from trainables.errors import UsageError
from trainables.images.raster import RGB

Group = tuple[int, ...]
"""Positions of image bands, from 0."""

_UNNAMED = re.compile(r"(band|layer|channel)?[ _-]?\d*")
"""Names that only number a band."""
_INDEX_BANDS = {
    "red": {"red"},
    "green": {"green"},
    "nir": {"nir", "nir08", "near infrared", "near-infrared", "near_infrared"},
}
"""Bands of vegetation and water indices, with their usual names."""
_NO_NAMES = {"undefined", "gray", "palette"}
"""Colour interpretations that do not tell which band it is."""


def band_groups(
    colours: Sequence[str], model: ModelFacts, settings: SceneSettings, descriptions: Sequence[str | None] = ()
) -> tuple[Group, ...]:
    """Decides which image bands the network sees together.

    Args:
        colours: GDAL's colour interpretation of each image band (no alpha).
        model: Whose number of channels counts, and whose card may name its bands or state groups.
        settings: Settings, which take precedence.
        descriptions: Description of each image band, if the file has any.

    Returns:
        Groups of positions in ``colours`` that together hold each once.

    Raises:
        SceneError: ``model_mismatch``, if the groups, the scene's bands and the model do not go together.
    """
    count, option = len(colours), settings.band_map
    if option == "singly":
        return _singly(range(count))
    if option != "auto":
        return _checked(option, count, model.channels, "The band map")
    bands = _Bands.of(colours, descriptions)
    return _by_name(bands, model) or _by_number(bands, model)


def name_groups(names: Sequence[str], model: ModelFacts) -> tuple[Group, ...]:
    """The same for an image whose bands have names alone.

    Raises:
        SceneError: ``model_mismatch``, as :func:`band_groups`.
    """
    lowered = [name.lower() for name in names]
    colours = [name if name in RGB else "undefined" for name in lowered]
    return band_groups(colours, model, SceneSettings(), lowered)


def named_bands(
    colours: Sequence[str], descriptions: Sequence[str | None], groups: Sequence[Group], model: ModelFacts
) -> dict[str, int]:
    """Positions of red, green and near infrared, as far as the file or the model's card names each once.

    Args:
        colours: GDAL's colour interpretation of each image band.
        descriptions: Description of each image band.
        groups: Bands that the network sees together, in its order.
        model: Whose card may name its bands.
    """
    names = _Bands.of(colours, descriptions).names
    for group in groups:
        if len(group) == len(model.band_names) > 1:
            for band, name in zip(group, model.band_names, strict=True):
                names[band] = {name.lower()}
    found = {name: [band for band, known in enumerate(names) if known & also] for name, also in _INDEX_BANDS.items()}
    return {name: bands[0] for name, bands in found.items() if len(bands) == 1}


@dataclass(frozen=True, slots=True)
class _Bands:
    """Image bands as their file tells them apart: the colour of each, and the names that it goes by."""

    colours: list[str]
    names: list[set[str]]

    @classmethod
    def of(cls, colours: Sequence[str], descriptions: Sequence[str | None]) -> "_Bands":
        described = [(text or "").strip().lower() for text in descriptions] or [""] * len(colours)
        names = []
        for text, colour in zip(described, colours, strict=True):
            # A false-colour image shows other bands as red, green and blue, and may describe them.
            named_so = colour not in _NO_NAMES and text not in _colours() and colour not in described
            names.append(({text} if not _UNNAMED.fullmatch(text) else set()) | ({colour} if named_so else set()))
        return cls(list(colours), names)

    def __str__(self) -> str:
        return ", ".join(
            " or ".join(sorted(known)) or f"one without a name ({n})" for n, known in enumerate(self.names, 1)
        )


def _by_name(bands: _Bands, model: ModelFacts) -> tuple[Group, ...] | None:
    """The bands that the model's card names, in its order, if the file names them too, each once.

    Raises:
        SceneError: ``model_mismatch``, where there are further bands that the model cannot take singly.
    """
    places = [[band for band, known in enumerate(bands.names) if name.lower() in known] for name in model.band_names]
    if len(places) < 2 or any(len(found) != 1 for found in places):
        return None
    group = tuple(found[0] for found in places)
    groups = group, *_singly(band for band in range(len(bands.names)) if band not in group)
    if len(groups) > 1 and not _takes_gray(model):
        raise SceneError(
            "model_mismatch",
            f"The model takes {_taken(model)}, and the scene has further bands: {bands}. Leave them out, or upscale "
            f"them one by one by --band-map '{band_text(groups)}'.",
        )
    return groups


def _by_number(bands: _Bands, model: ModelFacts) -> tuple[Group, ...]:
    """Groups of the card; all bands if they are as many as the network takes; or RGB, and all others singly.

    Raises:
        SceneError: ``model_mismatch``, where they do not fit the model, or the names contradict the order.
    """
    count, channels, colours = len(bands.colours), model.channels, bands.colours
    groups = _singly(range(count))
    if count in model.band_map:
        groups = _checked(model.band_map[count], count, channels, "The model's card")
    elif count == channels and not (channels == 3 and set(colours) == set(RGB)):
        groups = (tuple(range(count)),)
    elif channels == 3 and all(colours.count(colour) == 1 for colour in RGB):
        rgb = tuple(colours.index(colour) for colour in RGB)
        groups = rgb, *_singly(band for band in range(count) if band not in rgb)
    elif not _takes_gray(model):
        raise _mismatch(bands, model)
    for group in groups:
        named = zip(group, model.band_names, strict=True) if len(group) == len(model.band_names) > 1 else ()
        if any(_contradict(bands.names[band], name.lower()) for band, name in named):
            raise _mismatch(bands, model)
    return groups


def _contradict(names: set[str], wanted: str) -> bool:
    return bool(names) and wanted not in names and not _UNNAMED.fullmatch(wanted)


def _takes_gray(model: ModelFacts) -> bool:
    """True if any band alone means something to the network: as its only band, or as gray."""
    names = [name.lower() for name in model.band_names]
    return model.channels == 1 or (model.channels == 3 and names in ([], list(RGB)))


def _mismatch(bands: _Bands, model: ModelFacts) -> SceneError:
    return SceneError(
        "model_mismatch",
        f"The model takes {_taken(model)}, and the scene has {len(bands.names)}: {bands}. Name the bands so in the "
        "file, or state groups in the model's order by --band-map.",
    )


def _taken(model: ModelFacts) -> str:
    names = f" ({', '.join(model.band_names)})" if model.band_names else ""
    return f"{model.channels} bands together{names}"


def _singly(bands: Iterable[int]) -> tuple[Group, ...]:
    return tuple((band,) for band in bands)


def _checked(groups: tuple[Group, ...], count: int, channels: int, who: str) -> tuple[Group, ...]:
    text = band_text(tuple(tuple(band - 1 for band in group) for group in groups))
    if sorted(band for group in groups for band in group) != list(range(1, count + 1)):
        raise SceneError(
            "model_mismatch", f"{who} must name each of the scene's {count} image bands once, found {text}."
        )
    wrong = [group for group in groups if len(group) not in (1, channels)]
    if wrong:
        raise SceneError(
            "model_mismatch",
            f"{who} must have groups of 1 or {channels} bands for this model, found {text}.",
        )
    return tuple(tuple(band - 1 for band in group) for group in groups)


def batches(groups: Sequence[Group], most: int) -> list[tuple[list[int], bool]]:
    """Bands of each call of the network, and whether it sees each of them by itself.

    Args:
        groups: Bands that the network sees together.
        most: Most bands of a call in which it sees each by itself; one for less than 1.
    """
    size = max(1, most)
    alone = [group[0] for group in groups if len(group) == 1]
    singly = [(alone[first : first + size], True) for first in range(0, len(alone), size)]
    return [*((list(group), False) for group in groups if len(group) > 1), *singly]


def band_text(groups: tuple[Group, ...]) -> str:
    """Groups as a user writes them: ``1,2,3;4``."""
    return ";".join(",".join(str(band + 1) for band in group) for group in groups)


def read_band_map(text: str) -> BandMap:
    """Parses a band map option: ``auto``, ``singly`` or groups such as ``1,2,3;4``.

    Raises:
        UsageError: If it is written otherwise.
    """
    match text:
        case "auto" | "singly":
            return text
    try:
        return tuple(tuple(int(band) for band in group.split(",")) for group in text.split(";"))
    except ValueError:
        raise UsageError(f"--band-map is auto, singly or groups such as 1,2,3;4, found '{text}'.") from None


@cache
def _colours() -> frozenset[str]:
    from rasterio.enums import ColorInterp  # which plain images do without

    return frozenset(colour.name for colour in ColorInterp)
