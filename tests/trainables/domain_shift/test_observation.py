from dataclasses import replace

import numpy as np
import pytest
import torch

from trainables.degradation import Degradation
from trainables.domain_shift.cka import linear_cka, total
from trainables.domain_shift.features import block_features, block_names, tile_statistics
from trainables.domain_shift.observation import observe
from trainables.errors import ImageSetError
from trainables.images.raster import PreparedImage
from trainables.metrics.evaluation import NamedImage
from trainables.network.bands import with_bands
from trainables.network.network import SuperResolutionNet, preset


def images(*sizes):
    rng = np.random.default_rng(0)
    return [NamedImage(str(i), f"s{i // 2}", rng.integers(0, 256, (*s, 3), np.uint8)) for i, s in enumerate(sizes)]


@pytest.mark.parametrize("name", ["tiny", "resnet18"])
def test_features_are_what_the_network_passes_on(name):
    net = SuperResolutionNet(preset(name, 2)).eval()
    lr = torch.rand(1, 3, 20, 24)
    features = block_features(net, lr)
    assert len(features) == len(block_names(net)) == len(net.blocks()) - 1
    assert torch.equal(features[0], net.features.stem(lr))
    assert torch.equal(features[-1], net.features(lr))


def test_tile_statistics():
    features = torch.zeros(1, 2, 70, 35)
    features[0, 0, :32, :32] = 3
    features[0, 1, 32:64, :32:2] = 1
    assert tile_statistics(features).tolist() == [[3, 0, 0, 0], [0, 0.5, 0, 0.5]]


def test_an_observation_counts_tiles_and_scenes():
    net = SuperResolutionNet(preset("tiny", 2)).eval()
    told = []
    seen = observe(
        net, images((64, 64), (64, 130), (300, 64), (40, 300)), Degradation(), on_image=lambda: told.append(1)
    )
    assert seen.tiles.scenes.tolist() == [0, 0, 0, 1, 1, 1]  # 1 + 2 tiles, then 3 of the middle; the last is too small
    assert [vectors.shape for vectors in seen.tiles.vectors] == [(6, 32)] * 8
    assert (seen.plain_tiles, seen.products, len(seen.slopes), len(told)) == (None, [], 3, 3)


def test_a_second_degradation_disturbs_what_it_changes():
    torch.manual_seed(0)
    net, pictures = SuperResolutionNet(preset("tiny", 2)).eval(), images((64, 64), (64, 64), (64, 64))

    def cka(degradation):
        seen = observe(net, pictures, degradation, Degradation())
        assert len(seen.products[0]) == 2
        return [linear_cka(total(block)) for block in seen.products]

    assert cka(Degradation()) == pytest.approx([1.0] * 8)
    assert max(cka(Degradation(noise=(0.3, 0.3)))) < 0.9


def test_noise_shows_and_blank_images_have_no_slope():
    net = SuperResolutionNet(preset("tiny", 2)).eval()
    blank = [NamedImage("a", "a", np.full((96, 96, 1), 128, np.uint8))]
    quiet, noisy = (observe(net, blank, Degradation(noise=(n, n))) for n in (0.0, 0.04))
    assert (quiet.slopes, quiet.noise[0][0]) == ([], 0)
    assert noisy.noise[0][0] == pytest.approx(0.04 * 219, rel=0.15)


def test_images_without_a_tile():
    net = SuperResolutionNet(preset("tiny", 4)).eval()
    with pytest.raises(ImageSetError, match="No image has the 128×128 pixels that an analysis at x4 needs"):
        observe(net, images((127, 400)), Degradation())


NIR_FIRST = ("nir", "Blue", "green", "RED")


def deep(planes, valid=None, scene="s"):
    return NamedImage(scene, scene, np.stack(planes, -1).astype(np.uint16) * 257, valid)


def test_an_rgb_network_is_shown_the_bands_of_its_colours_else_their_mean():
    net = SuperResolutionNet(preset("tiny", 2)).eval()
    (plain,) = images((96, 96))
    exact = Degradation(levels=None)
    red, green, blue = np.moveaxis(plain.pixels, -1, 0).astype(int)
    rgb = observe(net, [plain], exact).tiles.vectors
    named = observe(net, [deep([255 - red, blue, green, red])], exact, bands=NIR_FIRST).tiles.vectors
    for ours, theirs in zip(named, rgb, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
    mean = np.moveaxis(np.repeat([red], 3, axis=0), 0, -1).astype(np.uint8)
    gray = observe(net, [NamedImage("g", "g", mean)], exact).tiles.vectors
    pair = observe(net, [deep([red, red])], exact, bands=("vv", "vh")).tiles.vectors
    for ours, theirs in zip(pair, gray, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_a_network_of_the_images_bands_takes_them_as_they_are():
    net = with_bands(SuperResolutionNet(preset("tiny", 2)), ("a", "b")).eval()
    (plain,) = images((96, 96))
    seen = observe(net, [deep([plain.pixels[..., 0], plain.pixels[..., 1]])], Degradation(levels=None), Degradation())
    assert seen.tiles.vectors[0].shape == (1, 32)
    assert len(seen.products[0]) == 1


def test_noise_and_slope_of_deep_images_are_those_of_gray_ones():
    net, noisy = SuperResolutionNet(preset("tiny", 2)).eval(), Degradation(noise=(0.02, 0.02), levels=65535)
    planes = [np.full((192, 192), 100), np.full((192, 192), 150)]
    both = observe(net, [deep(planes)], noisy, bands=("a", "b"))
    assert both.noise[0][0] == pytest.approx(0.02 * 219, rel=0.1)
    assert both.slopes[0][0] == pytest.approx(0, abs=0.3)
    assert observe(net, [deep(planes)], Degradation(), bands=("a", "b")).slopes == []


def test_what_is_analysed_has_no_invalid_pixel():
    net = SuperResolutionNet(preset("tiny", 2)).eval()
    level, valid = np.full((200, 200), 100), np.ones((200, 200), bool)
    valid[:40] = valid[:, :60] = False
    level[~valid] = 0
    seen = observe(net, [deep([level], valid)], Degradation(), bands=("gray",))
    assert seen.slopes == []
    assert len(seen.tiles.scenes) == 4  # of 2×2 tiles; 3×3 would need 192 pixels
    valid[::50, ::50] = False
    with pytest.raises(ImageSetError, match="an analysis at x2 needs, all with a value"):
        observe(net, [deep([level], valid)], Degradation(), bands=("gray",))


def with_lr(image, value, valid=None, lr_valid=None):
    height, width = (side // 2 for side in image.pixels.shape[:2])
    lr = PreparedImage(np.full((height, width, 3), value, np.uint8), lr_valid)
    return replace(image, lr=lr, valid=valid)


def test_the_real_lr_of_pairs_is_observed_beside_the_degraded_hr():
    torch.manual_seed(0)
    net, singles = SuperResolutionNet(preset("tiny", 2)).eval(), images((64, 64), (64, 64), (64, 64))
    flat, other = (observe(net, [with_lr(i, v) for i in singles], Degradation(), Degradation()) for v in (0, 99))
    assert torch.equal(torch.from_numpy(flat.plain_tiles.vectors[0]), torch.from_numpy(other.plain_tiles.vectors[0]))
    assert not np.allclose(flat.tiles.vectors[0], other.tiles.vectors[0])
    assert flat.slopes == []  # of a flat LR image


def test_of_pairs_with_invalid_pixels_a_part_valid_in_both_is_observed():
    net = SuperResolutionNet(preset("tiny", 2)).eval()
    valid, lr_valid = np.ones((200, 130), bool), np.ones((100, 65), bool)
    valid[3, 3] = False
    lr_valid[99, 40] = False
    (image,) = images((200, 130))
    seen = observe(net, [with_lr(image, 50, valid, lr_valid)], Degradation(), Degradation())
    assert len(seen.tiles.scenes) == 6  # 3 by 2 tiles of the 98 rows between
    with pytest.raises(ImageSetError, match="No image has the 64×64 pixels"):
        observe(net, [with_lr(image, 50, None, np.zeros((100, 65), bool))], Degradation())
