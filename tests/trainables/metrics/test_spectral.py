"""SAM, ERGAS and SCC against their definitions, on constructed images, and against torchmetrics where it agrees."""

import math

import numpy as np
import pytest
import torch
from scipy.signal import correlate2d
from torchmetrics.functional.image import error_relative_global_dimensionless_synthesis, spectral_angle_mapper

from trainables.metrics.spectral import ergas, sam, scc


def images(bands=4, height=24, width=20, spread=0.05):
    chance = torch.Generator().manual_seed(0)
    first = torch.rand(bands, height, width, generator=chance, dtype=torch.float64) + 0.1
    return first, first + spread * torch.randn(first.shape, generator=chance, dtype=torch.float64)


@pytest.fixture
def hole():
    """False in two rows, which are spoilt in the image that comes with it."""
    valid = torch.ones(24, 20, dtype=torch.bool)
    valid[5:7] = False
    return valid


def spoilt(image, valid, value=math.nan):
    return torch.where(valid, image, value)


class TestSam:
    @pytest.mark.parametrize("degrees", [0.0, 1e-5, 30.0, 90.0, 180.0])
    def test_a_known_angle_whatever_the_lengths(self, degrees):
        turned = math.radians(degrees)
        first = torch.tensor([2.0, 0.0], dtype=torch.float64)[:, None, None].expand(-1, 5, 6)
        second = torch.tensor([0.7 * math.cos(turned), 0.7 * math.sin(turned)], dtype=torch.float64)
        assert sam(first, second[:, None, None].expand(-1, 5, 6)) == pytest.approx(degrees, rel=1e-9, abs=1e-12)

    def test_is_torchmetrics_in_degrees(self):
        first, second = images()
        expected = math.degrees(spectral_angle_mapper(second[None], first[None]).item())
        assert sam(second, first) == pytest.approx(expected, rel=1e-9)

    def test_only_valid_pixels_other_than_zero_count(self, hole):
        first, second = images()
        rest = sam(first[:, hole].unsqueeze(-1), second[:, hole].unsqueeze(-1))
        assert sam(spoilt(first, hole), second, hole) == pytest.approx(rest, rel=1e-12)
        assert sam(spoilt(first, hole, 0.0), second) == pytest.approx(rest, rel=1e-12)
        assert sam(first, second) != pytest.approx(rest, rel=1e-6)
        assert sam(torch.zeros_like(first), second) is None


class TestErgas:
    def test_by_hand(self):
        reference = torch.stack([torch.full((4, 4), 2.0), torch.full((4, 4), 10.0)])
        output = reference + torch.tensor([0.2, -3.0])[:, None, None]
        expected = 100 / 4 * math.sqrt(((0.2 / 2) ** 2 + (3 / 10) ** 2) / 2)
        assert ergas(output, reference, 1 / 4) == pytest.approx(expected, rel=1e-6)
        assert ergas(reference, reference, 1 / 4) == 0

    @pytest.mark.parametrize("scale", [2, 4])
    def test_is_torchmetrics_whose_ratio_is_the_inverse(self, scale):
        reference, output = images()
        expected = error_relative_global_dimensionless_synthesis(output[None], reference[None], ratio=scale).item()
        assert ergas(output, reference, 1 / scale) == pytest.approx(expected, rel=1e-9)

    def test_only_valid_pixels_count(self, hole):
        reference, output = images()
        rest = ergas(output[:, hole], reference[:, hole], 0.25)
        assert ergas(spoilt(output, hole), spoilt(reference, hole, -7.0), 0.25, hole) == pytest.approx(rest, rel=1e-12)
        assert ergas(output, reference, 0.25) != pytest.approx(rest, rel=1e-6)

    def test_undefined_without_pixels_or_with_a_mean_of_zero(self, hole):
        reference, output = images()
        assert ergas(output, reference, 0.25, hole & ~hole) is None
        assert ergas(output, reference * torch.tensor([1, 0, 1, 1])[:, None, None], 0.25) is None


class TestScc:
    FILTER = -np.ones((3, 3)) + 9 * np.eye(3)[1][:, None] * np.eye(3)[1]

    def expected(self, first, second):
        """torchmetrics means local coefficients over zero-padded windows instead, as Zhou et al. do not."""
        details = [correlate2d(each.numpy(), self.FILTER, mode="valid").ravel() for each in (first, second)]
        return np.corrcoef(*details)[0, 1]

    def test_is_pearsons_coefficient_of_the_high_pass(self):
        assert self.FILTER.sum() == 0
        assert self.FILTER[1, 1] == 8
        (first, *_), (second, *_) = images(spread=0.3)
        assert scc(first, second) == pytest.approx(self.expected(first, second), rel=1e-9)
        assert 0.2 < scc(first, second) < 0.95

    def test_slopes_and_contrast_do_not_matter(self):
        (first, *_), _ = images()
        slope = torch.arange(20.0)[None].expand(24, -1)
        assert scc(first, 3 * first + slope) == pytest.approx(1)
        assert scc(first, -first) == pytest.approx(-1)

    def test_pixels_beside_invalid_ones_do_not_count(self, hole):
        (first, *_), (second, *_) = images(spread=0.3)
        parts = [(first[:5], second[:5]), (first[7:], second[7:])]
        details = [
            np.concatenate([correlate2d(part[k].numpy(), self.FILTER, mode="valid").ravel() for part in parts])
            for k in (0, 1)
        ]
        found = scc(spoilt(first, hole), spoilt(second, hole, 1e6), hole)
        assert found == pytest.approx(np.corrcoef(*details)[0, 1], rel=1e-9)

    def test_undefined_without_detail(self, hole):
        (first, *_), _ = images()
        assert scc(first, torch.full_like(first, 0.1)) is None
        assert scc(first, torch.arange(20.0)[None].expand(24, -1) / 7) is None
        assert scc(first, first, hole & ~hole) is None
