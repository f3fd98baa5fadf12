"""Runs side by side share an archive: each scene is one run's, and what a dead run had begun goes to another one."""

import os
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import pytest
from fake_s3 import install, refused

from orchestrator.archive.batch import claims as claiming
from orchestrator.archive.batch import driver as driving
from orchestrator.archive.batch import heartbeat as liveness
from orchestrator.archive.batch.claims import Claim, Claims, remove_claims, remove_last_claims
from orchestrator.archive.batch.driver import Driver
from orchestrator.archive.batch.heartbeat import Heartbeat
from orchestrator.archive.batch.plan import Recipe, make_plan
from orchestrator.archive.batch.scene_pool import Ended, Slots
from orchestrator.archive.batch.worker import Failed, Finished
from orchestrator.archive.ledger.ledger import FOLDER, Ledger, read_events, read_histories, read_records
from orchestrator.archive.places.listing import Scene
from orchestrator.foundation.storage import Storage
from trainables.errors import UsageError

RECIPE = Recipe("model", "settings")
KEY, OTHER_KEY = "0" * 16, "1" * 16
OURS, HELD = Claim("ours"), Claim("held")
ALIVE_ELSEWHERE = {"machine": "another kernel", "process": 7, "started": "1"}


@pytest.fixture(params=["folder", "bucket"])
def out(request, tmp_path, monkeypatch):
    if request.param == "folder":
        return Storage.at(str(tmp_path / "out"))
    install(monkeypatch)
    return Storage("s3://bucket/out")


@pytest.fixture
def clock(monkeypatch):
    """Seconds of the observer's own clock, which a test sets."""
    now = [1000.0]
    for module in (liveness, claiming):
        monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


class Run:
    """A run's claims and its heartbeat, which a test beats; on another machine, unless it says so."""

    def __init__(self, out, monkeypatch, facts=ALIVE_ELSEWHERE):
        self.ledger = Ledger.new(out)
        self.heart = Heartbeat(self.ledger)
        self.beat(monkeypatch, facts)
        self.claims = Claims(self.ledger)

    def beat(self, monkeypatch, facts=ALIVE_ELSEWHERE):
        with monkeypatch.context() as patch:
            patch.setattr(liveness, "process_facts", lambda number: facts)
            self.heart._next = 0.0
            self.heart.beat()

    def end(self, output, status="ok", key=KEY, **failure):
        self.claims.end({"output": output, "key": key, "status": status, **failure})
        self.claims._writers.shutdown()


@pytest.fixture
def runs(out, clock, monkeypatch):
    return lambda count=2: [Run(out, monkeypatch) for _ in range(count)]


def test_a_scene_is_one_runs_until_it_has_ended(runs, clock):
    first, second = runs()
    assert first.claims.take("/o/a", KEY) == OURS
    assert second.claims.take("/o/a", KEY) == HELD
    assert second.claims.take("/o/b", KEY) == OURS
    assert "the two share the scenes" in second.claims.notes[0]
    assert first.ledger.run in second.claims.notes[0]
    first.end("/o/a")
    clock[0] += 6
    assert second.claims.take("/o/a", KEY) == Claim("ok")
    second.end("/o/b", "failed", error="corrupt", message="why")
    clock[0] += 6
    assert first.claims.take("/o/b", KEY) == Claim("failed", "corrupt", "why")


def test_the_scenes_of_a_run_without_a_heartbeat_are_taken_over_after_its_lease(runs, clock, monkeypatch):
    first, second = runs()
    first.claims.take("/o/a", KEY)
    assert second.claims.take("/o/a", KEY) == HELD
    for _ in range(5):  # as long as it beats, it keeps them
        clock[0] += 60
        first.beat(monkeypatch)
        assert second.claims.take("/o/a", KEY) == HELD
    clock[0] += 89
    assert second.claims.take("/o/a", KEY) == HELD
    clock[0] += 6
    assert second.claims.take("/o/a", KEY) == OURS
    assert second.claims.notes[-1] == (
        f"Run {first.ledger.run} gives no sign of life any more: its unfinished scenes are taken over."
    )


def test_what_a_dead_run_had_ended_is_not_done_again(runs, clock):
    first, second = runs()
    for output in ("/o/a", "/o/b"):
        first.claims.take(output, KEY)
    assert second.claims.take("/o/a", KEY) == HELD
    first.end("/o/a")
    clock[0] += 4  # before the next listing
    second.claims._next_look = clock[0] + 1000
    second.claims._watch._seen[first.ledger.run] = (1, clock[0] - 1000)
    second.claims._watch._answers.clear()
    assert second.claims.take("/o/b", KEY) == OURS
    assert second.claims.take("/o/a", KEY) == Claim("ok")


def test_a_run_of_this_machine_whose_process_has_ended_loses_its_claims_at_once(out, clock, monkeypatch):
    kernel = liveness.kernel()
    first = Run(out, monkeypatch, {"machine": kernel, "process": os.getpid(), "started": "0"})
    first.claims.take("/o/a", KEY)
    assert Run(out, monkeypatch).claims.take("/o/a", KEY) == OURS


def test_a_run_that_was_stopped_gives_its_claims_back(runs):
    first, second = runs()
    first.claims.take("/o/a", KEY)
    first.heart.stop()
    assert second.claims.take("/o/a", KEY) == OURS
    assert second.claims.notes == [], "it did not die"


def test_only_one_of_many_takes_over(runs, clock):
    dead, *others = runs(9)
    dead.claims.take("/o/a", KEY)
    dead.heart.stop()
    barrier, states = threading.Barrier(len(others)), []

    def take(run):
        barrier.wait()
        states.append(run.claims.take("/o/a", KEY).state)

    threads = [threading.Thread(target=take, args=(run,)) for run in others]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert Counter(states) == {"ours": 1, "held": 7}


def test_another_model_on_the_same_output_is_a_collision(runs, clock):
    first, second = runs()
    first.claims.take("/o/a", KEY)
    assert second.claims.take("/o/a", OTHER_KEY).error == "collision"
    first.end("/o/a")
    clock[0] += 6
    assert second.claims.take("/o/a", OTHER_KEY).error == "collision"


def test_ends_from_before_a_run_began_are_its_plans_business(runs, out, clock, monkeypatch):
    """The plan knows their rows: what it wants again, by --overwrite or as the output is gone, is done again."""
    (first,) = runs(1)
    first.claims.take("/o/a", KEY)
    first.end("/o/a")
    later, latest = Run(out, monkeypatch), Run(out, monkeypatch)
    assert later.claims.take("/o/a", KEY) == OURS
    assert latest.claims.take("/o/a", KEY) == HELD
    later.end("/o/a")
    clock[0] += 6
    assert latest.claims.take("/o/a", KEY) == Claim("ok")


def test_a_claim_that_is_still_being_written_holds_for_a_lease(out, runs, clock):
    (run,) = runs(1)
    out.child(FOLDER, claiming.CLAIMS, f"{claiming._digest('/o/a')}.1").write_bytes(b"")
    assert run.claims.take("/o/a", KEY) == HELD
    clock[0] += 91
    assert run.claims.take("/o/a", KEY) == OURS


def test_the_last_run_removes_all_claims(out, runs):
    first, second = runs()
    first.claims.take("/o/a", KEY)
    first.claims.close()
    first.heart.stop()
    remove_last_claims(first.ledger)
    assert len(claiming._names(out.child(FOLDER, claiming.CLAIMS))) == 1, "another run needs it"
    second.claims.close()
    second.heart.stop()
    remove_last_claims(second.ledger)
    assert claiming._names(out.child(FOLDER, claiming.CLAIMS)) == []
    assert out.remote or not Path(out.path, FOLDER).exists()
    remove_claims(second.ledger)


def test_of_runs_that_end_at_the_same_time_one_removes_all_claims(out, runs):
    both = runs()
    for run in both:
        run.claims.take("/o/a", KEY)
        run.claims.close()
    for run in both:
        run.heart.stop()
    remove_last_claims(both[0].ledger)
    assert claiming._names(out.child(FOLDER, claiming.CLAIMS)) == []


@pytest.mark.parametrize("name", ["probe-another-run", "notes.txt", "a.b.c.d.e", "x.1.y"])
def test_foreign_files_among_claims_are_passed_over(out, runs, name):
    out.child(FOLDER, claiming.CLAIMS, name).write_bytes(b"x")
    (run,) = runs(1)
    assert run.claims.take("/o/a", KEY) == OURS


def test_claims_are_no_ledgers(out, runs):
    (run,) = runs(1)
    run.claims.take("/o/a", KEY)
    assert (read_events(out), read_records(out).odd) == ([], [])


class TestInABucket:
    """Where a claim is a conditional PUT."""

    OUT = Storage("s3://bucket/out")

    def test_an_answer_that_was_lost_is_no_refusal(self, monkeypatch, clock):
        server = install(monkeypatch)
        run = Run(self.OUT, monkeypatch)
        put = server.put_object

        def put_twice(Bucket, Key, Body, **condition):
            put(Bucket, Key, Body, **condition)
            if condition:
                put(Bucket, Key, Body, **condition)  # as boto3 does if no answer comes

        server.put_object = put_twice
        assert run.claims.take("/o/a", KEY) == OURS

    @pytest.mark.parametrize("ignores", [True, False])
    def test_a_server_without_conditions_refuses_in_a_sentence(self, monkeypatch, ignores):
        server = install(monkeypatch)
        if ignores:
            put = server.put_object
            server.put_object = lambda IfNoneMatch=None, **request: put(**request)
        else:
            server.fail["put_object"] = [refused("NotImplemented", 501)]
        with pytest.raises(UsageError, match=r"has no conditional writes.*without --side-by-side"):
            Claims(Ledger.new(self.OUT))
        assert server.keys() == []


class OneByOne:
    """A pool that finishes its tasks in order; ``ends`` are other outcomes by name.

    The first task ends when ``begun`` is passed.
    """

    def __init__(self, seen, ends=(), begun=None):
        self.seen, self.ends, self.running, self.begun = seen, dict(ends), [], begun

    def slots(self):
        return Slots(2, 2)

    def submit(self, task):
        self.running.append(task)

    def wait(self, seconds):
        if not self.running:
            return []
        if self.begun and not self.seen:
            self.begun.wait(60)
        task = self.running.pop(0)
        self.seen.append(task.scene.name)
        return [Ended(task, self.ends.get(task.scene.name, Finished({"output_bytes": 1})), "here")]


def scenes(count):
    return [Scene(f"{i}.tif", f"/in/{i}.tif", "1-1", 1, 0.0, f"/out/{i}.tif") for i in range(count)]


def test_two_drivers_at_once_do_each_scene_once_and_both_end(out, monkeypatch):
    monkeypatch.setattr(driving, "LOOK_SECONDS", 0.2)
    monkeypatch.setattr(claiming, "LOOK_SECONDS", 0.1)
    ends = {"3.tif": Failed("corrupt", "why")}
    results = []
    begin = threading.Barrier(2)

    def run():
        ledger, seen = Ledger.new(out, 1), []
        heart = Heartbeat(ledger)
        heart.beat()
        claims = Claims(ledger)
        driver = Driver(OneByOne(seen, ends, begin), ledger, RECIPE, claims=claims)
        plan = make_plan(scenes(30), read_histories(out), {}, RECIPE)
        progress = driver.run(plan)
        claims.close()
        heart.stop()
        remove_last_claims(ledger)
        results.append((seen, progress, driver))

    threads = [threading.Thread(target=run) for _ in range(2)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    (one, first, _), (two, second, _) = results
    assert sorted(one + two) == sorted(scene.name for scene in scenes(30))
    assert min(len(one), len(two)) > 0, "both had a share"
    assert (first.done, second.done) == (30, 30)
    assert (first.ok + second.ok, first.elsewhere, second.elsewhere) == (29, second.ok, first.ok)
    assert [[event["error"] for event in driver.ended if event["status"] == "failed"] for _, _, driver in results] == [
        ["corrupt"]
    ] * 2, "both say so"
    rows = Counter(event["name"] for event in read_events(out) if event["event"] == "scene")
    assert set(rows.values()) == {1}


UPSCALE = """
import sys
from orchestrator.archive.places.listing import list_archive
from orchestrator.archive.batch.options import Options
from orchestrator.archive.batch.run import upscale_archive
from orchestrator.archive.scene.types import SceneSettings
from orchestrator.runtime.task_runner import in_process

model, source, out = sys.argv[1:]
notes = set()
settings = SceneSettings(precision="float32", blocksize=128)
scenes = list_archive(source, out, "cog").scenes
print("ready", flush=True)
sys.stdin.readline()
summary = upscale_archive(
    model, scenes, out, settings, Options(side_by_side=True), lambda p: notes.update(p.notes), start=in_process
)
print(summary["written"], summary["skipped"], len(summary["failed"]), flush=True)
print(*notes, sep="\\n")
"""


def test_two_processes_on_one_folder_share_its_scenes(tmp_path):
    """Real ones, without Ray."""
    import tiny_models

    from benchmarks.common import scene_files

    model = tiny_models.write(tmp_path / "model", tiny_models.net(2))
    scene_files.write_many(tmp_path / "in", 12, (24, 24))
    command = [sys.executable, "-c", UPSCALE, model, str(tmp_path / "in"), str(tmp_path / "out")]
    both = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    try:
        assert [process.stdout.readline() for process in both] == ["ready\n"] * 2
        for process in both:
            process.stdin.write("go\n")
            process.stdin.flush()
        said = [process.communicate(timeout=300)[0].splitlines() for process in both]
    finally:
        for process in both:
            process.kill()
    counts = [[int(number) for number in lines[0].split()] for lines in said]
    assert sum(written for written, _, _ in counts) == 12
    assert all(written + skipped == 12 for written, skipped, _ in counts)
    rows = Counter(e["name"] for e in read_events(Storage(f"{tmp_path}/out")) if e["event"] == "scene")
    assert (len(rows), set(rows.values())) == (12, {1})
    if min(written for written, _, _ in counts):  # the machine may let one finish before the other begins
        assert any("works beside this one" in line for lines in said for line in lines)
    files = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.tif*")}
    expected = {str(path.relative_to(tmp_path / "in")) for path in (tmp_path / "in").rglob("*.tif")}
    assert files == expected | {f"{name}.json" for name in expected}
    assert all(path.suffix == ".jsonl" for path in (tmp_path / "out" / "_ledger").iterdir())
