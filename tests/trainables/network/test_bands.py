"""Networks for any bands, made of RGB networks."""

import pytest
import torch
from torch import nn

from trainables.errors import UsageError
from trainables.network.bands import band_matrix, by_band, with_bands
from trainables.network.model_files import pack_model, unpack_model
from trainables.network.network import Architecture, SuperResolutionNet

FAMILIES = {
    "thin": Architecture(scale=3, width=6, depth=3),
    "resnet": Architecture(scale=2, family="resnet18"),
    "resnet without norm": Architecture(scale=2, family="resnet18", norm="none"),
}
NIR = ("red", "green", "blue", "nir")


@pytest.fixture(params=FAMILIES)
def net(request):
    torch.manual_seed(0)
    made = SuperResolutionNet(FAMILIES[request.param])
    nn.init.normal_(made.generator.conv.weight, std=0.1)
    nn.init.normal_(made.generator.conv.bias, std=0.1)
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 2)
    return made.eval()


@torch.inference_mode()
def output(net, lr):
    return net(lr)


def test_shares_of_colours():
    third = [1 / 3] * 3
    assert band_matrix(["NIR", "Red", "Green", "Blue"]).tolist() == [third, [1, 0, 0], [0, 1, 0], [0, 0, 1]]
    assert band_matrix(["gray"]).tolist() == [third]
    assert band_matrix(["nir", "red"]).tolist() == [third, third]


@pytest.mark.parametrize("names", [[], ["red", "Red"]])
def test_names_must_differ(names):
    with pytest.raises(UsageError, match="each of which occurs once"):
        band_matrix(names)


def test_red_green_and_blue_give_the_same_network(net):
    same = with_bands(net, ["red", "green", "blue"])
    assert same.architecture == net.architecture
    for name, value in net.state_dict().items():
        assert torch.equal(same.state_dict()[name], value), name


def test_one_band_is_the_gray_use_of_the_rgb_network(net):
    lr = torch.rand(2, 1, 11, 9)
    one = with_bands(net, ["gray"])
    assert one.architecture.channels == 1
    torch.testing.assert_close(output(one, lr), output(by_band(net), lr), atol=2e-6, rtol=0)


@pytest.mark.parametrize("names", [NIR, ("nir", "swir"), ("blue", "red", "green"), ("red", "nir"), tuple("abcdefg")])
def test_equal_bands_give_each_band_the_detail_of_gray(net, names):
    """Each band takes a colour or their mean, and the stem sees as much as from three bands."""
    gray = torch.rand(1, 1, 11, 9)
    colours = output(net, gray.expand(-1, 3, -1, -1))[0]
    found = output(with_bands(net, names), gray.expand(-1, len(names), -1, -1))[0]
    expected = torch.einsum("bc,chw->bhw", band_matrix(names).float(), colours)
    torch.testing.assert_close(found, expected, atol=3e-6, rtol=0)


def test_order_of_bands_is_that_of_the_names(net):
    lr = torch.rand(1, 4, 11, 9)
    order = [3, 0, 1, 2]
    turned = with_bands(net, [NIR[band] for band in order])
    expected = output(with_bands(net, NIR), lr)[:, order]
    torch.testing.assert_close(output(turned, lr[:, order]), expected, atol=3e-6, rtol=0)


def test_blocks_and_frozen_depth_keep_their_meaning(net):
    made = with_bands(net, NIR)
    assert [name for name, _ in made.blocks()] == [name for name, _ in net.blocks()]
    assert all(parameter.requires_grad for parameter in made.parameters())
    made.freeze(1)
    stem, *rest = (block for _, block in made.blocks())
    assert not any(parameter.requires_grad for parameter in stem.parameters())
    assert all(parameter.requires_grad for block in rest for parameter in block.parameters())


def test_nothing_is_drawn_and_the_network_stays_as_it_is(net):
    before, state = {name: value.clone() for name, value in net.state_dict().items()}, torch.get_rng_state()
    made = with_bands(net.train(), NIR)
    assert torch.equal(torch.get_rng_state(), state)
    assert made.training
    for parameter in made.parameters():
        nn.init.zeros_(parameter)
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name])


def test_it_is_a_model_like_any_other(net):
    made = with_bands(net, NIR)
    again, card = unpack_model(pack_model(made, {"name": "four"}))
    assert card["bands"] == 4
    lr = torch.rand(1, 4, 8, 8)
    assert torch.equal(output(again, lr), output(made, lr))


def test_a_network_of_other_bands_is_no_source(net):
    with pytest.raises(UsageError, match=r"takes 4 bands: take a model of 3 bands"):
        with_bands(with_bands(net, NIR), ["gray"])


def test_bands_one_by_one(net):
    lr = torch.rand(2, 4, 7, 5)
    found = output(by_band(net), lr)
    scale = net.architecture.scale
    assert found.shape == (2, 4, 7 * scale, 5 * scale)
    for band in range(4):
        gray = output(net, lr[:, [band] * 3]).mean(1)
        torch.testing.assert_close(found[:, band], gray, atol=1e-6, rtol=0)
