"""Interpolation: what needs nothing but a kernel. Bicubic is :func:`trainables.metrics.evaluation.bicubic`.

All kernels lie on one grid, on which pixels are squares and both images cover the same area: the centre of HR pixel i
is at (i + 0.5)/r - 0.5 LR pixels. Shapes: lr (N, C, H, W) to (N, C, r·H, r·W).
"""

from torch.nn import functional

from trainables.metrics.evaluation import Upscaler


def bilinear(scale: int) -> Upscaler:
    """Linear interpolation along both axes; the edge pixel goes on beyond the border."""
    return lambda lr: functional.interpolate(lr, scale_factor=float(scale), mode="bilinear", align_corners=False)


def lanczos(scale: int) -> Upscaler:
    """Lanczos interpolation: sinc(x)·sinc(x/3) for |x| < 3 LR pixels (Duchon, J. Appl. Meteorology 18, 1979).

    The weights of each pixel are divided by their sum, and taps beyond the border are left out, as Pillow does.
    """
    # PyTorch has this kernel on the CPU alone.
    return lambda lr: functional.interpolate(
        lr.cpu(), scale_factor=float(scale), mode="lanczos", antialias=True, align_corners=False
    ).to(lr.device)
