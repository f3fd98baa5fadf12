"""L2-SP by hand, and what it does to real training."""

import pytest
import torch
from torch import nn

from trainables.network import Architecture, SuperResolutionNet
from trainables.objective import TransferObjective, effective_lambda

LR, HR = torch.zeros(1, 3), torch.tensor([[1.0, 2.0, 3.0]])


class Line(nn.Module):
    """Two parameters, so that sums are easy."""

    def __init__(self):
        super().__init__()
        self.old = nn.Parameter(torch.tensor([3.0, 5.0]))
        self.new = nn.Parameter(torch.tensor([2.0]))


SOURCE = {"old": torch.tensor([1.0, 1.0]), "absent": torch.tensor([9.0])}


def test_distance_from_the_source_and_plain_l2_for_what_it_lacks():
    # (2² + 4² + 2²) / 2
    assert TransferObjective(SOURCE, 0.1).regularizer(Line()).item() == 12
    assert TransferObjective({}, 0.1).regularizer(Line()).item() == (9 + 25 + 4) / 2


def test_only_trainable_weights_count():
    net = Line()
    net.old.requires_grad_(False)
    assert TransferObjective(SOURCE, 0.1).regularizer(net).item() == 2


def test_the_objective_is_mean_absolute_error_plus_lambda_times_r():
    assert TransferObjective(SOURCE, 0.5)(Line(), LR, HR).item() == 2 + 0.5 * 12


def test_its_gradient_pulls_towards_the_source():
    net = Line()
    TransferObjective(SOURCE, 0.5)(net, LR, HR).backward()
    assert net.old.grad.tolist() == [0.5 * 2, 0.5 * 4]
    assert net.new.grad.tolist() == [0.5 * 2]


def test_lambda_zero_computes_no_regularizer(monkeypatch):
    def never(self, net):
        raise AssertionError("computed")

    monkeypatch.setattr(TransferObjective, "regularizer", never)
    assert TransferObjective(SOURCE, 0.0)(Line(), LR, HR).item() == 2
    with pytest.raises(AssertionError, match="computed"):
        TransferObjective(SOURCE, 1e-9)(Line(), LR, HR)


@pytest.mark.parametrize(("sampled", "effective"), [(0.0, 0.0), (9.9e-6, 0.0), (1e-5, 1e-5), (0.1, 0.1)])
def test_below_the_floor_lambda_is_exactly_zero(sampled, effective):
    assert effective_lambda(sampled, 1e-5) == effective


def test_larger_lambda_keeps_weights_closer_to_the_source():
    distances = []
    for lambda_ in (0.0, 0.1, 10.0):
        torch.manual_seed(0)
        net = SuperResolutionNet(Architecture(scale=2, width=4, depth=1))
        source = {name: value.detach().clone() for name, value in net.named_parameters()}
        objective = TransferObjective(source, lambda_)
        optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
        for _ in range(30):
            optimizer.zero_grad()
            objective(net, net(torch.rand(2, 3, 6, 6)), torch.rand(2, 3, 12, 12)).backward()
            optimizer.step()
        distances.append(objective.regularizer(net).item())
    assert distances[0] > 1.5 * distances[1] > 2 * distances[2]
