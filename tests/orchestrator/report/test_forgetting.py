"""The front of target gain against forgetting: from trial records to the page."""

import pytest
import records
from report_fixture import example_report

from orchestrator.confirm.record import Candidate
from orchestrator.report.forgetting import forgetting_report
from orchestrator.report.html import render_html
from orchestrator.search.trial_record import SourceKept

SOURCE = Candidate(name="zero_shot", label="source", configuration=None, validation_psnr=[30.0], search_psnr=None)


def trial(number, psnr, loss, limit=1.0):
    kept = SourceKept(psnr=32 - loss, loss=loss, allowed=limit)
    return records.trial(number, psnr).model_copy(update={"source": kept})


TRIALS = [
    trial(0, 30.9, 4.2),
    trial(1, 30.6, 0.8),
    trial(2, 30.5, 0.9),  # trial 1 gains more and loses less
    records.trial(3, status="diverged"),
    trial(4, 30.2, 0.1),
]


def test_the_front_is_made_of_the_trials_that_gain_more_than_all_that_lose_less():
    found = forgetting_report(1.0, TRIALS, [SOURCE])
    assert [(t.number, round(t.gain, 3), t.on_front, t.feasible, t.best) for t in found.trials] == [
        (4, 0.2, True, True, False),
        (1, 0.6, True, True, True),
        (2, 0.5, False, True, False),
        (0, 0.9, True, False, False),
    ]
    assert found.sentence == (
        "The limit of 1 dB on the source's loss costs 0.30 dB on validation: trial 1 gains 0.60 dB and loses 0.80 dB "
        "of the source, trial 0, the best without a limit, gains 0.90 dB and loses 4.20 dB."
    )


@pytest.mark.parametrize(
    ("trials", "words"),
    [
        ([trial(0, 30.9, 4.2), trial(1, 30.5, 1.5)], "No trial kept the source: the least loss was 1.50 dB"),
        ([trial(0, 30.9, 0.2), trial(1, 30.5, 1.5)], "costs nothing: the best trial of all keeps it"),
        ([records.trial(0, status="diverged")], "No trial finished"),
    ],
)
def test_one_sentence_says_what_the_limit_costs(trials, words):
    assert words in forgetting_report(1.0, trials, [SOURCE]).sentence


def test_without_a_limit_there_is_no_front():
    assert forgetting_report(None, TRIALS, [SOURCE]) is None


def test_the_page_has_the_table_and_the_plot_where_there_is_a_limit(tmp_path):
    report = example_report(tmp_path)
    for trials in (TRIALS, TRIALS[3:4]):
        medical = report.domains["medical"].model_copy(update={"forgetting": forgetting_report(1.0, trials, [SOURCE])})
        page = render_html(report.model_copy(update={"domains": report.domains | {"medical": medical}}), tmp_path)
        assert page.count("<h3>Gain against forgetting</h3>") == 1
        assert medical.forgetting.sentence.replace("'", "&#39;") in page
        assert page.count("kept, best") == (1 if trials is TRIALS else 0)
        assert page.count("Loss of source PSNR (dB)") == 1
    assert "Gain against forgetting" not in render_html(report, tmp_path)
