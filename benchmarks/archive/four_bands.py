"""A model of four bands, made of one of three as `docs/method.md` says (bands)."""

from pathlib import Path

from orchestrator.foundation.model_store import FoundModel, find_model, write_model
from orchestrator.foundation.storage import Storage
from trainables.network.bands import with_bands

NAMES = ("red", "green", "blue", "nir")


def of_four_bands(model: FoundModel, folder: Path) -> FoundModel:
    """The model's network made ready for four bands, written to a folder as a model of its own."""
    write_model(Storage.at(str(folder)), with_bands(model.net, NAMES), {"name": "four", "band_names": list(NAMES)})
    return find_model(str(folder))
