"""An archive from a bucket to a bucket by the same command, with nothing set but the endpoint and the keys."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tiny_models

from benchmarks.archive.kills import ON_RUNS
from benchmarks.common import scene_files
from orchestrator.archive.batch.claims import Claims
from orchestrator.archive.batch.commit import abort_uploads
from orchestrator.archive.batch.heartbeat import Heartbeat, others_alive
from orchestrator.archive.ledger.ledger import Ledger, read_events
from orchestrator.archive.places.listing import list_archive
from orchestrator.foundation.storage import Storage

pytestmark = pytest.mark.s3


def send(folder: Path, place: Storage) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            place.child(str(path.relative_to(folder))).write_bytes(path.read_bytes())


@pytest.mark.usefixtures("ray_session")
def test_an_archive_from_a_bucket_to_a_bucket(
    s3_bucket: str, tmp_path: Path, rayscale: Callable[..., tuple[Any, str, str]]
) -> None:
    place = Storage.at(f"{s3_bucket}/archive-test")
    model = tiny_models.write(tmp_path / "model", tiny_models.net(2))
    scene_files.write_many(tmp_path / "scenes", 4)
    scene_files.write_bad(tmp_path / "scenes", "cut.tif")
    send(tmp_path / "scenes", place.child("scenes"))
    lines = "".join(f"{place.uri}/scenes/{name}\n" for name in ("west/scene-0000.tif", "nowhere.tif"))
    place.child("list.txt").write_bytes(lines.encode())
    command = ["upscale", f"{place.uri}/scenes", f"{place.uri}/out", "--model", model, "--json", "--threads", "2"]

    code, out, _ = rayscale(*command)
    told = json.loads(out)
    assert (code, told["written"], [entry["file"] for entry in told["failed"]]) == (2, 4, ["cut.tif"])
    row = next(event for event in read_events(place.child("out")) if event.get("name") == "east/scene-0001.tif")
    assert row["output"] == f"{place.uri}/out/east/scene-0001.tif"
    files = {facts.path for facts in place.child("out").files()}
    assert {name for name in files if name.partition("/")[0] not in ON_RUNS} == {
        f"{name}{ending}"
        for name in ("west/scene-0000.tif", "east/scene-0001.tif", "west/scene-0002.tif", "east/scene-0003.tif")
        for ending in ("", ".json")
    }

    code, out, _ = rayscale(*command)
    told = json.loads(out)
    assert (code, told["written"], told["skipped"]) == (2, 0, 4)
    report = place.child("out", "_report", "report.json").read_json()
    assert (report["scenes"], report["failed"]) == (4, {"corrupt": 1})
    assert [(run["written"], run["skipped"]) for run in report["runs"]] == [(4, 0), (0, 4)]
    page = place.child("out", "_report", "index.html").read_bytes().decode()
    assert page.count("data:image/png;base64") == 4 * 3
    assert "cut.tif" in page
    collection = place.child("out", "_stac", "collection.json").read_json()
    items = pq.read_table(pa.BufferReader(place.child("out", "_stac", "items.parquet").read_bytes()))
    assert (collection["type"], items.num_rows) == ("Collection", 4)

    code, out, _ = rayscale(*command[:1], f"{place.uri}/list.txt", str(tmp_path / "listed"), *command[3:])
    told = json.loads(out)
    assert (code, told["written"]) == (2, 1)
    assert told["failed"][0]["error"] == "unreadable"
    key = place.child("scenes/west/scene-0000.tif").path
    assert (tmp_path / "listed" / key).exists()


def test_a_ledger_in_a_bucket_merges_its_objects_and_loses_nothing(
    s3_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.archive.ledger.ledger.MERGED_EVERY", 4)
    out = Storage.at(f"{s3_bucket}/ledger-test")
    ledger = Ledger.new(out)
    for number in range(10):
        ledger.write([{"event": "attempt", "name": str(number), "output": str(number), "key": "key"}])
    assert [event["name"] for event in read_events(out)] == [str(number) for number in range(10)]
    assert len(list(ledger.place.files())) == 4  # two merged, two small
    ledger.close()
    assert [event["name"] for event in read_events(out)] == [str(number) for number in range(10)]
    assert len(list(ledger.place.files())) == 3


def test_uploads_of_killed_runs_are_ended_unless_another_run_is_alive(s3_bucket: str) -> None:
    out, client = Storage.at(f"{s3_bucket}/uploads-test"), boto3.client("s3")
    for name in ("a.tif", "foreign.bin"):
        client.create_multipart_upload(Bucket=out.bucket, Key=f"uploads-test/{name}")
    known = [out.child("a.tif").uri]
    mine, other = Ledger.new(out), Ledger.new(out)
    own, others = Heartbeat(mine), Heartbeat(other)
    own.beat()
    others.beat()
    assert [run.run for run in others_alive(mine)] == [other.run]
    assert abort_uploads(out, alone=False, outputs=known) == 0
    others.stop()
    assert others_alive(mine) == []
    assert abort_uploads(out, alone=True, outputs=known) == 1
    left = client.list_multipart_uploads(Bucket=out.bucket, Prefix="uploads-test/")["Uploads"]
    assert [upload["Key"] for upload in left] == ["uploads-test/foreign.bin"]
    own.stop()


def test_a_bucket_is_listed_with_its_etags(s3_bucket: str) -> None:
    place = Storage.at(f"{s3_bucket}/listing-test")
    place.child("in/a.tif").write_bytes(b"one")
    (before,) = list_archive(f"{place.uri}/in", f"{place.uri}/out").scenes
    place.child("in/a.tif").write_bytes(b"two")
    (after,) = list_archive(f"{place.uri}/in", f"{place.uri}/out").scenes
    assert (before.source, before.size) == (f"{place.uri}/in/a.tif", 3)
    assert before.version != after.version


def test_a_scene_is_claimed_once_and_taken_over_from_a_run_that_has_ended(s3_bucket: str) -> None:
    """The server's own conditional PUT."""
    out = Storage.at(f"{s3_bucket}/claims-test")
    ledgers = [Ledger.new(out) for _ in range(2)]
    hearts = [Heartbeat(ledger) for ledger in ledgers]
    for heart in hearts:
        heart.beat()
    first, second = (Claims(ledger) for ledger in ledgers)
    assert [claims.take("/out/a.tif", "key").state for claims in (first, second)] == ["ours", "held"]
    hearts[0].stop()
    second._watch._answers.clear()
    assert second.take("/out/a.tif", "key").state == "ours"
    second.end({"output": "/out/a.tif", "key": "key", "status": "ok"})
    second.close()
    hearts[1].stop()
    assert list(out.files()) == []
