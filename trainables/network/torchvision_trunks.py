"""The feature extractor F_θ as the first stages of torchvision's ResNets, and their ImageNet weights.

A module of its own, since importing torchvision takes two seconds, which processes with a thin network do not spend.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.models import WeightsEnum, resnet

from trainables.errors import UsageError
from trainables.network.architecture import Architecture
from trainables.network.trunks import FeatureExtractor

_IMAGENET = {"resnet18": resnet.ResNet18_Weights.IMAGENET1K_V1, "resnet34": resnet.ResNet34_Weights.IMAGENET1K_V1}


def torchvision_trunk(architecture: Architecture) -> FeatureExtractor:
    """Torchvision's ResNet-18 or -34 (He et al. 2015, arXiv 1512.03385), first stages, every stride 1, no pooling."""
    norm = nn.BatchNorm2d if architecture.norm == "batch" else _no_norm
    whole: resnet.ResNet = getattr(resnet, architecture.family)(weights=None, norm_layer=norm)
    if architecture.channels != whole.conv1.in_channels:
        whole.conv1 = nn.Conv2d(architecture.channels, 64, 7, padding=3, bias=False)
    trunk = _beginning(whole, architecture.stages)
    for module in trunk.modules():
        if isinstance(module, nn.Conv2d):
            module.stride = (1, 1)
    if architecture.norm == "none":
        with torch.no_grad():
            for block in trunk.blocks:
                if isinstance(block, resnet.BasicBlock):
                    block.conv2.weight.mul_(0.1)
    return trunk


def load_imagenet(trunk: FeatureExtractor, architecture: Architecture, where: str = "cache") -> None:
    """Puts torchvision's ImageNet weights into a torchvision trunk.

    Args:
        trunk: A trunk of :func:`torchvision_trunk`, with batch normalisation.
        architecture: Its architecture. Images of another number of channels than 3 get the mean of the first kernel.
        where: A ``.pth`` or ``.safetensors`` file with torchvision's names, or ``cache`` for the file that torchvision
            itself would keep; nothing is downloaded.

    Raises:
        UsageError: If the architecture has no such weights, or the file is missing or another network's.
    """
    if architecture.family not in _IMAGENET or architecture.norm != "batch":
        raise UsageError(
            f"ImageNet weights fit the families {', '.join(_IMAGENET)} with norm batch, found family "
            f"{architecture.family} with norm {architecture.norm}."
        )
    path = cached_weights(_IMAGENET[architecture.family]) if where == "cache" else Path(where)
    if not path.is_file():
        raise UsageError(f"There are no ImageNet weights at '{path}'; put torchvision's {architecture.family} there.")
    state_dict = _read(path)
    names = _torchvision_names(architecture)
    try:
        weights = {ours: state_dict[theirs] for ours, theirs in names.items()}
        stem = weights["stem.0.weight"]
        if architecture.channels != stem.shape[1]:
            weights["stem.0.weight"] = stem.mean(1, keepdim=True).expand(-1, architecture.channels, -1, -1)
        trunk.load_state_dict(weights)
    except (KeyError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise UsageError(f"'{path}' does not hold torchvision's {architecture.family}: {reason:.200}") from None


def _read(path: Path) -> Mapping[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state_dict: Mapping[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
        return state_dict
    except (SafetensorError, RuntimeError, ValueError, OSError, EOFError) as error:
        reason = " ".join(str(error).split())
        raise UsageError(f"'{path}' cannot be read as weights: {reason:.200}") from None
    except Exception as error:  # pickle's own errors have no common class
        raise UsageError(f"'{path}' cannot be read as weights: {type(error).__name__}.") from None


def cached_weights(weights: WeightsEnum) -> Path:
    """Path of weights in torchvision's cache."""
    return Path(torch.hub.get_dir()) / "checkpoints" / Path(weights.url).name


def _torchvision_names(architecture: Architecture) -> dict[str, str]:
    """From the trunk's names to torchvision's."""
    whole: resnet.ResNet = getattr(resnet, architecture.family)(weights=None)
    theirs = {id(value): name for name, value in whole.state_dict(keep_vars=True).items()}
    same = _beginning(whole, architecture.stages)
    return {name: theirs[id(value)] for name, value in same.state_dict(keep_vars=True).items()}


def _beginning(whole: resnet.ResNet, stages: int) -> FeatureExtractor:
    """The stem and the first stages of a torchvision network, which they stay part of."""
    kept = [getattr(whole, f"layer{stage}") for stage in range(1, stages + 1)]
    return FeatureExtractor(nn.Sequential(whole.conv1, whole.bn1, whole.relu), [b for stage in kept for b in stage])


def _no_norm(channels: int) -> nn.Module:
    del channels
    return nn.Identity()
