"""The pretraining loop: a broken and resumed run is the unbroken one."""

import json

import pytest
import torch
from safetensors.torch import load

from trainables.degradation import Degradation
from trainables.errors import DivergedError
from trainables.images.patch_pool import PatchPool
from trainables.loops.optimizers import make_optimizer
from trainables.loops.pretrain import HISTORY, STATE, PretrainSettings, checkpoint, pretrain, restore
from trainables.network.model_files import weights_of
from trainables.network.network import Architecture, SuperResolutionNet
from trainables.samples import generate

IMAGES = [generate("natural", seed, (64, 64)) for seed in range(2)]
SMALL = Architecture(scale=2, width=8, depth=1)


class Killed(Exception):
    pass


def fresh(seed=0, architecture=SMALL):
    torch.manual_seed(seed)
    return SuperResolutionNet(architecture)


def make_pool(images=IMAGES):
    return PatchPool(lambda: iter(images), scale=2, lr_patch=12, degradation=Degradation(noise=(0.0, 0.02)), seed=9)


def settings(**changes):
    usual = {"steps": 40, "batch": 2, "learning_rate": 3e-3, "report_every": 5, "checkpoint_every": 10, "seed": 3}
    usual["precision"] = "float32"
    return PretrainSettings(**{**usual, **changes})


def run(net, *, kill_at=None, resume=None, rank=0, pool=None, **changes):
    told = []

    def report(step, loss, files):
        told.append((step, loss, files))
        if step == kill_at:
            raise Killed

    try:
        history = pretrain(net, settings(**changes), pool or make_pool(), report, resume=resume, rank=rank)
    except Killed:
        history = None
    return history, told


def test_resumed_run_equals_the_unbroken_one():
    straight, broken = fresh(), fresh()
    history, told = run(straight)
    _, told_before = run(broken, kill_at=20)
    resumed_net = fresh(seed=99)
    resumed, told_after = run(resumed_net, resume=told_before[-1][2])
    assert dict(resumed.losses) == pytest.approx(dict(history.losses), abs=1e-7)
    assert [step for step, _, _ in told_after] == [25, 30, 35, 40]
    for name, value in straight.state_dict().items():
        torch.testing.assert_close(resumed_net.state_dict()[name], value, atol=1e-6, rtol=0, msg=name)
    assert not torch.equal(broken.generator.conv.weight, straight.generator.conv.weight)
    assert len(told) == 8


def test_resuming_needs_the_moments():
    """The test above can fail: without Adam's moments the weights differ by far more than its tolerance."""
    straight, restarted = fresh(), fresh(seed=99)
    run(straight)
    _, told = run(fresh(), kill_at=20)
    state = {name: value for name, value in load(told[-1][2][STATE]).items() if name.startswith("net.")}
    restarted.load_state_dict({name[4:]: value for name, value in state.items()})
    files = checkpoint(restarted, make_optimizer(restarted, 1e-3, 40)[0], restore(told[-1][2], fresh()))
    run(restarted, resume=files)
    assert (restarted.generator.conv.weight - straight.generator.conv.weight).abs().max() > 1e-4


def test_a_finished_run_resumes_to_itself():
    net, again = fresh(), fresh(seed=99)
    history, told = run(net)
    resumed, more = run(again, resume=told[-1][2])
    assert (resumed.losses, more) == (history.losses, [])
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in net.state_dict().items())
    assert not again.training


def test_reports_and_checkpoints_keep_their_rhythm_and_the_last_step_has_both():
    history, told = run(fresh(), steps=23)
    assert [step for step, _, _ in told] == [5, 10, 15, 20, 23]
    assert [step for step, _, files in told if files] == [10, 20, 23]
    assert [(step, loss) for step, loss, _ in told] == history.losses
    assert history.step == 23


def test_a_reported_loss_is_the_mean_of_its_steps():
    every, fifth = run(fresh())[0].losses, run(fresh(), report_every=1)[0].losses
    means = [sum(loss for _, loss in fifth[i : i + 5]) / 5 for i in range(0, 40, 5)]
    assert [loss for _, loss in every] == pytest.approx(means, rel=1e-5)


def test_checkpoint_files_are_safetensors_and_json_and_no_pickle():
    files = run(fresh(), steps=10)[1][-1][2]
    assert set(files) == {STATE, HISTORY}
    names = set(load(files[STATE]))
    assert {name[4:] for name in names if name.startswith("net.")} == set(fresh().state_dict())
    assert len([name for name in names if name.endswith((".momentum", ".square"))]) == len(weights_of(fresh()))
    assert json.loads(files[HISTORY])["step"] == 10
    header = int.from_bytes(files[STATE][:8], "little")
    json.loads(files[STATE][8 : 8 + header])
    for data in files.values():
        assert not data.startswith((b"\x80", b"PK"))
        assert b"torch._utils" not in data


@pytest.mark.parametrize("changes", [{"optimizer": "adam"}, {"precision": "bfloat16"}])
def test_resuming_holds_for_every_optimizer_and_precision(changes):
    straight, resumed = fresh(), fresh(seed=99)
    run(straight, **changes)
    _, told = run(fresh(), kill_at=20, **changes)
    run(resumed, resume=told[-1][2], **changes)
    for name, value in straight.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], value, atol=1e-5, rtol=0, msg=name)


def test_statistics_of_a_normalised_trunk_are_in_the_checkpoint():
    net = fresh(architecture=Architecture(scale=2, family="resnet18"))
    files = run(net, steps=2, checkpoint_every=2)[1][-1][2]
    again = fresh(seed=99, architecture=net.architecture)
    restore(files, again)
    assert torch.equal(again.features.blocks[0].bn1.running_mean, net.features.blocks[0].bn1.running_mean)


@pytest.mark.parametrize("changes", [{"rank": 1}, {"seed": 4}])
def test_workers_and_seeds_draw_other_patches(changes):
    assert run(fresh(), steps=5)[0].losses != run(fresh(), steps=5, **changes)[0].losses


@pytest.mark.parametrize("seed", [20_251_122, 2**40])
def test_large_seeds_work(seed):
    assert run(fresh(), steps=1, seed=seed, rank=3)[0].step == 1


def test_training_through_a_wrapped_network_trains_the_network():
    net = fresh()
    wrapped, start = torch.nn.DataParallel(net), weights_of(net)
    pretrain(net, settings(steps=3), make_pool(), lambda *_: None, parallel=wrapped)
    assert not torch.equal(net.generator.conv.weight, start["generator.conv.weight"])


def test_an_absurd_learning_rate_diverges_with_the_step():
    with pytest.raises(DivergedError, match="not finite at step 5; lower the learning rate"):
        run(fresh(architecture=Architecture(scale=2, width=8, depth=1)), learning_rate=3e37)
