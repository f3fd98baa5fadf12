"""Muon orthogonalises what lies between features, Adam does the rest, and both follow one schedule."""

import copy

import pytest
import torch
from torch.nn import functional

from trainables.loops.optimizers import Muon, inner_kernels, make_optimizer, orthogonalised
from trainables.network.network import SuperResolutionNet, preset


@pytest.mark.parametrize("shape", [(3, 8, 8), (2, 8, 30), (2, 30, 8), (1, 32, 288)])
def test_orthogonalised_matrices_keep_directions_and_level_singular_values(shape):
    torch.manual_seed(0)
    matrices = torch.randn(shape) * 1e-3
    u, _, v = torch.linalg.svd(matrices, full_matrices=False)
    found = orthogonalised(matrices)
    assert found.shape == matrices.shape
    values = torch.linalg.svdvals(found)
    # The smallest singular values of square matrices may stay behind; the bulk is near 1.
    assert values.max() < 1.3
    assert values.median() > 0.65
    if shape[1] != shape[2]:
        assert values.min() > 0.5
        assert functional.cosine_similarity(found.flatten(1), (u @ v).flatten(1)).min() > 0.97


def test_a_matrix_of_zeros_stays_zero():
    assert torch.equal(orthogonalised(torch.zeros(1, 4, 9)), torch.zeros(1, 4, 9))


def test_inner_kernels_are_all_but_the_first_and_the_last_and_none_that_are_frozen():
    net = SuperResolutionNet(preset("tiny", 4))
    names = {id(value): name for name, value in net.named_parameters()}
    assert [names[id(kernel)] for kernel in inner_kernels(net)] == [
        f"features.blocks.{block}.conv{conv}.weight" for block in range(7) for conv in (1, 2)
    ]
    net.freeze(7)
    assert len(inner_kernels(net)) == 2


def test_the_update_of_a_kernel_has_the_learning_rate_as_its_root_mean_square():
    torch.manual_seed(0)
    kernel = torch.nn.Parameter(torch.randn(16, 16, 3, 3))
    before = kernel.detach().clone()
    kernel.grad = torch.randn_like(kernel) * 1e-6
    Muon([kernel], [], 0.01).step()
    assert (kernel.detach() - before).square().mean().sqrt() == pytest.approx(0.01, rel=0.2)


def test_the_rest_is_adam():
    torch.manual_seed(0)
    ours, theirs = (torch.nn.Parameter(torch.ones(5, 3)) for _ in range(2))
    muon, adam = Muon([], [ours], 0.02), torch.optim.Adam([theirs], lr=0.02, betas=(0.9, 0.99))
    for _ in range(6):
        gradient = torch.randn(5, 3)
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        muon.step()
        adam.step()
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("name", ["muon", "adam"])
def test_warm_up_then_a_cosine_to_zero(name):
    net = SuperResolutionNet(preset("tiny", 2))
    optimizer, schedule = make_optimizer(net, 1e-3, 40, name)
    rates = []
    for _ in range(40):
        rates.append({group["lr"] for group in optimizer.param_groups})
        optimizer.step()
        schedule.step()
    assert all(len(rate) == 1 for rate in rates)
    rates = [rate.pop() for rate in rates]
    assert rates[0] == pytest.approx(5e-4)
    assert max(rates) == pytest.approx(1e-3, rel=0.02)
    assert rates[-1] < 1e-5


def test_state_survives_a_trip_through_its_dictionary():
    torch.manual_seed(0)
    net = SuperResolutionNet(preset("tiny", 2))
    optimizer, _ = make_optimizer(net, 1e-3, 40, "muon")
    lr, hr = torch.rand(2, 3, 8, 8), torch.rand(2, 3, 16, 16)

    def step(net, optimizer):
        optimizer.zero_grad()
        functional.l1_loss(net(lr), hr).backward()
        optimizer.step()

    for _ in range(3):
        step(net, optimizer)
    twin = copy.deepcopy(net)
    restored, _ = make_optimizer(twin, 1e-3, 40, "muon")
    restored.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for each in ((net, optimizer), (twin, restored)):
        step(*each)
    for one, other in zip(net.parameters(), twin.parameters(), strict=True):
        assert torch.equal(one, other)


def test_muon_learns_faster_than_adam_per_step():
    """The reason that it is here, in miniature: a few hundred steps towards a fixed random network."""

    def loss_after(name):
        torch.manual_seed(0)
        teacher, student = (SuperResolutionNet(preset("tiny", 2)) for _ in range(2))
        torch.nn.init.normal_(teacher.generator.conv.weight, std=0.1)
        optimizer, schedule = make_optimizer(student, 1e-3, 120, name)
        for _ in range(120):
            lr = torch.rand(4, 3, 12, 12)
            with torch.no_grad():
                hr = teacher(lr)
            optimizer.zero_grad()
            loss = functional.l1_loss(student(lr), hr)
            loss.backward()
            optimizer.step()
            schedule.step()
        return loss.item()

    assert loss_after("muon") < loss_after("adam")
