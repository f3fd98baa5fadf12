"""A domain that fails at any stage leaves the others confirmed and reported, and the next run makes what is missing."""

import json

import pytest
from confirmations import confirmed
from test_extend_search import experiment, trained  # noqa: F401

from orchestrator.pipeline.domain_failures import DomainFailures
from orchestrator.pipeline.stages import confirm as confirm_stage
from orchestrator.pipeline.stages import report as report_stage
from orchestrator.pipeline.stages import search as search_stage
from orchestrator.pipeline.stages import shards as shards_stage
from orchestrator.report.build import ReportResult
from trainables.errors import PartlyDoneError, RunError, StorageError


@pytest.fixture
def failures():
    lines = []
    made = DomainFailures(("a", "b"), lines.append)
    made.lines = lines
    return made


def test_a_domain_that_fails_is_named_and_the_others_go_on(failures):
    with failures.leaving_behind("a", "shards"):
        raise KeyError("x")
    failures.check_some_left()
    assert failures.going == ("b",)
    assert failures.lines == ["shards a: failed, KeyError: 'x'"]
    said = r"^1 of 2 domains failed: a, shards: KeyError: 'x'\. b went on without\. .* the same command does what is m"
    with pytest.raises(PartlyDoneError, match=said):
        failures.check_none(reported=True)
    with pytest.raises(RunError, match=said):
        failures.check_none(reported=False)


def test_with_no_domain_left_the_run_ends(failures):
    failures.add("a", "one.", "shards")
    failures.add("b", "two.", "search")
    with pytest.raises(RunError, match=r"^2 of 2 domains failed: a, shards: one; b, search: two\. What had"):
        failures.check_some_left()


def test_the_failure_of_a_single_domain_is_the_run_s_own():
    alone = DomainFailures(("a",), lambda _: None)
    with alone.leaving_behind("a", "shards"):
        raise StorageError("There is no bucket.")
    with pytest.raises(StorageError, match=r"^There is no bucket\.$"):
        alone.check_some_left()


def test_ctrl_c_is_no_failure_of_a_domain(failures):
    with pytest.raises(KeyboardInterrupt), failures.leaving_behind("a", "shards"):
        raise KeyboardInterrupt
    assert failures.reasons == {}


def test_nothing_is_said_where_nothing_failed(failures):
    failures.check_some_left()
    failures.check_none(reported=True)
    assert failures.lines == []


def fail_for_medical(monkeypatch, module, name, place=0):
    """Makes a step of the pipeline fail for one of its two domains."""
    right = getattr(module, name)

    def fail(*arguments, **settings):
        if "medical" in str(getattr(arguments[place], "uri", arguments[place])):
            raise RuntimeError("broken\nin two lines")
        return right(*arguments, **settings)

    monkeypatch.setattr(module, name, fail)


@pytest.mark.parametrize(
    ("module", "step", "place", "stage"),
    [(shards_stage, "build_shards", 3, "shards"), (search_stage, "study_starts", 1, "search")],
)
def test_one_domain_fails_in_a_run(rayscale, experiment, tmp_path, monkeypatch, module, step, place, stage):  # noqa: F811
    home = tmp_path / "runs" / "tiny"
    with monkeypatch.context() as broken:
        fail_for_medical(broken, module, step, place)
        code, out, err = rayscale("search", experiment)
    assert code == 1
    assert f"{stage} medical: failed, RuntimeError: broken\n" in out
    assert err.startswith(f"rayscale: 1 of 2 domains failed: medical, {stage}: RuntimeError: broken. satellite went on")
    assert (home / "search" / "satellite" / "stage.json").exists()
    assert not (home / "search" / "medical" / "stage.json").exists()
    code, out, err = rayscale("search", experiment)
    assert code == 0, err
    assert "search satellite: finished" in out
    assert (home / "search" / "medical" / "stage.json").exists()


def test_a_report_of_some_domains_is_no_finished_report(rayscale, experiment, tmp_path, monkeypatch):  # noqa: F811
    reports = []

    def write_report(experiment, records, place, missing=None):
        reports.append((list(experiment.targets), missing))
        place.child("report.json").write_bytes(b"{}")
        return ReportResult(files=[])

    def confirm(job, runner):
        if job.domain.domain == "medical" and not reports:
            raise RunError("died")
        return confirmed(job)

    monkeypatch.setattr(confirm_stage, "drive_confirmation", confirm)
    monkeypatch.setattr(report_stage, "write_report", write_report)
    printed = []
    monkeypatch.setattr("orchestrator.cli.experiment_commands.print_report", lambda *_: printed.append(1))
    monkeypatch.setattr("orchestrator.report.build.read_report", lambda _: None)
    record = tmp_path / "runs" / "tiny" / "report" / "stage.json"
    record.parent.mkdir(parents=True)
    record.write_text(json.dumps({"inputs": "of an earlier run"}))

    code, out, err = rayscale("run", experiment)
    assert code == 1
    assert "confirm medical: failed, died\n" in out
    assert "1 of 2 domains failed: medical, confirm: died." in err
    assert reports == [(["satellite"], {"medical": "confirm: died"})]
    assert printed == [1]
    assert not record.exists(), "a report of some must not pass for the report of all"

    code, out, err = rayscale("run", experiment)
    assert code == 0, err
    assert "confirm satellite: finished" in out
    assert reports[1:] == [(["medical", "satellite"], None)]
    assert record.exists()
