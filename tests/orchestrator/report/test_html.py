"""The renderings say what the report says, all of it, and nothing loads or runs that should not."""

import io
import re
from pathlib import Path
from typing import get_args

import pytest
import yaml
from markupsafe import escape
from report_fixture import example_report
from rich.console import Console

from orchestrator.cli.report_table import terminal_table
from orchestrator.foundation.vocabulary import Verdict
from orchestrator.report.html import render_html
from orchestrator.report.schema import Report, SceneDifference
from orchestrator.report.tables import best_arm, best_yaml, gain, markdown_table

HOSTILE = "<script>alert(1)</script>|[red]$\\frac{$"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("report")


@pytest.fixture(scope="module")
def report(folder: Path) -> Report:
    return example_report(folder)


@pytest.fixture(scope="module")
def html(report: Report, folder: Path) -> str:
    return render_html(report, folder)


def changed(report: Report, domain: str, **fields: object) -> Report:
    """Returns a report of one domain with some of its fields replaced."""
    contents = report.model_dump()
    contents["domains"] = {domain: contents["domains"][domain] | fields}
    return Report.model_validate(contents)


def plain(html: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", re.sub(r"<(svg|style|script).*?</\1>", " ", html, flags=re.S)).split())


def section(html: str, index: int) -> str:
    return html.split('class="domain"')[index].split("</section>")[0]


def signed(value: float, digits: int) -> str:
    return f"{value:+.{digits}f}".replace("-", "−")


def terminal(report: Report) -> str:
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(terminal_table(report))
    return console.export_text()


def test_page_holds_every_number_of_the_result(report: Report, html: str) -> None:
    for index, domain in enumerate(report.domains.values(), 1):
        text = plain(section(html, index))
        assert domain.verdict in text
        for arm in domain.arms:
            label = f"{arm.label} {arm.chosen}" if arm.chosen else arm.label
            assert f"{label} {arm.psnr:.2f} {arm.ssim:.4f}" in text
            assert all(f"{score:.2f}" in text for score in arm.psnr_by_seed)
        for d in domain.differences:
            digits = 3 if d.metric == "psnr" else 4
            mean, low, high = (signed(v, digits) for v in (d.mean, d.low, d.high))
            seeds = f"{d.scenes_ahead} of {d.scenes} scenes ahead, seeds ±{d.seed_sd:.{digits}f}"
            assert f"{mean} {d.verdict} [{low}, {high}] {seeds}" in text
        for candidate in domain.candidates:
            assert all(f"{score:.2f}" in text for score in candidate.validation_psnr)
        for trial in domain.trials:
            score = "–" if trial.psnr is None else f"{trial.psnr:.2f}"
            assert re.search(rf"{trial.status}(, winner)? {score}", text)
        for said in (*domain.flags, *domain.remarks, *([domain.advice.sentence] if domain.advice else [])):
            assert escape(said) in text
        assert f"{domain.test_opened.at} by {domain.test_opened.by}, after choosing trial-7" in text
        assert all(opening.at in text for opening in domain.earlier_openings)
        assert f"{len(domain.trials)} trials of up to {domain.steps_per_trial} steps" in text
        assert "Validation scores only choose; results are on test." in text
        assert "means exactly 0" in text


def test_page_holds_what_surrounds_the_result(report: Report, html: str) -> None:
    text = plain(html)
    source = report.source
    numbers = [*source.parameters.values(), source.macs_per_lr_pixel]
    wanted = [f"{number:,}" for number in numbers] + report.protocol + report.notes + report.next_commands
    wanted += [*report.environment.values(), *report.stage_seconds, report.created, "generated samples"]
    assert [item for item in wanted if item not in text] == []


def test_first_screen_lines_up_all_arms(report: Report, html: str) -> None:
    text = plain(html.split('class="domain"')[0])
    for domain in report.domains.values():
        assert domain.verdict in text
        for arm in domain.arms:
            assert f"{arm.psnr:.2f} {arm.ssim:.4f}" in text


def test_the_steps_of_transfer_say_what_they_add_and_forget(report: Report, html: str) -> None:
    text = plain(section(html, 1))
    arms = {arm.name: arm for arm in report.domains["medical"].arms}
    forgotten = (arms["model"].source_psnr or 0) - (arms["zero_shot"].source_psnr or 0)
    told = rf"Model transfer {arms['model'].psnr:.2f} \+[0-9.]+ better \[[^]]+\] to Feature transfer "
    assert re.search(told + f"{arms['model'].source_psnr:.2f} {signed(forgotten, 2)}", text)
    assert "0.75 of the tuned ones did best on validation" in text
    assert "Feature transfer" not in plain(section(html, 4))  # left out of that experiment


def test_scenes_and_their_groups_stand_with_the_worst_first(report: Report, html: str) -> None:
    text = plain(section(html, 1))
    domain = report.domains["medical"]
    for row in (*domain.scenes, *domain.groups):
        name = row.scene if isinstance(row, SceneDifference) else f"{row.group} {row.scenes} scenes"
        assert f"{name} {' '.join(signed(value, 2) for value in row.gains.values())}" in text
    assert "Differences by scene" not in plain(section(html, 4))  # a report of an earlier version


def test_many_scenes_are_folded_away_but_the_worst(report: Report, folder: Path) -> None:
    scenes = [SceneDifference(scene=f"s{i:02}", group=None, gains={"zero_shot": float(i)}) for i in range(30)]
    page = section(render_html(changed(report, "medical", scenes=scenes, groups=[]), folder), 1)
    shown, folded = page.split("<summary>The other 18 scenes</summary>")
    assert "s11" in shown
    assert "s12" not in shown
    assert "s12" in folded
    assert "s29" in folded


def test_each_verdict_has_a_word_a_style_and_a_mark(report: Report, html: str) -> None:
    verdicts = {d.verdict for domain in report.domains.values() for d in domain.differences}
    assert verdicts == set(get_args(Verdict))
    for verdict in verdicts:
        word = verdict.replace(" ", "-")
        assert f'<span class="verdict {word}">{verdict}</span>' in html
        assert verdict == "tie" or f".verdict.{word} {{" in html
    assert "too few scenes" in re.findall(r'<desc id="domain-3-intervals-desc">(.*?)</desc>', html)[0]


def test_page_says_nothing_of_generated_samples_where_there_are_none(report: Report, folder: Path) -> None:
    real = report.model_copy(update={"generated_samples": False, "notes": []})
    assert "generated samples" not in plain(render_html(real, folder))


def test_page_loads_nothing(html: str) -> None:
    without_namespaces = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", html)
    assert not re.search(r"https?://|@import|<iframe|<object", without_namespaces)
    sources = re.findall(r'\b(?:src|href)="([^"]*)"', without_namespaces)
    assert [s for s in sources if not s.startswith(("#", "data:"))] == []


def test_ids_are_unique_and_references_resolve(html: str) -> None:
    ids = re.findall(r'\sid="([^"]+)"', html)
    assert len(ids) == len(set(ids))
    references = re.findall(r'(?:href="#|url\(#|for=")([^")]+)', html)
    assert set(references) <= set(ids)


def test_same_report_gives_the_same_page(report: Report, folder: Path, html: str) -> None:
    assert render_html(report, folder) == html


def test_hostile_text_is_escaped_everywhere(report: Report, folder: Path) -> None:
    domain = report.domains["medical"]
    hostile = changed(
        report,
        "medical",
        space=HOSTILE,
        verdict=HOSTILE,
        arms=[a.model_copy(update={"label": HOSTILE}) for a in domain.arms],
        candidates=[c.model_copy(update={"label": HOSTILE}) for c in domain.candidates],
    )
    hostile = hostile.model_copy(
        update={"experiment": HOSTILE, "domains": {HOSTILE: hostile.domains["medical"]}, "notes": [HOSTILE]}
    )
    page = render_html(hostile, folder)
    assert "<script>alert" not in page
    assert page.count("<script>") == 1
    assert "&lt;script&gt;alert(1)" in page
    assert HOSTILE in yaml.safe_load(best_yaml(hostile))["domains"]
    assert "<script" not in markdown_table(hostile)
    shown = terminal(hostile)
    assert "[red]" in re.sub(r"\s", "", shown)


def test_pictures_are_only_read_from_their_folder(report: Report, folder: Path) -> None:
    secret = folder.parent / "secret.png"
    secret.write_bytes(b"secret")
    files = ["../secret.png", str(secret), "absent.png"]
    panels = [{"label": file, "file": file, "psnr": None} for file in files]
    page = render_html(changed(report, "medical", comparisons=[{"image": "a", "panels": panels}]), folder)
    assert page.count("No picture:") == 3
    assert "data:image/png" not in page


def test_yaml_holds_the_configurations(report: Report) -> None:
    text = best_yaml(report)
    assert [line[0] for line in text.splitlines()[:3]] == ["#", "#", "r"]
    domains = yaml.safe_load(text)["domains"]
    assert list(domains) == list(report.domains)
    for name, domain in report.domains.items():
        entry = domains[name]
        assert entry["fine_tune"] is (domain.configuration is not None)
        if domain.configuration:
            assert entry["configuration"] == domain.configuration.to_dict()
        else:
            assert "configuration" not in entry
        best = best_arm(domain)
        assert best.name == "best"
        assert (entry["space"], entry["model"]) == (domain.space, domain.model)
        assert entry["test_psnr"] == best.psnr
        assert entry["trials"] == {"finished": 23, "stopped": 0, "diverged": 1}
        taken = [d for d in domain.differences if d.arm == "best" and d.metric == "psnr"]
        kept = ("mean", "low", "high", "scenes", "verdict")
        assert entry["flags"] == domain.flags
        averaged = domain.interpolation
        assert entry.get("averaged_with_source") == (
            {"share_of_tuned_weights": averaged.share, "model": averaged.model} if averaged else None
        )
        assert entry["gains"] == {d.baseline: {key: getattr(d, key) for key in kept} for d in taken}


def test_markdown_has_a_line_per_domain_and_arm(report: Report) -> None:
    lines = markdown_table(report).splitlines()
    assert len(lines) == 2 + sum(len(domain.arms) for domain in report.domains.values())
    assert {line.count("|") for line in lines} == {8}
    assert "| art | Source, zero-shot | 28.21 | 0.8070 | −0.092 | [−0.163, −0.021] | worse |" in lines


def test_terminal_table_cuts_no_number_at_100_columns(report: Report) -> None:
    text = terminal(report)
    assert max(map(len, text.splitlines())) <= 100
    assert "…" not in text
    joined = " ".join(text.split())
    for name, domain in report.domains.items():
        assert f"{name}: {domain.verdict}" in joined
        for baseline in ("zero_shot", "default"):
            difference = gain(domain, baseline)
            assert difference is not None
            assert signed(difference.mean, 3) in text
            assert f"[{signed(difference.low, 3)}, {signed(difference.high, 3)}]" in text
            assert difference.verdict in text
        shown = ("bicubic", "zero_shot", "scratch", "default", "best", *(["tv"] if name != "art" else []))
        assert all(f"{arm.psnr:.2f}" in text for arm in domain.arms if arm.name in shown)
        assert all(said in joined for said in (*domain.flags, *domain.remarks))
    assert "surveillance" in text
    assert "3 further remarks: index.html" in text, "the grades of the advice, which the page alone has"


def test_terminal_shows_the_remarks_that_change_a_decision_and_counts_the_others(report: Report) -> None:
    told = [f"Remark {number}." for number in range(5)]
    text = terminal(changed(report, "art", remarks=told))
    assert [said in text for said in told] == [True, True, True, False, False]
    assert "2 further remarks: index.html" in text
    assert "further" not in terminal(changed(report, "art", remarks=told[:3]))


@pytest.mark.parametrize(
    ("limit", "said"),
    [
        (None, "0.75 of the tuned ones did best on validation</summary>"),
        ("restricted", "0.75 of the tuned ones did best on validation of those that keep the limit on forgetting<"),
        ("exceeded", "0.75 of the tuned ones, the smallest share, since none keeps the limit on forgetting<"),
    ],
)
def test_the_share_of_averaged_weights_says_what_a_limit_did(report, folder, limit, said):
    averaged = report.domains["medical"].interpolation.model_copy(update={"limit": limit})
    assert said in render_html(changed(report, "medical", interpolation=averaged), folder)


def test_terminal_table_survives_large_differences(report: Report) -> None:
    domain = report.domains["surveillance"]
    large = [d.model_copy(update={"mean": -11.5, "low": -12.3456, "high": -10.1234}) for d in domain.differences]
    text = terminal(changed(report, "surveillance", differences=large))
    assert max(map(len, text.splitlines())) <= 100
    assert text.count("too few scenes") == 2
    assert text.count("[−12.346, −10.123]") == 2


def test_trials_of_the_portfolio_are_counted(report: Report, folder: Path) -> None:
    trials = [t.model_dump() | {"origin": "portfolio"} for t in report.domains["medical"].trials[:2]]
    text = plain(render_html(changed(report, "medical", trials=trials), folder))
    assert "2 trials of up to 400 steps: 2 of the portfolio; 0 diverged" in text


@pytest.mark.parametrize("kept", [0, 1, 9])
def test_few_trials_work(report: Report, folder: Path, kept: int) -> None:
    """Trial 0 is the default alone; trial 9 alone diverged, so that nothing at all has a score."""
    trials = report.domains["medical"].trials
    chosen = {0: [], 1: trials[:1], 9: [trials[9]]}[kept]
    text = plain(render_html(changed(report, "medical", trials=chosen), folder))
    assert f"{len(chosen)} {'trial' if kept else 'trials'} of up to" in text


def test_scores_that_are_not_finite_do_not_break_plots(report: Report, folder: Path) -> None:
    trials = list(report.domains["medical"].trials)
    broken = [{"step": 50, "value": float("nan")}, {"step": 100, "value": float("-inf")}]
    trials[9] = trials[9].model_validate(trials[9].model_dump() | {"psnr": float("nan"), "curve": broken})
    assert "<svg" in render_html(changed(report, "medical", trials=trials), folder)


def test_a_far_too_low_trial_is_marked_and_does_not_flatten_the_plot(report: Report, folder: Path) -> None:
    trials = list(report.domains["medical"].trials)
    trials[5] = trials[5].model_copy(update={"psnr": 3.0})
    page = render_html(changed(report, "medical", trials=trials), folder)
    assert "below the range" in section(page, 1)


def test_a_domain_may_lack_diverged_arms_and_differences(report: Report, folder: Path) -> None:
    arms = [arm for arm in report.domains["satellite"].arms if arm.name not in ("scratch", "default")]
    bare = changed(report, "satellite", arms=arms, differences=[], candidates=[], comparisons=[])
    assert bare.domains["satellite"].verdict in plain(render_html(bare, folder))
    assert yaml.safe_load(best_yaml(bare))["domains"]["satellite"]["gains"] == {}
    assert "26.11 27.04 – – 27.04 – –" in " ".join(terminal(bare).split())
    assert len(markdown_table(bare).splitlines()) == 2 + len(arms)
