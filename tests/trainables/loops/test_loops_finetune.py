"""Fine-tuning a small network on a toy set."""

import math

import numpy as np
import pytest
import torch

from trainables.degradation import Degradation
from trainables.errors import DivergedError, UsageError
from trainables.images.patch_pool import PatchPool
from trainables.loops.finetune import finetune, precision_on
from trainables.loops.optimizers import descend, make_optimizer
from trainables.loops.settings import Budget, TransferConfiguration, TransferMethod
from trainables.metrics.evaluation import NamedImage, bicubic, make_pairs, mean_psnr
from trainables.network.model_files import weights_of
from trainables.network.network import Architecture, SuperResolutionNet
from trainables.samples import generate

BLURRED = Degradation(blur=(0.5, 0.5), noise=(0.0, 0.01))
IMAGES = [generate("natural", seed, (64, 64)) for seed in range(3)]
PAIRS = make_pairs([NamedImage(str(i), str(i), pixels) for i, pixels in enumerate(IMAGES)], BLURRED, 2)
SHORT = Budget(steps=6, batch=2, evaluations=3)


def configuration(**changes):
    return TransferConfiguration(**{"learning_rate": 5e-3, "lambda_": 0.0, "frozen_depth": 0, **changes})


def train(budget=SHORT, *, seed=0, images=IMAGES, validate=None, precision="auto", certify=None, **changes):
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
        certify=certify,
        precision=precision,
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


FREE, HELD = Budget(steps=12, batch=2, evaluations=1), 10.0


def train_by(method, budget=SHORT, replay=None, **changes):
    torch.manual_seed(0)
    net = SuperResolutionNet(Architecture(scale=2, width=8, depth=1))
    torch.nn.init.normal_(net.generator.conv.weight, std=0.05)
    start = weights_of(net)
    pool = PatchPool(lambda: iter(IMAGES), scale=2, lr_patch=16, degradation=BLURRED, seed=0)
    settings, method = configuration(**changes), TransferMethod(**method)
    finetune(net, settings, budget, pool, start, lambda n: 1.0, lambda *_: None, method, replay)
    return net, start


@pytest.mark.parametrize("depth", range(3))
def test_blocks_are_frozen_from_the_output_where_wanted(depth):
    net, start = train_by({"frozen_from": "output"}, frozen_depth=depth)
    changed = {name for name, p in net.named_parameters() if not torch.equal(p, start[name])}
    frozen = ("generator.", "features.blocks.0")[:depth]
    assert changed == {name for name in start if not name.startswith(frozen or ("none",))}


def test_a_fresh_generator_begins_as_bicubic_and_keeps_the_features():
    net, start = train_by({"generator": "fresh"}, learning_rate=1e-12)
    assert net.generator.conv.weight.abs().max() < 1e-9
    assert start["generator.conv.weight"].abs().max() > 0.1
    assert torch.allclose(net.features.stem.weight, start["features.stem.weight"])


def test_a_fresh_generator_is_pulled_to_zero_and_the_features_to_the_source():
    (held, start), (free, _) = (train_by({"generator": "fresh"}, FREE, lambda_=lambda_) for lambda_ in (HELD, 0.0))
    assert held.generator.conv.weight.norm() < 0.5 * free.generator.conv.weight.norm()
    moved = [(net.features.stem.weight - start["features.stem.weight"]).norm() for net in (held, free)]
    assert moved[0] < 0.5 * moved[1]


@pytest.mark.parametrize(
    ("regularizer", "measured"),
    [
        ("l2", lambda net, start: sum(p.norm() ** 2 for p in net.parameters())),
        ("features", lambda net, start: (net.features.stem.weight - start["features.stem.weight"]).norm()),
    ],
)
def test_lambda_works_through_each_regularizer(regularizer, measured):
    (held, start), (free, _) = (
        train_by({"regularizer": regularizer}, FREE, lambda_=lambda_) for lambda_ in (HELD, 0.0)
    )
    assert measured(held, start) < measured(free, start)


def test_replay_remembers_the_source():
    plain = make_pairs([NamedImage("s", "s", IMAGES[0])], plain_area(), 2)
    psnr = {}
    for lambda_ in (0.0, 1.0):
        replay = PatchPool(lambda: iter(IMAGES[:1]), scale=2, lr_patch=16, degradation=plain_area(), seed=1)
        net, _ = train_by({"regularizer": "replay"}, Budget(steps=24, batch=2, evaluations=1), replay, lambda_=lambda_)
        psnr[lambda_] = mean_psnr(net, plain, 2)
    assert psnr[1.0] > psnr[0.0] + 0.1


def plain_area():
    return Degradation(decimation="area")


def test_replay_without_source_patches_is_refused_unless_lambda_is_zero():
    train_by({"regularizer": "replay"})
    with pytest.raises(UsageError, match="needs patches of the source"):
        train_by({"regularizer": "replay"}, lambda_=1e-3)


def test_a_fresh_generator_cannot_be_frozen():
    with pytest.raises(UsageError, match="fresh generator must train"):
        TransferMethod(generator="fresh", frozen_from="output")


def test_a_configuration_tells_kept_blocks_only_where_the_network_is_shortened():
    whole, short = configuration(), configuration(kept_blocks=2)
    assert whole.to_dict() == {"learning_rate": 5e-3, "lambda_": 0.0, "frozen_depth": 0}
    assert repr(whole) == "TransferConfiguration(learning_rate=0.005, lambda_=0.0, frozen_depth=0)"
    assert short.to_dict() == whole.to_dict() | {"kept_blocks": 2}
    assert repr(short).endswith("frozen_depth=0, kept_blocks=2)")
    assert [TransferConfiguration(**each.to_dict()) for each in (whole, short)] == [whole, short]
    assert whole != short
    with pytest.raises(UsageError, match="kept_blocks must be at least 1, found 0"):
        configuration(kept_blocks=0)


def test_on_a_cpu_convolutions_are_in_32_bits_unless_asked_for():
    received = []
    plain, auto, half = (
        weights_of(train(precision=name, lambda_=1e-3, certify=received.append)[0])
        for name in ("float32", "auto", "bfloat16")
    )
    assert all(torch.equal(plain[name], auto[name]) for name in plain)
    differences = [float((plain[name] - half[name]).abs().max()) for name in plain]
    assert 0 < max(differences) < 0.02
    assert ["precision" in one.method for one in received] == [False, False, True]
    assert precision_on(torch.device("cuda"), "float32") == "float32"
