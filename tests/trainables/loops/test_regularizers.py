"""Each regularizer by hand, and what it does to a network."""

import pytest
import torch
from torch import nn

from trainables.degradation import Degradation
from trainables.errors import UsageError
from trainables.images.patch_pool import PatchPool
from trainables.loops.regularizers import FeatureDistance, SourceReplay, WeightDistance, make_regularizer
from trainables.loops.replicas import Replicas
from trainables.network.network import Architecture, SuperResolutionNet
from trainables.samples import generate

LR = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


class Line(nn.Module):
    """Two parameters, so that sums are easy."""

    def __init__(self):
        super().__init__()
        self.old = nn.Parameter(torch.tensor([3.0, 5.0]))
        self.new = nn.Parameter(torch.tensor([2.0]))


SOURCE = {"old": torch.tensor([1.0, 1.0]), "absent": torch.tensor([9.0])}


def network(**changes):
    torch.manual_seed(0)
    net = SuperResolutionNet(Architecture(**{"scale": 2, "width": 4, "depth": 2, **changes})).eval()
    nn.init.normal_(net.generator.conv.weight, std=0.05)
    return net


def source_pool():
    image = generate("natural", 0, (64, 64))
    return PatchPool(lambda: iter([image]), scale=2, lr_patch=8, degradation=Degradation(), seed=0)


def test_distance_from_the_source_and_plain_l2_for_what_it_lacks():
    # (2² + 4² + 2²) / 2
    assert WeightDistance(SOURCE).distance(Line()).item() == 12
    assert WeightDistance({}).distance(Line()).item() == (9 + 25 + 4) / 2


def test_only_trainable_weights_count():
    net = Line()
    net.old.requires_grad_(False)
    assert WeightDistance(SOURCE).distance(net).item() == 2


def test_the_gradient_of_l2_sp_pulls_towards_the_source():
    net = Line()
    WeightDistance(SOURCE).distance(net).backward()
    assert net.old.grad.tolist() == [2, 4]
    assert net.new.grad.tolist() == [2]


@pytest.mark.parametrize("changes", [{}, {"family": "resnet18"}])
def test_features_of_the_source_itself_have_no_distance(changes):
    net = network(**changes)
    (output,), distance = FeatureDistance(net)(Replicas(net), [LR])
    assert distance.item() == 0
    assert torch.equal(output, net(LR))


def test_the_feature_distance_is_relative_to_the_source_and_averaged_over_blocks():
    net = network()
    held = FeatureDistance(net)
    with torch.no_grad():
        # The last block's features alone move, by a tenth of theirs.
        before = net.features.stages(LR)
        shift = before[-1].square().mean().sqrt() * 0.1
        net.features.blocks[-1].conv2.bias += shift
    assert held(Replicas(net), [LR])[1].item() == pytest.approx(5.0 * 0.01 / 3, rel=1e-4)


def test_the_feature_distance_leaves_the_generator_free_and_its_source_alone():
    net = network()
    held = FeatureDistance(net)
    with torch.no_grad():
        net.generator.conv.weight.mul_(3)
        net.features.stem.weight.mul_(1.1)
    distance = held(Replicas(net), [LR])[1]
    distance.backward()
    assert net.features.stem.weight.grad.abs().sum() > 0
    assert net.generator.conv.weight.grad is None
    assert all(not p.requires_grad for p in held._source.parameters())


def test_replay_is_the_loss_on_as_many_patches_of_the_source():
    net, wanted = network(), source_pool()
    (output,), loss = SourceReplay(source_pool())(Replicas(net), [LR])
    lr, hr = wanted.sample(len(LR))
    assert torch.equal(output, net(LR))
    assert loss.item() == pytest.approx(100 * (net(lr) - hr).abs().mean().item())


def test_each_name_has_its_regularizer():
    net = network()
    anchor, whole = {name: value.detach() for name, value in net.named_parameters()}, Replicas(net)
    made = {name: make_regularizer(name, net, anchor, source_pool()) for name in ("l2-sp", "l2", "features", "replay")}
    assert made["l2-sp"](whole, [LR])[1].item() == made["features"](whole, [LR])[1].item() == 0
    half_norm = sum(0.5 * p.detach().square().sum().item() for p in net.parameters())
    assert made["l2"](whole, [LR])[1].item() == pytest.approx(0.1 * half_norm, rel=1e-5)
    assert isinstance(made["replay"], SourceReplay)


def test_one_range_of_lambda_runs_from_unnoticeable_to_dominant_for_every_kind():
    """A network that has moved as far as fine-tuning without λ moves it: 0.7 of its features' mean square."""
    net, source = network(), network()
    anchor = {name: value.detach() for name, value in source.named_parameters()}
    with torch.no_grad():
        stages = source.features.stages(LR)
        wanted = 0.7**0.5
        net.features.stem.weight *= 1 + wanted
        if net.features.stem.bias is not None:
            net.features.stem.bias *= 1 + wanted
        assert len(stages) == 3
    loss = 0.02  # a usual L1 loss of values from 0 to 1
    for name in ("l2-sp", "l2", "features", "replay"):
        distance = make_regularizer(name, source, anchor, source_pool())(Replicas(net), [LR])[1].item()
        assert 1e-5 * distance < loss / 10, name
        assert 1e-1 * distance > loss, name


def test_at_a_hundredth_replay_counts_as_much_as_the_target():
    net = network()
    lr, hr = source_pool().sample(len(LR))
    _, distance = make_regularizer("replay", net, {}, source_pool())(Replicas(net), [LR])
    assert 0.01 * distance.item() == pytest.approx((net(lr) - hr).abs().mean().item())


def test_feature_distance_needs_a_source_of_the_same_depth():
    held = FeatureDistance(network(depth=3))
    with pytest.raises(ValueError, match="zip"):
        held(Replicas(network()), [LR])


def test_replay_without_source_patches_is_refused():
    with pytest.raises(UsageError, match=r"^The regularizer 'replay' needs patches of the source, found none\.$"):
        make_regularizer("replay", network(), {}, None)
