"""Early stopping of trials by asynchronous successive halving, as Ray Tune decides it, from records alone.

A trial decides for itself at each evaluation: it shows Ray's scheduler, made afresh, the recorded curves of the trials
before it and then its own. So there is no state but the records, a killed search goes on with the decisions that an
unbroken one would take, and a stopped trial writes its own record before anybody hears of it. Ray's scheduler in the
driver would be lost with the driver. With several trials at once, one that is still running counts for nothing yet,
where Ray's own would count its rungs so far.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from ray.tune.schedulers import ASHAScheduler


@dataclass(frozen=True, slots=True)
class Stopping:
    """ASHA (Li et al. 2020, arXiv 1810.05934), as Ray Tune decides it.

    Attributes:
        reduction_factor: A trial goes on past a rung if it is among the best 1 / reduction_factor so far, from 2.
        grace: Evaluations before the first rung, from 1.
    """

    reduction_factor: int
    grace: int

    def rungs(self, evaluations: int) -> list[int]:
        """The evaluations, of so many in a whole training, at which a trial may end."""
        found, rung = [], self.grace
        while rung < evaluations:
            found.append(rung)
            rung *= self.reduction_factor
        return found


class Stopped(Exception):
    """Ends a training from within because other trials were better at the same rung."""


class Stopper:
    """Ray Tune's own ASHA, told learning curves.

    Args:
        stopping: Its settings.
        evaluations: Evaluations of a whole training.
        curves: Scores at each evaluation of the trials before, in any order; shorter ones were stopped.
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
        """Evaluations after which a further trial with this curve ends; all of them if it is not stopped."""
        decisions = enumerate(self._decisions(curve), 1)
        return next((number for number, ends in decisions if ends), len(curve))

    def ends_now(self, curve: Sequence[float]) -> bool:
        """Whether a further trial that has this curve so far, and went on until now, ends here."""
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
