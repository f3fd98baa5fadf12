"""Choice of a product's bands: those that a person names, or those that suit the model."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.archive.products.types import Layer, Layers, ModelBands
from orchestrator.archive.scene.types import SceneError
from trainables.errors import UsageError
from trainables.images.raster import RGB

_NIR = "nir"
_NAME = re.compile(r"[A-Za-z0-9_. -]+")


@dataclass(frozen=True, slots=True)
class Chosen:
    """Bands of a product that become a scene.

    Attributes:
        layers: The bands, in the scene's order; those that are finer than the coarsest are averaged later.
        left_out: Names of the other bands.
    """

    layers: tuple[Layer, ...]
    left_out: tuple[str, ...]


def read_bands(text: str) -> tuple[str, ...]:
    """Parses ``B04,B03,B02``; nothing if it is empty.

    Raises:
        UsageError: If a name is empty or stands there twice.
    """
    if not text.strip():
        return ()
    names = tuple(name.strip() for name in text.split(","))
    if not all(_NAME.fullmatch(name) for name in names) or len(set(map(_key, names))) < len(names):
        raise UsageError(f"--bands takes names with commas between, each once, such as B04,B03,B02; found '{text}'.")
    return names


def choose(layers: Layers, asked: Sequence[str], model: ModelBands) -> Chosen:
    """Chooses bands.

    The scene gets the coarsest of the asked-for bands' finest resolutions. Bands of which the product has a raster of
    that resolution are taken from it, and finer ones are averaged later.

    Args:
        layers: All bands of the product.
        asked: Names of bands, their own or common ones; empty for those that the model's card names, or else red, green
            and blue, with near infrared for a model of four bands. A file of all bands is taken whole for models of one
            band or three.
        model: Bands that the model takes.

    Raises:
        SceneError: ``model_mismatch``, if the product has no such band, or nothing says which suit the model.
    """
    if not asked and layers.whole and model.channels in (1, len(RGB)):
        return Chosen(layers.layers, ())
    wanted = asked or _suiting(model)
    found = [_named(layers, name, bool(asked)) for name in wanted]
    images = [candidates for candidates in found if not candidates[0].classes]
    coarsest = max((min(layer.resolution for layer in candidates) for candidates in images or found), default=0.0)
    chosen = tuple(_of_resolution(candidates, coarsest) for candidates in found)
    taken = {layer.name for layer in chosen}
    return Chosen(chosen, tuple(dict.fromkeys(layer.name for layer in layers.layers if layer.name not in taken)))


def _suiting(model: ModelBands) -> tuple[str, ...]:
    """Common names of bands for a model."""
    if len(model.names) == model.channels > 1:
        return model.names
    if model.channels in (1, len(RGB)):
        return tuple(RGB)
    if model.channels == len(RGB) + 1:
        return *RGB, _NIR
    raise SceneError(
        "model_mismatch",
        f"The model takes {model.channels} bands together and its card does not name them: state them in the model's "
        "order by --bands, such as --bands B04,B03,B02.",
    )


def _named(layers: Layers, name: str, asked: bool) -> list[Layer]:
    """Rasters of one band, in all resolutions that the product has."""
    own = [layer for layer in layers.layers if _key(layer.name) == _key(name)]
    common = [layer for layer in layers.layers if layer.common and layer.common == name.lower()]
    if found := own or common:
        return found
    names = dict.fromkeys(map(_shown, layers.layers))
    advice = "name some of these by --bands" if asked else "name bands that suit the model by --bands"
    raise SceneError("model_mismatch", f"The product has no band '{name}'; it has {', '.join(names)}: {advice}.")


def _shown(layer: Layer) -> str:
    return f"{layer.name} ({layer.common})" if layer.common not in ("", layer.name) else layer.name


def _of_resolution(candidates: Sequence[Layer], coarsest: float) -> Layer:
    """The coarsest raster of a band that is not coarser than wanted; of a band of coarser ones only, the finest."""
    fitting = [layer for layer in candidates if layer.resolution <= coarsest]
    if fitting:
        return max(fitting, key=lambda layer: layer.resolution)
    return min(candidates, key=lambda layer: layer.resolution)


def _key(name: str) -> str:
    """Names of bands as they are compared: ``SR_B4``, ``B04`` and ``b4`` are the same."""
    return re.sub(r"^(?:SR_)?B0*(?=\d)", "B", name.strip().upper())
