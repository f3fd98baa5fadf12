"""Models as files."""

import hashlib
import json

import pytest
import torch

from trainables.errors import UsageError
from trainables.models import CARD, WEIGHTS, pack_model, unpack_model, weights_of
from trainables.network import Architecture, SuperResolutionNet
from trainables.version import __version__

ARCHITECTURE = Architecture(scale=3, family="resnet18")


@pytest.fixture
def net():
    torch.manual_seed(0)
    made = SuperResolutionNet(ARCHITECTURE)
    torch.nn.init.normal_(made.generator.conv.weight)
    made.train()(torch.rand(2, 3, 8, 8))  # the batch statistics leave their start
    return made


@pytest.fixture
def files(net):
    return pack_model(net, {"name": "toy", "lineage": ["a", "b"]})


def with_card(files, weights=None, **changes):
    """The same model with parts of its card, or its weights and their digest, replaced."""
    weights = files[WEIGHTS] if weights is None else weights
    card = json.loads(files[CARD]) | {"sha256": hashlib.sha256(weights).hexdigest()} | changes
    return {WEIGHTS: weights, CARD: json.dumps(card).encode()}


def test_round_trip_computes_the_same(net, files):
    again, card = unpack_model(files)
    assert again.architecture == ARCHITECTURE
    assert not again.training
    lr = torch.rand(1, 3, 5, 7)
    with torch.inference_mode():
        assert torch.equal(again(lr), net.eval()(lr))
    assert (card["name"], card["lineage"]) == ("toy", ["a", "b"])


def test_the_card_says_what_the_network_is(files):
    card = json.loads(files[CARD])
    assert card["format"] == 2
    assert card["rayscale"] == __version__
    assert Architecture(**card["architecture"]) == ARCHITECTURE
    assert (card["scale"], card["bands"]) == (3, 3)
    assert card["receptive_radius"] == 2 + 4 + 2
    assert card["blocks"] == ["stem", "block1", "block2", "generator"]
    assert card["sha256"] == hashlib.sha256(files[WEIGHTS]).hexdigest()
    net = SuperResolutionNet(ARCHITECTURE)
    assert card["parameters"] == net.parameter_counts()
    assert card["macs_per_lr_pixel"] == net.macs_per_lr_pixel()


@pytest.mark.parametrize("place", [0, 500, -1])
def test_one_flipped_bit_in_the_weights_is_noticed(files, place):
    damaged = bytearray(files[WEIGHTS])
    damaged[place] ^= 1
    with pytest.raises(UsageError, match="the digests differ"):
        unpack_model({**files, WEIGHTS: bytes(damaged)})


def wrong_files():
    net = SuperResolutionNet(ARCHITECTURE)
    files = pack_model(net, {})
    other = pack_model(SuperResolutionNet(Architecture(scale=2, width=4, depth=1)), {})
    yield "no files", {}
    yield "no card", {WEIGHTS: files[WEIGHTS]}
    yield "no weights", {CARD: files[CARD]}
    yield "card is no JSON", {**files, CARD: b"\xff\x00"}
    yield "card is a list", {**files, CARD: b"[]"}
    yield "card of another kind", {**files, CARD: b'{"name": "x"}'}
    yield "weights are not safetensors", with_card(files, b"not a model")
    yield "weights are cut short", with_card(files, files[WEIGHTS][:200])
    yield "weights of another network", with_card(files, other[WEIGHTS])
    yield "unknown architecture", with_card(files, architecture={"layers": 3})
    yield "impossible architecture", with_card(files, architecture={"scale": 5, "width": 4, "depth": 1})


@pytest.mark.parametrize("wrong", [pytest.param(files, id=name) for name, files in wrong_files()])
def test_wrong_files_are_refused_in_one_short_sentence(wrong):
    with pytest.raises(UsageError) as caught:
        unpack_model(wrong)
    message = str(caught.value)
    assert len(message) < 400
    assert "\n" not in message


def test_weights_of_is_a_detached_copy(net):
    kept = weights_of(net)
    assert set(kept) == {name for name, _ in net.named_parameters()}
    assert not any(value.requires_grad for value in kept.values())
    before = kept["generator.conv.weight"].clone()
    with torch.no_grad():
        net.generator.conv.weight.add_(1)
    assert torch.equal(kept["generator.conv.weight"], before)
