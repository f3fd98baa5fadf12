"""A model as files: ``model.safetensors`` and ``card.json``. Nothing here is a pickle."""

import hashlib
import json
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from trainables.errors import UsageError
from trainables.network import Architecture, SuperResolutionNet
from trainables.version import __version__

WEIGHTS, CARD = "model.safetensors", "card.json"
FORMAT = 2
"""Version of the two files; 1 was that of rayscale 0.1, whose networks were built otherwise."""


def pack_model(net: SuperResolutionNet, facts: dict[str, Any]) -> dict[str, bytes]:
    """Turns a network into the bytes of its two files.

    Args:
        net: The network.
        facts: What else the card must say: lineage, metrics, degradation, configuration, licence of the data.
    """
    weights = save({name: value.contiguous().cpu() for name, value in net.state_dict().items()})
    card = {
        "format": FORMAT,
        "rayscale": __version__,
        "architecture": net.architecture.to_dict(),
        "scale": net.architecture.scale,
        "bands": net.architecture.channels,
        "normalisation": "8-bit values divided by 255; gray images are repeated to three bands",
        "receptive_radius": net.receptive_radius(),
        "parameters": net.parameter_counts(),
        "macs_per_lr_pixel": net.macs_per_lr_pixel(),
        "blocks": [name for name, _ in net.blocks()],
        "sha256": hashlib.sha256(weights).hexdigest(),
        **facts,
    }
    return {WEIGHTS: weights, CARD: json.dumps(card, indent=2, ensure_ascii=False).encode()}


def unpack_model(files: dict[str, bytes]) -> tuple[SuperResolutionNet, dict[str, Any]]:
    """Rebuilds a network from the bytes of its two files.

    Raises:
        UsageError: If the files are damaged or do not belong together.
    """
    try:
        card: dict[str, Any] = json.loads(files[CARD])
        if card["format"] != FORMAT:
            raise UsageError(
                f"This model was written by rayscale {card.get('rayscale')} in format {card['format']}; this is "
                f"{__version__}, which reads format {FORMAT}: use that version, or train the model again."
            )
        if hashlib.sha256(files[WEIGHTS]).hexdigest() != card["sha256"]:
            raise UsageError(f"{WEIGHTS} is not the file that {CARD} describes (the digests differ); copy both again.")
        net = SuperResolutionNet(Architecture(**card["architecture"]))
        net.load_state_dict(load(files[WEIGHTS]))
    except (KeyError, TypeError, ValueError, RuntimeError, SafetensorError) as error:
        reason = " ".join(str(error).split())
        raise UsageError(f"This is not a RayScale model: {reason:.200}. Expected {WEIGHTS} and {CARD}.") from None
    return net.eval(), card


def weights_of(net: SuperResolutionNet) -> dict[str, Tensor]:
    """A copy of the parameters by name, detached: the anchor that L2-SP pulls towards."""
    return {name: value.detach().clone() for name, value in net.named_parameters()}
