"""The network's shape, its blocks, what freezing keeps, and the numbers it states about itself."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional

from trainables.errors import UsageError
from trainables.network.model_files import pack_model, unpack_model
from trainables.network.network import PRESETS, SCALES, Architecture, SuperResolutionNet, frozen_depth_limit, preset

SMALL = {
    "thin": Architecture(scale=2, width=4, depth=2),
    "resnet": Architecture(scale=2, family="resnet18"),
}


def random_net(architecture, seed=0):
    """A network whose head is not zero."""
    torch.manual_seed(seed)
    net = SuperResolutionNet(architecture)
    nn.init.normal_(net.generator.conv.weight, std=0.3)
    return net


def train_steps(net, steps):
    torch.manual_seed(1)
    optimizer = torch.optim.Adam([p for p in net.parameters() if p.requires_grad], lr=1e-2)
    net.train()
    for _ in range(steps):
        optimizer.zero_grad()
        lr, hr = torch.rand(4, 3, 9, 9), torch.rand(4, 3, 18, 18)
        functional.l1_loss(net(lr), hr).backward()
        optimizer.step()


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", PRESETS)
def test_untrained_network_is_bicubic_of_exactly_r_times_the_size(name, scale):
    net = SuperResolutionNet(preset(name, scale)).eval()
    for height, width in [(1, 1), (1, 4), (2, 1), (3, 2), (7, 5)]:
        lr = torch.rand(2, 3, height, width)
        with torch.inference_mode():
            output = net(lr)
        size = (scale * height, scale * width)
        assert torch.equal(output, functional.interpolate(lr, size=size, mode="bicubic", antialias=True))


@pytest.mark.parametrize("name", PRESETS)
def test_the_receptive_radius_follows_from_the_architecture(name):
    with torch.device("meta"):
        for architecture in (preset(name, 2), replace(preset(name, 3), depth=1, stages=3)):
            assert SuperResolutionNet(architecture).receptive_radius() == architecture.receptive_radius


def test_interpolation_reproduces_a_ramp():
    """Cubic convolution is exact on straight lines away from the border."""
    ramp = torch.arange(12.0).expand(1, 3, 12, 12) / 12
    up = SuperResolutionNet(SMALL["thin"])(ramp)[0, 0, 0, 6:-6]
    torch.testing.assert_close(up, ((torch.arange(24) + 0.5) / 2 - 0.5)[6:-6] / 12)


@pytest.mark.parametrize("family", SMALL)
def test_all_of_it_trains(family):
    """The head starts at zero, so what is before it has a gradient from the second step on."""
    net = SuperResolutionNet(SMALL[family])
    train_steps(net, 2)
    without = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert without == []


@pytest.mark.parametrize("family", SMALL)
@pytest.mark.parametrize("depth", range(4))
def test_frozen_blocks_keep_weights_and_statistics_and_all_others_change(family, depth):
    net = random_net(SMALL[family])
    names = [name for name, _ in net.blocks()]
    assert names == ["stem", "block1", "block2", "generator"]
    block_of = {
        id(value): names.index(name)
        for name, block in net.blocks()
        for value in [*block.parameters(), *block.buffers()]
    }
    values = {**dict(net.named_parameters()), **dict(net.named_buffers())}
    assert {id(value) for value in values.values()} == set(block_of)
    before = {name: value.detach().clone() for name, value in values.items()}
    net.freeze(depth)
    train_steps(net, 2)
    changed = {name for name, value in values.items() if not torch.equal(value, before[name])}
    assert changed == {name for name, value in values.items() if block_of[id(value)] >= depth}


def test_freezing_less_again_lets_blocks_train():
    net = SuperResolutionNet(SMALL["resnet"])
    net.train()
    net.freeze(3)
    assert not net.features.blocks[0].bn1.training
    net.freeze(1)
    assert [all(p.requires_grad for p in block.parameters()) for _, block in net.blocks()] == [False, True, True, True]
    assert not net.features.stem[1].training
    assert net.features.blocks[0].bn1.training


@pytest.mark.parametrize("depth", [-1, 4])
def test_impossible_frozen_depth_is_refused_with_the_limit(depth):
    with pytest.raises(UsageError, match=f"between 0 and 3 .*found {depth}"):
        SuperResolutionNet(SMALL["thin"]).freeze(depth)
    assert frozen_depth_limit(SMALL["thin"]) == 3


@pytest.mark.parametrize(
    "architecture",
    [
        Architecture(scale=3, width=4, depth=1),
        Architecture(scale=4, width=4, depth=4),
        Architecture(scale=2, family="resnet18", norm="none"),
        Architecture(scale=2, family="resnet18", stages=2, norm="none"),
    ],
)
def test_receptive_radius_is_exact(architecture):
    net, scale = random_net(architecture).double().eval(), architecture.scale
    # Without rectifiers no path is cut off, and every weight that can reach an output does.
    for module in [m for m in net.modules() if isinstance(m, nn.ReLU)]:
        module.forward = lambda features: features
    radius = net.receptive_radius()
    side = 2 * radius + 5
    lr = torch.rand(1, 3, side, side, dtype=torch.float64)
    poked = lr.clone()
    poked[..., side // 2, side // 2] += 1
    with torch.inference_mode():
        change = (net(poked) - net(lr)).abs().amax((0, 1))
    # One row per LR pixel: within it, whether any of its r outputs changed.
    reached = (change > 1e-12).view(side, scale, side, scale).any(3).any(1)
    distance = (torch.arange(side) - side // 2).abs()
    expected = torch.maximum(distance[:, None], distance[None]) <= radius
    assert torch.equal(reached, expected)


@pytest.mark.parametrize(
    ("name", "width", "depth", "budget"),
    [
        ("tiny", 16, 7, 40_000),
        ("base", 32, 8, 170_000),
        ("large", 64, 16, 1_500_000),
    ],
)
def test_thin_presets_keep_to_their_budget_and_match_a_count_by_hand(name, width, depth, budget):
    net = SuperResolutionNet(preset(name, 4))
    trunk, head = 3 * width * 9 + depth * 2 * 9 * width**2, 9 * width * 48
    assert net.macs_per_lr_pixel() == trunk + head < budget
    assert net.parameter_counts() == {"F_theta": trunk + width * (2 * depth + 1), "G_phi": head + 48}


@pytest.mark.parametrize(
    ("family", "stages", "thousands"),
    [
        ("resnet18", 1, 185),
        ("resnet18", 2, 736),
        ("resnet34", 1, 258),
    ],
)
def test_torchvision_trunks_have_the_operations_of_their_stages(family, stages, thousands):
    """64 channels: 7×7 stem 9 k, 74 k a block of stage 1, then 48 outputs; stage 2 has twice the channels."""
    net = SuperResolutionNet(Architecture(scale=4, family=family, stages=stages))
    assert round(net.macs_per_lr_pixel() / 1000) == thousands


def test_cards_say_only_what_matters_for_the_family():
    assert set(preset("base", 4).to_dict()) == {"scale", "family", "width", "depth", "channels"}
    assert set(preset("resnet18", 4).to_dict()) == {"scale", "family", "stages", "norm", "channels"}
    for name in PRESETS:
        assert Architecture(**preset(name, 2).to_dict()) == preset(name, 2)


def test_macs_match_what_the_convolutions_do():
    net, done = SuperResolutionNet(preset("tiny", 4)), []
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(
                lambda conv, _, output: done.append(output.numel() * conv.in_channels * conv.kernel_size[0] ** 2)
            )
    with torch.inference_mode():
        net(torch.rand(1, 3, 6, 5))
    assert sum(done) == net.macs_per_lr_pixel() * 30


def test_presets_grow():
    counts = [
        sum(SuperResolutionNet(preset(name, 4)).parameter_counts().values()) for name in ("tiny", "base", "large")
    ]
    assert counts == sorted(counts)
    assert counts[0] < 60_000


def test_unknown_scale_and_preset_are_refused():
    with pytest.raises(UsageError, match=r"one of \(2, 3, 4\), found 5"):
        preset("tiny", 5)
    with pytest.raises(UsageError, match=r"tiny, base, large, resnet18, resnet34\. Did you mean 'large'"):
        preset("larg", 4)
    with pytest.raises(UsageError, match="at least 1 and stages 1 to 4"):
        Architecture(scale=2, family="resnet18", stages=5)
    with pytest.raises(UsageError, match="must be thin, resnet18 or resnet34, found 'resnet50'"):
        Architecture(scale=2, family="resnet50")
    with pytest.raises(UsageError, match="must be batch or none, found 'layer'"):
        Architecture(scale=2, family="resnet18", norm="layer")


@pytest.fixture
def deep():
    return random_net(Architecture(scale=2, width=4, depth=4)).eval()


def test_a_network_that_keeps_all_blocks_is_the_same(deep):
    lr, before = torch.rand(1, 3, 7, 6), deep.architecture
    expected = deep(lr)
    deep.keep_blocks(4)
    assert deep.architecture == before
    assert torch.equal(deep(lr), expected)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_shortened_network_is_the_first_blocks_of_its_source(deep, count):
    source = {name: value.clone() for name, value in deep.state_dict().items()}
    lr = torch.rand(1, 3, 7, 6)
    stages = deep.with_stages(lr)[1]
    deep.keep_blocks(count)
    gone = tuple(f"features.blocks.{i}." for i in range(count, 4))
    kept = {name for name in source if not name.startswith(gone)}
    assert {name for name, value in deep.state_dict().items() if torch.equal(value, source[name])} == kept
    assert set(deep.state_dict()) == kept
    assert deep.architecture == Architecture(scale=2, width=4, depth=count)
    assert [name for name, _ in deep.blocks()] == ["stem", *(f"block{i + 1}" for i in range(count)), "generator"]
    assert torch.equal(deep.features(lr), stages[count])
    assert deep(lr).shape == (1, 3, 14, 12)


def test_all_of_a_shortened_network_trains_and_its_files_are_those_of_a_smaller_one(deep):
    deep.freeze(3)
    deep.keep_blocks(2)
    train_steps(deep, 2)
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in deep.parameters())
    again, card = unpack_model(pack_model(deep, {}))
    assert (again.architecture.depth, card["architecture"]["depth"]) == (2, 2)
    assert card["receptive_radius"] == 1 + 2 * 2 + 1


def test_a_shortened_network_freezes_no_more_than_it_has(deep):
    deep.keep_blocks(2)
    deep.freeze(3)
    assert [name for name, block in deep.blocks() if all(p.requires_grad for p in block.parameters())] == ["generator"]
    with pytest.raises(UsageError, match="frozen_depth must lie between 0 and 3"):
        deep.freeze(4)


@pytest.mark.parametrize(
    ("architecture", "count", "told"),
    [
        (SMALL["thin"], 0, "kept_blocks must lie between 1 and 2, the residual blocks of this network, found 0"),
        (SMALL["thin"], 3, "between 1 and 2, the residual blocks of this network, found 3"),
        (SMALL["resnet"], 1, "kept_blocks can shorten a thin trunk alone, .* found family resnet18"),
    ],
)
def test_what_cannot_be_shortened_is_refused_and_left_as_it_was(architecture, count, told):
    net = SuperResolutionNet(architecture)
    with pytest.raises(UsageError, match=told):
        net.keep_blocks(count)
    assert (net.architecture, len(net.features.blocks)) == (architecture, architecture.blocks)
