"""A contract that any domain can inherit in its own test suite.

Example:
    class TestThermal(DomainContract):
        space = thermal.SPACE
"""

from typing import ClassVar

import torch

from search_spaces.space import TransferSpace, check_domain
from trainables.network.architecture import SCALES


class DomainContract:
    """Tests that every search space must pass; set ``space`` in a subclass."""

    space: ClassVar[TransferSpace]

    def test_breaks_no_rule(self) -> None:
        """The space is complete and consistent."""
        assert check_domain(self.space) == []

    def test_degrades_to_the_right_size(self) -> None:
        """Every scale factor gives LR images in [0, 1] of exactly 1/r the size, in 8-bit steps."""
        for scale in SCALES:
            lr = self._degrade(scale, seed=0)
            assert lr.shape == (2, 3, 12, 10)
            assert 0 <= float(lr.min()) <= float(lr.max()) <= 1
            assert torch.allclose(lr * 255, (lr * 255).round(), atol=1e-3)

    def test_degradation_is_seeded(self) -> None:
        """The same seed gives the same LR image."""
        assert torch.equal(self._degrade(4, seed=3), self._degrade(4, seed=3))

    def test_keeps_the_picture_in_place(self) -> None:
        """A mirrored image degrades to a mirrored image: nothing is shifted."""
        straight = self._mean_degraded(flip=False)
        mirrored = self._mean_degraded(flip=True).flip(-1)
        # A quarter of an LR pixel's shift of this ramp would change its values by 0.014.
        assert float((straight - mirrored).mean().abs()) < 0.01

    def test_gray_stays_gray(self) -> None:
        """Three equal channels stay equal."""
        gray = torch.tensor([True, True])
        hr = _picture(40, 48)[:, :1].expand(-1, 3, -1, -1)
        lr = self.space.degradation(hr, 4, gray, torch.Generator().manual_seed(0))
        assert float((lr - lr[:, :1]).abs().max()) <= 2.01 / 255

    def test_lambda_zero_has_its_share(self) -> None:
        """The stretch of λ that means exactly 0 is the share that the space states."""
        low, high = (torch.log(torch.tensor(end, dtype=torch.float64)) for end in self.space.lambda_range)
        floor = torch.log(torch.tensor(self.space.lambda_[0], dtype=torch.float64))
        assert abs(float((floor - low) / (high - low)) - self.space.zero_share) < 1e-9

    def _degrade(self, scale: int, seed: int) -> torch.Tensor:
        hr = _picture(12 * scale, 10 * scale)
        gray = torch.tensor([False, False])
        return self.space.degradation(hr, scale, gray, torch.Generator().manual_seed(seed))

    def _mean_degraded(self, flip: bool) -> torch.Tensor:
        ramp = torch.linspace(0.2, 0.8, 44).expand(64, 3, 44, 44)
        hr = ramp.flip(-1) if flip else ramp
        lr = self.space.degradation(hr, 4, torch.zeros(64, dtype=torch.bool), torch.Generator().manual_seed(1))
        return lr.mean((0, 1, 2))[2:-2]


def _picture(height: int, width: int) -> torch.Tensor:
    rows = torch.linspace(0, 6.0, height).view(1, 1, -1, 1)
    columns = torch.linspace(0, 5.0, width).view(1, 1, 1, -1)
    tint = torch.tensor([0.3, 0.35, 0.4]).view(1, 3, 1, 1)
    return (0.5 + tint * torch.sin(rows) * torch.cos(columns)).expand(2, -1, -1, -1)
