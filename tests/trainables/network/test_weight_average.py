"""Between two networks."""

import pytest
import torch

from trainables.errors import UsageError
from trainables.network.network import Architecture, SuperResolutionNet
from trainables.network.weight_average import SHARES, averaged, best_interpolation, interpolated


def network(value, **changes):
    net = SuperResolutionNet(Architecture(**{"scale": 2, "width": 4, "depth": 1, **changes}))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.fill_(value)
    return net


def mean(net):
    return float(torch.stack([p.detach().mean() for p in net.parameters()]).mean())


@pytest.mark.parametrize(("share", "expected"), [(0, 1.0), (0.25, 1.5), (1, 3.0)])
def test_weights_lie_on_the_line_and_the_ends_stay(share, expected):
    source, tuned = network(1.0), network(3.0)
    between = interpolated(source, tuned, share)
    assert all(torch.all(p == expected) for p in between.parameters())
    assert (mean(source), mean(tuned)) == (1.0, 3.0)
    assert not between.training


def test_statistics_of_batch_norm_are_averaged_and_counters_are_the_tuned_ones():
    source, tuned = (network(1.0, family="resnet18") for _ in range(2))
    for net, value, count in ((source, 0.0, 5), (tuned, 4.0, 7)):
        for name, buffer in net.named_buffers():
            buffer.fill_(count if name.endswith("tracked") else value)
    told = dict(interpolated(source, tuned, 0.5).named_buffers())
    assert {float(b.mean()) for name, b in told.items() if name.endswith("running_mean")} == {2.0}
    assert {int(b) for name, b in told.items() if name.endswith("tracked")} == {7}


@pytest.mark.parametrize(("scored", "best"), [(lambda net: -abs(mean(net) - 2.0), 0.5), (lambda net: 30.0, 1.0)])
def test_the_share_is_picked_on_validation_and_the_tuned_network_wins_a_tie(scored, best):
    share, net, scores = best_interpolation(network(1.0), network(3.0), scored)
    assert share == best
    assert mean(net) == pytest.approx(1 + 2 * best)
    assert list(scores) == list(SHARES)


def test_the_mean_of_several_networks_leaves_them_as_they_are():
    nets = [network(value) for value in (1.0, 2.0, 6.0)]
    soup = averaged(nets)
    assert all(torch.all(p == 3.0) for p in soup.parameters())
    assert [mean(net) for net in nets] == [1.0, 2.0, 6.0]
    assert not soup.training


def test_what_cannot_be_averaged_is_refused():
    with pytest.raises(UsageError, match="no networks"):
        averaged([])
    with pytest.raises(UsageError, match="Only equal networks"):
        averaged([network(1.0), network(1.0, width=8)])
    with pytest.raises(UsageError, match=r"between 0 and 1, found 1\.5"):
        interpolated(network(1.0), network(1.0), 1.5)
    with pytest.raises(UsageError, match="Only equal networks"):
        interpolated(network(1.0), network(1.0, width=8), 0.5)
