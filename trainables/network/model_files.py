"""A model as files: ``model.safetensors`` and ``card.json``. Nothing here is a pickle.

Neither file is believed. The card's fields are checked, the weights are compared with the card's architecture before a
network is built, so that time and memory are bounded by the size of the files, and the network must be able to give
finite values.
"""

import hashlib
import json
from collections.abc import Mapping

import torch
from safetensors.torch import load, save
from torch import Tensor

from trainables.errors import UsageError
from trainables.network.model_card import (
    CARD,
    FORMAT,
    WEIGHTS,
    ModelCard,
    architecture_of,
    card_of,
    check_stated,
    reading_model,
)
from trainables.network.network import Architecture, SuperResolutionNet
from trainables.version import __version__

__all__ = ["CARD", "FORMAT", "WEIGHTS", "pack_model", "unpack_model", "weights_of"]

_PLAIN = "8-bit values divided by 255; gray images are repeated to three bands"
_RANGE = "the two values of value_range become 0 and 1; values of 8 bits without one are divided by 255"

_PROBE = 6
"""LR pixels on each side of the image that a network is tried on."""


def pack_model(net: SuperResolutionNet, facts: Mapping[str, object]) -> dict[str, bytes]:
    """Turns a network into the bytes of its two files.

    Args:
        net: The network.
        facts: Further fields of the card: lineage, metrics, degradation, configuration, licence of the data.
    """
    weights = save({name: value.contiguous().cpu() for name, value in net.state_dict().items()})
    card = {
        "format": FORMAT,
        "rayscale": __version__,
        "architecture": net.architecture.to_dict(),
        "normalisation": _RANGE if net.architecture.channels != 3 or facts.get("value_range") else _PLAIN,
        **_computed(net),
        "sha256": hashlib.sha256(weights).hexdigest(),
        **facts,
    }
    return {WEIGHTS: weights, CARD: json.dumps(card, indent=2, ensure_ascii=False).encode()}


def unpack_model(files: dict[str, bytes]) -> tuple[SuperResolutionNet, ModelCard]:
    """Rebuilds a network from the bytes of its two files; draws nothing from torch's generators.

    Returns:
        The network, ready to evaluate, and its card, in which what can be computed of the network is never missing.

    Raises:
        UsageError: If the files are damaged or do not belong together, or if the weights are not finite.
    """
    card = card_of(files)
    return build_model(files[WEIGHTS], card)


def build_model(weights: bytes, card: ModelCard) -> tuple[SuperResolutionNet, ModelCard]:
    """Rebuilds a network from the bytes of its weights, as :func:`unpack_model` does.

    Args:
        weights: The weights that the card describes.
        card: A card of :func:`trainables.network.model_card.card_of`.
    """
    with reading_model():
        net = _build(architecture_of(card), load(weights))
        check_stated(card, _computed(net))
    return net, _computed(net) | card


def weights_of(net: SuperResolutionNet) -> dict[str, Tensor]:
    """A copy of the parameters by name, detached: the anchor that L2-SP pulls towards."""
    return {name: value.detach().clone() for name, value in net.named_parameters()}


def _computed(net: SuperResolutionNet) -> ModelCard:
    """Fields of a card that are computed from the network itself."""
    return {
        "scale": net.architecture.scale,
        "bands": net.architecture.channels,
        "receptive_radius": net.receptive_radius(),
        "parameters": net.parameter_counts(),
        "macs_per_lr_pixel": net.macs_per_lr_pixel(),
        "blocks": [name for name, _ in net.blocks()],
    }


def _build(architecture: Architecture, weights: Mapping[str, Tensor]) -> SuperResolutionNet:
    with torch.device("meta"):  # shapes alone: no memory, and no draw from a generator
        net = SuperResolutionNet(architecture)
    _check_weights(net.state_dict(), weights)
    # Assigned, since copying into empty tensors makes torch import SymPy, which takes most of a second.
    net.load_state_dict({name: tensor.clone() for name, tensor in weights.items()}, assign=True)
    net.eval()
    squares = torch.arange(_PROBE**2).reshape(1, 1, _PROBE, _PROBE) % 2
    with torch.inference_mode():
        if not net(squares.float().expand(-1, architecture.channels, -1, -1)).isfinite().all():
            raise UsageError("the weights are finite, but what they make of an image is not; train the model again.")
    return net


def _check_weights(expected: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> None:
    """Compares names, shapes and types, and refuses values that are not finite.

    Raises:
        UsageError: That names the first tensor that is wrong.
    """
    for name in expected:
        if name not in weights:
            raise UsageError(f"tensor '{name}', which the card's architecture has, is missing in {WEIGHTS}.")
    for name, found in weights.items():
        wanted = expected.get(name)
        if wanted is None:
            raise UsageError(f"{WEIGHTS} has a tensor '{name:.80}' that the card's architecture has not.")
        if found.shape != wanted.shape or found.dtype != wanted.dtype:
            raise UsageError(
                f"tensor '{name}' has shape {tuple(found.shape)} of {_said(found)}, but the card's architecture needs "
                f"{tuple(wanted.shape)} of {_said(wanted)}."
            )
        if not found.isfinite().all():
            kind = "NaN" if found.isnan().any() else "infinite values"
            raise UsageError(f"tensor '{name}' holds {kind}; train the model again, or copy one that is whole.")
        if name.endswith("running_var") and bool((found < 0).any()):
            raise UsageError(f"tensor '{name}' holds negative variances.")


def _said(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
