"""Networks for any bands, made of networks that were trained on red, green and blue.

Shapes: N images, C bands, H×W LR pixels, r the scale factor, F features.

Only two convolutions depend on the bands: the stem's first one and the generator's. Both follow from the share of each
colour in each band, :func:`band_matrix` M (C, 3):

- stem: W'[:, b] = (3/C) · Σ_c M[b, c] · W[:, c],
- generator: the channels of band b are Σ_c M[b, c] · those of colour c.

The stem's rule is that of timm (``adapt_input_conv``: weights repeated and scaled by 3/C), which goes back to inflated
video networks (Carreira & Zisserman 2017, arXiv 1705.07750: weights repeated and divided by the number of repetitions).
The factor 3/C keeps the sums of the kernels: where all bands are equal, the features, and the detail of each band, are
those of the RGB network on the gray image. So what the trunk learnt is of use from the first step on. Residual blocks
are copied.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from trainables.errors import UsageError
from trainables.images.raster import RGB
from trainables.network.network import SuperResolutionNet


def band_matrix(names: Sequence[str]) -> Tensor:
    """The share of red, green and blue in each band.

    Where red, green and blue are all there, each of them takes its own colour, and any other band the mean of the
    three. Where a colour is missing, every band takes the mean, since the rest would not add up to gray.

    Args:
        names: Names of the bands, in any case of letters.

    Returns:
        float64 (C, 3); every row sums to 1.

    Raises:
        UsageError: If there are no names, or two are equal.
    """
    lowered = [name.lower() for name in names]
    if not lowered or len(set(lowered)) < len(lowered):
        raise UsageError(f"Bands need names, each of which occurs once, found {list(names)!r:.200}.")
    matrix = torch.full((len(lowered), 3), 1 / 3, dtype=torch.float64)
    if set(RGB) <= set(lowered):
        for colour, name in enumerate(RGB):
            matrix[lowered.index(name)] = torch.eye(3, dtype=torch.float64)[colour]
    return matrix


def with_bands(net: SuperResolutionNet, band_names: Sequence[str]) -> SuperResolutionNet:
    """An RGB network made ready for other bands; see the module for the rule.

    One band gives what the RGB network gives on gray repeated to three bands, averaged; red, green and blue in this
    order give the same network. Blocks and their order stay, so a frozen depth means what it means for ``net``: the
    stem is the first block. Draws nothing from torch's generators.

    Args:
        net: A network of three channels; it stays as it is.
        band_names: Names of the bands in the order in which the new network takes and gives them.

    Returns:
        A network of its own on the same device and in the same mode, in which every block trains.

    Raises:
        UsageError: If ``net`` takes another number of bands than three, or the names are wrong.
    """
    if net.architecture.channels != 3:
        raise UsageError(
            f"Networks for other bands are made of networks for red, green and blue; this one takes "
            f"{net.architecture.channels} bands: take a model of 3 bands."
        )
    matrix = band_matrix(band_names)
    state = dict(net.state_dict())
    stem = _first_convolution(net)
    state[stem] = _stem_weights(state[stem], matrix)
    for name in ("generator.conv.weight", "generator.conv.bias"):
        state[name] = _generator_weights(state[name], matrix, net.architecture.scale)
    with torch.device("meta"):  # shapes alone
        adapted = SuperResolutionNet(replace(net.architecture, channels=len(matrix)))
    adapted.to_empty(device=state[stem].device).load_state_dict(state)
    return adapted.train(net.training)


def by_band(upscale: Callable[[Tensor], Tensor], channels: int = 3) -> Callable[[Tensor], Tensor]:
    """Upscales any bands with an RGB network: each band as a gray image, repeated to three bands and averaged again.

    Args:
        upscale: From (N, channels, H, W) to (N, channels, r·H, r·W).
        channels: 3, or 1 for a network of a single band.

    Returns:
        From (N, C, H, W) to (N, C, r·H, r·W).
    """

    def upscale_bands(lr: Tensor) -> Tensor:
        gray = lr.flatten(0, 1)[:, None].expand(-1, channels, -1, -1)
        hr = upscale(gray).mean(1)
        return hr.view(*lr.shape[:2], *hr.shape[1:])

    return upscale_bands


def _first_convolution(net: SuperResolutionNet) -> str:
    """Name of the weights that see the image."""
    names = (name for name, module in net.named_modules() if isinstance(module, nn.Conv2d))
    return f"{next(names)}.weight"


def _stem_weights(weights: Tensor, matrix: Tensor) -> Tensor:
    """(F, 3, h, w) to (F, C, h, w)."""
    shares = matrix.to(weights.device) * (3 / len(matrix))
    return torch.einsum("bc,fchw->fbhw", shares, weights.double()).to(weights.dtype)


def _generator_weights(weights: Tensor, matrix: Tensor, scale: int) -> Tensor:
    """(3·r², ...) to (C·r², ...): pixel shuffle takes r² channels in a row for each band."""
    of_colours = weights.double().view(3, scale**2, *weights.shape[1:])
    return torch.einsum("bc,c...->b...", matrix.to(weights.device), of_colours).flatten(0, 1).to(weights.dtype)
