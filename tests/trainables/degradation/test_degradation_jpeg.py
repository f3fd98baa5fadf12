"""JPEG in PyTorch against Pillow's codec."""

import io
from functools import cache

import numpy as np
import pytest
import torch
from PIL import Image

from trainables.degradation.jpeg import jpeg, quantization_tables
from trainables.samples import generate


@cache
def sample(domain, seed, size):
    return generate(domain, seed, size)


def through_pillow(pixels, quality):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    return Image.open(file)


def tensor(pixels):
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 255


def through_ours(pixels, *qualities):
    coded = jpeg(tensor(pixels).expand(len(qualities), -1, -1, -1), torch.tensor(qualities))
    return (coded * 255).round().permute(0, 2, 3, 1).numpy()


def psnr(pixels, original):
    return 10 * np.log10(255**2 / np.square(pixels.astype(float) - original).mean())


def test_quantization_tables_are_those_in_pillows_files():
    for quality in range(1, 101):
        stored = through_pillow(np.zeros((16, 16, 3), np.uint8), quality).quantization
        ours = quantization_tables(torch.tensor([quality]))[0].int().tolist()
        assert ours == [stored[0], stored[1]], quality


@pytest.mark.parametrize("quality", [30, 50, 75, 90, 95])
@pytest.mark.parametrize("size", [(96, 128), (75, 101), (36, 36)])
def test_as_far_from_the_original_as_pillows_and_close_to_it(quality, size):
    """Mostly equal; a coefficient that lies between two levels may fall to either side, which few pixels show more."""
    close = 0.08 if min(size) > 36 else 0.12
    for domain in ("natural", "surveillance", "art"):
        for seed in range(3):
            pixels = sample(domain, seed, size)
            ours, theirs = through_ours(pixels, quality)[0], np.asarray(through_pillow(pixels, quality))
            assert psnr(ours, pixels) == pytest.approx(psnr(theirs, pixels), abs=close)
            assert np.abs(ours - theirs).mean() < 1.4
            assert (ours == theirs).mean() > 0.4


def test_rows_beyond_the_last_block_are_filled_as_libjpeg_fills_them():
    """Thin lines in vivid hues down to the edge: filling up chroma before halving it would cost 1.5 levels here."""
    pixels = sample("natural", 2, (36, 36))
    for quality in (75, 95):
        ours, theirs = through_ours(pixels, quality)[0], np.asarray(through_pillow(pixels, quality))
        assert np.abs(ours[32:] - theirs[32:]).mean() < 1


def test_each_image_has_its_own_quality():
    pixels = generate("natural", 0, (48, 64))
    together = through_ours(pixels, 20, 60, 95)
    for coded, quality in zip(together, (20, 60, 95), strict=True):
        assert np.array_equal(coded, through_ours(pixels, quality)[0])
    errors = [np.square(coded - pixels).mean() for coded in together]
    assert errors[0] > 1.5 * errors[1] > 2.25 * errors[2] > 0


@pytest.mark.parametrize("size", [(1, 1), (3, 16), (17, 31)])
def test_any_size_and_nothing_changes_in_a_flat_image(size):
    level = torch.full((1, 3, *size), 96 / 255)
    torch.testing.assert_close(jpeg(level, torch.tensor([50])), level)


def test_gray_stays_gray():
    coded = jpeg(tensor(generate("medical", 0, (40, 40))), torch.tensor([40]))
    assert torch.equal(coded[:, :1].expand_as(coded), coded)


def test_the_gradient_passes_straight_through():
    """Luma's gradient arrives whole; that of one pixel's colour is spread over its chroma's neighbourhood."""
    images = torch.full((1, 3, 16, 16), 0.5, requires_grad=True)
    jpeg(images, torch.tensor([50]))[0, :, 5, 6].sum().backward()
    expected = torch.zeros(16, 16)
    expected[5, 6] = 3
    torch.testing.assert_close(images.grad[0].sum(0), expected, atol=1e-4, rtol=0)
