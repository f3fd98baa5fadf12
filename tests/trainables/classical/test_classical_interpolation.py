"""Interpolations on the grid that all upscalers share."""

import numpy as np
import pytest
import torch
from PIL import Image

from trainables.classical import bilinear, fixed_baselines, lanczos
from trainables.degradation import Degradation
from trainables.metrics.evaluation import bicubic

INTERPOLATIONS = {"bilinear": bilinear, "bicubic": bicubic, "lanczos": lanczos}


@pytest.mark.parametrize("name", INTERPOLATIONS)
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_a_ramp_is_not_shifted(name, scale):
    places = (torch.arange(40 * scale) + 0.5) / scale - 0.5
    ramp = torch.arange(40.0).expand(1, 3, 40, 40) / 40
    for axis, lr in ((-1, ramp), (-2, ramp.mT)):
        line = INTERPOLATIONS[name](scale)(lr)[0, 0].select(-1 if axis == -2 else -2, 20 * scale) * 40
        error = (line - places)[8 * scale : -8 * scale]
        # Lanczos bends a ramp by up to 0.03 pixels, but to both sides alike; a wrong grid moves it by 0.25 or more.
        assert error.mean().abs() < 1e-4
        assert error.abs().max() < (0.04 if name == "lanczos" else 1e-4)


def test_lanczos_is_that_of_pillow():
    lr = torch.rand(2, 3, 9, 7, generator=torch.Generator().manual_seed(0))
    found = lanczos(4)(lr)
    wanted = Image.fromarray(lr[1, 2].numpy()).resize((28, 36), Image.Resampling.LANCZOS)
    np.testing.assert_allclose(found[1, 2].numpy(), np.asarray(wanted), atol=1e-5)


@pytest.mark.parametrize("name", INTERPOLATIONS)
def test_tiny_images_keep_their_colour(name):
    for size in ((1, 1), (1, 5), (2, 3)):
        lr = torch.full((1, 3, *size), 0.4)
        out = fixed_baselines(3)[name](lr)
        assert out.shape == (1, 3, 3 * size[0], 3 * size[1])
        torch.testing.assert_close(out, torch.full_like(out, 0.4))


def test_the_linear_part_of_a_degradation_is_linear_and_its_mean():
    noisy = Degradation(blur=(0.2, 0.6), jitter=0.4, noise=(0.01, 0.1), jpeg=(40, 90))
    first, second = torch.rand(2, 1, 3, 24, 32, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(
        noisy.linear(2 * first - second, 4), 2 * noisy.linear(first, 4) - noisy.linear(second, 4)
    )
    gray = torch.tensor([False])
    plain = Degradation(blur=(0.4, 0.4))(first, 4, gray, torch.Generator().manual_seed(0))
    assert (noisy.linear(first, 4) - plain).abs().max() <= 0.5 / 255 + 1e-6
