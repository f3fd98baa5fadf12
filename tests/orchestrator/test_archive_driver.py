"""The driver's decisions, on a pool that ends tasks as told; Ray itself is in test_archive_driver_cluster.py."""

from collections import Counter

import pytest

from orchestrator.archive import driving
from orchestrator.archive.driving import Driver
from orchestrator.archive.ledger import Ledger, read_events, read_past
from orchestrator.archive.listing import Scene
from orchestrator.archive.planning import Recipe, make_plan
from orchestrator.archive.pool import Ended, Slots
from orchestrator.archive.showing import progress_line
from orchestrator.archive.work import Divided, Failed, Finished, PartDone
from orchestrator.storage import Storage

RECIPE = Recipe("model", "settings")
TWO = Slots(2, 2)


def scene(name, size=1):
    return Scene(name, f"/in/{name}", f"{size}-1", size, 0.0, f"/out/{name}")


class ScriptedPool:
    """Ends one task at a time, first in first out, with the next that the script has for its scene."""

    def __init__(self, ledger, script=None, slots=TWO):
        self.script = {name: list(ends) for name, ends in (script or {}).items()}
        self.ledger, self.fixed, self.running, self.tasks, self.most = ledger, slots, [], [], 0

    def slots(self):
        return self.fixed

    def submit(self, task):
        on_record = read_events(Storage(self.ledger.place.uri.rpartition("/")[0]))
        attempts = Counter(event["name"] for event in on_record if event["event"] == "attempt")
        assert attempts[task.scene.name] >= task.round, "an attempt must be on record before it starts"
        self.running.append(task)
        self.tasks.append(task)
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
        return [Ended(task, node="here", **end) if isinstance(end, dict) else Ended(task, end, "here")]


@pytest.fixture
def drive(tmp_path, monkeypatch):
    monkeypatch.setattr(driving, "_PAUSE_SECONDS", 0.01)

    def run(scenes, script=None, slots=TWO, **options):
        out = Storage.at(str(tmp_path / "out"))
        ledger = Ledger.new(out)
        pool = ScriptedPool(ledger, script, slots)
        driver = Driver(pool, ledger, RECIPE, **options)
        progress = driver.run(make_plan(scenes, read_past(out), {}, RECIPE))
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
        drive([scene("a.tif")], {"a.tif": [DEATH]}, tell=stop)
    driver, _, _ = drive([scene("a.tif")], {"a.tif": [DEATH]})
    assert outcomes(driver)["a.tif"] == ("failed", "crashed", 1)


def test_a_lost_node_is_not_the_scenes_fault_for_some_time(drive):
    driver, _, _ = drive([scene("a.tif"), scene("b.tif")], {"a.tif": [LOST] * 4, "b.tif": [LOST] * 5})
    assert outcomes(driver) == {"a.tif": ("ok", None, 5), "b.tif": ("failed", "transient", 5)}


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
    return [Divided(rows), *(PartDone(f"{first}") for first, _ in rows)]


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
    ends = [Divided([(0, 1), (1, 2), (2, 3), (3, 4)]), PartDone("0"), Failed("corrupt", "why"), PartDone("2")]
    driver, pool, progress = drive([scene("big.tif", 9), scene("a.tif")], {"big.tif": ends})
    assert outcomes(driver) == {"big.tif": ("failed", "corrupt", 1), "a.tif": ("ok", None, 1)}
    assert ("finish", "big.tif") not in pool.seen
    assert progress.done == 2


def test_a_part_whose_worker_dies_makes_the_scene_start_over(drive):
    rows = [(0, 1), (1, 2)]
    driver, pool, _ = drive([scene("big.tif")], {"big.tif": [Divided(rows), DEATH, PartDone("1"), *divided(rows)]})
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
    assert most <= driving._DIVIDED_AT_ONCE + 1  # one may wait to be joined


def test_what_computes_never_encodes(drive):
    names = [f"{i}.tif" for i in range(12)]
    script = {name: divided([(0, 1)]) for name in names}
    _, pool, progress = drive([scene(name) for name in names], script, Slots(1, 2), only_parts=True)
    assert progress.ok == 12
    assert Counter(step for step, _ in pool.seen) == {"begin": 12, "part": 12, "finish": 12}
