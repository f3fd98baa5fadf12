"""Tasks in this process, and what is built on any task runner."""

import pytest

from orchestrator.experiment.feasibility import Resources
from orchestrator.runtime.task_runner import Ended, InProcessRunner, Update, result_of, results, run_for_all
from trainables.errors import RunError


@pytest.fixture
def runner():
    return InProcessRunner(Resources(2, 0, 0))


def test_tasks_run_in_turn_when_they_are_waited_for(runner):
    ran = []
    first, second = runner.submit(ran.append, 1), runner.submit(ran.append, 2)
    assert ran == []
    assert [event.task for event in runner.wait([first, second])] == [first]
    assert ran == [1]
    assert dict(results(runner, {"b": second})) == {"b": None}
    assert ran == [1, 2]
    assert runner.wait([], 1.0) == []


def test_what_a_generator_yields_are_updates(runner):
    def count(to):
        yield from range(to)
        return "done"

    task, events = runner.submit(count, 2), []
    while not events or isinstance(events[-1], Update):
        events += runner.wait([task])
    assert [event.value for event in events] == [0, 1, "done"]
    assert result_of(runner, runner.submit(count, 3)) == "done"


def test_a_cancelled_task_does_not_go_on(runner):
    ended = []

    def work():
        try:
            yield 1
        finally:
            ended.append(True)

    task = runner.submit(work)
    runner.wait([task])
    runner.cancel(task)
    assert ended == [True]


def test_what_a_task_raises_is_raised_where_its_result_is_asked_for(runner):
    with pytest.raises(ZeroDivisionError):
        result_of(runner, runner.submit(divmod, 1, 0))
    with pytest.raises(RunError, match="it died"):
        Ended(None, death="it died").result()


def test_ctrl_c_is_no_error_of_a_task(runner):
    def interrupted():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        runner.wait([runner.submit(interrupted)])


def test_a_domain_whose_driver_fails_is_named_and_the_others_are_done(runner):
    def drive(job, given):
        assert given is runner
        if job == "a":
            raise ValueError("one\ntwo")
        return f"result of {job}"

    done, failed = {}, {}
    run_for_all(runner, drive, {"x": "a", "y": "b"}, done.__setitem__, failed.__setitem__, name="search")
    assert (done, failed) == ({"y": "result of b"}, {"x": "ValueError: one"})
