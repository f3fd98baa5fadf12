"""Merging of ledgers: fewer and smaller files tell the same, and a kill at any point loses and doubles nothing."""

import io
import json
from pathlib import Path

import pytest
from botocore.exceptions import ResponseStreamingError
from fake_s3 import install

from orchestrator.archive.batch.plan import Recipe, about, brief
from orchestrator.archive.ledger import ledger_segments
from orchestrator.archive.ledger.ledger import FOLDER, Ledger, merge_ledgers, read_events, read_histories, read_records
from orchestrator.archive.ledger.ledger_event import AGAIN, encoded
from orchestrator.archive.places.listing import Scene
from orchestrator.foundation import storage
from orchestrator.foundation.storage import Storage

RECIPE = Recipe("model", "settings")
OTHER = Recipe("other", "settings")
OK = {"status": "ok", "output_bytes": 7, "sha256": "0" * 64, "consistency": {"flags": ["colour"]}}
CORRUPT = {"status": "failed", "error": "corrupt", "message": "why"}
RUN = "20260101T0000{:02}Z-abcdef"


def scene(number):
    return Scene(f"{number}.tif", f"/in/{number}.tif", "1-1", 1, 0.0, f"/out/{number}.tif")


def write(out, run, *events, order=0):
    ledger = Ledger(out.child(FOLDER), RUN.format(run), order or run + 1)
    for number, event, *recipe in events:
        made = recipe[0] if recipe else RECIPE
        row = brief(event, scene(number), made) if isinstance(event, str) else about(scene(number), made) | event
        ledger.write([row])
    ledger.close()


def history(out):
    """A past with everything in it: kills, deaths, another model, rows for skipped scenes of earlier versions."""
    write(out, 0, (0, "attempt"), (0, OK), (1, "attempt"), (1, "death"), (1, "attempt"), (1, CORRUPT), (2, "attempt"))
    write(out, 1, (0, {"status": "skipped"}), (1, CORRUPT | {"message": f"why{AGAIN}"}), (2, "attempt"), (2, "death"))
    write(out, 2, (0, {"status": "skipped"}), (3, "attempt", OTHER), (2, "attempt"), (2, OK), (4, "attempt"))
    write(out, 3, (0, "attempt", OTHER), (4, "attempt"), (3, "attempt"))


def facts(out):
    """What planning makes of the ledgers."""
    return {
        place: (past.key, past.deaths, past.interrupted, past.outcome and dict(past.outcome))
        for place, past in read_histories(out).items()
    }


def outcomes(out):
    """Whole rows of scenes, repetitions of earlier versions apart."""
    return [
        event
        for event in read_events(out)
        if event["event"] == "scene" and event["status"] != "skipped" and AGAIN not in event.get("message", "")
    ]


@pytest.fixture(params=["folder", "bucket"])
def out(request, tmp_path, monkeypatch):
    monkeypatch.setattr(ledger_segments, "MERGED_FROM", 2)
    if request.param == "folder":
        return Storage.at(str(tmp_path / "out"))
    install(monkeypatch)
    return Storage("s3://bucket/out")


def files(out):
    return sorted(facts.path for facts in out.child(FOLDER).files())


def test_merged_ledgers_tell_the_same_in_one_file(out):
    history(out)
    before, rows = facts(out), outcomes(out)
    assert {place: past[1:3] for place, past in before.items()} == {
        "/out/0.tif": (0, 1),
        "/out/1.tif": (0, 0),
        "/out/2.tif": (0, 0),
        "/out/3.tif": (0, 1),
        "/out/4.tif": (0, 2),
    }
    merge_ledgers(out, read_records(out))
    (name,) = files(out)
    assert name.startswith("merged-000005-")
    assert (facts(out), outcomes(out)) == (before, rows)
    assert read_records(out).next_order == 5
    counts = [(e["run"], e["skipped"], e["failed_before"]) for e in read_events(out) if e["event"] == "run"]
    assert counts == [(RUN.format(1), 1, 1), (RUN.format(2), 1, 0)]
    kinds = [(event["event"], event["output"]) for event in read_events(out) if event["event"] in ("attempt", "death")]
    assert kinds == [("attempt", f"/out/{n}.tif") for n in (3, 4, 0, 4, 3)]
    merge_ledgers(out, read_records(out))
    assert files(out) == [name], "one file is not merged again"


def until_killed(function, steps):
    """The same function, until so many steps are done."""

    def step(*arguments):
        if next(steps, None) is None:
            raise KeyboardInterrupt
        return function(*arguments)

    return step


def test_a_merge_that_is_killed_at_any_point_loses_and_doubles_nothing(out, monkeypatch):
    """Killed before it has written, and after each file that it removes; then it is done again."""
    monkeypatch.setattr(ledger_segments, "SEGMENT_BYTES", 1000)  # several segments
    history(out)
    before, rows, kills = facts(out), outcomes(out), 0
    for survived in range(40):
        with monkeypatch.context() as patch:
            steps = iter(range(survived))
            for name in ("write_bytes", "delete"):
                patch.setattr(Storage, name, until_killed(getattr(Storage, name), steps))
            try:
                merge_ledgers(out, read_records(out))
            except KeyboardInterrupt:
                kills += 1
        assert (facts(out), outcomes(out)) == (before, rows), f"killed after {survived} steps"
    assert kills > 3
    assert sum(e["skipped"] for e in read_events(out) if e["event"] == "run") == 2


def test_a_merge_that_fails_ends_nothing(out, monkeypatch):
    history(out)
    before = files(out), facts(out)
    monkeypatch.setattr(Storage, "write_bytes", lambda place, data: (_ for _ in ()).throw(OSError(28, "full")))
    merge_ledgers(out, read_records(out))
    assert (files(out), facts(out)) == before


def test_a_merge_whose_reading_breaks_off_ends_nothing(out, monkeypatch):
    history(out)
    before, records = (files(out), facts(out)), read_records(out)

    class Broken(io.BytesIO):
        def read(self, size=-1):
            raise ResponseStreamingError(error="the connection was reset")

    with monkeypatch.context() as patch:
        patch.setattr(storage, "open_object", lambda uri: Broken())
        patch.setattr(Path, "open", lambda path, mode="r": Broken())
        merge_ledgers(out, records)
    assert (files(out), facts(out)) == before


def test_files_that_no_run_wrote_and_damaged_ones_stay(out):
    history(out)
    row = encoded([about(scene(9), RECIPE) | OK | {"run": "mine", "number": 1}])
    out.child(FOLDER, "mine.jsonl").write_bytes(row)
    out.child(FOLDER, f"{RUN.format(9)}.jsonl").write_bytes(row + b"a note\n")
    out.child(FOLDER, f"{RUN.format(8)}.jsonl").write_bytes(row[:-1] + b"\n" + row[:20])
    merge_ledgers(out, read_records(out))
    kept = [name for name in files(out) if not name.startswith("merged-")]
    assert kept == sorted([f"{RUN.format(9)}.jsonl", "mine.jsonl"]), "one that a kill cut short is merged"
    assert facts(out)["/out/9.tif"][3]["status"] == "ok"


def test_few_files_are_left_as_they_are(tmp_path):
    out = Storage.at(str(tmp_path))
    history(out)
    merge_ledgers(out, read_records(out))
    assert len(files(out)) == 4


def test_the_skipped_rows_of_earlier_versions_go_with_the_next_run(tmp_path):
    """20,000 of them were 11 MB, read again by every resume."""
    out = Storage.at(str(tmp_path))
    write(out, 0, *((number, OK) for number in range(3)))
    rows = [
        about(scene(number), RECIPE) | {"status": "skipped", "run": RUN.format(1), "number": number + 1, "order": 2}
        for number in range(2000)
    ]
    file = Path(out.path, FOLDER, f"{RUN.format(1)}.jsonl")
    file.write_bytes(encoded(rows))
    merge_ledgers(out, read_records(out))
    assert not file.exists()
    (count,) = [event for event in read_events(out) if event["event"] == "run"]
    assert (count["skipped"], count["order"], count["number"]) == (2000, 2, 2000)
    assert sum(path.stat().st_size for path in Path(out.path, FOLDER).iterdir()) < 3000
    assert json.loads(next(Path(out.path, FOLDER).glob("merged-*")).read_text(encoding="utf-8")) == count
