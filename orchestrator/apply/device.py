"""Choice of the device that a network computes on."""

import torch

from trainables.errors import UsageError, suggestion

DEVICES = ("auto", "cpu", "cuda")


def chosen_device(name: str) -> torch.device:
    """The torch device of a name in :data:`DEVICES`.

    Raises:
        UsageError: If there is no such device.
    """
    if name not in DEVICES:
        raise UsageError(f"--device must be one of {', '.join(DEVICES)}, found '{name}'.{suggestion(name, DEVICES)}")
    if name == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device is cuda, but torch finds no usable GPU here; take --device cpu.")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")
