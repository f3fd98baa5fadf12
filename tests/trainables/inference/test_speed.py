"""Megapixels per second: what is counted, and which round."""

import copy

import pytest
import torch

from trainables.inference import speed
from trainables.inference.speed import describe_device, output_speeds
from trainables.network.network import Architecture, SuperResolutionNet


def net(depth, width=8):
    return SuperResolutionNet(Architecture(scale=2, width=width, depth=depth))


def test_the_fastest_round_counts_and_the_first_only_warms_up(monkeypatch):
    """A clock that the upscaler moves on: each network in turn, round by round."""
    now, ran = [0.0], []
    seconds = {1: iter([0.001, 4.0, 2.0, 8.0]), 2: iter([9.0, 5.0, 6.0, 4.0])}

    def upscale(prepared, pixels, tile):
        assert pixels.shape == (64, 64, 3)
        depth = {4: 1, 6: 2}[prepared.radius]
        ran.append(depth)
        now[0] += next(seconds[depth])

    monkeypatch.setattr(speed, "upscale", upscale)
    monkeypatch.setattr(speed.time, "perf_counter", lambda: now[0])
    told = output_speeds({7: net(1), 3: net(2)}, tile=64, rounds=3)
    assert ran == [1, 2] * 4
    megapixels = (2 * 64) ** 2 / 1e6
    assert told == pytest.approx({7: megapixels / 2.0, 3: megapixels / 4.0})


def test_a_network_with_many_more_blocks_is_slower():
    source = net(16, width=32)
    short = copy.deepcopy(source)
    short.keep_blocks(1)
    told = output_speeds({1: short, 16: source}, tile=48, rounds=3)
    assert told[1] > 1.5 * told[16]
    assert len(source.features.blocks) == 16


def test_a_network_is_timed_on_all_bands_that_it_takes(monkeypatch):
    shapes = []
    monkeypatch.setattr(speed, "upscale", lambda net, pixels, tile: shapes.append(pixels.shape))
    output_speeds({1: SuperResolutionNet(Architecture(scale=2, width=4, depth=1, channels=4))}, tile=16, rounds=1)
    assert set(shapes) == {(16, 16, 4)}


def test_the_device_is_described():
    told = describe_device()
    assert told["processor"]
    assert (told["threads"], told["torch"], told["tile"]) == (torch.get_num_threads(), torch.__version__, 256)
    assert told["precision"] in ("float32", "bfloat16")
