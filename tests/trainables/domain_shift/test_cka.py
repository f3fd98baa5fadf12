import numpy as np
import pytest
import torch

from trainables.domain_shift.cka import CrossProducts, cka_estimate, linear_cka, total
from trainables.errors import UsageError


def features(seed=0, channels=6, images=3):
    return torch.randn(images, channels, 9, 11, generator=torch.Generator().manual_seed(seed)) + 2


def cka(first, second):
    return linear_cka(CrossProducts.of(first, second))


def test_one_with_itself_turned_scaled_and_shifted():
    x = features()
    turn = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(5)))[0]
    turned = torch.einsum("nchw,cd->ndhw", x, turn)
    for other in (x, turned, 7 * x, x - 30):
        assert cka(x, other) == pytest.approx(1)
    assert cka(x, 3 * torch.einsum("nchw,cd->ndhw", features(1), turn)) == pytest.approx(cka(x, features(1)))


def test_not_blind_to_other_linear_maps_and_to_noise():
    x = features()
    stretched = x * torch.tensor([9.0, 1, 1, 1, 1, 1]).view(1, 6, 1, 1)
    assert cka(x, stretched) < 0.8
    values = [cka(x, x + sigma * features(1)) for sigma in (0.1, 0.5, 1, 3)]
    assert values == sorted(values, reverse=True)
    assert values[0] > 0.98
    assert cka(x, features(1)) < 0.1


def test_equals_the_definition_by_kernels():
    x, y = (features(seed, channels).movedim(1, -1).flatten(0, -2).double() for seed, channels in ((0, 6), (1, 4)))
    y = y + x[:, :4]
    centre = torch.eye(len(x), dtype=torch.float64) - 1 / len(x)
    k, m = (centre @ (z @ z.T) @ centre for z in (x, y))
    expected = float((k * m).sum() / (k.norm() * m.norm()))
    whole = [z.T.reshape(1, -1, len(z), 1) for z in (x, y)]
    assert cka(*whole) == pytest.approx(expected)


def test_parts_add_up():
    x, y = features(), features() + features(1)
    parts = [CrossProducts.of(x[i : i + 1], y[i : i + 1]) for i in range(3)]
    assert linear_cka(total(parts)) == pytest.approx(cka(x, y))


def test_the_interval_holds_the_value_and_closes_with_more_scenes():
    def estimate(count):
        return cka_estimate([CrossProducts.of(features(i), features(i) + features(i + 99)) for i in range(count)])

    few, many = estimate(4), estimate(40)
    assert 0 <= few.low < few.value < few.high <= 1
    assert many.high - many.low < (few.high - few.low) / 2


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(UsageError, match=r"the same positions, found \(3, 6, 9, 11\) and \(2, 6, 9, 11\)"):
        CrossProducts.of(features(), features(images=2))
    with pytest.raises(UsageError, match="the same at all positions"):
        cka(features(), torch.full((3, 6, 9, 11), 0.3))
    assert np.isfinite(cka(features(), features() * 1e-6))
