"""A prepared network upscales as the plain one does."""

import pytest
import torch

from trainables.inference.prepare import prepared
from trainables.network.network import SuperResolutionNet, interpolate, preset


def trained(name, scale=4):
    """A network with detail to add and, where it normalises, with statistics that matter."""
    torch.manual_seed(0)
    net = SuperResolutionNet(preset(name, scale))
    for parameter in net.generator.parameters():
        torch.nn.init.normal_(parameter, std=0.02)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.running_mean, std=0.1)
            torch.nn.init.uniform_(module.running_var, 0.5, 2.0)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
    return net.eval()


def error_relative_to_detail(net, precision, lr):
    with torch.inference_mode():
        expected = net(lr)
    detail = (expected - interpolate(lr, net.architecture.scale)).abs().max()
    assert detail > 0.01
    output = prepared(net, "cpu", precision)(lr)
    assert output.dtype == torch.float32
    return (output - expected).abs().max() / detail


@pytest.mark.parametrize("name", ["tiny", "base", "resnet18"])
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_float32_is_the_plain_network(name, scale):
    assert error_relative_to_detail(trained(name, scale), "float32", torch.rand(2, 3, 19, 26)) < 1e-4


@pytest.mark.parametrize("name", ["tiny", "base", "resnet18"])
def test_bfloat16_is_within_two_percent_of_the_detail(name):
    error = error_relative_to_detail(trained(name), "bfloat16", torch.rand(1, 3, 23, 31))
    assert 1e-5 < error < 0.02


def test_the_image_itself_stays_in_32_bits():
    net = SuperResolutionNet(preset("tiny", 4)).eval()  # adds nothing yet
    lr = torch.rand(1, 3, 12, 14)
    assert torch.equal(prepared(net, "cpu", "bfloat16")(lr), interpolate(lr, 4))


def test_layout_of_the_input_does_not_matter():
    net, lr = trained("tiny"), torch.rand(1, 3, 12, 14)
    run = prepared(net, "cpu", "float32")
    torch.testing.assert_close(run(lr.contiguous(memory_format=torch.channels_last)), run(lr))


def test_the_network_itself_is_left_as_it_was():
    net = trained("resnet18")
    before = {name: value.clone() for name, value in net.state_dict().items()}
    run, lr = prepared(net, "cpu", "bfloat16"), torch.rand(1, 3, 12, 14)
    first = run(lr)
    assert net.state_dict().keys() == before.keys()
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name])
    for parameter in net.parameters():
        assert parameter.requires_grad
        parameter.data.zero_()
    assert torch.equal(run(lr), first)
