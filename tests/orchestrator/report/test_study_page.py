"""The section of the page, and the terminal's warnings, that say what a search tells of itself."""

import re

import pytest
from report_fixture import example_report
from rich.console import Console

from orchestrator.cli.report_table import terminal_table
from orchestrator.report.html import render_html
from orchestrator.report.study_facts import Rung, StoppingReplay, StudyFacts

WARNING = "the winner's learning rate 0.0029 lies on the upper edge of its range"
STUDY = StudyFacts(
    trials={"finished": 20, "stopped": 3, "diverged": 1},
    starts_from=["art of other"],
    trained_share=0.91,
    rungs=[Rung(step=50, spearman=0.412, kendall=None)],
    replays=[StoppingReplay(reduction_factor=4, grace=1, stopped=9, saved=0.283, lost_db=0.0125)],
    importance={"learning_rate": 0.71, "frozen_depth": 0.29},
    importance_note="fANOVA over 21 trials; with so few, shares are rough",
    warnings=[WARNING],
    not_reproducible="2 trials of this domain ran at once",
)


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """One domain with a study, one of whose trials was stopped and came from a sibling."""
    folder = tmp_path_factory.mktemp("pictures")
    report = example_report(folder)
    medical = report.domains["medical"]
    stopped = medical.trials[3].model_copy(update={"status": "stopped", "psnr": None, "origin": "sibling"})
    trials = [stopped if trial.number == 3 else trial for trial in medical.trials]
    domain = medical.model_copy(update={"study": STUDY, "trials": trials})
    return report.model_copy(update={"domains": {"medical": domain}}), folder


def test_the_page_shows_every_fact(told):
    page = re.sub(r"\s+", " ", render_html(*told))
    for words in (
        WARNING.replace("'", "&#39;"),
        '>50</th><td class="n">0.41</td><td class="n">–</td>',
        '>4, 1</th><td class="n">9</td><td class="n">28 %</td><td class="n">0.013</td>',
        "91 % of the steps of all trials; 3 trials were stopped early",
        "learning rate 71 %, frozen depth 29 %; fANOVA over 21 trials",
        "art of other",
        "2 trials of this domain ran at once",
        "1 found in other domains",
        "; 1 stopped early; 1 diverged",
    ):
        assert words in page, words


def test_the_terminal_warns_of_an_edge(told):
    console = Console(record=True, width=100)
    console.print(terminal_table(told[0]))
    assert WARNING in re.sub(r"\s+", " ", console.export_text())
