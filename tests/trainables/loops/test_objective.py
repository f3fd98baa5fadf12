"""The objective: a loss, and what λ adds to it."""

import pytest
import torch

from trainables.loops.objective import TransferObjective, effective_lambda
from trainables.loops.regularizers import WeightDistance
from trainables.loops.replicas import Replicas
from trainables.network.network import Architecture, SuperResolutionNet

LR, HR = torch.zeros(1, 3), torch.tensor([[1.0, 2.0, 3.0]])


class Same(torch.nn.Module):
    """Its output is its input."""

    def forward(self, lr):
        return lr


def twelve(replicas, parts):
    return [net(part) for net, part in zip(replicas.nets, parts, strict=True)], torch.tensor(12.0)


def never(replicas, parts):
    raise AssertionError("computed")


def test_the_objective_is_mean_absolute_error_plus_lambda_times_r():
    assert TransferObjective(twelve, 0.5)(Replicas(Same()), LR, HR).item() == 2 + 0.5 * 12


def test_lambda_zero_computes_no_regularizer():
    assert TransferObjective(never, 0.0)(Replicas(Same()), LR, HR).item() == 2
    assert TransferObjective(None, 0.5)(Replicas(Same()), LR, HR).item() == 2
    with pytest.raises(AssertionError, match="computed"):
        TransferObjective(never, 1e-9)(Replicas(Same()), LR, HR)


@pytest.mark.parametrize(("sampled", "effective"), [(0.0, 0.0), (9.9e-6, 0.0), (1e-5, 1e-5), (0.1, 0.1)])
def test_below_the_floor_lambda_is_exactly_zero(sampled, effective):
    assert effective_lambda(sampled, 1e-5) == effective


def test_larger_lambda_keeps_weights_closer_to_the_source():
    distances = []
    for lambda_ in (0.0, 0.1, 10.0):
        torch.manual_seed(0)
        net = SuperResolutionNet(Architecture(scale=2, width=4, depth=1))
        regularizer = WeightDistance({name: value.detach().clone() for name, value in net.named_parameters()})
        objective = TransferObjective(regularizer, lambda_)
        optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
        for _ in range(30):
            optimizer.zero_grad()
            objective(Replicas(net), torch.rand(2, 3, 6, 6), torch.rand(2, 3, 12, 12)).backward()
            optimizer.step()
        distances.append(regularizer.distance(net).item())
    assert distances[0] > 1.5 * distances[1] > 2 * distances[2]
