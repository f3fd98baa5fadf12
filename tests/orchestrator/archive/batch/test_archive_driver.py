"""The driver's decisions, on a pool that ends tasks as told; Ray itself is in test_archive_driver_cluster.py."""

import time
from collections import Counter

import pytest

from orchestrator.archive.batch import driver as driving
from orchestrator.archive.batch.driver import Driver
from orchestrator.archive.batch.plan import Recipe, make_plan
from orchestrator.archive.batch.scene_pool import Ended, Slots
from orchestrator.archive.batch.worker import Failed, Finished, PartFinished, Split
from orchestrator.archive.ledger.ledger import Ledger, read_events, read_records
from orchestrator.archive.places.listing import Scene
from orchestrator.cli.archive_output import progress_line
from orchestrator.foundation.storage import Storage

RECIPE = Recipe("model", "settings")
TWO = Slots(2, 2)


def scene(name, size=1):
    return Scene(name, f"/in/{name}", f"{size}-1", size, 0.0, f"/out/{name}")


class ScriptedPool:
    """Ends one task at a time, first in first out, with the next that the script has for its scene."""

    def __init__(self, ledger, script=None, slots=TWO):
        self.script = {name: list(ends) for name, ends in (script or {}).items()}
        self.ledger, self.fixed, self.running, self.tasks, self.most = ledger, slots, [], [], 0
        self.times = []

    def slots(self):
        return self.fixed

    def submit(self, task):
        on_record = read_events(Storage(self.ledger.place.uri.rpartition("/")[0]))
        attempts = Counter(event["name"] for event in on_record if event["event"] == "attempt")
        assert attempts[task.scene.name] >= task.round, "an attempt must be on record before it starts"
        self.running.append(task)
        self.tasks.append(task)
        self.times.append(driving.time.monotonic())
        self.most = max(self.most, len(self.running))

    @property
    def seen(self):
        return [(task.step, task.scene.name) for task in self.tasks]

    def wait(self, seconds):
        if not self.running:
            return []
        task = self.running.pop(0)
        ends = self.script.get(task.scene.name)
        end = ends.pop(0) if ends else Finished({"output_bytes": 1, "width": 1000, "height": 1000})
        node = task.node or "here"
        return [Ended(task, node=node, **end) if isinstance(end, dict) else Ended(task, end, node)]


class Clock:
    """The driver's clock, which moves only when the driver sleeps."""

    gmtime, strftime = staticmethod(time.gmtime), staticmethod(time.strftime)

    def __init__(self):
        self.now, self.naps = 0.0, []

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.naps.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(driving, "time", made)
    return made


@pytest.fixture
def drive(tmp_path, clock):
    def run(scenes, script=None, slots=TWO, **options):
        out = Storage.at(str(tmp_path / "out"))
        records = read_records(out)
        ledger = Ledger.new(out, records.next_order)
        pool = ScriptedPool(ledger, script, slots)
        driver = Driver(pool, ledger, RECIPE, **options)
        progress = driver.run(make_plan(scenes, records.histories, {}, RECIPE))
        return driver, pool, progress

    return run


def outcomes(driver):
    return {event["name"]: (event["status"], event.get("error"), event.get("attempts")) for event in driver.ended}


DEATH = {"death": "the process that worked on it died"}
LOST = {"lost": "node died"}


def test_every_scene_ends_once_and_bad_ones_stop_nothing(drive):
    scenes = [scene(f"{i}.tif") for i in range(9)]
    driver, pool, progress = drive(scenes, {"3.tif": [Failed("corrupt", "why")], "5.tif": [Failed("error", "why")]})
    assert Counter(status for status, _, _ in outcomes(driver).values()) == {"ok": 7, "failed": 2}
    assert outcomes(driver)["3.tif"] == ("failed", "corrupt", 1)
    assert (progress.ok, progress.done, progress.megapixels) == (7, 9, 7.0)
    assert pool.most <= 3  # two at work and one that waits at them
    line = progress_line(progress)
    assert line.startswith("9 of 9 scenes done, ")
    assert line.endswith("0 left, about 0 s, failed 2 (corrupt 1, error 1)")


def test_a_scene_that_kills_its_worker_is_tried_after_all_others_and_set_aside(drive):
    scenes = [scene("poison.tif", 9), scene("a.tif"), scene("b.tif"), scene("c.tif"), scene("d.tif")]
    driver, pool, _ = drive(scenes, {"poison.tif": [DEATH, DEATH]})
    assert outcomes(driver)["poison.tif"] == ("failed", "crashed", 2)
    assert pool.seen[-1] == ("begin", "poison.tif")
    assert len(pool.seen) == 6
    again, pool, _ = drive(scenes[:1])
    assert (pool.seen, outcomes(again)["poison.tif"][:2]) == ([], ("failed", "crashed"))


def test_one_death_may_be_another_ones_fault(drive):
    driver, _, _ = drive([scene("a.tif")], {"a.tif": [DEATH]})
    assert outcomes(driver)["a.tif"] == ("ok", None, 2)


def test_deaths_add_up_over_runs(drive):
    def stop(progress):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        drive([scene("a.tif")], {"a.tif": [DEATH]}, report_progress=stop)
    driver, _, _ = drive([scene("a.tif")], {"a.tif": [DEATH]})
    assert outcomes(driver)["a.tif"] == ("failed", "crashed", 1)


def test_a_lost_node_is_not_the_scenes_fault_for_some_time(drive):
    driver, _, _ = drive([scene("a.tif"), scene("b.tif")], {"a.tif": [LOST] * 4, "b.tif": [LOST] * 5})
    assert outcomes(driver) == {"a.tif": ("ok", None, 5), "b.tif": ("failed", "transient", 5)}


REFUSED = {"unschedulable": "it has no GPU"}


def test_a_node_that_refuses_a_scene_says_nothing_about_the_scene(drive):
    driver, _, _ = drive([scene("a.tif"), scene("b.tif")], {"a.tif": [REFUSED] * 7})
    assert outcomes(driver) == {"a.tif": ("ok", None, 8), "b.tif": ("ok", None, 1)}


def test_a_run_ends_if_no_node_takes_anything_for_long(drive, monkeypatch):
    monkeypatch.setattr(driving, "REFUSED_SECONDS", 0.0)
    driver, _, progress = drive([scene("a.tif"), scene("b.tif")], {"a.tif": [REFUSED]})
    assert driver.stopped == "for 0 minutes no node has taken a task: it has no GPU"
    assert progress.failed == Counter(), "the next run tries all of them"


def test_lost_nodes_leave_a_scene_all_its_tries(drive):
    ends = [LOST, LOST, LOST, Failed("transient", "503"), REFUSED, Failed("transient", "503")]
    driver, _, _ = drive([scene("a.tif")], {"a.tif": ends})
    assert outcomes(driver)["a.tif"] == ("ok", None, 7)


GPU_NODES = Slots(3, 4, {"one": Slots(1, 2), "two": Slots(2, 2)})


def test_a_scene_begins_where_there_is_a_gpu_and_stays_there(drive):
    names = [f"{i}.tif" for i in range(12)]
    script = {name: divided([(0, 1)]) for name in names}
    _, pool, progress = drive([scene(name) for name in names], script, GPU_NODES, only_parts=True, shared=False)
    assert progress.ok == 12
    nodes = {name: {task.node for task in pool.tasks if task.scene.name == name} for name in names}
    assert all(len(where) == 1 for where in nodes.values())
    begun = Counter(node for where in nodes.values() for node in where)
    assert set(begun) == {"one", "two"}
    first = Counter(task.node for task in pool.tasks[:6])
    assert first == {"one": 2, "two": 4}, "two by GPU, on the emptiest node first"


def test_scenes_wait_while_no_node_can_compute(drive, monkeypatch):
    looks = iter([Slots(1, 4)] * 3)
    monkeypatch.setattr(ScriptedPool, "slots", lambda pool: next(looks, GPU_NODES))
    driver, pool, progress = drive([scene("a.tif")], {"a.tif": divided([(0, 1)])}, only_parts=True, shared=False)
    assert (progress.ok, {task.node for task in pool.tasks}) == (1, {"one"})
    assert outcomes(driver)["a.tif"] == ("ok", None, 1)


def test_a_large_scene_on_one_node_keeps_no_other_node_waiting(drive):
    """Parts of the first scene fill its node; the part of the second does not queue behind them."""
    slots = Slots(2, 2, {"one": Slots(1, 1), "two": Slots(1, 1)})
    script = {"big.tif": divided([(i, i + 1) for i in range(8)]), "small.tif": divided([(0, 1)])}
    _, pool, progress = drive([scene("big.tif", 9), scene("small.tif")], script, slots, only_parts=True, shared=False)
    assert progress.ok == 2
    parts = [name for step, name in pool.seen if step == "part"]
    assert parts.index("small.tif") <= 2


def test_what_may_pass_is_tried_again_a_little_later(drive):
    passing = Failed("transient", "503")
    driver, _, _ = drive([scene("a.tif"), scene("b.tif")], {"a.tif": [passing, passing], "b.tif": [passing] * 3})
    assert outcomes(driver) == {"a.tif": ("ok", None, 3), "b.tif": ("failed", "transient", 3)}


def test_a_run_whose_surroundings_let_nothing_through_gives_up(drive):
    scenes = [scene(f"{i:02}.tif") for i in range(30)]
    denied = {one.name: [Failed("denied", "403")] for one in scenes}
    driver, _, progress = drive(scenes, denied)
    assert driver.stopped == "10 scenes in a row failed: 403"
    assert progress.done < 15
    del denied["05.tif"], denied["14.tif"], denied["23.tif"]
    again, _, _ = drive(scenes, denied)
    assert again.stopped is None


def divided(rows):
    return [Split(rows), *(PartFinished(f"{first}") for first, _ in rows)]


def test_a_large_scene_is_shared_and_joined_once_all_its_parts_are_there(drive):
    rows = [(0, 8), (8, 16), (16, 20)]
    driver, pool, _ = drive([scene("big.tif", 9), scene("a.tif")], {"big.tif": divided(rows)})
    assert outcomes(driver)["big.tif"][0] == "ok"
    assert Counter(step for step, name in pool.seen if name == "big.tif") == {"begin": 1, "part": 3, "finish": 1}
    assert [step for step, _ in pool.seen][-1] == "finish"


@pytest.mark.parametrize(("shared", "node"), [(True, None), (False, "here")])
def test_parts_on_one_nodes_disk_stay_there(drive, shared, node):
    _, pool, _ = drive([scene("big.tif")], {"big.tif": divided([(0, 1), (1, 2)])}, shared=shared)
    assert [task.node for task in pool.tasks] == [None, node, node, node]


def test_a_part_that_fails_ends_its_scene_and_the_rest_of_it_is_passed_over(drive):
    ends = [Split([(0, 1), (1, 2), (2, 3), (3, 4)]), PartFinished("0"), Failed("corrupt", "why"), PartFinished("2")]
    driver, pool, progress = drive([scene("big.tif", 9), scene("a.tif")], {"big.tif": ends})
    assert outcomes(driver) == {"big.tif": ("failed", "corrupt", 1), "a.tif": ("ok", None, 1)}
    assert ("finish", "big.tif") not in pool.seen
    assert progress.done == 2


def test_a_part_whose_worker_dies_makes_the_scene_start_over(drive):
    rows = [(0, 1), (1, 2)]
    driver, pool, _ = drive([scene("big.tif")], {"big.tif": [Split(rows), DEATH, PartFinished("1"), *divided(rows)]})
    assert outcomes(driver)["big.tif"] == ("ok", None, 2)
    assert Counter(step for step, _ in pool.seen)["begin"] == 2


def test_parts_on_disk_are_bounded(drive):
    names = [f"{i}.tif" for i in range(12)]
    script = {name: divided([(0, 1), (1, 2)]) for name in names}
    _, pool, progress = drive([scene(name) for name in names], script)
    under_way, most = set(), 0
    for step, name in pool.seen:
        under_way.add(name) if step == "part" else under_way.discard(name) if step == "finish" else None
        most = max(most, len(under_way))
    assert progress.ok == 12
    assert most <= driving._SPLIT_AT_ONCE + 1  # one may wait to be joined


def test_what_computes_never_encodes(drive):
    names = [f"{i}.tif" for i in range(12)]
    script = {name: divided([(0, 1)]) for name in names}
    _, pool, progress = drive([scene(name) for name in names], script, Slots(1, 2), only_parts=True)
    assert progress.ok == 12
    assert Counter(step for step, _ in pool.seen) == {"begin": 12, "part": 12, "finish": 12}


def test_how_often_a_scene_is_tried_follows_its_class(drive):
    """Fixed here, since the driver's own table is what is tested."""
    tries = {"transient": 3, "disk": 2, "memory": 2, "corrupt": 1, "denied": 1, "error": 1, "timeout": 1, "archived": 1}
    for error, times in tries.items():
        driver, _, _ = drive([scene(f"{error}.tif")], {f"{error}.tif": [Failed(error, "why")] * times})
        assert outcomes(driver)[f"{error}.tif"] == ("failed", error, times)
        if times > 1:
            again, _, _ = drive([scene(f"{error}2.tif")], {f"{error}2.tif": [Failed(error, "why")] * (times - 1)})
            assert outcomes(again)[f"{error}2.tif"] == ("ok", None, times)


def test_a_scene_is_tried_again_after_a_pause_that_grows(drive):
    driver, pool, _ = drive([scene("a.tif")], {"a.tif": [Failed("transient", "no answer")] * 2})
    assert outcomes(driver)["a.tif"] == ("ok", None, 3)
    assert pool.times == [0.0, driving.PAUSE_SECONDS, 3 * driving.PAUSE_SECONDS]


def test_a_scene_over_its_time_is_failed_and_the_others_go_on(drive):
    late = Failed("timeout", "it took longer than 60 s")
    driver, _, progress = drive([scene("slow.tif", 9), scene("a.tif"), scene("b.tif")], {"slow.tif": [late]})
    assert outcomes(driver) == {
        "slow.tif": ("failed", "timeout", 1),
        "a.tif": ("ok", None, 1),
        "b.tif": ("ok", None, 1),
    }
    assert (progress.done, driver.stopped) == (3, None)
    again, pool, _ = drive([scene("slow.tif", 9)])
    assert (pool.seen, outcomes(again)["slow.tif"][:2]) == ([], ("failed", "timeout"))


def test_a_part_of_a_round_that_was_given_up_is_not_joined(drive):
    """A part fails for a reason that passes while another one is at work; the scene starts over meanwhile."""
    rows = [(0, 1), (1, 2)]
    ends = [Split(rows), Failed("transient", "503"), PartFinished("of the first round"), *divided(rows)]
    driver, pool, _ = drive([scene("big.tif")], {"big.tif": ends}, Slots(2, 2))
    (finish,) = [task for task in pool.tasks if task.step == "finish"]
    assert [done.part for done in finish.parts] == ["0", "1"]
    assert finish.round == 2
    assert outcomes(driver)["big.tif"] == ("ok", None, 2)


@pytest.mark.usefixtures("clock")
def test_a_part_of_an_abandoned_round_that_ends_in_the_next_one_is_passed_over(tmp_path, monkeypatch):
    """The same, with the next round already at work when the late part comes."""
    monkeypatch.setattr(driving, "PAUSE_SECONDS", 0.0)
    ledger = Ledger.new(Storage.at(str(tmp_path / "late")))
    pool = ScriptedPool(ledger)
    driver = Driver(pool, ledger, RECIPE)
    late = []

    def wait(seconds):
        """The first part fails, the second is held back until parts of the second round are at work."""
        task = pool.running.pop(0)
        if task.step == "begin":
            return [Ended(task, Split([(0, 1), (1, 2)]), "here")]
        if task.step == "finish":
            return [Ended(task, Finished({"output_bytes": 1}), "here")]
        if task.round == 1:
            late.append(task)
            return [Ended(task, Failed("transient", "503"), "here")] if len(late) == 1 else []
        stale = [Ended(late.pop(), PartFinished("stale"), "here")] if len(late) == 2 else []
        return [*stale, Ended(task, PartFinished(f"{task.rows[0]}"), "here")]

    pool.wait = wait
    driver.run(make_plan([scene("big.tif")], {}, {}, RECIPE))
    (finish,) = [task for task in pool.tasks if task.step == "finish"]
    assert [done.part for done in finish.parts] == ["0", "1"]


@pytest.mark.parametrize(("end", "tries"), [(DEATH, 1), (LOST, 4), ({"outcome": Failed("transient", "503")}, 2)])
def test_what_is_done_again_starts_from_nothing(drive, end, tries):
    rows = [(0, 1), (1, 2)]
    driver, pool, _ = drive([scene("big.tif")], {"big.tif": [Split(rows), end, PartFinished("1"), *divided(rows)]})
    assert outcomes(driver)["big.tif"] == ("ok", None, 2)
    assert [len(task.parts) for task in pool.tasks if task.step == "finish"] == [2]


def test_lost_nodes_do_not_set_a_scene_aside_for_later_runs(drive):
    driver, _, _ = drive([scene("a.tif")], {"a.tif": [LOST] * 5})
    assert outcomes(driver)["a.tif"] == ("failed", "transient", 5)
    assert "5 nodes were lost" in driver.ended[0]["message"]
    assert "node died" in driver.ended[0]["message"]
    again, _, _ = drive([scene("a.tif")])
    assert outcomes(again)["a.tif"][0] == "ok"


def test_a_task_that_cannot_be_handed_over_is_no_fault_of_its_scene(drive, monkeypatch):
    real, left = ScriptedPool.submit, [ValueError("what pickle says")] * 2

    def submit(self, task):
        if task.scene.name == "b.tif" and left:
            raise left.pop()
        real(self, task)

    monkeypatch.setattr(ScriptedPool, "submit", submit)
    driver, _, _ = drive([scene("a.tif"), scene("b.tif")])
    assert outcomes(driver) == {"a.tif": ("ok", None, 1), "b.tif": ("ok", None, 3)}


@pytest.mark.parametrize(("workers", "size", "shares"), [(1, 1, [0]), (4, 2, [4, 4]), (4, 4, [1] * 4), (4, 9, [1] * 9)])
def test_who_shares_a_scene(drive, workers, size, shares):
    """None where there is but one worker, all where some would be idle, else each by itself."""
    scenes = [scene(f"{i}.tif") for i in range(size)]
    _, pool, _ = drive(scenes, slots=Slots(workers, workers))
    assert [task.workers for task in pool.tasks] == shares


def test_the_time_left_follows_the_pixels_that_are_done(monkeypatch):
    progress = driving.Progress(scenes=4, started=0.0)
    monkeypatch.setattr(driving.time, "monotonic", lambda: 30.0)
    assert progress.seconds_left is None
    assert "4 left, time unknown, none failed" in progress_line(progress)
    progress.done, progress.samples_done, progress.samples_left = 1, 100.0, 300.0
    assert progress.seconds_left == 90.0
    assert "3 left, about" in progress_line(progress)


def test_pixels_that_are_done_add_up_part_by_part(drive):
    """Headers cannot be read here, so that bytes stand for them: 100 of a shared scene and 20 of a corrupt one."""
    scenes = [scene("big.tif", 100), scene("corrupt.tif", 20), scene("a.tif", 5)]
    script = {"big.tif": divided([(i, i + 1) for i in range(4)]), "corrupt.tif": [Failed("corrupt", "why")]}
    seen = []
    drive(
        scenes,
        script,
        Slots(1, 1),
        report_progress=lambda progress: seen.append((progress.samples_done, progress.samples_left)),
    )
    assert seen[0] == (0, 125)
    assert {done + left for done, left in seen} == {125, 105}
    assert {done % 100 for done, _ in seen} >= {25, 50, 75}
    assert seen[-1] == (105, 0), "a corrupt scene says nothing about speed"


def test_a_plan_is_as_it_was_after_its_run(tmp_path):
    out = Storage.at(str(tmp_path))
    ledger = Ledger.new(out)
    plan = make_plan([scene("a.tif"), scene("b.tif")], {}, {"/out/b.tif": 1}, RECIPE)
    failed = list(plan.failed)
    driver = Driver(ScriptedPool(ledger, None, TWO), ledger, RECIPE)
    driver.run(plan)
    assert plan.failed == failed
    assert len(driver.ended) == 2


def test_a_driver_that_has_nothing_but_a_pause_looks_twice_a_second(drive, clock):
    drive([scene("a.tif")], {"a.tif": [Failed("transient", "no answer")]})
    assert clock.naps == [0.5] * int(driving.PAUSE_SECONDS / 0.5)


def test_what_only_computes_keeps_few_scenes_open_and_all_slots_busy(drive):
    """On GPUs every scene goes in parts: raw pixels of at most 2 × 2 + 1 scenes may lie on disk here."""
    names = [f"{i}.tif" for i in range(12)]
    script = {name: divided([(0, 1)]) for name in names}
    _, pool, _ = drive([scene(name) for name in names], script, Slots(2, 1), only_parts=True)
    under_way, most = set(), 0
    for step, name in pool.seen:
        under_way.discard(name) if step == "finish" else under_way.add(name)
        most = max(most, len(under_way))
    assert most == 5


def test_failures_of_the_surroundings_end_a_run_only_in_a_row(drive):
    """Nine, then a scene that comes out, then nine more: not ten in a row. Failures of scenes count for nothing."""
    scenes = [scene(f"{i:02}.tif", 100 - i) for i in range(20)]
    denied = {one.name: [Failed("denied", "403")] for one in scenes}
    for middle in (None, [Failed("corrupt", "why")]):
        script = dict(denied)
        script.pop("09.tif") if middle is None else script.update({"09.tif": middle})
        driver, _, progress = drive(scenes[:19], script, Slots(1, 1))
        assert (driver.stopped, progress.done) == (None, 19)
    driver, _, _ = drive(scenes[10:], denied, Slots(1, 1))
    assert driver.stopped == "10 scenes in a row failed: 403"
