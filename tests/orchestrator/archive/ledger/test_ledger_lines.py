"""Whatever a ledger's folder holds, its good lines are read and the odd ones named once."""

import json
import os
from pathlib import Path

import pytest
from botocore.exceptions import EndpointConnectionError
from fake_s3 import install, refused

from orchestrator.archive.ledger import ledger_lines
from orchestrator.archive.ledger.ledger import FOLDER, Ledger, read_events, read_histories, read_records
from orchestrator.archive.ledger.ledger_lines import LAST_ORDER, parse_line
from orchestrator.foundation.storage import Storage
from trainables.errors import StorageError

ROW = {"event": "scene", "output": "/o/a.tif", "key": "k", "number": 1, "run": "r", "status": "ok", "output_bytes": 7}
GOOD = json.dumps(ROW).encode()


def less(column):
    return {name: value for name, value in ROW.items() if name != column}


ODD = {
    "null": (None, "no JSON object"),
    "a list": ([ROW], "no JSON object"),
    "a number": (7, "no JSON object"),
    "a text": ("scene", "no JSON object"),
    "a true": (True, "no JSON object"),
    "empty": ({}, "'event' must be text, found none"),
    **{f"no {column}": (less(column), f"'{column}'") for column in ROW},
    "output a list": (ROW | {"output": ["x"]}, "'output' must be text, found list"),
    "output null": (ROW | {"output": None}, "'output'"),
    "key a number": (ROW | {"key": 3}, "'key'"),
    "run null": (ROW | {"run": None}, "'run' must be text, found NoneType"),
    "run an object": (ROW | {"run": {}}, "'run'"),
    "another event": (ROW | {"event": "party"}, "none of attempt, death, scene and run"),
    "number a text": (ROW | {"number": "2"}, "'number' must be a whole number from 1, found str"),
    "number a fraction": (ROW | {"number": 1.5}, "'number'"),
    "number true": (ROW | {"number": True}, "'number'"),
    "number 0": (ROW | {"number": 0}, "'number'"),
    "number huge": (ROW | {"number": 10**30}, "'number'"),
    "order negative": (ROW | {"order": -1}, "'order' must be a whole number from 0"),
    "order huge": (ROW | {"order": LAST_ORDER + 1}, "'order'"),
    "order null": (ROW | {"order": None}, "'order'"),
    "status another": (ROW | {"status": "fine"}, "none of ok, skipped and failed"),
    "status a list": (ROW | {"status": ["ok"]}, "none of ok, skipped and failed"),
    "bytes a text": (ROW | {"output_bytes": "7"}, "'output_bytes'"),
    "bytes negative": (ROW | {"output_bytes": -7}, "'output_bytes'"),
    "failed without error": (ROW | {"status": "failed", "message": "why"}, "'error'"),
    "failed without message": (ROW | {"status": "failed", "error": "corrupt"}, "'message'"),
    "failed with a list": (ROW | {"status": "failed", "error": ["x"], "message": "why"}, "'error'"),
}
ODD_BYTES = {
    "NaN": (GOOD.replace(b'"number": 1', b'"number": NaN'), "'number'"),
    "infinity": (GOOD.replace(b'"output_bytes": 7', b'"output_bytes": Infinity'), "'output_bytes'"),
    "bytes NaN": (GOOD.replace(b'"output_bytes": 7', b'"output_bytes": NaN'), "'output_bytes'"),
    "invalid UTF-8": (b"\xff\xfe" + GOOD, "not UTF-8"),
    "binary": (bytes(range(11, 256)), "not UTF-8"),
    "UTF-16": (json.dumps(ROW).encode("utf-16").replace(b"\n", b""), "not UTF-8"),
    "no JSON": (b"what a day", "no JSON"),
    "two objects": (GOOD + GOOD, "no JSON"),
    "single quotes": (str(ROW).encode(), "no JSON"),
    "deep lists": (b"[" * 100_000, "nested too deeply"),
    "deep objects": (b'{"a":' * 100_000, "nested too deeply"),
    "many digits": (b'{"number": ' + b"9" * 5000 + b"}", "digits"),
    "control": (b"\x00" * 40, "no JSON"),
}


@pytest.fixture
def out(tmp_path):
    (tmp_path / FOLDER).mkdir()
    return Storage.at(str(tmp_path))


def write(out, *lines, name="r.jsonl", end=b"\n"):
    path = Path(out.path, FOLDER, name)
    path.write_bytes(b"\n".join(lines) + end)
    return str(path)


@pytest.mark.parametrize("case", [*ODD, *ODD_BYTES])
def test_an_odd_line_is_named_and_passed_over(out, case):
    line, why = (json.dumps(ODD[case][0]).encode(), ODD[case][1]) if case in ODD else ODD_BYTES[case]
    path = write(out, GOOD, line, GOOD.replace(b'"number": 1', b'"number": 2'), b"")
    records = read_records(out)
    assert [event["number"] for event in records.events] == [1, 2]
    assert [(odd.file, odd.line, odd.count) for odd in records.odd] == [(path, 2, 1)]
    assert why in records.odd[0].reason
    assert str(records.odd[0]).startswith(f"{path}, line 2: it")
    assert read_histories(out)["/o/a.tif"].outcome["output_bytes"] == 7


@pytest.mark.parametrize("status", ["ok", "skipped", "failed"])
def test_good_rows_of_every_kind_are_taken(status):
    row = ROW | {"status": status, "error": "corrupt", "message": "why", "minimum": [float("nan")], "more": {"x": []}}
    assert parse_line(json.dumps(row).encode())["order"] == 0
    for event in ("attempt", "death"):
        assert parse_line(json.dumps(less("status") | {"event": event}).encode())["event"] == event


def test_several_odd_lines_are_counted_and_the_first_is_named(out):
    path = write(out, b"x", GOOD, b"[]", b"null", b"", b"  ")
    (odd,) = read_records(out).odd
    assert (odd.line, odd.count) == (1, 3)
    assert str(odd) == f"{path}, line 1: it is no JSON (and 2 more odd lines)"


def test_a_last_line_that_a_kill_cut_short_is_not_odd(out):
    write(out, GOOD, GOOD[:50], end=b"")
    assert (len(read_records(out).events), read_records(out).odd) == (1, [])
    write(out, GOOD, "ä".encode()[:1], end=b"")
    assert read_records(out).odd == []
    write(out, GOOD, b"[]", end=b"")
    assert len(read_records(out).odd) == 1, "it ends, but is no event"


def test_a_line_of_a_hundred_megabytes_is_passed_over_in_little_memory(out, monkeypatch):
    monkeypatch.setattr(ledger_lines, "LONGEST", 2**20)
    with Path(write(out, GOOD)).open("ab") as file:
        for _ in range(100):
            file.write(b"[1,2,3]," * 2**17)
        file.write(b"\n" + GOOD.replace(b'"number": 1', b'"number": 2') + b"\n")
    records = read_records(out)
    assert [event["number"] for event in records.events] == [1, 2]
    assert "longer than 1 MB" in records.odd[0].reason


def test_a_long_last_line_is_odd_though_it_does_not_end(out, monkeypatch):
    monkeypatch.setattr(ledger_lines, "LONGEST", 100)
    write(out, b"[" + b"1," * 100, end=b"")
    assert "longer" in read_records(out).odd[0].reason


def test_a_row_as_long_as_many_bands_make_it_is_read(out):
    write(out, json.dumps(ROW | {"minimum": [0.123456789] * 60_000, "maximum": [1e9] * 60_000}).encode())
    assert len(read_events(out)) == 1


def test_what_is_no_ledger_file_is_named_or_left_alone(out, monkeypatch):
    write(out, GOOD)
    Path(out.path, FOLDER, "x.jsonl", "y").mkdir(parents=True)
    write(out, b"notes", name="notes.txt")
    assert (len(read_events(out)), read_records(out).odd) == (1, [])
    closed = write(out, GOOD, name="closed.jsonl")
    real = Path.open

    def denied(self, *arguments, **options):  # root may read everything
        if self.name == "closed.jsonl":
            raise PermissionError(13, "Permission denied")
        return real(self, *arguments, **options)

    monkeypatch.setattr(Path, "open", denied)
    records = read_records(out)
    assert [str(odd) for odd in records.odd] == [f"{closed}: it cannot be read (Permission denied)"]
    assert len(records.events) == 1


def test_a_name_that_is_not_utf8_comes_back(out):
    name = os.fsdecode(b"\xff\xfe.tif")
    ledger = Ledger(out.child(FOLDER), "run")
    ledger.write([{"event": "attempt", "name": name, "output": f"/o/{name}", "key": "k"}])
    assert [(event["name"], event["output"]) for event in read_events(out)] == [(name, f"/o/{name}")]


def test_names_can_be_searched_for_in_a_ledger(out):
    ledger = Ledger(out.child(FOLDER), "run")
    ledger.write([ROW | {"name": "Zürich.tif"}])
    assert "Zürich.tif" in Path(ledger.uri).read_text(encoding="utf-8")


def test_values_that_json_does_not_know_become_null(out):
    ledger = Ledger(out.child(FOLDER), "run")
    ledger.write([ROW | {"minimum": [float("nan"), 1.0, float("-inf")], "consistency": {"snr": float("inf")}}])
    text = Path(ledger.uri).read_text(encoding="utf-8")
    assert "NaN" not in text
    assert "Infinity" not in text
    (event,) = read_events(out)
    assert (event["minimum"], event["consistency"]) == ([None, 1.0, None], {"snr": None})


class TestInABucket:
    """The same from objects."""

    @pytest.fixture
    def server(self, monkeypatch):
        return install(monkeypatch)

    @pytest.fixture
    def place(self):
        return Storage("s3://bucket/out")

    def put(self, server, name, data):
        server.put_object("bucket", f"out/{FOLDER}/{name}", data)

    def test_odd_lines_are_named(self, server, place):
        self.put(server, "r/1.jsonl", GOOD + b"\n[]\n")
        self.put(server, "r/alive", b"{}")
        records = read_records(place)
        assert len(records.events) == 1
        assert str(records.odd[0]) == "s3://bucket/out/_ledger/r/1.jsonl, line 2: it is no JSON object"

    @pytest.mark.parametrize(
        ("error", "why"),
        [(refused("AccessDenied", 403), "refuses access"), (refused("InvalidObjectState", 403), "archive")],
    )
    def test_an_object_that_cannot_be_had_is_named(self, server, place, error, why):
        self.put(server, "r/1.jsonl", GOOD)
        self.put(server, "r/2.jsonl", GOOD)
        server.fail["get_object"] = [error]
        (odd,) = read_records(place).odd
        assert odd.file in ("s3://bucket/out/_ledger/r/1.jsonl", "s3://bucket/out/_ledger/r/2.jsonl")
        assert why in str(odd)
        assert len(read_events(place)) == 1

    def test_one_that_was_merged_meanwhile_is_not_missed(self, server, place):
        self.put(server, "r/1.jsonl", GOOD)
        server.fail["get_object"] = [refused("NoSuchKey", 404)]
        assert (read_records(place).events, server.fail) == ([], {"get_object": []})
        assert read_records(place).odd == []

    @pytest.mark.parametrize(
        "error", [refused("SlowDown", 503), EndpointConnectionError(endpoint_url="http://s3"), refused("Odd", 418)]
    )
    def test_a_server_that_does_not_answer_is_no_empty_ledger(self, server, place, error):
        self.put(server, "r/1.jsonl", GOOD)
        server.fail["get_object"] = [error]
        with pytest.raises(StorageError, match=r"s3://bucket/out/_ledger/r/1.jsonl' cannot be read .* try again"):
            read_records(place)

    def test_a_listing_that_is_refused_is_a_sentence(self, server, place):
        server.fail["list_objects_v2"] = [refused("AccessDenied", 403)]
        with pytest.raises(StorageError, match=r"The ledgers in 's3://bucket/out/_ledger' cannot be listed"):
            read_records(place)
