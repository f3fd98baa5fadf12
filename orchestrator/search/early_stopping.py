"""Early stopping of trials by asynchronous successive halving, with Ray Tune's scheduler, from records alone.

A trial decides for itself at each evaluation: it gives a new scheduler the recorded curves of earlier trials and then
its own. The records are thus the only state: a killed search continues with the decisions that an uninterrupted one
would take, and a stopped trial writes its record before it reports. A scheduler in the driver would be lost with the
driver. With several trials at once, trials that are still running are not taken into account, whereas Ray's own use
would count their rungs so far.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from ray.tune.schedulers import ASHAScheduler


@dataclass(frozen=True, slots=True)
class Stopping:
    """Settings of ASHA (Li et al. 2020, arXiv 1810.05934) as implemented by Ray Tune.

    Attributes:
        reduction_factor: A trial continues after a rung if it is among the best 1 / reduction_factor so far; from 2.
        grace: Evaluations up to the first rung, from 1.
    """

    reduction_factor: int
    grace: int

    def rungs(self, evaluations: int) -> list[int]:
        """Numbers of the evaluations at which a trial may be stopped, given those of a whole training."""
        found, rung = [], self.grace
        while rung < evaluations:
            found.append(rung)
            rung *= self.reduction_factor
        return found


class Stopped(Exception):
    """Raised in a training to end it because other trials were better at the same rung."""


class Stopper:
    """Ray Tune's ASHA scheduler, applied to learning curves.

    Args:
        stopping: Its settings.
        evaluations: Evaluations of a whole training.
        curves: Scores of earlier trials at each evaluation, in any order; shorter curves are of stopped trials.
    """

    def __init__(self, stopping: Stopping, evaluations: int, curves: Iterable[Sequence[float]] = ()) -> None:
        self._asha = ASHAScheduler(
            time_attr="evaluation",
            metric="psnr",
            mode="max",
            max_t=evaluations,
            grace_period=min(stopping.grace, evaluations),
            reduction_factor=stopping.reduction_factor,
        )
        self._evaluations, self._trials = evaluations, 0
        for curve in curves:
            deque(self._decisions(curve), maxlen=0)

    def stops_at(self, curve: Sequence[float]) -> int:
        """Number of evaluations after which a further trial with this curve is stopped; all if it is not."""
        decisions = enumerate(self._decisions(curve), 1)
        return next((number for number, ends in decisions if ends), len(curve))

    def ends_now(self, curve: Sequence[float]) -> bool:
        """True if a further trial with this curve so far, which was not stopped before, is stopped now."""
        return list(self._decisions(curve))[-1]

    def _decisions(self, curve: Sequence[float]) -> Iterator[bool]:
        controller: Any = None
        trial: Any = SimpleNamespace(trial_id=str(self._trials))
        self._trials += 1
        self._asha.on_trial_add(controller, trial)
        for evaluation, psnr in enumerate(curve, 1):
            report = {"evaluation": evaluation, "psnr": psnr}
            stop = self._asha.on_trial_result(controller, trial, report) == ASHAScheduler.STOP
            yield stop and evaluation < self._evaluations
