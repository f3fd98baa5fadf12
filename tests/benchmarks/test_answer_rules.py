"""Rules that choose an answer: what each takes in one half of a cell's scenes, judged by the other half."""

import sys

import pytest

from benchmarks.phase_map import answer_rules
from benchmarks.phase_map.answer_rules import Rule, compare
from benchmarks.phase_map.plan import DEFAULT

SCENES = [f"scene-{i:02}" for i in range(16)]
BEST_MEAN, WITHIN = Rule(False, 0.0), Rule(False, 0.02)
TIES, BOTH = Rule(True, None), Rule(True, 0.02)


def row(rate, gains, depth=0, seed=0, **cell):
    told = {"network": "tiny", "steps": 200, "scenes": 4, "shift": "noise", "content": "art"} | cell
    return told | {
        "learning_rate": rate,
        "lambda_": 0.0,
        "frozen_depth": depth,
        "regularizer": "l2-sp",
        "adapter_rank": None,
        "seed": seed,
        "image_scenes": SCENES,
        "image_psnr": [30.0 + gain for gain in gains],
        "image_zero_shot": [30.0] * len(SCENES),
        "batch": 4,
        "lr_patch": 16,
        "hardware": "CPU",
    }


MODERATE = DEFAULT.configuration.learning_rate
WIDE = [0.7 if i // 2 % 2 else -0.3 for i in range(16)]
"""A gain of 0.2 dB on average in both halves, whose interval over eight scenes holds zero."""


def answers(found, rule):
    return [each.answer for each in found[rule]]


def test_a_wide_interval_alone_takes_the_source_model_and_loses_what_the_margin_keeps():
    found = compare([row(MODERATE, [g - 0.01 for g in WIDE]), row(1e-3, WIDE)])
    assert answers(found, TIES) == ["zero_shot"] * 2
    for chosen in found[TIES]:
        assert chosen.over_best_mean == pytest.approx(-0.2)
        assert (chosen.over_source, chosen.scenes) == (0.0, 8)
    # The default is 0.01 dB behind on every scene: no tie, but within the margin.
    assert answers(found, WITHIN) == ["default"] * 2
    assert "learning_rate=0.001" in answers(found, BOTH)[0]
    assert answers(found, BEST_MEAN) == answers(found, BOTH)


def test_the_other_half_judges():
    lucky = [0.5 if i % 2 else 0.0 for i in range(16)]
    found = compare([row(MODERATE, [0.1] * 16), row(1e-3, lucky)])
    assert answers(found, BEST_MEAN)[0] == "default"
    assert [each.over_default for each in found[BEST_MEAN]] == [0.0, pytest.approx(-0.1)]


def test_seeds_of_one_configuration_are_one_candidate_and_small_cells_are_left_out():
    rows = [row(MODERATE, [0.1] * 16), row(MODERATE, [0.3] * 16, seed=1), row(1e-3, [0.15] * 16)]
    found = compare(rows)
    assert answers(found, BEST_MEAN) == ["default"] * 2
    small = [each | {"image_scenes": ["a"] * 16} for each in rows]
    assert compare(small)[BEST_MEAN] == []
    assert compare([row(MODERATE, [0.1] * 16)])[BEST_MEAN] == [], "nothing to choose from"


def test_the_page_has_every_rule(tmp_path, monkeypatch):
    rows = [row(MODERATE, [g - 0.01 for g in WIDE]), row(1e-3, WIDE)]
    monkeypatch.setattr(answer_rules, "read_table", lambda place: (rows, {}))
    monkeypatch.setattr(sys, "argv", ["answer_rules", "--table", "T", "--out", str(tmp_path)])
    answer_rules.main()
    (page,) = tmp_path.glob("answer-rules_*.md")
    text = page.read_text()
    assert "## 6 or more scenes chose (2 choices)" in text
    assert "| interval holds zero | -0.200 | 100% | 0.20 |" in text
    assert text.count("\n| ") == len(answer_rules.RULES) + 1
