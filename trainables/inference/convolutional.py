"""A network whose every operator is one of ONNX, for any height and width.

Shapes: N images, C channels, H×W LR pixels, r the scale factor.

Antialiased bicubic interpolation is no operator of ONNX. It becomes two convolutions: the weighted sum of the pixels
that exist, and the sum of their weights, by which it is divided.
"""

import copy

from torch import Tensor, nn
from torch.nn import functional

from trainables.inference.prepare import REACH, bicubic_kernels, fold_norms
from trainables.network.network import SuperResolutionNet


class ConvolutionalNet(nn.Module):
    """A copy of a network that gives the same up to rounding: (N, C, H, W) in [0, 1] to (N, C, r·H, r·W).

    Args:
        net: The network; it stays as it is.
    """

    kernels: Tensor
    """(C·r², 1, 5, 5): weights of the pixels around one, for each of its output pixels."""

    def __init__(self, net: SuperResolutionNet) -> None:
        super().__init__()
        own = copy.deepcopy(net).cpu().eval().requires_grad_(False)
        fold_norms(own)
        self.features, self.last, self.shuffle = own.features, own.generator.conv, own.generator.shuffle
        kernels = bicubic_kernels(net.architecture.scale)[:, None]
        self.register_buffer("kernels", kernels.float().repeat(net.architecture.channels, 1, 1, 1))
        self.eval()

    def forward(self, lr: Tensor) -> Tensor:
        """Upscales a batch."""
        # `ones_like` would ask for the shape, which OpenCV 4 knows too late.
        total, weights = self._weighted(lr), self._weighted(lr * 0 + 1)
        hr: Tensor = self.shuffle(self.last(self.features(lr)) + total / weights)
        return hr

    def _weighted(self, values: Tensor) -> Tensor:
        return functional.conv2d(values, self.kernels, padding=REACH, groups=values.shape[1])
