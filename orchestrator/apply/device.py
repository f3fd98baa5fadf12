"""Choice of the device that a network computes on."""

from typing import TYPE_CHECKING

from trainables.errors import UsageError, suggestion

if TYPE_CHECKING:
    import torch

DEVICES = ("auto", "cpu", "cuda")


def check_device(name: str) -> None:
    """Checks a name, before torch is imported.

    Raises:
        UsageError: If it is not one of :data:`DEVICES`.
    """
    if name not in DEVICES:
        raise UsageError(f"--device must be one of {', '.join(DEVICES)}, found '{name}'.{suggestion(name, DEVICES)}")


def chosen_device(name: str) -> "torch.device":
    """The torch device of a name in :data:`DEVICES`.

    Raises:
        UsageError: If there is no such device.
    """
    import torch

    check_device(name)
    if name == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device is cuda, but torch finds no usable GPU here; take --device cpu.")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")
