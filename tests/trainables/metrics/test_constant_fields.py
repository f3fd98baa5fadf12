"""Constant fields: a network that shifts values is named."""

import pytest
import tiny_models
import torch

from trainables.metrics.constant_fields import constant_field_error, constant_field_sentence
from trainables.network.network import SuperResolutionNet, preset


def shifted(by):
    net = SuperResolutionNet(preset("tiny", 2)).eval()
    for parameter in net.generator.parameters():
        torch.nn.init.zeros_(parameter)
    torch.nn.init.constant_(net.generator.conv.bias, by)
    return net


@pytest.mark.parametrize("by", [0.0, 0.004, -0.0126])
def test_a_shift_of_all_values_is_found_with_its_sign(by):
    assert constant_field_error(shifted(by)) == pytest.approx(by, abs=1e-6)


def test_the_worst_level_counts():
    net = tiny_models.net(2)
    radius = net.receptive_radius()
    found = abs(constant_field_error(net))
    for level in (0.0, 0.5, 1.0):
        field = torch.full((1, 3, 60, 60), level)
        with torch.inference_mode():
            core = net(field)[..., 2 * radius : -2 * radius, 2 * radius : -2 * radius]
        assert abs(float(core.mean()) - level) <= found + 1e-5


def test_only_more_than_the_limit_is_worth_a_sentence():
    assert constant_field_sentence(None) is None
    assert constant_field_sentence(0.0019) is None
    assert "1.26% of the range too dark (limit 0.2%)" in constant_field_sentence(-0.0126)
    assert "0.40% of the range too bright" in constant_field_sentence(0.004)
