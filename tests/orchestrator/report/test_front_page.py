"""The front of quality and speed on the page, in the terminal, in the Markdown table and in YAML."""

import re

import pytest
import yaml
from report_fixture import example_report
from rich.console import Console

from orchestrator.cli.report_table import terminal_table
from orchestrator.confirm.record import Difference
from orchestrator.report.html import render_html
from orchestrator.report.schema import Front, FrontPoint, Report
from orchestrator.report.tables import best_yaml, markdown_table
from trainables.loops.settings import TransferConfiguration

DEVICE = "A CPU, 1 thread, float32, PyTorch 2.12, one tile of 256×256 LR pixels with its halo, the best of 5 rounds"


def point(kept, trial, speed, psnr, test, **changes):
    difference = Difference(
        arm="best",
        baseline="front",
        metric="psnr",
        mean=0.214,
        low=0.101,
        high=0.325,
        scenes=8,
        verdict="better",
    )
    settings = {
        "kept_blocks": kept,
        "trial": trial,
        "configuration": TransferConfiguration(learning_rate=2e-3, lambda_=0.0, frozen_depth=1, kept_blocks=kept),
        "megapixels_per_second": speed,
        "search_psnr": psnr,
        "confirmed": True,
        "is_best": False,
        "validation_psnr": psnr - 0.05,
        "test_psnr": test,
        "test_ssim": 0.8123,
        "difference": difference,
        "model": f"models/medical/front/kept-{kept}",
    }
    return FrontPoint(**settings | changes)


POINTS = [
    point(8, 3, 3.14159, 31.02, 30.64, is_best=True, difference=None),
    point(4, 5, 6.5, 30.87, 30.426),
    point(2, 7, 9.87, 30.11, None, test_ssim=None, difference=None, model=None, validation_psnr=None, confirmed=False),
]


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """A report whose first domain has a front of three points and trials with speeds."""
    folder = tmp_path_factory.mktemp("pictures")
    report = example_report(folder)
    medical = report.domains["medical"]
    trials = [trial.model_copy(update={"speed": 3.0 + trial.number / 4}) for trial in medical.trials]
    front = Front(device=DEVICE, blocks=8, points=POINTS)
    domain = medical.model_copy(update={"front": front, "trials": trials})
    return report.model_copy(update={"domains": report.domains | {"medical": domain}}), folder


def flat(text):
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", text))


def test_the_page_has_the_table_the_plot_and_the_device(told):
    page = render_html(*told)
    first, second = page.split('<section id="domain-2"')[:2]
    text = flat(first)
    for words in (
        f"MP/s of output on {DEVICE}.",
        "8 of 8",
        "3.14 31.02 30.97 30.64 the answer",
        "6.5 30.87 30.82 30.43 +0.214 better [+0.101, +0.325]",
        "9.87 30.11 – not confirmed –",
        "lr 2e-3, λ 0, depth 1, blocks 4",
        "models/medical/front/kept-4",
        "8 blocks kept: 3.14 MP/s, 31.02 dB; 4 blocks kept: 6.5 MP/s",
        "Speed of output (MP/s)",
    ):
        assert words in text, words
    assert first.count("Front of quality and speed, medical-v1") == 1
    assert ">MP/s</th>" in first.replace(' class="n"', "")
    assert "Quality against speed" not in second


def test_without_a_front_nothing_speaks_of_speed(told):
    report = example_report(told[1])
    for text in (render_html(report, told[1]), markdown_table(report), best_yaml(report)):
        assert "MP/s" not in text
        assert "blocks kept" not in text
        assert "kept_blocks" not in text


def test_a_front_without_points_and_points_without_trials_are_drawn(told):
    report, folder = told
    medical = report.domains["medical"]
    for update in ({"front": Front(device=DEVICE, blocks=8, points=[])}, {"trials": []}):
        changed = report.model_copy(update={"domains": {"medical": medical.model_copy(update=update)}})
        assert "Quality against speed" in render_html(changed, folder)


def test_the_terminal_says_each_point_and_the_device(told):
    console = Console(record=True, width=100)
    console.print(terminal_table(told[0]))
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= 100
    flat_text = re.sub(r"\s+", " ", text)
    for words in (
        "8 of 8 blocks kept: 3.14 MP/s, 30.64 dB on test, the answer",
        "4 of 8 blocks kept: 6.5 MP/s, 30.43 dB on test, best − this +0.214 [+0.101, +0.325], better",
        "2 of 8 blocks kept: 9.87 MP/s, 30.11 dB on validation, not scored on test",
        f"MP/s of output on {DEVICE}.",
    ):
        assert words in flat_text, words


def test_table_and_yaml_hold_what_was_confirmed(told):
    rows = [line for line in markdown_table(told[0]).splitlines() if "blocks kept" in line]
    assert rows == [
        "| medical | 8 of 8 blocks kept, 3.14 MP/s | 30.64 | 0.8123 |  |  |  |",
        "| medical | 4 of 8 blocks kept, 6.5 MP/s | 30.43 | 0.8123 | +0.214 | [+0.101, +0.325] | better |",
    ]
    domains = yaml.safe_load(best_yaml(told[0]))["domains"]
    front = domains["medical"]["front"]
    assert front["device"] == DEVICE
    assert [(p["kept_blocks"], p["test_psnr"]) for p in front["points"]] == [(8, 30.64), (4, 30.426), (2, None)]
    assert "front" not in domains["satellite"]


def test_the_report_survives_its_file(told):
    assert Report.model_validate_json(told[0].model_dump_json()) == told[0]
    assert Report.model_validate_json(told[0].model_dump_json()).domains["satellite"].front is None
