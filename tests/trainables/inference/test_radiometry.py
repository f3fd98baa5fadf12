"""Back-projection and values beyond the range: exact block means, one result whatever the tiles."""

import numpy as np
import pytest
import tiny_models
import torch
from kernels import assert_same
from torch.nn import functional

from trainables.degradation.resampling import decimate
from trainables.inference.downscaling import MARGINS, downscaling_of
from trainables.inference.prepare import enlarge, prepared
from trainables.inference.radiometry import BackProjection, back_projected, block_means, downscaled, upscale_clamped
from trainables.inference.upscale import upscale_values


def image(seed=0, bands=2, height=24, width=30):
    return torch.rand(bands, height, width, generator=torch.Generator().manual_seed(seed))


MARGIN = MARGINS["area"]


def inner(lr, margin=MARGIN):
    return lr[:, margin:-margin, margin:-margin]


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_block_means_of_the_result_are_the_source(scale):
    lr, noise = image(), torch.rand(2, 24 * scale, 30 * scale)
    hr = back_projected(noise, lr, scale, "area")
    assert hr.shape == (2, 20 * scale, 26 * scale)
    torch.testing.assert_close(block_means(hr, scale), inner(lr), atol=1e-6, rtol=0)


def test_an_output_that_agrees_stays_as_it_is():
    hr = torch.rand(1, 48, 48)
    edge = 4 * MARGIN
    torch.testing.assert_close(
        back_projected(hr, block_means(hr, 4), 4, "area"), hr[:, edge:-edge, edge:-edge], atol=1e-6, rtol=0
    )


def test_a_difference_is_upsampled_smoothly_not_in_blocks():
    lr = torch.linspace(0, 1, 24).expand(1, 24, 24).contiguous()
    hr = back_projected(torch.zeros(1, 96, 96), lr, 4, "area")
    steps = hr[0, 0].diff()
    assert float(steps.max()) < 1.6 / 23 / 4  # blocks would have steps of 1 / 23


def test_limits_hold_without_moving_a_block_mean():
    lr = image().round()  # black and white
    hr = back_projected(torch.rand(2, 96, 120), lr, 4, "area", limits=(0.0, 1.0))
    assert float(hr.min()) >= 0
    assert float(hr.max()) <= 1
    torch.testing.assert_close(block_means(hr, 4), inner(lr), atol=1e-6, rtol=0)


def test_limits_change_no_other_block():
    lr = image(height=40)
    lr[:, :10] = 0
    noise = torch.rand(2, 160, 120)
    free, held = back_projected(noise, lr, 4, "area"), back_projected(noise, lr, 4, "area", limits=(0.0, 5.0))
    inside = (block_means((free < 0).float(), 4) == 0).repeat_interleave(4, 1).repeat_interleave(4, 2)
    assert 0 < int(inside.sum()) < inside.numel()
    assert torch.equal(free[inside], held[inside])


def test_the_network_sees_clamped_values_and_the_rest_is_interpolated():
    seen = []

    def network(lr):
        seen.append(lr)
        return enlarge(lr, 4)

    lr = 3 * image()[None] - 1
    hr = upscale_clamped(network, lr, 4)
    assert float(seen[0].min()) == 0
    assert float(seen[0].max()) == 1
    torch.testing.assert_close(hr, enlarge(lr, 4), atol=1e-5, rtol=0)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_an_output_that_was_decimated_bicubically_stays_as_it_is(scale):
    hr = torch.rand(1, 24 * scale, 24 * scale)
    found = back_projected(hr, downscaled(hr, scale, "bicubic"), scale, "bicubic")
    torch.testing.assert_close(found, inner(hr, MARGINS["bicubic"] * scale), atol=1e-5, rtol=0)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_downscaling_is_that_of_the_degradation(scale):
    hr = torch.rand(2, 24 * scale, 30 * scale)
    for kind in ("area", "bicubic"):
        expected = decimate(hr[None], scale, kind)[0]
        torch.testing.assert_close(inner(downscaled(hr, scale, kind)), inner(expected), atol=1e-5, rtol=0)


def test_bicubic_back_projection_takes_away_an_offset():
    hr = torch.rand(1, 160, 160)
    found = back_projected(hr + 0.1, downscaled(hr, 4, "bicubic"), 4, "bicubic")
    torch.testing.assert_close(found, inner(hr, 16), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("option", "decimation", "downscaling"),
    [
        ("model", "bicubic", "bicubic"),
        ("model", None, "bicubic"),
        ("model", "fourier", "bicubic"),
        ("model", "area", "area"),
        ("on", "bicubic", "area"),
        ("off", "area", None),
    ],
)
def test_the_downscaling_is_by_block_means_or_that_of_the_models_training_images(option, decimation, downscaling):
    assert downscaling_of(option, decimation) == downscaling


@pytest.mark.parametrize("downscaling", [None, "area", "bicubic"])
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_tiles_leave_no_trace_in_values_beyond_the_range(scale, downscaling):
    net = prepared(tiny_models.net(scale), precision="float32")
    values = (4 * image(1, 3, 50, 61) - 1.5).permute(1, 2, 0).numpy()
    facts = {"downscaling": downscaling, "limits": (-1.0, 2.0)}
    whole = upscale_values(net, values, tile=512, **facts)
    for tile in (16, 23):
        assert_same(upscale_values(net, values, tile=tile, **facts), whole, last_bits=1e-5)


@pytest.mark.parametrize("level", [-0.5, 0.0, 0.3, 1.0, 1.2, 2.0])
@pytest.mark.parametrize("downscaling", ["area", "bicubic"])
def test_constant_fields_come_back(level, downscaling):
    net = prepared(tiny_models.net(4), precision="float32")
    values = np.full((20, 20, 3), level, np.float32)
    raw, hr = upscale_values(net, values), upscale_values(net, values, downscaling=downscaling)
    assert abs(raw - level).max() > 1e-4
    blocks = hr.reshape(20, 4, 20, 4, 3).mean((1, 3))
    # Of a network that adds another pattern to each pixel of a block, bicubic weights see another mean.
    np.testing.assert_allclose(blocks, level, atol=1e-6 if downscaling == "area" else 0.05)


def test_differences_are_filtered_in_full_precision_and_by_cudnn_where_there_is_a_gpu(monkeypatch):
    convolve, flags = functional.conv2d, []

    def observed(*arguments, **options):
        flags.append((torch.backends.cudnn.enabled, torch.backends.cudnn.allow_tf32))
        return convolve(*arguments, **options)

    monkeypatch.setattr(functional, "conv2d", observed)
    BackProjection.of(torch.rand(1, 12, 12), torch.rand(1, 12, 12), 2, "area")
    assert flags == [(True, False)]
