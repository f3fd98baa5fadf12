"""ASHA from records decides as Ray's scheduler does that saw every trial itself."""

import random
from types import SimpleNamespace

import pytest
from ray.tune.schedulers import ASHAScheduler

from orchestrator.search.early_stopping import Stopper, Stopping


def test_rungs_begin_after_the_grace_and_leave_the_end_out():
    assert Stopping(2, 1).rungs(8) == [1, 2, 4]
    assert Stopping(4, 1).rungs(4) == [1]
    assert Stopping(3, 2).rungs(8) == [2, 6]
    assert Stopping(2, 4).rungs(4) == []


@pytest.mark.parametrize("stopping", [Stopping(2, 1), Stopping(4, 1), Stopping(2, 2)])
def test_fresh_at_every_rung_decides_as_one_that_saw_it_all(stopping):
    chance = random.Random(1)
    curves = [sorted(chance.uniform(20, 30) for _ in range(8)) for _ in range(30)]
    asha = ASHAScheduler(
        time_attr="t",
        metric="psnr",
        mode="max",
        max_t=8,
        grace_period=stopping.grace,
        reduction_factor=stopping.reduction_factor,
    )
    recorded, stopped = [], 0
    for number, curve in enumerate(curves):
        trial = SimpleNamespace(trial_id=str(number))
        asha.on_trial_add(None, trial)
        for t, psnr in enumerate(curve, 1):
            expected = asha.on_trial_result(None, trial, {"t": t, "psnr": psnr}) == ASHAScheduler.STOP and t < 8
            # As a trial asks: a fresh stopper from the records of those before it, at rungs only.
            asked = t in stopping.rungs(8) and Stopper(stopping, 8, recorded).ends_now(curve[:t])
            assert asked == expected
            if expected:
                stopped += 1
                break
        recorded.append(curve[:t])
    assert 5 < stopped < 30
    again = Stopper(stopping, 8)
    assert [again.stops_at(curve) for curve in curves] == [len(curve) for curve in recorded]
