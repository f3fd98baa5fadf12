"""Networks small enough for any test, on storage or in place of the packaged ones."""

from pathlib import Path
from typing import Any

import torch

from trainables.degradation import Degradation
from trainables.network.bands import with_bands
from trainables.network.model_files import pack_model
from trainables.network.network import SuperResolutionNet, preset


def net(scale: int = 4, seed: int = 0, name: str = "tiny") -> SuperResolutionNet:
    """A network that adds some detail of its own to bicubic interpolation."""
    torch.manual_seed(seed)
    made = SuperResolutionNet(preset(name, scale))
    for parameter in made.generator.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    return made.eval()


def of_bands(*names: str, scale: int = 4) -> SuperResolutionNet:
    """The same for other bands."""
    return with_bands(net(scale), names)


def write(folder: Path, made: SuperResolutionNet, **facts: Any) -> str:
    """Writes a model's two files and returns their folder."""
    folder.mkdir(parents=True, exist_ok=True)
    stated = {"degradation": Degradation().to_dict(), "data_licence": "CC0", "metrics": {"Set5": {"psnr": 30.5}}}
    for name, data in pack_model(made, {"name": folder.name, **stated, **facts}).items():
        (folder / name).write_bytes(data)
    return str(folder)


def packaged(folder: Path, monkeypatch: Any) -> None:
    """Puts tiny networks in place of the models that come with the package."""
    from trainables.network import packaged as pretrained

    for scale in (2, 4):
        write(folder / "weights" / f"base-x{scale}", net(scale))
    monkeypatch.setattr(pretrained, "folder", lambda: folder / "weights")
