"""What earlier versions left behind goes on: finished work is recognised and never done again."""

import hashlib
import json
import os
import shutil
import tarfile
from pathlib import Path

import pytest
import yaml

from orchestrator.archive.batch import archive_state, machines
from orchestrator.pipeline import run_context
from orchestrator.pipeline.stages import report, shards

FIXTURES = sorted((Path(__file__).parents[2] / "fixtures").glob("v*.tar.xz"))
WRITTEN_AGAIN = {"experiment.json"}
"""Says which version ran last; so that it differs is no work done again."""


@pytest.fixture(scope="module", params=FIXTURES, ids=lambda file: file.name.removesuffix(".tar.xz"))
def fixture(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one version left behind, unpacked."""
    folder = tmp_path_factory.mktemp("fixture")
    with tarfile.open(request.param) as archive:
        archive.extractall(folder, filter="data")
    return folder


def touch(folder: Path, modified_ns: int) -> None:
    for path in folder.rglob("*"):
        os.utime(path, ns=(modified_ns, modified_ns))


def unpacked(fixture: Path, name: str, folder: Path) -> tuple[Path, Path]:
    """The experiment file and the home of a fixture's experiment, in a place of their own."""
    shutil.copytree(fixture / "images", folder / "images")
    touch(folder / "images", json.loads((fixture / "modified_ns.json").read_bytes()))
    home = folder / "runs" / name
    shutil.copytree(fixture / "runs" / name, home)
    settings = yaml.safe_load((fixture / f"{name}.yaml").read_text())
    settings |= {"root": str(folder / "images"), "storage": str(folder / "runs")}
    file = folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump(settings))
    return file, home


def contents(home: Path) -> dict[str, bytes]:
    every = (path for path in home.rglob("*") if path.is_file() and path.name not in WRITTEN_AGAIN)
    return {str(path.relative_to(home)): path.read_bytes() for path in every}


def trials(files: dict[str, bytes]) -> dict[str, bytes]:
    return {name: data for name, data in files.items() if name.startswith("search/") and "/study-" in name}


@pytest.fixture
def no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray does not start: whatever would be done again fails."""

    def refuse(*_: object) -> None:
        raise AssertionError("something is being done again")

    monkeypatch.setattr(run_context, "connect", refuse)
    monkeypatch.setattr(shards, "build_shards", refuse)
    monkeypatch.setattr(report, "write_report", refuse)


@pytest.mark.parametrize("name", ["finished", "extended"])
@pytest.mark.parametrize("command", ["run", "report"])
def test_a_finished_experiment_stays_finished(fixture, name, command, tmp_path, rayscale, no_work):
    file, home = unpacked(fixture, name, tmp_path)
    before = contents(home)
    code, out, err = rayscale(command, file)
    assert code == 0, err
    if command == "run":
        assert out.count("skipped") == 9, out  # 3 × shards, pretrain, 2 × search, 2 × confirm, report
    assert contents(home) == before


@pytest.mark.cluster
def test_a_finished_search_is_extended(fixture, tmp_path, rayscale, ray_session):
    file, home = unpacked(fixture, "finished", tmp_path)
    before = contents(home)
    code, out, err = rayscale("search", file, "--domain", "satellite", "--extend", "1")
    assert code == 0, err
    assert "search satellite: done, 4 trials" in out
    new = contents(home).keys() - before.keys()
    assert sorted(Path(name).name for name in new if "/study-" in name) == ["0003.json", "extended.json"]
    after = trials(contents(home))
    assert {name: after[name] for name in trials(before)} == trials(before)


@pytest.mark.cluster
def test_a_killed_experiment_goes_on(fixture, tmp_path, rayscale, ray_session):
    file, home = unpacked(fixture, "killed", tmp_path)
    before = contents(home)
    assert len([name for name in trials(before) if name.endswith(".json")]) >= 3
    code, out, err = rayscale("run", file)
    assert code == 0, err
    assert "pretrain: finished" in out
    after = contents(home)
    kept = [name for name in before if name.startswith(("shards/", "test-locked/", "source/")) or "/study-" in name]
    assert {name: after[name] for name in kept} == {name: before[name] for name in kept}
    assert (home / "report" / "report.json").exists()


def moved_archive(fixture: Path, folder: Path) -> Path:
    """A fixture's half-done archive in another folder, with the keys that its scenes have there.

    A key is the digest of the scene's place, its version, the model's and the settings' digest. The formula stands here
    once more, since it is what makes an archive go on.
    """
    shutil.copytree(fixture / "scenes", folder / "scenes")
    touch(folder / "scenes", json.loads((fixture / "modified_ns.json").read_bytes()))
    shutil.copytree(fixture / "upscaled", folder / "upscaled")
    recorded = "/tmp/rayscale-fixtures"
    recipe: dict[str, str] = {}
    keys: dict[str, str] = {}
    for ledger in (folder / "upscaled" / "_ledger").glob("*.jsonl"):
        events = [json.loads(line) for line in ledger.read_text().splitlines()]
        for event in events:
            if event["event"] == "scene":
                recipe = {name: event[name] for name in ("model", "settings")}
        for event in events:
            source = f"{folder}/scenes/{event['name']}"
            facts = Path(source).stat()
            parts = [source, f"{facts.st_size}-{facts.st_mtime_ns}", recipe["model"], recipe["settings"]]
            keys[event["name"]] = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
            event["key"] = keys[event["name"]]
        text = "".join(json.dumps(event) + "\n" for event in events)
        ledger.write_text(text.replace(recorded, str(folder)))
    return folder / "upscaled"


def finished_scenes(out: Path) -> list[str]:
    """Names of the scenes whose last row says ok; a kill may leave further outputs, whose row was not written."""
    events = [json.loads(line) for ledger in out.glob("_ledger/*.jsonl") for line in ledger.read_text().splitlines()]
    return [event["name"] for event in events if event.get("status") == "ok"]


def outputs(out: Path) -> dict[str, tuple[bytes, int]]:
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in out.glob("*.tif*")}


@pytest.fixture
def same_format(monkeypatch):
    """The format of those outputs: today's has other values, so that finished scenes of it are made again."""
    monkeypatch.setattr(archive_state, "FORMAT", "archive-1")


@pytest.mark.cluster
def test_a_half_done_archive_goes_on(fixture, tmp_path, rayscale, ray_session, same_format):
    out = moved_archive(fixture, tmp_path)
    finished = finished_scenes(out)
    before = {name: output for name, output in outputs(out).items() if name.partition(".json")[0] in finished}
    assert 0 < len(before) == 2 * len(finished) < 10
    command = ["upscale", tmp_path / "scenes", out, "--model", fixture / "model", "--precision", "float32"]
    code, printed, err = rayscale(*command, "--threads", "1", "--json")
    assert code == 0, err
    result = json.loads(printed)
    assert (result["skipped"], result["written"], result["failed"]) == (len(finished), 5 - len(finished), [])
    after = outputs(out)
    assert {name: after[name] for name in before} == before
    assert len(after) == 10


def test_a_finished_archive_starts_nothing(fixture, tmp_path, rayscale, monkeypatch, same_format):
    out = moved_archive(fixture, tmp_path)
    names = finished_scenes(out)
    for path in (tmp_path / "scenes").glob("*.tif"):
        if path.name not in names:
            path.unlink()
    monkeypatch.setattr(machines, "on_ray", None)
    monkeypatch.setattr(machines, "InProcessRunner", None)
    command = ["upscale", tmp_path / "scenes", out, "--model", fixture / "model", "--precision", "float32"]
    before = outputs(out)
    code, printed, err = rayscale(*command, "--json")
    assert code == 0, err
    assert json.loads(printed)["skipped"] == len(names) > 0
    assert outputs(out) == before
