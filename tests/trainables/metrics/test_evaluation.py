"""Fixed test pairs and how a network is scored on them."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from trainables.degradation import Degradation
from trainables.metrics.evaluation import NamedImage, bicubic, make_pairs, mean_psnr, psnr_of_each, run, score
from trainables.metrics.psnr_ssim import HIGHEST_PSNR, psnr, ssim
from trainables.samples import generate

NOISY = Degradation(blur=(0.1, 0.6), noise=(0.01, 0.1), jpeg=(50, 95))


def image(name, height=48, width=60, channels=3):
    pixels = generate("natural", len(name), (height, width))[..., :channels]
    return NamedImage(name, f"scene-{name}", np.ascontiguousarray(pixels))


def test_an_image_has_the_same_pair_whatever_its_company():
    a, b = image("a"), image("bb")
    first = {pair.name: pair for pair in make_pairs([a, b], NOISY, 4)}
    (alone,) = make_pairs([NamedImage("other name", "s", b.pixels)], NOISY, 4)
    reversed_ = {pair.name: pair for pair in make_pairs([b, a], NOISY, 4)}
    for name in ("a", "bb"):
        assert torch.equal(first[name].lr, reversed_[name].lr)
    assert torch.equal(first["bb"].lr, alone.lr)


def test_different_images_draw_different_degradations():
    flat = [NamedImage(str(v), "s", np.full((40, 40, 3), v, np.uint8)) for v in (100, 101)]
    first, second = make_pairs(flat, Degradation(noise=(0.05, 0.05)), 4)
    assert not torch.allclose(first.lr - first.hr.mean(), second.lr - second.hr.mean(), atol=0.01)


@pytest.mark.parametrize(
    ("size", "scale", "crop", "used"),
    [
        ((48, 60), 4, None, (48, 60)),
        ((47, 62), 4, None, (44, 60)),
        ((50, 53), 3, None, (48, 51)),
        ((48, 60), 4, 21, (20, 20)),
        ((30, 60), 2, 40, (30, 40)),
    ],
)
def test_the_middle_is_used_cut_to_a_multiple_of_the_scale(size, scale, crop, used):
    whole = image("a", *size)
    (pair,) = make_pairs([whole], Degradation(), scale, crop)
    assert pair.hr.shape == (3, *used)
    assert pair.lr.shape == (3, used[0] // scale, used[1] // scale)
    top, left = (size[0] - used[0]) // 2, (size[1] - used[1]) // 2
    expected = whole.pixels[top : top + used[0], left : left + used[1]]
    np.testing.assert_array_equal((pair.hr.permute(1, 2, 0) * 255).round().numpy(), expected)


def test_outputs_are_rounded_and_clipped_as_a_file_would_be():
    (pair,) = make_pairs([image("a")], Degradation(), 2)
    output = run(lambda lr: bicubic(2)(lr) * 3 - 1, pair)
    assert output.shape == pair.hr.shape
    assert (output.min(), output.max()) == (0, 1)
    assert torch.allclose(output * 255, (output * 255).round(), atol=1e-4)
    half_a_level = score(lambda lr: pair.hr[None] + 0.4 / 255, [pair], 2)[0]
    assert half_a_level.psnr == HIGHEST_PSNR
    assert half_a_level.ssim == pytest.approx(1)


def test_gray_is_compared_on_its_channel_and_colour_on_luma():
    gray, colour = make_pairs([image("a", channels=1), image("a")], Degradation(), 2)
    assert (gray.gray, colour.gray) == (True, False)
    assert torch.equal(gray.hr[0], gray.hr[2])

    for pair, span in ((gray, 255), (colour, 219)):
        darker = replace(pair, hr=pair.hr.clamp(0, 240 / 255))
        brighter = darker.hr + 10 / 255
        (found,) = score(lambda lr, brighter=brighter: brighter[None], [darker], 2)
        assert found.psnr == pytest.approx(20 * math.log10(255 / (10 * span / 255)), abs=1e-3)


def test_what_lies_in_the_border_does_not_count():
    (pair,) = make_pairs([image("a")], Degradation(), 4)
    wrong = 1 - pair.hr
    wrong[:, 4:-4, 4:-4] = pair.hr[:, 4:-4, 4:-4]
    assert score(lambda lr: wrong[None], [pair], 4)[0].psnr == HIGHEST_PSNR
    wrong[:, 4] = 1 - pair.hr[:, 4]
    assert score(lambda lr: wrong[None], [pair], 4)[0].psnr < 30


def test_scores_name_their_image_and_mean_psnr_is_their_mean():
    pairs = make_pairs([image("a"), image("bb", channels=1), image("ccc", 64, 33)], NOISY, 3)
    scores = score(bicubic(3), pairs, 3)
    assert [(s.name, s.scene) for s in scores] == [("a", "scene-a"), ("bb", "scene-bb"), ("ccc", "scene-ccc")]
    assert mean_psnr(bicubic(3), pairs, 3) == pytest.approx(np.mean([s.psnr for s in scores]))
    output = run(bicubic(3), pairs[1])[0, 3:-3, 3:-3].double() * 255
    target = pairs[1].hr[0, 3:-3, 3:-3].double() * 255
    assert scores[1].psnr == pytest.approx(psnr(output, target))
    assert scores[1].ssim == pytest.approx(ssim(output, target))


def test_a_blank_image_does_not_make_the_mean_infinite():
    blank = NamedImage("blank", "b", np.zeros((48, 48, 3), np.uint8))
    pairs = make_pairs([blank, image("a")], Degradation(), 4)
    assert mean_psnr(bicubic(4), pairs[:1], 4) == HIGHEST_PSNR
    assert mean_psnr(bicubic(4), pairs, 4) < 80


def test_images_of_one_size_go_through_the_network_together_and_score_as_alone():
    pairs = make_pairs(
        [image(name, *size) for name, size in (("a", (48, 60)), ("bb", (48, 60)), ("ccc", (40, 40)))], NOISY, 4
    )
    batches = []

    def upscale(lr):
        batches.append(len(lr))
        return bicubic(4)(lr)

    together = psnr_of_each(upscale, pairs, 4, batch=2)
    assert batches == [2, 1]
    assert together == pytest.approx(psnr_of_each(upscale, pairs, 4), abs=1e-3)
    assert batches[2:] == [1, 1, 1]
