"""The form of a network for ONNX gives what the network gives."""

import pytest
import torch

from tests.helpers import tiny_models
from trainables.inference.convolutional import ConvolutionalNet
from trainables.network.bands import with_bands


@pytest.mark.parametrize(
    ("name", "bands", "scale"), [("tiny", 3, 2), ("tiny", 3, 3), ("tiny", 5, 4), ("resnet18", 3, 4)]
)
def test_it_equals_the_network(name, bands, scale):
    net = tiny_models.net(scale, name=name)
    if bands != 3:
        net = with_bands(net, [f"band {number}" for number in range(bands)])
    state = {key: value.clone() for key, value in net.state_dict().items()}
    form, lr = ConvolutionalNet(net), torch.rand(2, bands, 9, 14, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(form(lr), net(lr), atol=1e-5, rtol=0)
    assert not form.training
    assert all(torch.equal(value, state[key]) for key, value in net.state_dict().items())
