"""A finished experiment stays finished while its files are what was written, and says what is not."""

import json
import shutil
import tarfile
from pathlib import Path

import pytest
import yaml
from test_older_artefacts import FIXTURES, contents, unpacked

from orchestrator.data.locked_test import PREFIX
from orchestrator.experiment.load import load_experiment
from orchestrator.foundation.stage_record import RECORD
from orchestrator.pipeline import run_context
from orchestrator.pipeline.preflight import preflight
from orchestrator.pipeline.stages.all_stages import stages_of
from trainables.errors import RunError


def stages_in(file):
    """Every stage of an experiment with the names it runs for, by what its record says it is of."""
    experiment = load_experiment(file, [])
    stages = stages_of(experiment, preflight(experiment).files)
    every = {stage.title(name): (stage, name) for stage in stages for name in stage.names(tuple(experiment.targets))}
    assert list(every) == [*(f"shards {name}" for name in ("source", "medical", "satellite")), "pretrain", *STUDIED]
    return every


STUDIED = [f"{stage} {domain}" for stage in ("search", "confirm") for domain in ("medical", "satellite")] + ["report"]


@pytest.fixture(scope="module")
def of_today(tmp_path_factory):
    """The fixture of 0.2.0, unpacked once."""
    folder = tmp_path_factory.mktemp("finished")
    with tarfile.open(FIXTURES[0]) as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture
def older(of_today, tmp_path):
    """A finished experiment whose stages list no digests: its file and its folder."""
    return unpacked(of_today, "finished", tmp_path)


@pytest.fixture
def sealed(older):
    """The same as this version leaves it: each stage lists the files that it vouches for."""
    file, home = older
    for stage, name in stages_in(file).values():
        record = stage.place(name).child(RECORD).read_json()
        assert record["inputs"] == stage.inputs(name)
        stage.finish(name, 0.0, record["result"])
    return file, home


@pytest.fixture(autouse=True)
def no_ray(monkeypatch):
    def refuse(*_, **__):
        raise RunError("Ray would start.")

    monkeypatch.setattr(run_context, "connect", refuse)


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


DAMAGE = {"flipped": flip, "emptied": lambda path: path.write_bytes(b""), "missing": Path.unlink}

FILES = {
    "shards/satellite/train/*.parquet": "shards satellite",
    "shards/source/validation/*.parquet": "shards source",
    f"{PREFIX}/medical/test/*.parquet": "shards medical",
    "shards/medical/manifest.json": "shards medical",
    "shards/satellite/manifest.json": "shards satellite",
    "source/model.safetensors": "pretrain",
    "source/card.json": "pretrain",
    "search/satellite/study-*/0001.json": "search satellite",
    "search/satellite/study-*/starts.json": "search satellite",
    "search/medical/optuna.log": "search medical",
    "confirm/satellite/runs-*/default-seed1/model.safetensors": "confirm satellite",
    "confirm/satellite/runs-*/default-seed1/run.json": "confirm satellite",
    "confirm/satellite/runs-*/test-bicubic.json": "confirm satellite",
    "confirm/satellite/test-opened/*.json": "confirm satellite",
    "models/medical/model.safetensors": "confirm medical",
    "models/medical/card.json": "confirm medical",
    "report/report.json": "report",
    "report/best.yaml": "report",
    "report/index.html": "report",
    "report/table.md": "report",
    "report/medical-picture-0-HR.png": "report",
}


def damaged(home, pattern, how):
    path = sorted(home.glob(pattern))[0]
    DAMAGE[how](path)
    return str(path.relative_to(home))


def test_nothing_is_done_again_on_a_sealed_experiment(sealed, rayscale):
    file, home = sealed
    before = contents(home)
    code, out, err = rayscale("run", file)
    assert code == 0, err
    assert out.count("skipped") == 9
    assert contents(home) == before


@pytest.mark.parametrize("how", DAMAGE)
def test_every_damaged_file_is_noticed_and_named(sealed, how):
    """Each stage by itself: what it vouches for, and nothing else."""
    file, home = sealed
    stages = stages_in(file)
    for pattern, expected in FILES.items():
        path = sorted(home.glob(pattern))[0]
        data = path.read_bytes()
        DAMAGE[how](path)
        stage, name = stages[expected]
        check = stage.check(name)
        assert check.finished is None, pattern
        assert str(path.relative_to(home)) in check.damage, pattern
        path.write_bytes(data)
        assert stage.check(name).damage == {}, pattern


@pytest.mark.parametrize("how", DAMAGE)
def test_a_report_is_written_again_and_says_why(sealed, how, rayscale):
    file, home = sealed
    before = yaml.safe_load((home / "report" / "best.yaml").read_bytes())
    damaged(home, "report/best.yaml", how)
    code, out, err = rayscale("run", file)
    assert code == 0, err
    assert "report: report/best.yaml " in out
    assert "running again" in out
    after = yaml.safe_load((home / "report" / "best.yaml").read_bytes())
    assert after.keys() == before.keys()
    assert rayscale("run", file)[1].count("skipped") == 9


@pytest.mark.parametrize("how", ["flipped", "missing"])
@pytest.mark.parametrize("pattern", ["shards/satellite/train/*.parquet", f"{PREFIX}/satellite/test/*.parquet"])
def test_shards_are_built_again_as_they_were(sealed, pattern, how, rayscale):
    file, home = sealed
    before = contents(home)
    path = damaged(home, pattern, how)
    code, out, err = rayscale("run", file)
    assert code == 0, err
    assert f"shards satellite: {path} " in out
    after = contents(home)
    own = ("shards/satellite/", f"{PREFIX}/satellite/")
    after.pop("shards/separation.json")  # after a build, sets are compared with all tests again
    assert {n: d for n, d in after.items() if not n.startswith(own)} == {
        n: d for n, d in before.items() if not n.startswith(own)
    }
    for place in own:
        manifests = (json.loads(files[f"{place}manifest.json"]) for files in (before, after))
        assert len({manifest["digest"] for manifest in manifests}) == 1
    assert rayscale("run", file)[1].count("skipped") == 9


@pytest.mark.parametrize("older_one", [True, False], ids=["0.2.0", "today"])
@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("models/medical/model.safetensors", "confirm medical: models/medical/model.safetensors"),
        ("search/satellite/study-*/0001.json", "search satellite: search/satellite/study-"),
        ("source/model.safetensors", "pretrain: source/model.safetensors"),
    ],
)
def test_what_needs_training_is_said_before_it_is_done_again(request, pattern, said, older_one, rayscale):
    file, home = request.getfixturevalue("older" if older_one else "sealed")
    damaged(home, pattern, "emptied")
    code, out, err = rayscale("run", file)
    assert code == 1
    assert "Ray would start" in err
    assert said in out
    assert "running again" in out


def test_a_changed_record_of_a_trial_is_set_aside_and_its_configuration_kept(sealed, rayscale, monkeypatch):
    file, home = sealed
    path = next(home.glob("search/satellite/study-*/0001.json"))
    record = json.loads(path.read_bytes())
    path.write_text(json.dumps(record | {"psnr": 99.0, "objective": 99.0}))
    assert rayscale("run", file)[0] == 1
    assert not path.exists()
    assert json.loads(path.with_name("0001.json.damaged").read_bytes())["psnr"] == 99.0


def test_a_run_whose_weights_changed_is_trained_again_and_other_runs_are_not(sealed, rayscale):
    file, home = sealed
    runs = next(home.glob("confirm/satellite/runs-*"))
    flip(runs / "default-seed1" / "model.safetensors")
    assert rayscale("run", file)[0] == 1
    assert not (runs / "default-seed1" / "run.json").exists()
    assert (runs / "scratch-seed1" / "run.json").exists()
    assert (runs / "test-bicubic.json").exists()


def test_the_record_of_an_opening_is_put_back_as_the_confirmation_wrote_it(sealed, rayscale):
    file, home = sealed
    path = next(home.glob("confirm/satellite/test-opened/*.json"))
    before = json.loads(path.read_bytes())
    path.write_text(json.dumps(before | {"after_choosing": "another", "at": "2030-01-01T00:00:00+00:00"}))
    code, out, _ = rayscale("run", file)
    assert code == 1
    assert "test-opened" in out
    assert json.loads(path.read_bytes()) == before


@pytest.mark.parametrize("record", [b"", b"[]", b"{}", b"[" * 100_000, b'{"inputs": 5}', b"\xff"])
@pytest.mark.parametrize("stage", ["report"])
def test_a_damaged_record_of_a_stage_runs_it_again(sealed, record, stage, rayscale):
    file, home = sealed
    (home / stage / "stage.json").write_bytes(record)
    code, out, err = rayscale("run", file)
    assert code == 0, err
    assert f"{stage.replace('/', ' ')}: " in out
    assert "running again" in out


def test_a_result_that_cannot_be_read_is_named_beside_a_damaged_file(sealed, rayscale):
    file, home = sealed
    path = home / "search" / "medical" / "stage.json"
    record = json.loads(path.read_bytes())
    del record["sha256"], record["result"]["trials"]
    path.write_text(json.dumps(record))
    (home / record["files"][0]["path"]).write_bytes(b"")
    code, out, _ = rayscale("run", file)
    assert code == 1
    assert "search medical: stage.json lacks 'trials'; " in out


def test_a_changed_result_of_a_stage_is_noticed(sealed, rayscale):
    file, home = sealed
    path = home / "confirm" / "medical" / "stage.json"
    record = json.loads(path.read_bytes())
    record["result"]["winner"] = "zero_shot"
    path.write_text(json.dumps(record))
    code, out, _ = rayscale("run", file)
    assert code == 1
    assert "confirm medical: stage.json has changed since it was written, running again" in out


OLDER = {
    "models/medical/model.safetensors": "flipped",
    "models/medical/card.json": "emptied",
    "confirm/satellite/runs-*/default-seed1/model.safetensors": "flipped",
    "confirm/satellite/runs-*/default-seed1/run.json": "emptied",
    "confirm/satellite/runs-*/test-bicubic.json": "emptied",
    "confirm/satellite/test-opened/*.json": "emptied",
    "search/satellite/study-*/0001.json": "emptied",
    "source/card.json": "emptied",
    "shards/satellite/train/*.parquet": "flipped",
    "shards/satellite/manifest.json": "emptied",
    f"{PREFIX}/medical/test/*.parquet": "missing",
    "report/best.yaml": "emptied",
    "report/report.json": "emptied",
    "report/index.html": "emptied",
    "report/medical-picture-0-HR.png": "missing",
}


def test_what_0_2_0_left_is_checked_as_far_as_it_has_digests_or_a_structure(older):
    file, home = older
    stages = stages_in(file)
    for pattern, how in OLDER.items():
        path = sorted(home.glob(pattern))[0]
        data = path.read_bytes()
        DAMAGE[how](path)
        stage, name = stages[FILES[pattern]]
        assert stage.check(name).finished is None, pattern
        path.write_bytes(data)
        assert stage.check(name).damage == {}, pattern


@pytest.mark.parametrize("older_one", [True, False], ids=["0.2.0", "today"])
def test_a_search_does_not_look_at_the_test_split(request, older_one, rayscale):
    file, home = request.getfixturevalue("older" if older_one else "sealed")
    shutil.rmtree(home / PREFIX)
    code, out, err = rayscale("search", file)
    assert code == 0, err
    assert "running again" not in out
    assert not (home / PREFIX).exists()
