"""Upscaling pixels: tiles leave no trace, gray stays gray, flips and rotations are averaged."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from kernels import assert_same

from trainables.errors import UsageError
from trainables.inference.prepare import prepared
from trainables.inference.upscale import self_ensemble, upscale, upscale_alpha, upscale_values
from trainables.network.bands import with_bands
from trainables.network.network import SuperResolutionNet, interpolate, preset

PIXELS = np.random.default_rng(0).integers(0, 256, (61, 83, 3), dtype=np.uint8)


def rgb_net(scale):
    torch.manual_seed(scale)
    made = SuperResolutionNet(preset("tiny", scale))
    for parameter in made.generator.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    return made


def of_bands(names, scale=2):
    return prepared(with_bands(rgb_net(scale), names), precision="float32")


@pytest.fixture(scope="module", params=[2, 3, 4])
def net(request):
    return prepared(rgb_net(request.param), precision="float32")


@pytest.mark.parametrize("bands", [1, 3])
@pytest.mark.parametrize("tile", [16, 37, 61])
def test_tiles_give_the_whole_image(net, bands, tile):
    whole = upscale(net, PIXELS[..., :bands], tile=1000)
    tiled = upscale(net, PIXELS[..., :bands], tile=tile)
    assert whole.shape == (61 * net.scale, 83 * net.scale, bands)
    assert_same(tiled, whole)


def test_a_narrow_halo_would_show(net):
    """The test above can fail."""
    narrow = replace(net, radius=2)
    different = np.abs(upscale(net, PIXELS, tile=1000).astype(int) - upscale(narrow, PIXELS, tile=16))
    assert different.max() > 1


def test_the_whole_image_is_what_the_network_says(net):
    padded = np.pad(PIXELS, ((net.radius,) * 2, (net.radius,) * 2, (0, 0)), mode="reflect")
    lr, edge = torch.from_numpy(padded).permute(2, 0, 1)[None].float() / 255, net.radius * net.scale
    with torch.inference_mode():
        expected = (net(lr)[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(upscale(net, PIXELS, tile=1000), expected[edge:-edge, edge:-edge])


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 200, 1), (3, 2, 3), (200, 5, 3)])
def test_any_size_down_to_one_pixel(net, shape):
    scale = net.scale
    assert upscale(net, np.zeros(shape, np.uint8), tile=64).shape == (shape[0] * scale, shape[1] * scale, shape[2])


def test_alpha_is_bicubic_and_opaque_stays_opaque(net):
    scale, alpha = net.scale, PIXELS[..., 0]
    padded = torch.from_numpy(np.pad(alpha, 3, mode="reflect"))[None, None].float() / 255
    expected = interpolate(padded, scale)[0, 0, 3 * scale : -3 * scale, 3 * scale : -3 * scale].clamp(0, 1) * 255
    np.testing.assert_allclose(upscale_alpha(alpha, scale, tile=20), expected.round().numpy(), atol=1)
    assert (upscale_alpha(np.full((40, 50), 255, np.uint8), scale, tile=16) == 255).all()


def test_self_ensemble_is_the_same_for_every_orientation(net):
    lr = torch.rand(1, 3, 9, 12)
    with torch.inference_mode():
        mean = self_ensemble(net)
        torch.testing.assert_close(mean(lr.flip(-1)).flip(-1), mean(lr), atol=1e-5, rtol=0)
        torch.testing.assert_close(mean(lr.mT).mT, mean(lr), atol=1e-5, rtol=0)
        assert (mean(lr) - net(lr)).abs().max() > 1e-4


def test_self_ensemble_of_tiles_is_that_of_the_whole_image(net):
    whole, tiled = (upscale(net, PIXELS, tile=tile, ensemble=True) for tile in (1000, 24))
    assert np.abs(whole.astype(int) - tiled).max() <= 1


@pytest.mark.parametrize("bands", [1, 2, 3])
def test_values_are_not_rounded_and_go_in_tiles_too(net, bands):
    values = (PIXELS[..., :bands] / 255).astype(np.float32)
    tiled = upscale_values(net, values, tile=20)
    whole = upscale_values(net, values, tile=1000)
    np.testing.assert_allclose(tiled, whole, atol=1e-5)
    assert tiled.dtype == np.float32
    stored = np.dstack([upscale(net, PIXELS[..., [band]]) for band in range(bands)])
    if bands == 3:
        stored = upscale(net, PIXELS)
    np.testing.assert_allclose(tiled.clip(0, 1) * 255, stored, atol=0.51)


def test_values_beyond_0_and_1_are_interpolated(net):
    values = np.linspace(-2, 3, 60 * 60, dtype=np.float32).reshape(60, 60, 1)
    lr = torch.from_numpy(values)[None, :, :, 0].expand(3, -1, -1)[None]
    inside = lr.clamp(0, 1)
    with torch.inference_mode():
        expected = net(inside).mean(1) + interpolate(lr - inside, net.scale)[:, 0]
    inner = slice(net.radius * net.scale, -net.radius * net.scale)
    found = upscale_values(net, values)[inner, inner, 0]
    np.testing.assert_allclose(found, expected[0, inner, inner].numpy(), atol=1e-5)


def test_as_many_bands_as_the_network_takes_go_together():
    four = of_bands(["red", "green", "blue", "nir"])
    assert four.channels == 4
    values = np.random.default_rng(0).random((40, 50, 4), np.float32)
    lr, edge = (
        torch.from_numpy(np.pad(values, ((four.radius,) * 2, (four.radius,) * 2, (0, 0)), "reflect")),
        2 * four.radius,
    )
    with torch.inference_mode():
        expected = four(lr.permute(2, 0, 1)[None])[0, :, edge:-edge, edge:-edge].permute(1, 2, 0).numpy()
    for tile in (16, 100):
        np.testing.assert_allclose(upscale_values(four, values, tile), expected, atol=1e-6)
    pixels = np.random.default_rng(0).integers(0, 256, (20, 20, 4), np.uint8)
    shown = (pixels / 255).astype(np.float32)
    stored = upscale_values(four, shown).clip(0, 1) * 255
    np.testing.assert_allclose(upscale(four, pixels), stored, atol=0.51)


@pytest.mark.parametrize("bands", [1, 2, 3])
def test_a_network_of_one_band_takes_any_bands_one_by_one(bands):
    """Made of an RGB network, it gives what that gives on gray."""
    one, rgb = of_bands(["gray"]), prepared(rgb_net(2), precision="float32")
    pixels = PIXELS[..., :bands]
    singly = np.dstack([upscale(one, pixels[..., [band]]) for band in range(bands)])
    np.testing.assert_array_equal(upscale(one, pixels), singly)
    grays = np.dstack([upscale(rgb, pixels[..., [band]]) for band in range(bands)])
    assert np.abs(singly.astype(int) - grays).max() <= 1
    values = (pixels / 255).astype(np.float32)
    np.testing.assert_allclose(upscale_values(one, values).clip(0, 1) * 255, singly, atol=0.51)


@pytest.mark.parametrize("bands", [1, 2, 3, 5])
def test_other_bands_than_the_network_takes_are_refused_before_it_runs(bands):
    def never(lr):
        raise AssertionError

    four = replace(of_bands(["red", "green", "blue", "nir"]), run=never)
    wanted = f"takes 4 bands together, and the image has {bands}: take a model of 1 or 3 bands"
    with pytest.raises(UsageError, match=wanted):
        upscale(four, np.zeros((9, 9, bands), np.uint8))
    with pytest.raises(UsageError, match=wanted):
        upscale_values(four, np.zeros((9, 9, bands), np.float32), ensemble=True)
