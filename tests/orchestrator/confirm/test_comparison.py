"""What a report says of scores, from scores that are easy to check by hand."""

import numpy as np
import pytest

from orchestrator.confirm.comparison import differences, picture_choice, summarize
from trainables.metrics.evaluation import Score


def run(*psnr, ssim=0.5, scenes=None):
    """Scores of one run on images a, b, c, …, each of a scene of its own unless named."""
    names = "abcdefgh"[: len(psnr)]
    return [Score(name, scene, value, ssim) for name, scene, value in zip(names, scenes or names, psnr, strict=True)]


SCORES = {
    "best": [run(31, 35, 33, 30, 32), run(33, 37, 35, 30, 34)],
    "zero_shot": [run(30, 30, 30, 30, 30)],
    "bicubic": [run(28, 28, 28, 28, 28, ssim=0.25)],
    "scratch": [],
}


def test_means_are_over_images_and_runs_and_an_arm_without_runs_has_none():
    result = summarize(SCORES)
    assert result["best"].plain() == {
        "psnr": pytest.approx(33.0),
        "ssim": pytest.approx(0.5),
        "psnr_by_seed": [pytest.approx(32.2), pytest.approx(33.8)],
        "images": 5,
        "by_scene": {"a": 32.0, "b": 36.0, "c": 34.0, "d": 30.0, "e": 33.0},
    }
    assert result["bicubic"].ssim == 0.25
    assert "scratch" not in result


def test_pictures_are_the_largest_the_median_and_the_smallest_gain():
    assert picture_choice(SCORES) == {
        "largest gain, +6.00 dB over zero-shot": "b",
        "median gain, +3.00 dB over zero-shot": "e",
        "smallest gain, +0.00 dB over zero-shot": "d",
    }


def test_of_equal_gains_the_first_image_is_the_smallest():
    scores = {"best": [run(31, 31, 31)], "zero_shot": [run(30, 30, 30)]}
    assert list(picture_choice(scores).values()) == ["c", "b", "a"]


def test_every_question_with_both_arms_has_an_answer_in_psnr_and_ssim():
    result = differences(SCORES)
    asked = [(entry.arm, entry.baseline, entry.metric) for entry in result]
    assert asked == [
        (arm, baseline, metric)
        for arm, baseline in [("best", "bicubic"), ("best", "zero_shot"), ("zero_shot", "bicubic")]
        for metric in ("psnr", "ssim")
    ]
    entry = result[2]
    assert entry.mean == pytest.approx(3.0)
    assert entry.scenes == 5
    assert entry.verdict == "too few scenes"
    assert result[1].mean == pytest.approx(0.25)
    assert entry.seed_sd == pytest.approx(np.std([32.2, 33.8], ddof=1))
    assert entry.scenes_ahead == 4
    assert result[4].seed_sd == 0.0


def test_a_question_that_is_asked_twice_is_answered_once_and_in_its_direction():
    result = differences(SCORES, [("zero_shot", "best"), ("zero_shot", "best"), ("scratch", "best")])
    assert [(entry.metric, round(entry.mean, 6)) for entry in result] == [("psnr", -3.0), ("ssim", 0.0)]


def test_images_of_a_scene_count_as_one_scene():
    scores = {"best": [run(31, 32, 33, scenes="xxy")], "zero_shot": [run(30, 30, 30, scenes="xxy")]}
    assert differences(scores, [("best", "zero_shot")])[0].scenes == 2
