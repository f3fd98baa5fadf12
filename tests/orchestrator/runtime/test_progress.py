"""Progress is never lost for good and never ends a run; where nothing moves, a line says so."""

import io
import pickle
import re
import threading
from types import SimpleNamespace

import pytest
from ray import exceptions
from rich.console import Console
from waiting import wait_for

from orchestrator.runtime import progress
from orchestrator.runtime.on_ray import ray_updates
from orchestrator.runtime.on_ray.ray_updates import RayUpdates
from orchestrator.runtime.progress import Display
from orchestrator.runtime.progress_updates import LocalUpdates, log_line, reporter


class Answers:
    """Stands in for Ray and its actor: each answer is late, an error, or updates with lines."""

    exceptions = exceptions

    def __init__(self, *answers):
        self.answers, self.answer = list(answers), SimpleNamespace(remote=self._ask)
        self.asked = 0

    def get_actor(self, _):
        return self

    def _ask(self):
        self.asked += 1
        return object()

    def wait(self, references, timeout):
        if self.answers and self.answers[0] == "late":
            self.answers.pop(0)
            return [], references
        return references, []

    def get(self, _):
        answer = self.answers.pop(0) if self.answers else {}
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, tuple) else (answer, [])


def shown_of(monkeypatch, board, heard=None, terminal=False):
    """What is shown until something was heard: by default, until there is no answer left."""
    monkeypatch.setattr(ray_updates, "ray", board)
    monkeypatch.setattr(progress, "LOG_SECONDS", 0.0)
    monkeypatch.setattr(progress, "POLL_SECONDS", 0.005)
    out = io.StringIO()
    with Display(Console(file=out, force_terminal=terminal, width=100)).watching(RayUpdates("progress")):
        wait_for(heard or (lambda: not board.answers))
    return out.getvalue()


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize("before", [["late"] * 7, [RuntimeError("actor died")] * 3, ["late", ValueError(), "late"]])
def test_a_slow_answer_or_a_dead_actor_does_not_silence_a_run_for_good(monkeypatch, before, terminal):
    board = Answers({"search a": (1, 9, "first")}, *before, {"search a": (2, 9, "second")})
    said = shown_of(monkeypatch, board, terminal=terminal)
    assert "first" in said
    assert "second" in said


def test_a_slow_answer_is_waited_for_and_one_that_is_lost_is_asked_for_again(monkeypatch):
    board = Answers(*["late"] * 5, {"search a": (1, 9, "x")})
    board.answers += ["late"] * 1000
    shown_of(monkeypatch, board, lambda: len(board.answers) < 980)
    assert board.asked == 2
    monkeypatch.setattr(ray_updates, "ANSWER_SECONDS", 0.02)
    lost = Answers(*["late"] * 1000)
    shown_of(monkeypatch, lost, lambda: lost.asked > 2)


def test_lines_are_logged_and_a_lost_actor_is_named_once(monkeypatch):
    gone = [exceptions.ActorDiedError(), exceptions.ActorUnavailableError("restarts", None)]
    board = Answers(({}, ["a trial was lost"]), *gone, ({"search a": (2, 9, "x")}, ["it is back"]))
    said = shown_of(monkeypatch, board).splitlines()
    assert said == ["a trial was lost", ray_updates.REPLACED, "it is back", "  search a: 2/9 x"]


class Actor:
    """An actor that is gone, or takes messages."""

    def __init__(self, gone=False):
        self.gone, self.got = gone, []
        self.report = SimpleNamespace(remote=self._take)

    def _take(self, *message):
        self.got.append(message)
        return self


class Actors:
    """Stands in for Ray, where an actor of a name is replaced."""

    exceptions = exceptions

    def __init__(self, *actors):
        self.actors = list(actors)

    def get_actor(self, _):
        return self.actors.pop(0)

    def wait(self, references, timeout):
        return references, []

    def get(self, actor):
        if actor.gone:
            raise exceptions.ActorDiedError


def test_a_task_whose_actor_was_replaced_reports_to_the_new_one(monkeypatch):
    old, new = Actor(), Actor()
    monkeypatch.setattr(ray_updates, "ray", Actors(old, new))
    monkeypatch.setattr(ray_updates, "CHECK_SECONDS", -1.0)
    updates = RayUpdates("progress")
    for step in range(2):
        updates.report("a", step, 4, "")
    old.gone = True
    for step in range(2, 4):
        updates.report("a", step, 4, "")
    assert ([step for _, step, _, _ in old.got], [step for _, step, _, _ in new.got]) == ([0, 1], [2, 3])


def test_a_reporter_whose_actor_is_gone_disturbs_no_work(monkeypatch):
    monkeypatch.setattr(ray_updates, "ray", Actors())
    updates = RayUpdates("progress")
    reporter(updates, "task")(1, 2, "note")
    log_line(updates, "a line")


def test_a_task_that_begins_again_was_lost():
    updates = LocalUpdates()
    for submission, name in [("1", "search a"), ("2", "search b"), ("1", "search a")]:
        updates.begin(submission, name)
    assert updates.answer() == (
        {},
        ["search a was lost with its process or node; it starts again, what had finished is kept"],
    )
    assert updates.lines() == []


def test_the_latest_update_of_each_task_is_kept():
    updates = LocalUpdates()
    updates.report("a", 1, 2, "x")
    updates.report("a", 2, 2, "y")
    assert updates.latest() == {"a": (2, 2, "y")}


def test_a_task_gets_the_actor_and_not_the_answers_that_are_waited_for():
    updates = RayUpdates("progress")
    updates._answer = updates._actor = threading.Lock()  # cannot be pickled
    assert pickle.loads(pickle.dumps(updates))._name == "progress"


@pytest.fixture
def display(monkeypatch):
    monkeypatch.setattr(progress, "STILL_SECONDS", 0.02)
    return Display(Console(file=io.StringIO(), width=100))


def lines(display):
    return display.console.file.getvalue().splitlines()


def test_a_stage_in_which_nothing_moves_is_named_again_and_again(display):
    with display.doing("shards source"):
        wait_for(lambda: len(lines(display)) >= 3)
    assert re.fullmatch(r"  still shards source, for \d+ s", lines(display)[0])


def test_nothing_is_said_of_a_stage_that_moves(monkeypatch, display):
    looks = []
    standing = SimpleNamespace(monotonic=lambda: looks.append(1) or 7.0)  # by this clock it has moved just now
    monkeypatch.setattr(progress, "time", standing)
    with display.doing("shards source"):
        wait_for(lambda: len(looks) > 20)
    assert lines(display) == []


def test_what_has_not_been_started_is_waited_for_with_what_it_asks_and_what_is_free(display):
    display.free = lambda: "0 of 2 CPUs are free"
    display._latest = {"pretraining": (0, 24, "starting workers")}
    with display.doing("pretrain", {"pretraining": "2 workers with 1 GPU each"}):
        wait_for(lambda: lines(display))
    assert lines(display)[0] == "  waiting for 2 workers with 1 GPU each to start pretraining; 0 of 2 CPUs are free"


@pytest.mark.parametrize(
    ("latest", "expected"),
    [
        ({}, ["waiting for 2 CPUs to start search a"]),
        ({"search b": (1, 9, "x")}, ["waiting for 2 CPUs to start search a"]),
        ({"search a": (0, 9, "trial 0: started")}, ["still search a: 0/9 trial 0: started"]),
        ({"search a": (0, 9, "training"), "search a: x-seed1": (0, 4, "")}, ["still search a: 0/9 training"]),
        ({"search a": (3, 9, "trial 3: step 4")}, ["still search a: 3/9 trial 3: step 4"]),
        ({"search a": (9, 9, "trial 8: done")}, ["still search, for 5 s"]),
    ],
)
def test_what_is_said_when_nothing_moves(latest, expected):
    display = Display(Console(file=io.StringIO()))
    display._activity, display._asked, display._latest = "search", {"search a": "2 CPUs"}, latest
    assert display._still(5.0) == [f"  {line}" for line in expected]


def test_a_task_with_nothing_to_do_waits_for_nothing(display):
    with display.doing("search", {"search a": "1 CPU", "search b": "1 CPU"}):
        display.skip("search a")
        wait_for(lambda: lines(display))
    assert lines(display)[0] == "  waiting for 1 CPU to start search b"


def test_a_cluster_that_does_not_answer_silences_nothing_for_good(display):
    asked = []

    def fail():
        asked.append(1)
        raise RuntimeError("no GCS")

    display.free = fail
    with display.doing("search"):
        wait_for(lambda: asked)
        display.free = None
        wait_for(lambda: lines(display))


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), ValueError("closed")])
def test_a_display_that_nobody_reads_ends_no_run(error):
    class Gone(io.StringIO):
        def write(self, _):
            raise error

    Display(Console(file=Gone())).log("a line")


def test_a_terminal_without_moving_lines_gets_plain_ones(monkeypatch):
    def fail(*_):
        raise RuntimeError("no terminal")

    monkeypatch.setattr(progress, "Progress", fail)
    board = Answers({"search a": (9, 9, "done")})
    assert "search a: 9/9 done" in shown_of(monkeypatch, board, terminal=True)


def test_threads_of_a_display_end_with_it(monkeypatch, display):
    before = set(threading.enumerate())
    with display.doing("x"):
        pass
    assert set(threading.enumerate()) <= before


@pytest.mark.parametrize("terminal", [False, True])
def test_one_line_moves_on_a_terminal_and_comes_now_and_then_in_a_log(monkeypatch, terminal):
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    out = io.StringIO()
    with Display(Console(file=out, force_terminal=terminal, width=100)).line() as show:
        show(1, 2, "1 of 2 images done")
        wait_for(lambda: "1 of 2 images done" in out.getvalue())
    if not terminal:
        assert out.getvalue() == "1 of 2 images done\n"


def test_a_log_is_not_filled_by_one_line(display):
    with display.line() as show:
        for done in range(100):
            show(done, 100, f"{done} of 100 images done")
    assert lines(display) == []
