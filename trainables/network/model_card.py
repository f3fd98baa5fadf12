"""A model's card: every field that is used later is checked, before a network is built from it. Imports no torch."""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypedDict, cast

from trainables.degradation import Degradation
from trainables.errors import UsageError, reason_of
from trainables.network.architecture import Architecture
from trainables.version import __version__

WEIGHTS, CARD = "model.safetensors", "card.json"
"""Names of a model's two files."""

FORMAT = 2
"""Version of a model's two files; 1 was that of rayscale 0.1, whose networks were built otherwise."""

MOST_BYTES = 8 * 2**20
"""Largest card that is read; one of ours has some kilobytes."""

_TEXTS = ("name", "normalisation", "licence", "data_licence", "units")
_OBJECTS = ("metrics", "training", "value_range", "band_map", "degradation")
_DIGITS = frozenset("0123456789abcdef")


class ModelCard(TypedDict, total=False):
    """A model's card; further keys are kept as they are.

    Attributes:
        format: Version of a model's two files.
        rayscale: Version that wrote it.
        architecture: Arguments of :class:`~trainables.network.architecture.Architecture`.
        normalisation: Values that meant 0 and 1 in training, in words.
        sha256: Digest of the weights.
        name: Name of the model.
        licence: Terms of the model.
        data_licence: Terms of the images that it learnt from.
        degradation: The one that it learnt to undo, see :class:`~trainables.degradation.Degradation`.
        value_range: Values that mean 0 and 1, by data type; under ``dicom`` in a DICOM file's rescaled units.
        band_map: Bands that the network sees together, by number of bands.
        band_names: Name of each band that it takes, in its order.
        units: Unit of the values that it was trained on, such as ``HU``.
        metrics: Scores, nested by what they are of.
        training: Settings of its training.
        scale: Scale factor.
        bands: Bands that it takes.
        receptive_radius: LR pixels on each side that an output pixel depends on.
        parameters: Numbers of parameters, by part.
        macs_per_lr_pixel: Multiply-accumulate operations.
        blocks: Names of its blocks, the stem first.
    """

    format: int
    rayscale: str
    architecture: dict[str, Any]
    normalisation: str
    sha256: str
    name: str
    licence: str
    data_licence: str
    degradation: dict[str, object] | None
    value_range: dict[str, list[float]]
    band_map: dict[str, list[list[int]]]
    band_names: list[str]
    units: str
    metrics: dict[str, object]
    training: dict[str, object]
    scale: int
    bands: int
    receptive_radius: int
    parameters: dict[str, int]
    macs_per_lr_pixel: int
    blocks: list[str]


def card_of(files: Mapping[str, bytes]) -> ModelCard:
    """The checked card of a model, by its two files; the weights are compared with the digest that it states.

    A network is not built: :func:`trainables.network.model_files.unpack_model` does, and checks the weights themselves.

    Raises:
        UsageError: If a file is missing, the card makes no sense, or the weights are not those that it describes.
    """
    with reading_model():
        if missing := [name for name in (WEIGHTS, CARD) if name not in files]:
            raise UsageError(f"{' and '.join(missing)} missing.")
        card = read_card(files[CARD])
        if hashlib.sha256(files[WEIGHTS]).hexdigest() != card["sha256"]:
            raise UsageError(f"{WEIGHTS} is not the file that {CARD} describes (the digests differ); copy both again.")
        return card


@contextmanager
def reading_model() -> Iterator[None]:
    """Turns whatever is wrong with a model's files into one sentence.

    Raises:
        UsageError: If the block raises.
    """
    try:
        yield
    except Exception as error:
        reason = " ".join(reason_of(error).split()).rstrip(".")
        raise UsageError(f"This is not a RayScale model: {reason:.240}. Expected {WEIGHTS} and {CARD}.") from None


def read_card(data: bytes) -> ModelCard:
    """Parses and checks a card.

    Args:
        data: The bytes of ``card.json``.

    Returns:
        The card; ``architecture``, ``degradation``, ``value_range``, ``band_map`` and ``band_names`` hold what their
        readers accept.

    Raises:
        UsageError: If it is no JSON object, is of another format, or a field does not make sense.
    """
    plain = _parsed(data)
    card = cast(ModelCard, plain)
    if "format" not in card:
        raise UsageError("the card states no 'format'.")
    if card["format"] != FORMAT or isinstance(card["format"], bool):
        raise UsageError(
            f"This model was written by rayscale {card.get('rayscale')!s:.40} in format {card['format']!r:.40}; this "
            f"is {__version__}, which reads format {FORMAT}: use that version, or train the model again."
        )
    digest = card.get("sha256")
    if not isinstance(digest, str) or len(digest) != 64 or not _DIGITS.issuperset(digest):
        raise UsageError(f"the card's sha256 must be 64 hexadecimal digits, found {digest!r:.80}.")
    for name in _TEXTS:
        if not isinstance(plain.get(name) or "", str):
            raise UsageError(f"the card's {name} must be text, found {plain[name]!r:.80}.")
    for name in _OBJECTS:
        if not isinstance(plain.get(name) or {}, dict):
            raise UsageError(f"the card's {name} must be an object, found {plain[name]!r:.80}.")
    architecture_of(card)
    if (stated := card.get("degradation")) is not None:
        try:
            Degradation.from_dict(stated)
        except Exception as error:
            raise UsageError(f"the card's degradation makes no sense: {reason_of(error):.200}") from None
    _check_value_range(card)
    _check_band_map(card)
    _check_band_names(card)
    return card


def architecture_of(card: ModelCard) -> Architecture:
    """The architecture that a card states.

    Raises:
        UsageError: If it states none, or one that cannot be.
    """
    stated = card.get("architecture")
    if not isinstance(stated, dict):
        raise UsageError(f"the card's architecture must be an object, found {stated!r:.80}.")
    try:
        return Architecture(**stated)
    except UsageError as error:
        raise UsageError(f"the card's architecture: {error}") from None
    except Exception as error:
        raise UsageError(f"the card's architecture makes no sense: {reason_of(error):.200}") from None


def check_stated(card: ModelCard, computed: ModelCard) -> None:
    """Compares a card's statements about its network with the network itself.

    Args:
        card: The card.
        computed: Fields as the network gives them; a card may lack one, but not state another value.

    Raises:
        UsageError: If they differ.
    """
    stated: Mapping[str, object] = card
    for name, value in computed.items():
        if name in stated and (stated[name] != value or isinstance(stated[name], bool)):
            raise UsageError(
                f"the card's {name} is {stated[name]!r:.80}, but its architecture and weights make it {value!r:.80}."
            )


def _parsed(data: bytes) -> dict[str, object]:
    if len(data) > MOST_BYTES:
        raise UsageError(f"the card has {len(data)} bytes; at most {MOST_BYTES} are read.")
    try:
        card = json.loads(data)
    except RecursionError:
        raise UsageError("the card is nested too deeply.") from None
    except Exception as error:
        raise UsageError(f"the card is no JSON: {reason_of(error):.200}") from None
    if not isinstance(card, dict):
        raise UsageError(f"the card must be a JSON object, found {type(card).__name__}.")
    return card


def _check_value_range(card: ModelCard) -> None:
    for dtype, bounds in (card.get("value_range") or {}).items():
        if not _numbers(bounds, 2) or not bounds[0] < bounds[1]:
            raise UsageError(
                f"the card's value_range of {dtype!r:.40} must be two finite numbers, the lower one first, such as "
                f'{{"uint16": [0, 10000]}}, found {bounds!r:.80}.'
            )


def _check_band_map(card: ModelCard) -> None:
    for count, groups in (card.get("band_map") or {}).items():
        bands = int(count) if count.isascii() and count.isdigit() and len(count) < 6 else 0
        lists = isinstance(groups, list) and bool(groups) and all(isinstance(group, list) for group in groups)
        numbers = [number for group in groups for number in group] if lists else []
        if bands < 1 or not numbers or not all(type(number) is int and 1 <= number <= bands for number in numbers):
            raise UsageError(
                f"the card's band_map of {count!r:.40} must be groups of numbers of its bands, such as "
                f'{{"4": [[1, 2, 3], [4]]}}, found {groups!r:.80}.'
            )


def _check_band_names(card: ModelCard) -> None:
    names: object = card.get("band_names") or []
    texts = isinstance(names, list) and all(isinstance(name, str) and name for name in names)
    count = architecture_of(card).channels
    if names and not (texts and len({name.lower() for name in card["band_names"]}) == len(card["band_names"]) == count):
        raise UsageError(
            f"the card's band_names must be a list of {count} different names, one for each band of the network, found "
            f"{names!r:.80}."
        )


def _numbers(values: Any, count: int) -> bool:
    return (
        isinstance(values, list)
        and len(values) == count
        and all(type(value) in (int, float) and abs(value) < 1e300 and math.isfinite(value) for value in values)
    )


def decimation_of(card: ModelCard) -> str | None:
    """Decimation of a model's training images, if its card states one."""
    degradation = card.get("degradation")
    stated = degradation.get("decimation") if isinstance(degradation, dict) else None
    return stated if isinstance(stated, str) else None
