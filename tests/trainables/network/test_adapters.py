"""Low-rank adapters: they start as nothing, train alone, and end as plain weights."""

import pytest
import torch
from torch import nn

from trainables.degradation import Degradation
from trainables.errors import UsageError
from trainables.images.patch_pool import PatchPool
from trainables.loops.finetune import finetune
from trainables.loops.settings import Budget, TransferConfiguration, TransferMethod
from trainables.network.adapters import (
    MOST_SHARE,
    adapter_parameters,
    add_adapters,
    check_rank,
    merge_adapters,
    trainable_weights,
)
from trainables.network.model_files import weights_of
from trainables.network.network import PRESETS, Architecture, SuperResolutionNet, preset
from trainables.samples import generate

SHAPE = Architecture(scale=2, width=24, depth=3)
BATCH_NORM = Architecture(scale=2, family="resnet18", stages=1, norm="batch")
IMAGES = [generate("natural", seed, (64, 64)) for seed in range(2)]


def net_of(shape=SHAPE):
    torch.manual_seed(0)
    net = SuperResolutionNet(shape)
    with torch.no_grad():
        net.generator.conv.weight.normal_(std=0.05)
    return net


def train(net, *, rank=2, lambda_=0.0, depth=0, steps=8, **method):
    start = weights_of(net)
    pool = PatchPool(lambda: iter(IMAGES), scale=2, lr_patch=12, degradation=Degradation(blur=(0.5, 0.5)), seed=0)
    configuration = TransferConfiguration(learning_rate=1e-3, lambda_=lambda_, frozen_depth=depth)
    budget = Budget(steps=steps, batch=2, evaluations=1)
    chosen = TransferMethod(adapter_rank=rank, **method)
    finetune(net, configuration, budget, pool, start, lambda net: 1.0, lambda *_: None, chosen)
    end = weights_of(net)
    assert end.keys() == start.keys(), "the merged network has the source's own weights"
    return {name: end[name] - start[name] for name in start}


def test_a_network_with_adapters_starts_as_it_was_and_merged_ones_give_the_same_output():
    net, lr = net_of(), torch.rand(1, 3, 9, 8)
    before = net(lr)
    add_adapters(net, 2)
    assert torch.equal(net(lr), before)
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if name.endswith(".up"):
                parameter.normal_(std=0.01)
    adapted = net(lr)
    assert not torch.allclose(adapted, before, atol=1e-3)
    merge_adapters(net)
    assert torch.allclose(net(lr), adapted, atol=1e-6)
    assert all(type(module) is nn.Conv2d for module in net.modules() if isinstance(module, nn.Conv2d))
    assert all(parameter.requires_grad for parameter in net.parameters())


@pytest.mark.parametrize("rank", [1, 2])
def test_every_kernel_that_trains_moves_by_a_matrix_of_the_rank_and_nothing_else_moves(rank):
    moved = train(net_of(), rank=rank, depth=2)
    for name, change in moved.items():
        frozen = name.startswith(("features.stem", "features.blocks.0")) or name.endswith("bias")
        assert bool(change.any()) is not frozen, name
        if not frozen:
            assert int(torch.linalg.matrix_rank(change.flatten(1), rtol=1e-3)) == rank, name


def test_frozen_from_the_output_the_last_blocks_have_no_adapters():
    moved = train(net_of(), depth=2, frozen_from="output")
    assert {name for name, change in moved.items() if change.any()} == {
        "features.stem.weight",
        *(f"features.blocks.{block}.conv{i}.weight" for block in (0, 1) for i in (1, 2)),
    }


def test_l2_sp_is_the_distance_of_the_corrected_weights():
    def length(moved):
        return sum(float(change.square().sum()) for change in moved.values())

    assert length(train(net_of(), lambda_=100.0, steps=30)) < 0.3 * length(train(net_of(), steps=30))
    net = net_of()
    start = weights_of(net)
    add_adapters(net, 1)
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if name.endswith(".up"):
                parameter.normal_(std=0.01)
    seen = {name: weight.detach() - start[name] for name, weight in trainable_weights(net)}
    merge_adapters(net)
    end = weights_of(net)
    assert seen.keys() == {name for name in end if not name.endswith("bias")}
    assert all(torch.allclose(seen[name], end[name] - start[name], atol=1e-6) for name in seen)


@pytest.mark.parametrize("regularizer", ["l2", "features"])
def test_every_regularizer_takes_adapters(regularizer):
    plain, tied = (train(net_of(), lambda_=lambda_, regularizer=regularizer) for lambda_ in (0.0, 10.0))
    assert any(not torch.equal(plain[name], tied[name]) for name in plain)


def test_batch_norm_stays_as_pretrained():
    net = net_of(BATCH_NORM)
    norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    before = [{name: value.clone() for name, value in norm.state_dict().items()} for norm in norms]
    moved = train(net, steps=2)
    assert norms
    assert moved["generator.conv.weight"].any()
    for norm, values in zip(norms, before, strict=True):
        assert all(torch.equal(value, values[name]) for name, value in norm.state_dict().items())


@pytest.mark.parametrize("name", PRESETS)
def test_the_ranks_offered_have_at_most_a_tenth_of_the_parameters(name):
    shape = preset(name, 4)
    whole = sum(parameter.numel() for parameter in SuperResolutionNet(shape).parameters())
    with pytest.raises(UsageError) as refused:
        check_rank(1000, shape)
    highest = int(str(refused.value).rpartition("lower it to ")[2].split()[0])
    check_rank(highest, shape)
    assert adapter_parameters(shape, highest) <= MOST_SHARE * whole < adapter_parameters(shape, highest + 1)

    net = SuperResolutionNet(shape)
    add_adapters(net, 1)
    trained = sum(parameter.numel() for parameter in net.parameters() if parameter.requires_grad)
    assert trained == adapter_parameters(shape, 1)


def test_a_network_too_narrow_for_any_rank_is_told_so():
    with pytest.raises(UsageError, match=r"adapter_rank of 1 .* remove it, or take a wider network"):
        check_rank(1, Architecture(scale=2, width=8, depth=1))


def test_a_fresh_generator_has_no_adapters():
    with pytest.raises(UsageError, match="a fresh generator has none"):
        TransferMethod(generator="fresh", adapter_rank=1)
