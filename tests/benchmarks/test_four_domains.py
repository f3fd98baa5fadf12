"""The page of the four-domain run, on an invented report."""

import sys

import pytest

from benchmarks.pipeline import four_domains
from benchmarks.pipeline.parts import parts_table, stage_minutes
from orchestrator.confirm.record import Difference
from orchestrator.report.schema import Arm
from tests.helpers.report_fixture import example_report


@pytest.fixture
def report(tmp_path):
    return example_report(tmp_path / "pictures")


def cells(report, part):
    """Cells of a row by column."""
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in parts_table(report).splitlines()]
    return next(dict(zip(lines[0], line, strict=True)) for line in lines if line[0].startswith(part))


def with_domain(report, name, **changes):
    return report.model_copy(
        update={"domains": {**report.domains, name: report.domains[name].model_copy(update=changes)}}
    )


def difference(arm, baseline, mean):
    values = {"mean": mean, "low": mean - 0.1, "high": mean + 0.1, "scenes": 8, "verdict": "tie"}
    return Difference(arm=arm, baseline=baseline, metric="psnr", **values)


def test_gains_on_test_have_the_intervals_of_the_report_and_their_mean(report):
    found = cells(report, "portfolio, search and choice")
    assert found["measured"] == "test"
    assert found["medical"] == "+0.324 [+0.263, +0.385]"
    assert found["mean"] == "+0.193", "of 0.324, 0.313, 0.037 and 0.097"
    assert cells(report, "default fine-tune")["satellite"] == "−0.313 [−0.393, −0.233]"


def test_portfolio_and_search_are_told_apart_by_the_origin_of_trials(report):
    trials = [t.model_copy(update={"psnr": 30.0}) for t in report.domains["medical"].trials[:4]]
    found = [("default", 30.0), ("portfolio", 30.2), ("start", 30.1), ("sampler", 30.5)]
    for number, (origin, psnr) in enumerate(found):
        trials[number] = trials[number].model_copy(update={"origin": origin, "psnr": psnr, "status": "finished"})
    changed = with_domain(report, "medical", trials=trials)
    assert cells(changed, "portfolio: its best")["medical"] == "+0.200"
    assert cells(changed, "search beyond it")["medical"] == "+0.300"
    without = with_domain(report, "medical", trials=trials[2:])
    assert cells(without, "search beyond it")["medical"] == "–"
    assert cells(without, "search beyond it")["mean"].endswith("(3 of 4)")


def test_the_choice_costs_nothing_where_the_answer_has_the_best_mean(report):
    assert cells(report, "choice")["medical"] == "+0.000 the same"
    medical = report.domains["medical"]
    other = Arm(name="best_mean", label="best mean", psnr=30.7, ssim=0.8, psnr_by_seed=[30.7])
    changed = with_domain(
        report,
        "medical",
        arms=[*medical.arms, other],
        differences=[*medical.differences, difference("best", "best_mean", -0.05)],
    )
    assert cells(changed, "choice")["medical"] == "−0.050 [−0.150, +0.050]"


def test_finish_and_averaging_are_those_of_the_answer(report):
    medical = report.domains["medical"]
    winner = medical.candidates[-1].model_copy(update={"name": "soup", "averaged": "seeds", "of": medical.winner})
    changed = with_domain(
        report,
        "medical",
        winner="soup",
        candidates=[*medical.candidates, winner],
        differences=[*medical.differences, difference("finished", "best", 0.12)],
    )
    assert cells(changed, "finish")["medical"] == "+0.120 [+0.020, +0.220]"
    assert cells(changed, "finish")["mean"] == "+0.120 (1 of 4)"
    assert cells(changed, "averaging over seeds")["medical"] == "part of the answer"
    assert cells(changed, "averaging with the source")["medical"] == "+0.011 [−0.069, +0.091]"
    assert cells(changed, "the answer")["medical"].endswith(" (sampler)")


def test_a_stage_takes_as_long_as_its_longest_domain(report):
    seconds = {"pretrain": 60.0, "finish medical": 120.0, "finish art": 300.0}
    assert stage_minutes(report.model_copy(update={"stage_seconds": seconds})) == {"pretrain": 1.0, "finish": 5.0}


def measured(report, **stage_seconds):
    """The report with a machine in the form of a run's own."""
    environment = {**report.environment, "driver": "2 CPUs, x86_64"}
    return report.model_copy(update={"environment": environment, "stage_seconds": stage_seconds})


def test_the_page_of_a_finished_run_is_written_from_its_report(report, tmp_path, monkeypatch, capsys):
    place = tmp_path / "report.json"
    report = measured(report, pretrain=60.0)
    place.write_text(report.model_dump_json(), encoding="utf-8")
    monkeypatch.setattr(sys, "argv", ["", "--from", str(place), "--minutes", "38.5", "--out", str(tmp_path)])
    four_domains.main()
    (page,) = tmp_path.glob("four-domains_*-2cpu_*.md")
    text = page.read_text(encoding="utf-8")
    assert parts_table(report) in text
    assert "- whole run: 38.5 minutes of wall-clock time" in text
    assert str(page) in capsys.readouterr().out


def test_a_call_shorter_than_its_stages_has_resumed_a_run(report):
    page = four_domains.describe(measured(report, pretrain=3600.0), 54.6, [])
    assert "- whole run: 60.0 minutes in the stages below; it was interrupted, and the last call took 54.6\n" in page


def test_without_images_and_without_a_report_there_is_nothing_to_do(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["", "--root", "DATA"])
    with pytest.raises(SystemExit):
        four_domains.main()
    assert "expected --root and --storage, or --from" in capsys.readouterr().err
