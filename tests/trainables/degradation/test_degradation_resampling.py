"""Decimation against independent computations: MATLAB's algorithm in NumPy, Pillow, and a plain Fourier sum."""

import math

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter

from trainables.degradation import Degradation, resampling
from trainables.degradation.resampling import LARGEST_DENSE, decimate, gaussian_weights
from trainables.degradation.settings import DECIMATIONS
from trainables.samples import generate

SCALES = (2, 3, 4)


def picture(height, width, count=1, seed=0):
    chance = np.random.default_rng(seed)
    smooth = gaussian_filter(chance.normal(size=(count, 3, height, width)), (0, 0, 2, 2))
    return torch.tensor((0.5 + 0.15 * smooth / smooth.std()).clip(0, 1), dtype=torch.float32)


def imresize(plane, scale):
    """MATLAB's ``imresize(plane, 1/scale, "bicubic")`` of one (H, W) plane, pixel by pixel as its source does."""

    def cubic(x):
        x = abs(x)
        if x <= 1:
            return 1.5 * x**3 - 2.5 * x**2 + 1
        return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x <= 2 else 0.0

    def along_rows(values):
        size = len(values)
        aux = [*range(size), *range(size - 1, -1, -1)]
        result = []
        for x in range(1, size // scale + 1):
            u = x * scale + 0.5 * (1 - scale)
            left = math.floor(u - 4 * scale / 2)
            indices = range(left, left + 4 * scale + 2)
            weights = np.array([cubic((u - i) / scale) / scale for i in indices])
            weights /= weights.sum()
            result.append(sum(w * values[aux[(i - 1) % len(aux)]] for w, i in zip(weights, indices, strict=True)))
        return np.array(result)

    return along_rows(along_rows(plane).T).T


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize(("height", "width"), [(12, 9), (1, 2), (36, 36)])
def test_bicubic_is_matlabs_up_to_the_border(scale, height, width):
    hr = picture(height * scale, width * scale)
    expected = np.stack([imresize(band, scale) for band in hr[0].double().numpy()])
    assert np.abs(decimate(hr.double(), scale, "bicubic")[0].numpy() - expected).max() < 1e-12
    assert np.abs(decimate(hr, scale, "bicubic")[0].numpy() - expected).max() < 1e-6


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize(("height", "width"), [(12, 9), (85, 120)])
def test_bicubic_is_pillows_off_the_border(scale, height, width):
    """At the border Pillow leaves out what MATLAB mirrors; its 8-bit form rounds and clips between the two passes."""
    pixels = generate("natural", 3, (height * scale, width * scale))
    size, inner = (width, height), (slice(2, -2), slice(2, -2))
    lr = decimate(torch.from_numpy(pixels).permute(2, 0, 1)[None].float(), scale, "bicubic")[0].numpy()
    for band in range(3):
        exact = Image.fromarray(pixels[..., band].astype(np.float32)).resize(size, Image.Resampling.BICUBIC)
        assert np.abs(lr[band] - np.asarray(exact))[inner].max() < 1e-3
        rounded = Image.fromarray(pixels[..., band]).resize(size, Image.Resampling.BICUBIC)
        difference = (lr[band].clip(0, 255).round() - np.asarray(rounded, dtype=float))[inner]
        assert np.abs(difference).mean() < 0.35


@pytest.mark.parametrize("scale", SCALES)
def test_area_is_the_mean_of_r_by_r_pixels(scale):
    hr = picture(6 * scale, 5 * scale)
    mean = hr.reshape(1, 3, 6, scale, 5, scale).mean((3, 5))
    lr = decimate(hr, scale, "area")
    assert (lr - mean).abs().max() < 1e-6


@pytest.mark.parametrize("scale", SCALES)
def test_fourier_is_the_truncated_spectrum_of_the_mirrored_image(scale):
    hr = picture(12 * scale, 9 * scale)
    plane = hr[0, 0].double().numpy()
    mirrored = np.block([[plane, plane[:, ::-1]], [plane[::-1], plane[::-1, ::-1]]])
    spectrum = np.fft.fft2(mirrored) / mirrored.size

    def waves(size, small):
        """Kept frequencies of one axis, at the centres of LR pixels measured in HR pixels."""
        frequency = np.arange(-small + 1, small)
        centres = (np.arange(small) + 0.5) * size / small - 0.5
        return frequency, np.exp(1j * math.pi * np.outer(centres, frequency) / size)

    (rows, down), (columns, across) = waves(12 * scale, 12), waves(9 * scale, 9)
    expected = (down @ spectrum[np.ix_(rows, columns)] @ across.T).real
    lr = decimate(hr.double(), scale, "fourier")[0, 0].numpy()
    assert np.abs(lr - expected).max() < 1e-10


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("kind", DECIMATIONS)
@pytest.mark.parametrize("radius", [None, 0, 5, 11])
def test_large_images_get_the_same_numbers_without_a_dense_matrix(scale, kind, radius, monkeypatch):
    hr = picture(12 * scale, 31 * scale, count=2)
    blur = None
    if radius is not None:
        blur = tuple(torch.rand(2, 2 * radius + 1, generator=torch.Generator().manual_seed(i)) for i in (0, 1))
        blur = tuple(weights / weights.sum(1, keepdim=True) for weights in blur)
    dense = decimate(hr, scale, kind, blur)
    monkeypatch.setattr(resampling, "LARGEST_DENSE", 8)
    monkeypatch.setattr(resampling, "shifted_matrices", None)
    torch.testing.assert_close(decimate(hr, scale, kind, blur), dense, rtol=0, atol=2e-6)


def test_an_image_just_beyond_the_largest_dense_side_is_no_different():
    hr = torch.rand(1, 1, 64, LARGEST_DENSE + 4, generator=torch.Generator().manual_seed(0))
    same = decimate(hr[..., :LARGEST_DENSE], 4, "bicubic")[..., :-2]
    torch.testing.assert_close(decimate(hr, 4, "bicubic")[..., :-3], same, rtol=0, atol=1e-6)


def test_a_matrix_made_in_inference_mode_can_be_trained_with():
    resampling._matrix.cache_clear()
    with torch.inference_mode():
        decimate(picture(16, 16), 4, "bicubic")
    hr = picture(16, 16).requires_grad_()
    decimate(hr, 4, "bicubic").sum().backward()
    assert hr.grad.sum() == pytest.approx(3 * 16)


def test_the_chain_without_anything_else_is_the_decimation_in_8_bits():
    hr = picture(24, 36)
    lr = Degradation()(hr, 4, torch.tensor([False]), torch.Generator())
    assert torch.equal(lr, (decimate(hr, 4, "bicubic").clamp(0, 1) * 255).round() / 255)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize(("decimation", "mtf"), [("area", 0.1), ("area", 0.4), ("area", 0.5), ("bicubic", 0.2)])
def test_a_wave_at_the_lr_grids_nyquist_frequency_is_damped_by_the_mtf(scale, decimation, mtf):
    """Bicubic decimation has an MTF of its own there; the narrowest blur at r = 2 is coarsely sampled."""
    size = 32 * scale
    wave = torch.sin(math.pi / scale * (torch.arange(size) + 0.5)).expand(1, 3, size, size)
    sharp = 1.0
    if decimation == "bicubic":
        sharp = float(decimate(wave.double(), scale, "bicubic")[0, 0, 16, 8:-8].abs().mean())
    chain = Degradation(mtf=(mtf, mtf), decimation=decimation)
    lr = chain(0.5 + 0.5 * wave, scale, torch.tensor([False]), torch.Generator())[0, 0, 16, 8:-8]
    assert float((lr - 0.5).abs().mean() * 2) == pytest.approx(mtf * sharp, abs=0.012 if mtf <= 0.4 else 0.03)


@pytest.mark.parametrize("sigma", [0.0, 0.7, 2.0])
@pytest.mark.parametrize("shift", [-1.3, 0.0, 0.25, 1.0])
def test_a_displaced_gaussian_has_its_mean_there(sigma, shift):
    (weights,) = gaussian_weights(torch.tensor([sigma]), torch.tensor([shift]), 12)
    assert weights.sum() == pytest.approx(1)
    assert (weights * torch.arange(-12, 13)).sum() == pytest.approx(shift, abs=1e-3)


def test_jitter_moves_each_image_and_the_mean_of_many_not_at_all():
    ramp = torch.linspace(0.2, 0.8, 64).expand(400, 3, 64, 64)
    step = float(ramp[0, 0, 0, 1] - ramp[0, 0, 0, 0]) * 4
    lr = Degradation(jitter=0.3)(ramp, 4, torch.zeros(400, dtype=torch.bool), torch.Generator().manual_seed(0))
    moved = (lr - Degradation()(ramp, 4, torch.zeros(400, dtype=torch.bool), torch.Generator())).mean((1, 2))[:, 3:-3]
    moved = moved.mean(1) / step
    assert 0.27 < moved.abs().max() < 0.33
    assert moved.std() == pytest.approx(0.3 / math.sqrt(3), rel=0.1)
    assert moved.mean().abs() < 0.03
