"""Reconstruction: an image that the domain's own degradation turns into the LR image, with little total variation.

It minimises ½ r²‖D(x) − y‖² + μ·TV(x) over an HR plane x, beginning with bicubic interpolation. D is
:meth:`trainables.degradation.Degradation.linear` and TV the isotropic total variation (Rudin, Osher & Fatemi, Physica
D 60, 1992), smoothed as Σ √(|∇x|² + ε²), so that the whole has a gradient. The steps are those of Nesterov's
accelerated gradient method as Beck & Teboulle state it (FISTA, SIAM J. Imaging Sciences 2(1), 2009). With μ = 0 it is
iterative back-projection (Irani & Peleg, CVGIP 53(3), 1991) with D's adjoint as the back-projection kernel; few
iterations are a regulariser themselves.

Shapes: y (N, 1, H, W) and x (N, 1, r·H, r·W), luma or a band in [0, 1].
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

from trainables.classical.luma import with_detail
from trainables.degradation import Degradation
from trainables.errors import UsageError
from trainables.network.network import interpolate

_SMOOTHING = 1 / 255
"""ε: total variation counts differences well below one gray level quadratically."""

_NORM_SIDE = 12
"""LR pixels of the image that D's norm is measured on; D is nearly a convolution, and a larger one has the same."""


_SAFETY = 1.05
"""The power method comes from below."""

_Map = Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class TotalVariation:
    """An upscaler that inverts the deterministic, linear part of a degradation.

    Attributes:
        degradation: The domain's degradation; what is random or not linear in it is not inverted.
        scale: Scale factor r.
        weight: μ, 0 or more; around the standard deviation of the noise on the [0, 1] scale.
        iterations: Gradient steps, 1 or more.
    """

    degradation: Degradation
    scale: int
    weight: float
    iterations: int

    def __post_init__(self) -> None:
        if not 0 <= self.weight < math.inf:
            raise UsageError(f"The weight of total variation must be 0 or more, found {self.weight}.")
        if self.iterations < 1:
            raise UsageError(f"A reconstruction needs 1 iteration or more, found {self.iterations}.")

    def __call__(self, lr: Tensor) -> Tensor:
        """Upscales a batch (N, C, H, W) to (N, C, r·H, r·W); values may leave [0, 1] slightly.

        Raises:
            UsageError: If ``lr`` is no batch of float images.
        """
        return with_detail(lr, self.scale, self._detail)

    def _detail(self, y: Tensor) -> Tensor:
        # Scoring runs in inference mode, whose tensors no gradient can pass, and D's adjoint is a gradient.
        with torch.inference_mode(False), torch.no_grad():
            return self._minimised(y.clone())

    def _minimised(self, y: Tensor) -> Tensor:
        start = interpolate(y, self.scale)
        forward, adjoint = _operator(self.degradation, self.scale, start)
        step = 1 / (_squared_norm(self.degradation, self.scale) + 8 * self.weight / _SMOOTHING)
        x, ahead, momentum = start, start, 1.0
        for _ in range(self.iterations):
            gradient = self.scale**2 * adjoint(forward(ahead) - y)
            if self.weight > 0:
                gradient = gradient + self.weight * total_variation_gradient(ahead)
            before, x = x, ahead - step * gradient
            following = (1 + math.sqrt(1 + 4 * momentum**2)) / 2
            ahead = x + (momentum - 1) / following * (x - before)
            momentum = following
        return x - start


def total_variation(images: Tensor) -> Tensor:
    """Smoothed isotropic total variation of images (N, C, H, W), summed over all: what the gradient is tested with."""
    return _lengths(*_differences(images)).sum()


def total_variation_gradient(images: Tensor) -> Tensor:
    """The gradient of :func:`total_variation`, (N, C, H, W); written out, because it is most of the work."""
    down, across = _differences(images)
    length = _lengths(down, across)
    down, across = down / length, across / length
    return down.roll(1, -2) - down + across.roll(1, -1) - across


def _differences(images: Tensor) -> tuple[Tensor, Tensor]:
    """Forward differences along rows and columns, 0 at the last."""
    down = functional.pad(images.diff(dim=-2), (0, 0, 0, 1))
    return down, functional.pad(images.diff(dim=-1), (0, 1))


def _lengths(down: Tensor, across: Tensor) -> Tensor:
    return (down.square() + across.square() + _SMOOTHING**2).sqrt()


def _operator(degradation: Degradation, scale: int, like: Tensor) -> tuple[_Map, _Map]:
    """D for images of one size, and its adjoint: the gradient of a linear map, wherever it is taken."""

    def forward(hr: Tensor) -> Tensor:
        return degradation.linear(hr, scale)

    gradient = torch.func.vjp(forward, like)[1]
    return forward, lambda lr: gradient(lr)[0]


@lru_cache(maxsize=16)
def _squared_norm(degradation: Degradation, scale: int) -> float:
    """r²·‖D‖², by the power method; the gradient of the data term changes no faster."""
    with torch.inference_mode(False), torch.no_grad():
        side = _NORM_SIDE * scale
        image = torch.rand(1, 1, side, side, generator=torch.Generator().manual_seed(0))
        forward, adjoint = _operator(degradation, scale, image)
        for _ in range(30):
            image = adjoint(forward(image / image.norm()))
        return _SAFETY * scale**2 * float(image.norm())
