"""Reconstruction with total variation, by inverting a degradation's linear part."""

import pytest
import torch

from trainables.classical import TotalVariation
from trainables.classical.reconstruction import total_variation, total_variation_gradient
from trainables.degradation import Degradation
from trainables.errors import UsageError
from trainables.metrics.evaluation import NamedImage, bicubic, make_pairs, mean_psnr
from trainables.samples import generate

BLURRED = Degradation(blur=(0.4, 0.5))
KINDS = {
    "blur": BLURRED,
    "mtf": Degradation(mtf=(0.1, 0.3), decimation="area"),
    "k-space": Degradation(decimation="fourier"),
}


@pytest.fixture(scope="module")
def image():
    return NamedImage("a", "a", generate("surveillance", 3, (128, 144)))


@pytest.mark.parametrize("kind", KINDS)
def test_it_beats_bicubic_on_what_it_inverts(kind, image):
    pairs = make_pairs([image], KINDS[kind], 4)
    gain = mean_psnr(TotalVariation(KINDS[kind], 4, 0.002, 40), pairs, 4) - mean_psnr(bicubic(4), pairs, 4)
    assert gain > 0.4


def test_degraded_again_it_is_nearer_to_the_lr_image(image):
    (pair,) = make_pairs([image], BLURRED, 2)

    def distance(upscale):
        again = BLURRED.linear(upscale(pair.lr[None]), 2)
        return float((again - pair.lr).square().mean().sqrt())

    distances = [distance(TotalVariation(BLURRED, 2, 0.0, iterations)) for iterations in (2, 10, 40)]
    assert distances == sorted(distances, reverse=True)
    # What is left is mostly chroma's, which is interpolated.
    assert distances[-1] < 0.5 * distance(bicubic(2))


def test_weight_brings_total_variation_down_and_noise_with_it(image):
    noisy = Degradation(blur=(0.3, 0.3), noise=(0.05, 0.05))
    pairs = make_pairs([image], noisy, 2)
    lr = pairs[0].lr[None]
    variations = [float(total_variation(TotalVariation(noisy, 2, weight, 30)(lr))) for weight in (0.0, 0.01, 0.1)]
    assert variations == sorted(variations, reverse=True)
    psnrs = [mean_psnr(TotalVariation(noisy, 2, weight, 30), pairs, 2) for weight in (0.0, 0.03)]
    assert psnrs[1] > psnrs[0] + 1


def test_the_gradient_of_total_variation_is_what_autograd_finds():
    images = torch.rand(2, 1, 6, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    (wanted,) = torch.autograd.grad(total_variation(images.requires_grad_()), images)
    torch.testing.assert_close(total_variation_gradient(images.detach()), wanted)


def test_a_batch_is_its_images_and_every_mode_of_autograd_gives_the_same(image):
    upscale = TotalVariation(BLURRED, 2, 0.01, 5)
    lr = torch.rand(3, 3, 11, 8, generator=torch.Generator().manual_seed(0))
    together = upscale(lr)
    assert together.shape == (3, 3, 22, 16)
    torch.testing.assert_close(together, torch.cat([upscale(one[None]) for one in lr]), atol=1e-5, rtol=0)
    with torch.inference_mode():
        assert torch.equal(upscale(lr + 0), together)
    assert not together.requires_grad


@pytest.mark.parametrize("bands", [1, 2, 4])
def test_other_numbers_of_bands_are_planes_of_their_own(bands):
    upscale, lr = (
        TotalVariation(BLURRED, 2, 0.01, 5),
        torch.rand(2, bands, 9, 8, generator=torch.Generator().manual_seed(0)),
    )
    expected = torch.cat([upscale(lr[:, [band] * 3])[:, :1] for band in range(bands)], dim=1)
    torch.testing.assert_close(upscale(lr), expected, atol=1e-5, rtol=0)


def test_gray_stays_gray():
    gray = torch.rand(1, 1, 9, 9, generator=torch.Generator().manual_seed(0)).expand(-1, 3, -1, -1)
    out = TotalVariation(BLURRED, 4, 0.01, 5)(gray)
    assert torch.equal(out[:, 0], out[:, 1])
    assert torch.equal(out[:, 0], out[:, 2])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(1, 1), (1, 4), (3, 2)])
def test_tiny_images(kind, size):
    out = TotalVariation(KINDS[kind], 2, 0.01, 3)(torch.full((1, 3, *size), 0.25))
    torch.testing.assert_close(out, torch.full((1, 3, 2 * size[0], 2 * size[1]), 0.25), atol=1e-4, rtol=0)


def test_what_it_does_not_take():
    with pytest.raises(UsageError, match=r"weight of total variation must be 0 or more, found -0\.1"):
        TotalVariation(BLURRED, 2, -0.1, 3)
    with pytest.raises(UsageError, match="needs 1 iteration or more, found 0"):
        TotalVariation(BLURRED, 2, 0.1, 0)
    with pytest.raises(UsageError, match=r"Expected float LR images \(N, C, H, W\), found torch.uint8 \(1, 3, 4, 4\)"):
        TotalVariation(BLURRED, 2, 0.1, 3)(torch.zeros(1, 3, 4, 4, dtype=torch.uint8))
