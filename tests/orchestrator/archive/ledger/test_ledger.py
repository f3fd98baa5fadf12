"""What a ledger remembers over kills, and what the next run makes of it."""

import os
from dataclasses import replace
from pathlib import Path
from threading import Barrier

import pytest
from fake_s3 import install, refused

from orchestrator.archive.batch.plan import Recipe, about, brief, make_plan
from orchestrator.archive.ledger import ledger as ledger_module
from orchestrator.archive.ledger.ledger import FOLDER, Ledger, read_events, read_histories, read_records
from orchestrator.archive.ledger.ledger_event import encoded
from orchestrator.archive.ledger.ledger_lines import LAST_ORDER
from orchestrator.archive.places.listing import Scene
from orchestrator.foundation.storage import Storage
from trainables.errors import RunError

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
                ledger.write([brief(event, scene, recipe)])
            else:
                ledger.write([about(scene, recipe) | event])


def planned(out, scene=SCENE, there=THERE, recipe=RECIPE, **flags):
    """What becomes of the scene: the status and class it is settled with, or how many died of it before."""
    plan = make_plan([scene], read_histories(out), there, recipe, **flags)
    if plan.work:
        return plan.work[0].deaths
    return ("skipped", None) if plan.skipped else ("failed", plan.failed[0]["error"])


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
    first = make_plan([SCENE], read_histories(out), {}, RECIPE).failed
    Ledger(out.child(FOLDER), "run-1").write(first)  # as versions up to 0.4 did
    second = make_plan([SCENE], read_histories(out), {}, RECIPE).failed
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
    plan = make_plan([SCENE, other], read_histories(out), {}, RECIPE)
    assert [one.scene.name for one in plan.work] == ["b.tif", "a.tif"]


def test_a_file_that_no_ledger_knows_is_not_replaced_unasked(out):
    assert planned(out) == ("failed", "exists")
    assert planned(out, overwrite=True) == 0
    remember(out, ["attempt"])
    assert planned(out) == 0  # committed, then killed before its row was written


def test_a_foreign_file_is_not_replaced_by_the_second_run_either(out):
    Ledger(out.child(FOLDER), "run-0").write(make_plan([SCENE], {}, THERE, RECIPE).rows)
    assert planned(out) == ("failed", "exists")
    assert planned(out, there={}) == 0, "it was moved"
    remember(out, [], ["attempt"])
    assert planned(out) == 0, "an attempt since then may have written it"
    remember(out, [], [], [OK])
    assert planned(out) == ("skipped", None)


def test_the_largest_scenes_come_first_so_that_none_is_left_over(out):
    scenes = [replace(SCENE, name=str(size), output=f"/out/{size}", size=size) for size in (1, 9, 4)]
    assert [one.scene.size for one in make_plan(scenes, {}, {}, RECIPE).work] == [9, 4, 1]


@pytest.mark.parametrize(
    "error", ["exists", "collision", "denied", "archived", "transient", "disk", "memory", "outside"]
)
def test_what_an_operator_has_put_right_is_tried_in_the_next_run(out, error):
    remember(out, ["attempt", failed(error)])
    assert planned(out, there={}) == 0


@pytest.mark.parametrize("error", ["corrupt", "unreadable", "unsupported", "timeout", "crashed", "error"])
def test_what_is_the_scenes_own_stays_until_it_is_asked_for(out, error):
    remember(out, ["attempt", failed(error)])
    assert planned(out, there={}) == ("failed", error)
    assert planned(out, there={}, retry_failed=True) == 0


def test_another_archive_of_the_same_names_is_another_work(out):
    """Two files of one size and time, by whose paths alone they differ."""
    remember(out, ["attempt", OK])
    assert planned(out, replace(SCENE, source="/elsewhere/a.tif")) == 0
    assert RECIPE.key(SCENE) != RECIPE.key(replace(SCENE, source="/elsewhere/a.tif"))


def test_keys_stay_as_they_were():
    """Whoever changes them makes every finished archive be done again."""
    assert RECIPE.key(SCENE) == "1e4846bd749699d1"


def test_an_outcome_wipes_out_deaths_before_it(out):
    remember(out, ["attempt", "death", "attempt", OK], ["attempt", "death"])
    assert planned(out, there={}) == 1, "one death since it last came out"
    remember(out, [], [], ["attempt", failed("transient")], ["attempt"])
    assert planned(out, there={}) == 0


def test_a_death_is_no_interruption_too(out):
    other = replace(SCENE, name="b.tif", output="/out/b.tif", size=1)
    remember(out, ["attempt", "death", "attempt"])
    assert read_histories(out)[SCENE.output].interrupted == 1
    plan = make_plan([SCENE, other], read_histories(out), {}, RECIPE)
    assert [one.scene.name for one in plan.work] == ["a.tif", "b.tif"], "the larger one still comes first"


def test_another_key_starts_with_a_clean_slate(out):
    remember(out, ["attempt", "death", "attempt"])
    remember(out, [], ["attempt"], recipe=Recipe("other", "settings"))
    past = read_histories(out)[SCENE.output]
    assert (past.deaths, past.interrupted) == (0, 1)


def test_a_death_is_on_record_even_if_its_attempt_is_not_done(out):
    remember(out, ["attempt", "death", "attempt", "death"])
    past = read_histories(out)[SCENE.output]
    assert (past.deaths, past.interrupted, past.outcome) == (2, 0, None)


def test_deaths_and_interruptions_of_retried_scenes_are_forgiven(out):
    remember(out, ["attempt", "death"])
    assert planned(out, there={}) == 1
    assert planned(out, there={}, retry_failed=True) == 0
    assert planned(out, there={}, overwrite=True) == 0


def test_a_problem_of_the_listing_is_never_worked_on(out):
    problem = replace(SCENE, problem=("collision", "its output would overwrite that of b.tif"))
    assert planned(out, problem, overwrite=True, retry_failed=True) == ("failed", "collision")
    remember(out, ["attempt", OK])
    assert planned(out, problem) == ("failed", "collision")


COLUMNS = {
    "event": "scene",
    "name": "a.tif",
    "output": "/out/a.tif",
    "key": "1e4846bd749699d1",
    "source": "/in/a.tif",
    "version": "1-2",
    "size": 10,
    "modified": 0.0,
    "model": "model",
    "settings": "settings",
}


@pytest.mark.parametrize(
    ("runs", "there", "row"),
    [
        (
            [[failed("corrupt")]],
            {},
            {
                "status": "failed",
                "error": "corrupt",
                "message": "why (as before; --retry-failed tries again)",
                "attempts": 0,
            },
        ),
        (
            [["attempt", "death", "attempt", "death"]],
            {},
            {
                "status": "failed",
                "error": "crashed",
                "message": "2 workers died of it; --retry-failed tries again",
                "attempts": 0,
            },
        ),
        (
            [],
            THERE,
            {
                "status": "failed",
                "error": "exists",
                "message": "there is a file that no ledger here knows; move it, or replace it by --overwrite",
                "attempts": 0,
            },
        ),
    ],
)
def test_rows_of_what_needs_no_work_are_whole(out, runs, there, row):
    remember(out, *runs)
    plan = make_plan([SCENE], read_histories(out), there, RECIPE)
    assert plan.work == []
    assert plan.failed == [COLUMNS | row]


def test_what_strict_says_of_a_finished_scene_is_no_outcome(out):
    """Otherwise the next run without it would upscale the scene again."""
    remember(out, ["attempt", OK | {"consistency": {"flags": ["bias"]}}])
    plan = make_plan([SCENE], read_histories(out), THERE, RECIPE, strict=True)
    assert [event["error"] for event in plan.failed] == ["flagged"]
    Ledger(out.child(FOLDER), "run-1").write(plan.rows)
    assert planned(out) == ("skipped", None)


def test_what_needs_no_work_costs_a_resume_one_row(out):
    """A row for each skipped scene once made the ledger of 20,000 scenes grow by 11 MB with every resume."""
    scenes = [replace(SCENE, name=f"{i}.tif", output=f"/out/{i}.tif") for i in range(20)]
    there = {scene.output: 7 for scene in scenes[1:]}
    gone = replace(SCENE, name="gone.tif", output="/out/gone.tif", problem=("unreadable", "no such file"))
    first = Ledger(out.child(FOLDER), "run-0")
    first.write([about(scene, RECIPE) | (failed("corrupt") if scene is scenes[0] else OK) for scene in scenes])
    rows = []
    for _ in range(3):
        plan = make_plan([*scenes, gone], read_histories(out), there, RECIPE, out="/out")
        assert (plan.work, plan.skipped, [event["error"] for event in plan.failed]) == (
            [],
            19,
            ["corrupt", "unreadable"],
        )
        rows.append(plan.rows)
        Ledger.new(out, read_records(out).next_order).write(plan.rows)
    assert [event["event"] for event in rows[0]] == ["scene", "run"]
    assert rows[1] == rows[2] == [{"event": "run", "skipped": 19, "failed_before": 2}]


def test_scenes_of_one_size_are_in_the_order_of_their_names_and_one_interruption_moves_none(out):
    same = [replace(SCENE, name=name, output=f"/out/{name}") for name in ("c.tif", "a.tif", "b.tif")]
    remember(out, ["attempt"], scene=same[1])
    plan = make_plan(same, read_histories(out), {}, RECIPE)
    assert [one.scene.name for one in plan.work] == ["a.tif", "b.tif", "c.tif"]
    remember(out, [], ["attempt"], scene=same[1])
    assert make_plan(same, read_histories(out), {}, RECIPE).work[-1].scene.name == "a.tif"
    changed = [replace(scene, version="2-2") for scene in same]
    assert make_plan(changed, read_histories(out), {}, RECIPE).work[0].scene.name == "a.tif", "its content is another"


class TestOrder:
    """Which row is the later one, whatever the clocks say."""

    def run(self, out, name, *events):
        """One run, as the driver makes it; its name is what its clock says."""
        ledger = Ledger(out.child(FOLDER), name, read_records(out).next_order)
        ledger.write([about(SCENE, RECIPE) | event for event in events])
        return ledger

    def test_a_clock_that_was_set_back_does_not_bring_back_an_older_row(self, out):
        self.run(out, "20300101T000000Z-aaaaaa", failed("corrupt"))
        self.run(out, "20200101T000000Z-bbbbbb", OK)
        assert read_histories(out)[SCENE.output].outcome["status"] == "ok"
        self.run(out, "20250101T000000Z-cccccc", failed("unsupported"))
        assert read_histories(out)[SCENE.output].outcome["error"] == "unsupported"
        assert [event["order"] for event in read_events(out)] == [1, 2, 3]

    def test_rows_without_an_order_come_first_by_name(self, out):
        place = Path(out.path, FOLDER)
        place.mkdir()
        for name, event in (("20400101", failed("corrupt")), ("20390101", OK)):
            row = {**about(SCENE, RECIPE), **event, "run": name, "number": 1}
            (place / f"{name}.jsonl").write_bytes(encoded([row]))
        assert [event["run"] for event in read_events(out)] == ["20390101", "20400101"]
        self.run(out, "20200101", OK)
        assert [event["run"] for event in read_events(out)] == ["20390101", "20400101", "20200101"]

    def test_two_runs_at_once_mix_nothing_up(self, out):
        first, second = (Ledger(out.child(FOLDER), name, 1) for name in ("a", "b"))
        for ledger in (second, first, second, first):
            ledger.write([brief("attempt", SCENE, RECIPE)])
        assert [(event["run"], event["number"]) for event in read_events(out)] == [
            ("a", 1),
            ("a", 2),
            ("b", 1),
            ("b", 2),
        ]
        assert read_records(out).next_order == 2

    def test_the_greatest_number_leaves_room_for_rows(self, out):
        self.run(out, "a", OK)
        path = Path(out.path, FOLDER, "a.jsonl")
        path.write_bytes(path.read_bytes().replace(b'"order": 1', b'"order": %d' % LAST_ORDER))
        self.run(out, "b", failed("corrupt"))
        assert read_histories(out)[SCENE.output].outcome["error"] == "corrupt"

    def test_numbers_count_on_and_rows_say_whose_they_are(self, out):
        ledger = Ledger.new(out, 7)
        ledger.write([brief("attempt", SCENE, RECIPE)] * 2)
        ledger.write([])
        ledger.write([brief("attempt", SCENE, RECIPE)])
        assert [(e["run"], e["order"], e["number"]) for e in read_events(out)] == [
            (ledger.run, 7, n) for n in (1, 2, 3)
        ]
        assert len(list(Path(out.path, FOLDER).iterdir())) == 1


def test_a_ledger_that_cannot_be_written_is_a_sentence(out):
    Path(out.path, FOLDER).write_bytes(b"a file")
    with pytest.raises(RunError, match=r"The ledger '.*' cannot be written .*; what had finished is kept"):
        Ledger.new(out).write([brief("attempt", SCENE, RECIPE)])


class TestInABucket:
    """Where nothing can be added to an object."""

    OUT = Storage("s3://bucket/out")

    @pytest.fixture
    def server(self, monkeypatch):
        monkeypatch.setattr(ledger_module, "MERGED_EVERY", 4)
        return install(monkeypatch)

    def write(self, ledger, count):
        for number in range(count):
            ledger.write([{"event": "attempt", "name": str(number), "output": str(number), "key": "key"}])

    def names(self):
        return [event["name"] for event in read_events(self.OUT)]

    def test_each_addition_is_an_object_and_many_are_merged(self, server):
        ledger = Ledger.new(self.OUT, 1)
        self.write(ledger, 10)
        assert self.names() == [str(number) for number in range(10)]
        assert len(server.keys()) == 4  # two merged, two small
        ledger.close()
        assert (len(server.keys()), self.names()) == (3, [str(number) for number in range(10)])
        ledger.close()
        assert len(server.keys()) == 3

    @pytest.mark.parametrize("deleted", [0, 1, 2])
    def test_a_merge_that_is_cut_off_loses_and_doubles_nothing(self, server, deleted):
        ledger = Ledger.new(self.OUT, 1)
        server.fail["delete_object"] = [None] * deleted + [refused("SlowDown", 503)]
        self.write(ledger, 4)
        assert len(server.keys()) == 2  # the merged one, and the one whose removal failed
        assert self.names() == ["0", "1", "2", "3"]
        self.write(ledger, 4)
        assert self.names() == ["0", "1", "2", "3", *"0123"]

    def test_a_merge_removes_several_objects_at_once(self, server, monkeypatch):
        both = Barrier(2, timeout=20)
        monkeypatch.setattr(server, "delete_object", lambda **_: both.wait())
        monkeypatch.setattr(ledger_module, "MERGED_EVERY", 3)
        self.write(Ledger.new(self.OUT, 1), 3)  # would end in a broken barrier
        assert both.n_waiting == 0
        assert not both.broken

    def test_a_merge_that_is_refused_is_tried_with_the_next_and_ends_nothing(self, server):
        ledger = Ledger.new(self.OUT, 1)
        server.fail["put_object"] = [None] * 4 + [refused("SlowDown", 503)]
        self.write(ledger, 5)
        assert self.names() == ["0", "1", "2", "3", "0"] or len(self.names()) == 5
        assert len(server.keys()) == 1

    def test_a_merge_touches_its_own_run_alone(self, server):
        other = Ledger.new(self.OUT, 1)
        self.write(other, 2)
        server.put_object("bucket", f"out/_ledger/{other.run}/notes.txt", b"mine")
        before = server.keys(f"out/_ledger/{other.run}")
        self.write(Ledger.new(self.OUT, 2), 8)
        assert server.keys(f"out/_ledger/{other.run}") == before

    def test_an_addition_that_is_refused_ends_the_run_in_a_sentence(self, server):
        server.fail["put_object"] = [refused("AccessDenied", 403)]
        with pytest.raises(RunError, match=r"'s3://bucket/out/_ledger/.* cannot be written .*refuses access"):
            self.write(Ledger.new(self.OUT, 1), 1)


def test_events_are_on_the_disk_when_writing_returns(tmp_path, monkeypatch):
    synced = []
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda handle: (synced.append(os.fstat(handle).st_size), fsync(handle)))
    ledger = Ledger.new(Storage.at(str(tmp_path / "out")))
    ledger.write([{"event": "attempt", "name": "a", "output": "a", "key": "key"}])
    assert synced == [Path(ledger.uri).stat().st_size]
