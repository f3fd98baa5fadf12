"""Models as files."""

import hashlib
import json
import math
import resource
import struct
import time

import pytest
import torch
from safetensors.torch import load, save

from trainables.errors import UsageError
from trainables.network.model_files import CARD, WEIGHTS, pack_model, unpack_model, weights_of
from trainables.network.network import Architecture, SuperResolutionNet
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


SMALL = Architecture(scale=2, width=4, depth=1)


def small_files():
    torch.manual_seed(0)
    return pack_model(SuperResolutionNet(SMALL), {"name": "small"})


def with_tensor(files, name, change):
    """The same model with one tensor changed, and the card's digest of the new weights; None removes it."""
    tensors = load(files[WEIGHTS])
    tensors[name] = change(tensors.get(name, torch.zeros(1)))
    return with_card(files, save({name: value for name, value in tensors.items() if value is not None}))


def filled(value):
    def change(tensor):
        changed = tensor.clone()
        changed.view(-1)[-1] = value
        return changed

    return change


@pytest.mark.parametrize("name", sorted(load(small_files()[WEIGHTS])))
@pytest.mark.parametrize(("value", "said"), [(math.nan, "NaN"), (math.inf, "infinite"), (-math.inf, "infinite")])
def test_weights_that_are_not_finite_are_refused_by_the_tensor_s_name(name, value, said):
    with pytest.raises(UsageError, match=rf"tensor '{name}' holds {said}"):
        unpack_model(with_tensor(small_files(), name, filled(value)))


def test_statistics_of_batch_normalisation_are_weights_too(files):
    name = "features.stem.1.running_var"
    with pytest.raises(UsageError, match=rf"'{name}' holds NaN"):
        unpack_model(with_tensor(files, name, filled(math.nan)))
    with pytest.raises(UsageError, match=rf"'{name}' holds negative variances"):
        unpack_model(with_tensor(files, name, filled(-1.0)))


def test_finite_weights_that_overflow_are_refused():
    files = small_files()
    for name in ("features.stem.weight", "generator.conv.weight"):
        files = with_tensor(files, name, lambda tensor: torch.full_like(tensor, 3e38))
    with pytest.raises(UsageError, match="what they make of an image is not"):
        unpack_model(files)


WRONG_TENSORS = {
    "half precision": ("features.stem.bias", lambda tensor: tensor.half(), "float16, but .* float32"),
    "double precision": ("features.stem.bias", lambda tensor: tensor.double(), "float64, but"),
    "whole numbers": ("features.stem.bias", lambda tensor: tensor.long(), "int64, but"),
    "another shape": ("features.stem.bias", lambda tensor: tensor[:3], r"shape \(3,\) .* needs \(4,\)"),
    "one that is missing": ("features.stem.bias", lambda _: None, "'features.stem.bias', .* is missing"),
    "one too many": ("extra", lambda tensor: tensor, "has a tensor 'extra'"),
}


@pytest.mark.parametrize(("name", "change", "said"), WRONG_TENSORS.values(), ids=WRONG_TENSORS)
def test_tensors_that_are_not_the_architecture_s_are_named(name, change, said):
    with pytest.raises(UsageError, match=said):
        unpack_model(with_tensor(small_files(), name, change))


def bomb(header, data=b""):
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


HEADERS = {
    "empty": b"",
    "a length of 2^60": struct.pack("<Q", 2**60) + b"{}",
    "a length of 2^63": struct.pack("<Q", 2**63) + b"{}",
    "header alone": bomb({}),
    "overlapping": bomb(
        {n: {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]} for n in ("features.stem.bias", "b")}, b"0" * 16
    ),
    "past the end": bomb({"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}),
    "a shape that overflows": bomb({"a": {"dtype": "F32", "shape": [2**62, 2**62], "data_offsets": [0, 4]}}, b"0000"),
    "a negative offset": bomb({"a": {"dtype": "F32", "shape": [1], "data_offsets": [-4, 0]}}, b"0000"),
    "an unknown type": bomb({"a": {"dtype": "Q99", "shape": [1], "data_offsets": [0, 4]}}, b"0000"),
    "a list": bomb([1, 2]),
    "nested deeply": struct.pack("<Q", 200_000) + b"[" * 200_000,
}


@pytest.mark.parametrize("weights", HEADERS.values(), ids=HEADERS)
def test_headers_that_lie_are_refused(weights):
    with pytest.raises(UsageError, match="not a RayScale model"):
        unpack_model(with_card(small_files(), weights))


HUGE = {
    **{f"{name} {value!r}": {name: value} for name in ("depth", "width", "channels") for value in (10**7, 10**18)},
    **{f"scale {value!r}": {"scale": value} for value in (10**6, 0, -2, 2.0, True, "2", None, math.nan, [2])},
    **{f"depth {v!r}": {"depth": v} for v in (0, -1, 1.0, True, "1", None, math.nan, math.inf, [1], {"a": 1})},
    "widest and deepest": {"width": 4096, "depth": 1024, "channels": 1024},
    "family": {"family": ["thin"]},
    "another family": {"family": "resnet34", "stages": 4},
    "norm": {"norm": {}},
    "stages": {"stages": 5},
}


@pytest.mark.parametrize("changes", HUGE.values(), ids=HUGE)
def test_an_architecture_that_cannot_be_is_refused_at_once(changes):
    """Nothing is built from a card alone: a small file costs little time and memory."""
    files = small_files()
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    with pytest.raises(UsageError, match="not a RayScale model"):
        unpack_model(with_card(files, architecture=SMALL.to_dict() | changes))
    assert time.process_time() - start < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300 * 1024


CARDS = {
    "empty": b"",
    "not UTF-8": b"\xff\xfe{}",
    "cut short": b'{"format": 2,',
    "a number": b"2",
    "null": b"null",
    "nested deeply": b"[" * 100_000,
    "nested deeply within": b'{"format": 2, "x": ' + b"[" * 100_000,
    "too long": b" " * 9_000_000 + b"{}",
    "an endless number": b'{"format": ' + b"9" * 10_000 + b"}",
}


@pytest.mark.parametrize("card", CARDS.values(), ids=CARDS)
def test_cards_that_are_no_object_are_refused(card):
    with pytest.raises(UsageError, match="not a RayScale model") as caught:
        unpack_model({**small_files(), CARD: card})
    assert len(str(caught.value)) < 400


FIELDS = {
    "format": [None, True, "2", 3, [2]],
    "sha256": [None, 5, "", "x" * 64, "é" * 64],
    "scale": [3, 2.5, "2", True, None],
    "bands": [1, "3"],
    "receptive_radius": [0, -1, 10**9, "6", None],
    "normalisation": [5, ["a"], {"low": 0}],
    "name": [7, ["a"]],
    "licence": [7],
    "units": [7, ["HU"]],
    "parameters": [{}, 5],
    "macs_per_lr_pixel": [0],
    "blocks": [[], "stem"],
    "metrics": [[1], "good"],
    "degradation": [[], "bicubic", {"noise": "loud"}, {"jitter": "x"}, {"what": 1}, {"decimation": []}, {"noise": [2]}],
    "value_range": [
        [0, 1],
        {"uint16": 5},
        {"uint16": [0]},
        {"uint16": [1, 0]},
        {"uint16": [0, math.nan]},
        {"uint16": [0, math.inf]},
        {"uint16": [False, True]},
        {"uint16": ["0", "1"]},
        {"uint16": [0, 10**400]},
    ],
    "band_map": [
        [1],
        {"4": 3},
        {"4": []},
        {"4": [[]]},
        {"4": [[1, 2, 5]]},
        {"4": [[0]]},
        {"4": [[True]]},
        {"x": [[1]]},
        {"-1": [[1]]},
        {"9" * 5000: [[1]]},
    ],
    "band_names": [5, "red", ["red"], ["red", "green", "Red"], ["red", "green", 3], ["red", "green", ""]],
}


@pytest.mark.parametrize(
    ("field", "value"), [pytest.param(f, v, id=f"{f} {v!r:.30}") for f, values in FIELDS.items() for v in values]
)
def test_a_field_that_makes_no_sense_is_named(field, value):
    with pytest.raises(UsageError, match=field) as caught:
        unpack_model(with_card(small_files(), **{field: value}))
    assert len(str(caught.value)) < 400


def test_what_a_card_lacks_is_computed_and_what_does_not_matter_is_free():
    files = small_files()
    card = json.loads(files[CARD])
    kept = {name: card[name] for name in ("format", "architecture", "sha256")}
    free = {"value_range": {"uint16": [0, 10000]}, "band_map": {"4": [[1, 2, 3], [4]]}, "note": [None, {"a": 1}]}
    stated = {"metrics": {"psnr": math.inf}, "degradation": None, "name": None}
    _, found = unpack_model({**files, CARD: json.dumps(kept | free | stated).encode()})
    for name in ("scale", "bands", "receptive_radius", "parameters", "macs_per_lr_pixel", "blocks"):
        assert found[name] == card[name]
    assert found["value_range"] == {"uint16": [0, 10000]}


def test_a_card_states_bands_range_and_units():
    stated = {
        "band_names": ["red", "green", "blue"],
        "value_range": {"uint16": [0, 10000], "dicom": [-1000, 3000]},
        "units": "HU",
    }
    _, found = unpack_model(pack_model(SuperResolutionNet(SMALL), stated))
    assert {name: found[name] for name in stated} == stated
    assert "value_range" in found["normalisation"]
    assert "255" in unpack_model(pack_model(SuperResolutionNet(SMALL), {}))[1]["normalisation"]


def test_reading_a_model_draws_nothing(files):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    unpack_model(files)
    assert torch.equal(torch.rand(3), expected)


def test_weights_of_is_a_detached_copy(net):
    kept = weights_of(net)
    assert set(kept) == {name for name, _ in net.named_parameters()}
    assert not any(value.requires_grad for value in kept.values())
    before = kept["generator.conv.weight"].clone()
    with torch.no_grad():
        net.generator.conv.weight.add_(1)
    assert torch.equal(kept["generator.conv.weight"], before)
