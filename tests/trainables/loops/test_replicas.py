"""A batch that several devices share: the training of one device, up to rounding. Copies on the CPU stand for GPUs."""

import pytest
import torch

from trainables.degradation import Degradation
from trainables.errors import UsageError
from trainables.images.patch_pool import PatchPool
from trainables.loops.finetune import finetune
from trainables.loops.objective import TransferObjective
from trainables.loops.optimizers import descend, make_optimizer
from trainables.loops.regularizers import make_regularizer
from trainables.loops.replicas import Replicas
from trainables.loops.settings import Budget, TransferConfiguration, TransferMethod
from trainables.metrics.evaluation import NamedImage, make_pairs, mean_psnr
from trainables.network.model_files import weights_of
from trainables.network.network import Architecture, SuperResolutionNet
from trainables.samples import generate

CPU = torch.device("cpu")
IMAGES = [generate("natural", seed, (64, 64)) for seed in range(3)]
PAIRS = make_pairs([NamedImage(str(i), str(i), pixels) for i, pixels in enumerate(IMAGES)], Degradation(), 2)
REGULARIZERS = (None, "l2-sp", "l2", "features", "replay")
BATCH = 5
"""Patches that neither two nor three devices share evenly."""


def network(seed=0, **changes):
    torch.manual_seed(seed)
    net = SuperResolutionNet(Architecture(**{"scale": 2, "width": 8, "depth": 2, **changes}))
    torch.nn.init.normal_(net.generator.conv.weight, std=0.05)
    return net


def source_pool(seed=7):
    return PatchPool(lambda: iter(IMAGES), scale=2, lr_patch=8, degradation=Degradation(), seed=seed)


def gradients(count, regularizer, dtype=torch.float64):
    """Loss and gradients of a batch shared by so many copies, away from the source; and the network after a step."""
    source, net = network(), network(1)
    pool = source_pool() if regularizer == "replay" else None
    r = None if regularizer is None else make_regularizer(regularizer, source.to(dtype), weights_of(source), pool)
    if pool is not None:
        draw = pool.sample
        pool.sample = lambda batch: tuple(values.to(dtype) for values in draw(batch))
    net = net.to(dtype)
    net.freeze(1)
    replicas = Replicas(net, [CPU] * count)
    optimizer, schedule = make_optimizer(net, 1e-3, 10)
    lr = torch.rand(BATCH, 3, 8, 8, generator=torch.Generator().manual_seed(3), dtype=dtype)
    hr = torch.rand(BATCH, 3, 16, 16, generator=torch.Generator().manual_seed(4), dtype=dtype)
    loss = TransferObjective(r, 0.01)(replicas, lr, hr)
    descend(net, loss, optimizer, schedule, replicas)
    return loss.item(), {name: p.grad for name, p in net.named_parameters() if p.requires_grad}, replicas


@pytest.mark.parametrize("count", [2, 3, 5])
@pytest.mark.parametrize("regularizer", REGULARIZERS)
def test_the_loss_and_the_gradient_are_those_of_the_whole_batch(regularizer, count):
    (whole, wanted, _), (loss, found, replicas) = gradients(1, regularizer), gradients(count, regularizer)
    assert loss == pytest.approx(whole, rel=1e-12)
    assert found.keys() == wanted.keys()
    for name, gradient in wanted.items():
        assert gradient.abs().max() > 0, name
        assert torch.allclose(found[name], gradient, rtol=1e-9, atol=1e-12), name
    assert len(replicas.nets) == count


@pytest.mark.parametrize("regularizer", REGULARIZERS)
def test_after_a_step_all_copies_are_the_network(regularizer):
    _, _, replicas = gradients(3, regularizer)
    net, *copies = replicas.nets
    before = network(1).double()
    assert not torch.equal(net.generator.conv.weight, before.generator.conv.weight)
    for copied in copies:
        assert copied is not net
        assert all(torch.equal(value, net.state_dict()[name]) for name, value in copied.state_dict().items())
        assert all(p.grad is None for p in copied.parameters())


def trained(count, method):
    """Weights and curve of a whole fine-tuning."""
    net = network(width=32) if method.adapter_rank else network()
    start = weights_of(net)
    pool = PatchPool(lambda: iter(IMAGES), scale=2, lr_patch=16, degradation=Degradation(noise=(0.0, 0.01)), seed=0)
    curve = finetune(
        net,
        TransferConfiguration(learning_rate=1e-3, lambda_=0.01, frozen_depth=1),
        Budget(steps=8, batch=BATCH, evaluations=2),
        pool,
        start,
        lambda net: mean_psnr(net, PAIRS, 2),
        lambda step, value: None,
        method,
        source_pool(),
        devices=[CPU] * count,
    )
    moved = max(float((value - start[name]).abs().max()) for name, value in net.state_dict().items())
    return net, curve, moved


METHODS = {
    "l2-sp": TransferMethod(),
    "features": TransferMethod(regularizer="features"),
    "replay": TransferMethod(regularizer="replay"),
    "fresh generator": TransferMethod(generator="fresh"),
    "frozen from the output": TransferMethod(frozen_from="output"),
    "adapters": TransferMethod(adapter_rank=1),
}


@pytest.mark.parametrize("name", METHODS)
def test_a_fine_tuning_is_that_of_one_device(name):
    (one, curve, moved), (two, shared, _) = (trained(count, METHODS[name]) for count in (1, 2))
    assert shared == [(step, pytest.approx(value, abs=1e-3)) for step, value in curve]
    assert moved > 1e-3
    for (weight, found), other in zip(one.named_parameters(), two.parameters(), strict=True):
        assert torch.allclose(found, other, atol=moved / 50), weight
    assert not two.training


def test_in_bfloat16_a_batch_is_shared_too():
    net = network()
    replicas, (lr, hr) = Replicas(net, [CPU, CPU]), source_pool().sample(4)
    whole = TransferObjective(None, 0.0, half=True)(Replicas(net), lr, hr).item()
    assert TransferObjective(None, 0.0, half=True)(replicas, lr, hr).item() == pytest.approx(whole, rel=1e-3)


def test_one_device_has_no_copies_and_splits_nothing():
    net, batch = network(), torch.rand(2, 3, 4, 4)
    replicas = Replicas(net)
    assert replicas.nets == [net]
    (part,) = replicas.split(batch)
    assert part is batch
    value = torch.tensor(3.0)
    assert replicas.mean([value], [batch]) is value


def test_parts_differ_by_one_patch_at_most_and_keep_their_order():
    batch = torch.arange(5.0).view(5, 1)
    parts = Replicas(network(), [CPU] * 3).split(batch)
    assert [len(part) for part in parts] == [2, 2, 1]
    assert torch.equal(torch.cat(parts), batch)


def test_fewer_patches_than_devices_are_refused():
    with pytest.raises(UsageError, match=r"^A batch of 2 patches cannot be split over 3 devices: raise the batch, or "):
        Replicas(network(), [CPU] * 3).split(torch.rand(2, 3, 4, 4))


def test_batch_normalisation_is_refused_on_several_devices_alone():
    net = network(family="resnet18")
    assert Replicas(net, [CPU]).nets == [net]
    with pytest.raises(UsageError, match="batch normalisation cannot share a batch among 2 devices"):
        Replicas(net, [CPU, CPU])
    assert len(Replicas(network(family="resnet18", norm="none"), [CPU, CPU]).nets) == 2


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_copies_on_gpus_train_alike():
    devices = [torch.device("cuda", number % torch.cuda.device_count()) for number in range(2)]
    net, lr, hr = network().to(devices[0]), torch.rand(4, 3, 8, 8), torch.rand(4, 3, 16, 16)
    lr, hr = lr.to(devices[0]), hr.to(devices[0])
    whole = TransferObjective(None, 0.0)(Replicas(net), lr, hr).item()
    assert TransferObjective(None, 0.0)(Replicas(net, devices), lr, hr).item() == pytest.approx(whole, rel=1e-4)
