"""Models by name: a packaged one, or a place with the two files that :mod:`trainables.network.model_files` packs."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.foundation.storage import Storage
from trainables.degradation import Degradation
from trainables.errors import UsageError, reason_of, suggestion
from trainables.network import packaged as pretrained
from trainables.network.architecture import Architecture
from trainables.network.model_card import CARD, WEIGHTS, ModelCard, architecture_of, card_of

if TYPE_CHECKING:
    from trainables.network.network import SuperResolutionNet


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """A model as a user named it, before a network is built of it, which takes torch.

    Attributes:
        where: The packaged name, or the folder or prefix.
        files: Its two files, by name; the weights have the digest that the card states.
        card: Content of its card, checked.
    """

    where: str
    files: dict[str, bytes]
    card: ModelCard

    @property
    def architecture(self) -> Architecture:
        """The network's shape, as the card states it."""
        return architecture_of(self.card)

    def unpacked(self) -> "FoundModel":
        """The model with its network.

        Raises:
            UsageError: If the weights are damaged, or are not those of the card's architecture.
        """
        from trainables.network.model_files import build_model

        with _named(self.where):
            return FoundModel(self.where, self.files, *build_model(self.files[WEIGHTS], self.card))


@dataclass(frozen=True, slots=True)
class FoundModel:
    """A model as a user named it, with its network.

    Attributes:
        where: The packaged name, or the folder or prefix.
        files: Its two files, by name.
        net: The network, ready to evaluate.
        card: Content of its card.
    """

    where: str
    files: dict[str, bytes]
    net: "SuperResolutionNet"
    card: ModelCard

    @property
    def architecture(self) -> Architecture:
        """The network's shape."""
        return self.net.architecture

    @property
    def licence(self) -> str:
        """Terms of the model, or of the images that it learnt from."""
        return str(self.card.get("licence") or self.card.get("data_licence") or "not stated")

    @property
    def degradation(self) -> Degradation | None:
        """Degradation that the model learnt to undo; None where its card does not state it."""
        return degradation_of(self.card)


def degradation_of(card: ModelCard) -> Degradation | None:
    """Degradation that a model learnt to undo, from its card; None where the card does not state it."""
    stated = card.get("degradation")
    return None if stated is None else Degradation.from_dict(stated)


def find_model(named: str) -> FoundModel:
    """Reads the model that a user names, and builds its network.

    Args:
        named: As :func:`find_model_files` takes it.

    Raises:
        UsageError: If there is none, or it is damaged.
    """
    return find_model_files(named).unpacked()


def find_model_files(named: str) -> ModelFiles:
    """Reads the files of the model that a user names.

    Args:
        named: A packaged name such as ``base-x4``, a folder, or an ``s3://`` prefix. A folder that is called like a
            packaged model is meant only where it is written with a slash (``./base-x4``).

    Raises:
        UsageError: If there is none, its card makes no sense, or its weights are not those that the card describes.
    """
    check_there(named)
    if _is_packaged(named):
        return _checked(named, pretrained.files(named))
    place = Storage.at(named)
    return _checked(place.uri, _files(place))


def check_there(named: str) -> None:
    """Checks that there is a packaged model or a folder of a name; nothing of it is read.

    Args:
        named: As :func:`find_model_files` takes it.

    Raises:
        UsageError: If there is none.
    """
    if _is_packaged(named):
        return
    place = Storage.at(named)
    if "/" not in named and not Path(place.path).is_dir():
        known = pretrained.names()
        raise UsageError(
            f"There is no model '{named}': no folder is called so, and the packaged models are "
            f"{', '.join(known) or 'none'}.{suggestion(named, known)}"
        )
    place.check_readable()


def _is_packaged(named: str) -> bool:
    return "/" not in named and named in pretrained.names()


def find_rgb_model(named: str) -> FoundModel:
    """Reads the model that a user names, for work with plain images in gray or colour alone.

    Raises:
        UsageError: If there is none, it is damaged, or it takes another number of bands than three.
    """
    return check_rgb(find_model(named))


def check_rgb(found: FoundModel) -> FoundModel:
    """The model itself, if plain images can be given to it.

    Raises:
        UsageError: If it takes another number of bands than three.
    """
    channels = found.architecture.channels
    if channels != 3:
        bands = "1 band" if channels == 1 else f"{channels} bands"
        raise UsageError(f"Model '{found.where}' takes {bands}; gray and colour images need one that takes 3.")
    return found


def check_free(place: Storage) -> None:
    """Refuses to overwrite a model, and a place that cannot be written.

    Raises:
        UsageError: If a model lies there already, or nothing can be written there.
    """
    if any(place.child(name).exists() for name in (WEIGHTS, CARD)):
        raise UsageError(f"There is a model at '{place.uri}' already; name another OUT, or remove it.")
    place.check_writable()


def write_model(place: Storage, net: "SuperResolutionNet", facts: Mapping[str, object]) -> None:
    """Writes a network and its card; ``facts`` are the card's entries beside the architecture."""
    from trainables.network.model_files import pack_model

    for name, data in pack_model(net, facts).items():
        place.child(name).write_bytes(data)


def read_model(place: Storage) -> "tuple[SuperResolutionNet, ModelCard]":
    """Reads a network and its card.

    Raises:
        UsageError: If there is none, or it is damaged.
    """
    found = _checked(place.uri, _files(place)).unpacked()
    return found.net, found.card


def _files(place: Storage) -> dict[str, bytes]:
    try:
        return {name: place.child(name).read_bytes() for name in (WEIGHTS, CARD)}
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(f"There is no model at '{place.uri}': expected {WEIGHTS} and {CARD}.") from None
    except Exception as error:
        raise UsageError(f"The model at '{place.uri}' cannot be read: {reason_of(error)}.") from None


def _checked(where: str, files: dict[str, bytes]) -> ModelFiles:
    with _named(where):
        return ModelFiles(where, files, card_of(files))


@contextmanager
def _named(where: str) -> Iterator[None]:
    try:
        yield
    except UsageError as error:
        raise UsageError(f"Model '{where}': {error}") from None
