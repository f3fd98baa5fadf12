"""Fine-tuning a small network on a toy set."""

import math

import numpy as np
import pytest
import torch

from trainables.degradation import Degradation
from trainables.errors import DivergedError, UsageError
from trainables.evaluation import NamedImage, bicubic, make_pairs, mean_psnr
from trainables.finetune import Budget, TransferConfiguration, finetune
from trainables.models import weights_of
from trainables.network import Architecture, SuperResolutionNet
from trainables.optimizers import descend, make_optimizer
from trainables.patches import PatchPool
from trainables.samples import generate

BLURRED = Degradation(blur=(0.5, 0.5), noise=(0.0, 0.01))
IMAGES = [generate("natural", seed, (64, 64)) for seed in range(3)]
PAIRS = make_pairs([NamedImage(str(i), str(i), pixels) for i, pixels in enumerate(IMAGES)], BLURRED, 2)
SHORT = Budget(steps=6, batch=2, evaluations=3)


def configuration(**changes):
    return TransferConfiguration(**{"learning_rate": 5e-3, "lambda_": 0.0, "frozen_depth": 0, **changes})


def train(budget=SHORT, *, seed=0, images=IMAGES, validate=None, **changes):
    torch.manual_seed(0)
    net = SuperResolutionNet(Architecture(scale=2, width=8, depth=1))
    start, told = weights_of(net), []
    pool = PatchPool(lambda: iter(images), scale=2, lr_patch=16, degradation=BLURRED, seed=seed)
    curve = finetune(
        net,
        configuration(**changes),
        budget,
        pool,
        start,
        validate or (lambda net: mean_psnr(net, PAIRS, 2)),
        lambda *point: told.append(point),
    )
    assert told == curve
    return net, start, curve


def distance(net, start):
    return math.sqrt(sum(float((p.detach() - start[name]).square().sum()) for name, p in net.named_parameters()))


def test_it_learns_what_bicubic_cannot():
    net, _, curve = train(Budget(steps=60, batch=4, evaluations=3))
    values = [value for _, value in curve]
    assert values == sorted(values)
    assert values[-1] > mean_psnr(bicubic(2), PAIRS, 2) + 0.5
    assert values[-1] == mean_psnr(net, PAIRS, 2)
    assert not net.training


def test_validation_sees_the_network_in_evaluation_and_training_goes_on():
    validating, training = [], []

    def validate(net):
        if not validating:
            net.features.register_forward_pre_hook(lambda part, _: training.append(part.training))
        validating.append(net.training)
        return 1.0 + len(validating)

    _, _, curve = train(validate=validate)
    assert validating == [False] * 3
    assert training == [True] * 4  # the steps after the first validation
    assert curve == [(2, 2.0), (4, 3.0), (6, 4.0)]


def test_same_seed_same_curve_other_seed_other_curve():
    first, again, other = (train(seed=seed)[2] for seed in (1, 1, 2))
    assert first == again
    assert first != other


@pytest.mark.parametrize("depth", range(3))
def test_the_frozen_depth_of_the_configuration_is_used(depth):
    net, start, _ = train(frozen_depth=depth)
    changed = {name for name, p in net.named_parameters() if not torch.equal(p, start[name])}
    frozen = ("features.stem", "features.blocks.0")[:depth]
    assert changed == {name for name in start if not name.startswith(frozen or ("none",))}


def test_lambda_is_used():
    (free, start, _), (held, _, _) = (
        train(Budget(steps=20, batch=2, evaluations=1), lambda_=lambda_) for lambda_ in (0.0, 10.0)
    )
    assert distance(held, start) < 0.5 * distance(free, start)


def test_an_absurd_learning_rate_diverges_with_the_step_and_configuration():
    with pytest.raises(DivergedError, match=r"at step 2 of 6 .*learning_rate=3e\+37"):
        train(learning_rate=3e37)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_score_that_is_not_finite_is_divergence(value):
    with pytest.raises(DivergedError, match="step 2 of 6"):
        train(validate=lambda net: value)


@pytest.mark.parametrize(
    ("steps", "evaluations", "expected"),
    [(100, 4, [25, 50, 75, 100]), (10, 3, [3, 7, 10]), (7, 1, [7]), (3, 3, [1, 2, 3]), (2, 5, [1, 2])],
)
def test_evaluations_are_evenly_spread_and_end_with_the_last_step(steps, evaluations, expected):
    found = Budget(steps=steps, batch=1, evaluations=evaluations).evaluation_steps()
    assert found == expected
    assert np.ptp(np.diff([0, *found])) <= 1


def test_the_learning_rate_warms_up_to_its_peak_and_decays_to_zero():
    net = SuperResolutionNet(Architecture(scale=2, width=4, depth=1))
    optimizer, schedule = make_optimizer(net, 1e-3, 100)
    rates = []
    for _ in range(100):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates[:4] == pytest.approx([2e-4, 4e-4, 6e-4, 8e-4])
    assert max(rates) == pytest.approx(1e-3, rel=0.01)
    assert rates[5:] == sorted(rates[5:], reverse=True)
    assert rates[50] == pytest.approx(5e-4)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0)


@pytest.mark.parametrize(("slope", "moved"), [(30.0, 1.0), (0.5, 0.5)])
def test_gradients_are_clipped_to_norm_one(slope, moved):
    net = torch.nn.Linear(1, 1, bias=False)
    before = net.weight.item()
    optimizer = torch.optim.SGD(net.parameters(), lr=1.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    descend(net, slope * net.weight.sum(), optimizer, schedule)
    assert before - net.weight.item() == pytest.approx(moved, rel=1e-4)


@pytest.mark.parametrize("wrong", [0.0, -1e-3, math.nan, math.inf])
def test_impossible_learning_rates_are_refused(wrong):
    with pytest.raises(UsageError, match="learning_rate must be above 0"):
        configuration(learning_rate=wrong)


@pytest.mark.parametrize("wrong", [-1e-9, math.nan, math.inf])
def test_impossible_lambdas_are_refused(wrong):
    with pytest.raises(UsageError, match="lambda_ must be 0 or more"):
        configuration(lambda_=wrong)
