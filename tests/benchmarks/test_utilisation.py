"""Simulated accelerators: what they get of loaders of known speed."""

import itertools

import pytest
import torch

from benchmarks.training import loaders
from benchmarks.training.loaders import BATCH, SCALE, SIDE, LeftToGpu, issue_pairs
from benchmarks.training.utilisation import Fed, arithmetic_ms, fed_by, feed, host_step_ms
from trainables.degradation import Degradation


class Time:
    """A clock that a loader and sleeping move on."""

    def __init__(self) -> None:
        self.now = 100.0

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def loader(self, seconds: float):
        for number in itertools.count():
            self.now += seconds
            yield number, number


def fed(batch_s: float, accelerators: int, step_s: float) -> Fed:
    time = Time()
    return feed(time.loader(batch_s), accelerators, step_s, 10.0, time.clock, time.sleep)


@pytest.mark.parametrize(("accelerators", "au"), [(1, 1.0), (4, 1.0), (5, 0.8), (8, 0.5)])
def test_utilisation_is_the_share_of_time_in_which_accelerators_compute(accelerators, au):
    assert fed(0.01, accelerators, 0.04).au == pytest.approx(au, abs=0.01)


def test_a_loader_that_is_faster_waits_for_its_accelerators():
    assert fed(0.001, 2, 0.04).batches_per_s == pytest.approx(2 / 0.04, rel=0.01)


def test_without_a_step_time_the_loader_alone_is_measured():
    assert fed(0.002, 1, 0.0).batches_per_s == pytest.approx(500, rel=0.01)


def test_the_most_accelerators_are_found_that_stay_at_90_percent(monkeypatch):
    time = Time()
    monkeypatch.setattr(
        "benchmarks.training.utilisation.feed",
        lambda batches, number, step_s, seconds: feed(batches, number, step_s, seconds, time.clock, time.sleep),
    )
    told = fed_by(time.loader(0.01), 0.047, 10.0)
    assert told["accelerators"] == 5  # 4.7 of them would be busy all the time, 5 are at 94 %
    assert told["patches_per_s"] == pytest.approx(BATCH / 0.01, rel=0.01)
    assert told["shortest_step_ms"] == pytest.approx(9, rel=0.01)


def test_the_default_step_time_is_measured_and_is_above_that_of_the_arithmetic():
    assert 0 < arithmetic_ms() < host_step_ms(3)


def test_operations_that_are_issued_for_a_gpu_are_those_of_the_degradation(monkeypatch):
    seen = []

    def record(hr, *rest):
        seen.append(hr.shape)
        return Degradation()(hr, *rest)

    monkeypatch.setattr(loaders, "DEGRADATION", record)
    hr = torch.rand(BATCH, 3, SIDE, SIDE)
    lr = LeftToGpu()(hr, SCALE, torch.zeros(BATCH, dtype=torch.bool), torch.Generator())
    issue_pairs(hr.mul(255).byte(), torch.Generator())
    assert torch.equal(lr, hr[..., ::SCALE, ::SCALE])
    assert seen == [(2, 3, 20, 20)] * 2
