"""Models on storage: a folder with the two files that :mod:`trainables.models` packs."""

from typing import Any

from orchestrator.storage import Storage
from trainables.errors import UsageError
from trainables.models import CARD, WEIGHTS, pack_model, unpack_model
from trainables.network import SuperResolutionNet


def write_model(place: Storage, net: SuperResolutionNet, facts: dict[str, Any]) -> None:
    """Writes a network and its card; ``facts`` are what the card says beside the architecture."""
    for name, data in pack_model(net, facts).items():
        place.child(name).write_bytes(data)


def read_model(place: Storage) -> tuple[SuperResolutionNet, dict[str, Any]]:
    """Reads a network and its card.

    Raises:
        UsageError: If there is none, or it is damaged.
    """
    try:
        return unpack_model({name: place.child(name).read_bytes() for name in (WEIGHTS, CARD)})
    except FileNotFoundError:
        raise UsageError(f"There is no model at '{place.uri}': expected {WEIGHTS} and {CARD}.") from None
