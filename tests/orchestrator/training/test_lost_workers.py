"""Which errors of Ray Train are losses, with the classes that it hands over, and the lines about them."""

import pytest
from ray.exceptions import ActorDiedError
from ray.train import ControllerError, WorkerGroupError
from ray.train.v2._internal.exceptions import WorkerHealthCheckFailedError

from orchestrator.runtime.progress_updates import LocalUpdates
from orchestrator.training.lost_workers import LostWorkers, is_loss

KILLED = WorkerHealthCheckFailedError("worker 1", ActorDiedError())
LEFT_ALONE = RuntimeError("[gloo/transport/tcp/pair.cc:544] Connection closed by peer [127.0.0.1]:27482")
OWN = ValueError("not finite")


@pytest.mark.parametrize(
    ("error", "lost"),
    [
        (ActorDiedError(), True),
        (ControllerError(ActorDiedError()), True),
        (ControllerError(OWN), False),
        (WorkerGroupError("told", {0: LEFT_ALONE, 1: KILLED}), True),
        (WorkerGroupError("told", {0: LEFT_ALONE}), True),
        (WorkerGroupError("told", {0: OWN}), False),
    ],
)
def test_a_loss_is_told_from_an_error_of_the_training(error, lost):
    assert is_loss(error) == lost


def lines_after(*errors):
    updates = LocalUpdates()
    losses = LostWorkers(updates, 400, "2 workers with 1 CPU each")
    losses.after_report(None, [{"step": 40, "loss": 0.1}], None)
    losses.after_exception(None, dict(enumerate(errors)))
    return updates.lines(), updates.latest()


def test_a_lost_worker_is_one_line_with_what_is_waited_for():
    lines, latest = lines_after(LEFT_ALONE, KILLED)
    assert lines == [
        "pretraining: a worker was lost with its process or node; training goes on from step 40 when "
        "2 workers with 1 CPU each have started"
    ]
    assert latest == {"pretraining": (40, 400, "waits for 2 workers with 1 CPU each")}


def test_an_error_of_the_training_is_no_loss():
    assert lines_after(OWN) == ([], {})
