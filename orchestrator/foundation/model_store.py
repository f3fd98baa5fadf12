"""Models by name: a packaged one, or a place with the two files that :mod:`trainables.network.model_files` packs."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from orchestrator.foundation.storage import Storage
from trainables.degradation import Degradation
from trainables.errors import UsageError, reason_of, suggestion
from trainables.network import packaged as pretrained
from trainables.network.model_card import ModelCard
from trainables.network.model_files import CARD, WEIGHTS, pack_model, unpack_model
from trainables.network.network import SuperResolutionNet


@dataclass(frozen=True, slots=True)
class FoundModel:
    """A model as a user named it.

    Attributes:
        where: The packaged name, or the folder or prefix.
        files: Its two files, by name.
        net: The network, ready to evaluate.
        card: Content of its card.
    """

    where: str
    files: dict[str, bytes]
    net: SuperResolutionNet
    card: ModelCard

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
    """Reads the model that a user names.

    Args:
        named: A packaged name such as ``base-x4``, a folder, or an ``s3://`` prefix. A folder that is called like a
            packaged model is meant only where it is written with a slash (``./base-x4``).

    Raises:
        UsageError: If there is none, or it is damaged.
    """
    if "/" not in named and named in pretrained.names():
        return _unpacked(named, pretrained.files(named))
    place = Storage.at(named)
    if "/" not in named and not Path(place.path).is_dir():
        known = pretrained.names()
        raise UsageError(
            f"There is no model '{named}': no folder is called so, and the packaged models are "
            f"{', '.join(known) or 'none'}.{suggestion(named, known)}"
        )
    place.check_readable()
    return _unpacked(place.uri, _files(place))


def find_rgb_model(named: str) -> FoundModel:
    """The same, for work with plain images in gray or colour alone.

    Raises:
        UsageError: If there is none, it is damaged, or it takes another number of bands than three.
    """
    return check_rgb(find_model(named))


def check_rgb(found: FoundModel) -> FoundModel:
    """The model itself, if plain images can be given to it.

    Raises:
        UsageError: If it takes another number of bands than three.
    """
    channels = found.net.architecture.channels
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


def write_model(place: Storage, net: SuperResolutionNet, facts: Mapping[str, object]) -> None:
    """Writes a network and its card; ``facts`` are the card's entries beside the architecture."""
    for name, data in pack_model(net, facts).items():
        place.child(name).write_bytes(data)


def read_model(place: Storage) -> tuple[SuperResolutionNet, ModelCard]:
    """Reads a network and its card.

    Raises:
        UsageError: If there is none, or it is damaged.
    """
    return _unpack(place.uri, _files(place))


def _files(place: Storage) -> dict[str, bytes]:
    try:
        return {name: place.child(name).read_bytes() for name in (WEIGHTS, CARD)}
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(f"There is no model at '{place.uri}': expected {WEIGHTS} and {CARD}.") from None
    except Exception as error:
        raise UsageError(f"The model at '{place.uri}' cannot be read: {reason_of(error)}.") from None


def _unpacked(where: str, files: dict[str, bytes]) -> FoundModel:
    return FoundModel(where, files, *_unpack(where, files))


def _unpack(where: str, files: dict[str, bytes]) -> tuple[SuperResolutionNet, ModelCard]:
    try:
        return unpack_model(files)
    except UsageError as error:
        raise UsageError(f"Model '{where}': {error}") from None
