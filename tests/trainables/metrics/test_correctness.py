"""Synthesis and correctness: outputs that improve, omit or invent, and systematic differences that do not count."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from skimage.exposure import match_histograms
from torch.nn import functional

from trainables.metrics.correctness import correctness, harmonise, match_histogram


def scene(seed=0, side=96):
    """HR with detail, its 4x4 means, and these enlarged bilinearly."""
    noise = np.random.default_rng(seed).normal(size=(3, side, side))
    hr = torch.from_numpy(0.3 + 0.1 * ndimage.gaussian_filter(noise, (0, 1.5, 1.5)) / 0.19)
    lr = functional.avg_pool2d(hr[None], 4)[0]
    enlarged = functional.interpolate(lr[None], scale_factor=4, mode="bilinear", align_corners=False)[0]
    return hr, lr, enlarged


def test_each_kind_of_output_is_told():
    hr, lr, enlarged = scene()
    invented = enlarged + 3 * (scene(1)[0] - scene(1)[2])
    found = {
        name: correctness(output, hr, lr, border=16)
        for name, output in (("right", hr), ("plain", enlarged), ("invented", invented))
    }
    for shares in found.values():
        assert shares.improvement + shares.omission + shares.hallucination == pytest.approx(1)
    assert found["right"].improvement > 0.9
    assert found["plain"].omission == max(shares.omission for shares in found.values()) > 0.4
    assert found["invented"].hallucination == max(shares.hallucination for shares in found.values()) > 0.4
    assert found["plain"].synthesis < found["right"].synthesis < found["invented"].synthesis + 0.05


def test_shares_by_hand():
    """One band of two values: HR differs from LR on the left half, and the output has half of the difference."""
    lr = torch.full((1, 16, 16), 0.2).double()
    hr = lr.clone()
    hr[..., :2] = 0.4
    found = correctness(hr, hr, lr)
    # All counted pixels have d(output, HR) = 0 and d(output, LR) = d(LR, HR): distances 0, 1 and 1.
    kinds = np.exp([0, -4, -4])
    expected = kinds / kinds.sum()
    assert [found.improvement, found.omission, found.hallucination] == pytest.approx(expected.tolist())
    assert found.synthesis == pytest.approx(0.2 * 2 / 16)


def test_radiometry_and_place_do_not_count():
    hr, lr, _ = scene()
    moved = torch.from_numpy(ndimage.shift(hr.numpy(), (0, 1.5, -2.25), order=3, mode="nearest"))
    right, changed = correctness(hr, hr, lr, 16), correctness(0.5 * moved + 0.1, hr, lr, 16)
    # Two interpolations, and up to three columns of 64 that are not in both.
    assert changed.improvement == pytest.approx(right.improvement, abs=0.12)
    far = torch.from_numpy(np.roll(hr.numpy(), 20, 2))
    np.testing.assert_array_equal(
        harmonise(far, hr), [match_histogram(*pair) for pair in zip(far.numpy(), hr.numpy(), strict=True)]
    )


def test_histograms_are_matched_as_scikit_image_does():
    rng = np.random.default_rng(0)
    for band, reference in (
        (rng.random((20, 30)), rng.random((25, 10))),
        (rng.integers(0, 9, (20, 20)) / 9, rng.random((8, 8))),
    ):
        np.testing.assert_allclose(match_histogram(band, reference), match_histograms(band, reference))


def test_without_any_detail_there_are_no_shares():
    flat = torch.full((2, 32, 32), 0.3)
    found = correctness(flat, flat, flat[:, ::4, ::4])
    assert (found.hallucination, found.omission, found.improvement) == (None, None, None)
