"""What a ledger remembers over kills, and what the next run makes of it."""

from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.archive.ledger import FOLDER, Ledger, read_events, read_past
from orchestrator.archive.listing import Scene
from orchestrator.archive.planning import Recipe, about, brief, make_plan
from orchestrator.storage import Storage

RECIPE = Recipe("model", "settings")
SCENE = Scene("a.tif", "/in/a.tif", "1-2", 10, 0.0, "/out/a.tif")
OK = {"status": "ok", "output_bytes": 7}
THERE = {"/out/a.tif": 7}


@pytest.fixture
def out(tmp_path):
    return Storage.at(str(tmp_path))


def remember(out, *runs, scene=SCENE, recipe=RECIPE):
    """Each run is a list of ``attempt``, ``death`` or the columns of an outcome."""
    for number, events in enumerate(runs):
        ledger = Ledger(out.child(FOLDER), f"run-{number}")
        for event in events:
            if isinstance(event, str):
                ledger.write([{"event": event, **brief(scene, recipe)}])
            else:
                ledger.write([{"event": "scene", **about(scene, recipe), **event}])


def planned(out, scene=SCENE, there=THERE, recipe=RECIPE, **flags):
    """What becomes of the scene: the status and class it is settled with, or how many died of it before."""
    plan = make_plan([scene], read_past(out), there, recipe, **flags)
    if plan.work:
        return plan.work[0].deaths
    return plan.settled[0]["status"], plan.settled[0].get("error")


def failed(error):
    return {"status": "failed", "error": error, "message": "why"}


def test_rows_come_back_in_order_and_a_line_cut_short_is_passed_over(out):
    remember(out, ["attempt", OK], ["attempt"])
    file = Path(out.path, FOLDER, "run-1.jsonl")
    file.write_bytes(file.read_bytes() + b'{"event": "sc')
    assert [(event["run"], event["number"], event["event"]) for event in read_events(out)] == [
        ("run-0", 1, "attempt"),
        ("run-0", 2, "scene"),
        ("run-1", 1, "attempt"),
    ]


def test_a_new_scene_is_worked_on_and_a_finished_one_skipped(out):
    assert planned(out, there={}) == 0
    remember(out, ["attempt", OK])
    assert planned(out) == ("skipped", None)
    assert planned(out, overwrite=True) == 0


@pytest.mark.parametrize("there", [{}, {"/out/a.tif": 6}])
def test_a_finished_scene_whose_output_is_gone_or_cut_is_done_again(out, there):
    remember(out, ["attempt", OK])
    assert planned(out, there=there) == 0


def test_a_changed_source_model_or_setting_is_done_again(out):
    remember(out, ["attempt", OK])
    assert planned(out, replace(SCENE, version="1-3")) == 0
    assert planned(out, recipe=Recipe("other", "settings")) == 0
    assert planned(out, recipe=Recipe("model", "other")) == 0


def test_that_it_was_skipped_does_not_make_a_scene_forgotten(out):
    remember(out, ["attempt", OK], [{"status": "skipped"}])
    assert planned(out) == ("skipped", None)


def test_failures_of_a_scene_stay_and_those_of_its_surroundings_pass(out):
    remember(out, ["attempt", failed("corrupt")])
    assert planned(out, there={}) == ("failed", "corrupt")
    assert planned(out, there={}, retry_failed=True) == 0
    assert planned(out, replace(SCENE, version="1-3"), there={}) == 0
    remember(out, [], ["attempt", failed("transient")])
    assert planned(out, there={}) == 0


def test_the_reason_does_not_grow_from_run_to_run(out):
    remember(out, ["attempt", failed("corrupt")])
    first = make_plan([SCENE], read_past(out), {}, RECIPE).settled
    Ledger(out.child(FOLDER), "run-1").write(first)
    second = make_plan([SCENE], read_past(out), {}, RECIPE).settled
    assert first[0]["message"] == second[0]["message"] == "why (as before; --retry-failed tries again)"


def test_deaths_are_counted_over_runs_and_interruptions_are_not(out):
    remember(out, ["attempt", "death", "attempt"], ["attempt"])
    assert planned(out, there={}) == 1
    remember(out, [], [], ["attempt", "death"])
    assert planned(out, there={}) == ("failed", "crashed")
    assert planned(out, there={}, retry_failed=True) == 0
    assert planned(out, replace(SCENE, version="1-3"), there={}) == 0


def test_a_scene_that_was_interrupted_twice_starts_after_all_others(out):
    other = replace(SCENE, name="b.tif", output="/out/b.tif", size=1)
    remember(out, ["attempt"], ["attempt"])
    plan = make_plan([SCENE, other], read_past(out), {}, RECIPE)
    assert [one.scene.name for one in plan.work] == ["b.tif", "a.tif"]


def test_a_file_that_no_ledger_knows_is_not_replaced_unasked(out):
    assert planned(out) == ("failed", "exists")
    assert planned(out, overwrite=True) == 0
    remember(out, ["attempt"])
    assert planned(out) == 0  # committed, then killed before its row was written


def test_the_largest_scenes_come_first_so_that_none_is_left_over(out):
    scenes = [replace(SCENE, name=str(size), output=f"/out/{size}", size=size) for size in (1, 9, 4)]
    assert [one.scene.size for one in make_plan(scenes, {}, {}, RECIPE).work] == [9, 4, 1]
