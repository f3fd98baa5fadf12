"""Models that come with the package, by name, such as ``base-x4``: ready to upscale with and to search from.

Each is a folder of package data, ``trainables/weights/<name>/``, with the two files of
:mod:`trainables.network.model_files`.
"""

from importlib import resources
from importlib.resources.abc import Traversable
from typing import TYPE_CHECKING

from trainables.errors import UsageError, suggestion
from trainables.network.model_card import CARD, WEIGHTS, ModelCard

if TYPE_CHECKING:
    from trainables.network.network import SuperResolutionNet


def folder() -> Traversable:
    """Folder of the packaged models."""
    return resources.files("trainables").joinpath("weights")


def names() -> list[str]:
    """Names of all packaged models, sorted."""
    place = folder()
    return sorted(entry.name for entry in place.iterdir() if entry.joinpath(CARD).is_file()) if place.is_dir() else []


def files(name: str) -> dict[str, bytes]:
    """The bytes of a packaged model's two files.

    Raises:
        UsageError: If no packaged model is called so.
    """
    known = names()
    if name not in known:
        raise UsageError(
            f"No packaged model is called '{name}'; there are {', '.join(known) or 'none'}.{suggestion(name, known)}"
        )
    return {file: folder().joinpath(name, file).read_bytes() for file in (WEIGHTS, CARD)}


def load(name: str) -> "tuple[SuperResolutionNet, ModelCard]":
    """A packaged network, ready to evaluate, and its card.

    Raises:
        UsageError: If no packaged model is called so.
    """
    from trainables.network.model_files import unpack_model

    return unpack_model(files(name))
