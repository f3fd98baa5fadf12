"""Each link of the degradation chain against an independent computation."""

import json
import math

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from trainables.degradation import Degradation
from trainables.errors import UsageError

LEVEL = 1 / 255
SCALES = (2, 3, 4)
CHAINS = {
    "bicubic": Degradation(),
    "area": Degradation(blur=(0.2, 0.5), decimation="area", noise=(0.01, 0.05)),
    "fourier": Degradation(decimation="fourier", noise=(0.01, 0.05), noise_kind="rician"),
    "jpeg": Degradation(blur=(0.0, 0.3), jpeg=(40, 90)),
}


def degrade(chain, hr, scale, seed=0, gray=False):
    generator = torch.Generator().manual_seed(seed)
    return chain(hr, scale, torch.full((len(hr),), gray), generator)


def picture(height, width, count=1, seed=0):
    """Smooth shapes with some noise, away from 0 and 1 so that nothing is clipped."""
    chance = np.random.default_rng(seed)
    smooth = gaussian_filter(chance.normal(size=(count, 3, height, width)), (0, 0, 2, 2))
    values = 0.5 + 0.12 * smooth / smooth.std() + 0.02 * chance.normal(size=smooth.shape)
    return torch.tensor(values.clip(0.05, 0.95), dtype=torch.float32)


@pytest.mark.parametrize("decimation", ["bicubic", "area", "fourier"])
def test_decimation_keeps_a_constant_and_moves_nothing(decimation):
    chain = Degradation(decimation=decimation)
    flat = torch.full((1, 3, 24, 36), 77 * LEVEL)
    assert torch.allclose(degrade(chain, flat, 3), torch.full((1, 3, 8, 12), 77 * LEVEL))
    hr = picture(24, 36)
    flipped = degrade(chain, hr.flip(-1, -2), 3).flip(-1, -2)
    assert (flipped - degrade(chain, hr, 3)).abs().max() < 1.01 * LEVEL


@pytest.mark.parametrize("scale", SCALES)
def test_blur_is_a_gaussian_in_units_of_the_scale(scale):
    hr = picture(16 * scale, 12 * scale)
    radius = math.ceil(3 * 0.5 * scale)
    blurred = gaussian_filter(hr.numpy(), (0, 0, 0.5 * scale, 0.5 * scale), mode="mirror", radius=radius)
    expected = torch.from_numpy(blurred).reshape(1, 3, 16, scale, 12, scale).mean((3, 5))
    lr = degrade(Degradation(blur=(0.5, 0.5), decimation="area"), hr, scale)
    assert (lr - expected).abs().max() < 0.52 * LEVEL


def test_blur_has_the_stated_second_moment_and_keeps_the_mean():
    """At scale 1 nothing else happens; the edge's slope is the blur's own profile."""
    edge = (torch.arange(41) > 20).float().expand(1, 3, 41, 41)
    profile = degrade(Degradation(blur=(3.0, 3.0), decimation="area"), edge, 1)[0, 0, 20].double()
    slope, places = profile.diff(), torch.arange(40) + 0.5
    centre = (slope * places).sum()
    assert slope.sum() == pytest.approx(1)
    assert centre == pytest.approx(20.5, abs=0.05)
    assert ((slope * (places - centre) ** 2).sum()).sqrt() == pytest.approx(3.0, rel=0.03)


def test_blur_wider_than_the_image_works():
    assert degrade(Degradation(blur=(2.0, 2.0)), picture(4, 8), 4).shape == (1, 3, 1, 2)


@pytest.mark.parametrize("name", ["area", "fourier", "jpeg"])
def test_every_image_draws_its_own_parameters(name):
    lr = degrade(CHAINS[name], picture(32, 32).expand(6, -1, -1, -1), 4)
    assert len({image.numpy().tobytes() for image in lr}) == 6


def test_blur_and_noise_are_drawn_over_their_whole_range():
    flat = torch.full((400, 3, 16, 16), 0.5)
    deviations = degrade(Degradation(noise=(0.02, 0.06)), flat, 2).std((1, 2, 3)) * 255
    assert 4 < deviations.min() < 6.5
    assert 14 < deviations.max() < 16.7
    assert deviations.mean() == pytest.approx(0.04 * 255, rel=0.05)


def test_gaussian_noise_has_the_stated_deviation_and_no_bias():
    lr = degrade(Degradation(noise=(0.04, 0.04)), torch.full((1, 3, 400, 400), 0.5), 2)
    assert lr.std() == pytest.approx(0.04, rel=0.02)
    assert lr.mean() == pytest.approx(0.5, abs=5e-4)
    channels = torch.corrcoef(lr[0].flatten(1))
    assert channels[0, 1].abs() < 0.02


def test_rician_noise_on_black_is_rayleigh_and_far_from_black_gaussian():
    chain = Degradation(noise=(0.05, 0.05), noise_kind="rician")
    black = degrade(chain, torch.zeros(1, 3, 400, 400), 2)
    assert black.mean() == pytest.approx(0.05 * math.sqrt(math.pi / 2), rel=0.02)
    assert black.std() == pytest.approx(0.05 * math.sqrt(2 - math.pi / 2), rel=0.02)
    bright = degrade(chain, torch.full((1, 3, 400, 400), 0.6), 2)
    assert bright.mean() == pytest.approx(0.6 + 0.05**2 / 1.2, abs=5e-4)
    assert bright.std() == pytest.approx(0.05, rel=0.02)


@pytest.mark.parametrize("kind", ["gaussian", "rician"])
def test_a_gray_image_has_one_noise_and_its_neighbour_in_the_batch_three(kind):
    hr = torch.full((2, 3, 16, 16), 0.5)
    chain = Degradation(noise=(0.05, 0.05), noise_kind=kind)
    lr = chain(hr, 2, torch.tensor([True, False]), torch.Generator().manual_seed(0))
    assert torch.equal(lr[0, 0], lr[0, 1])
    assert torch.equal(lr[0, 0], lr[0, 2])
    assert not torch.equal(lr[1, 0], lr[1, 1])


@pytest.mark.parametrize("chain", CHAINS.values(), ids=CHAINS)
def test_seeded_8_bit_and_in_range(chain):
    hr = picture(24, 36, count=3) * 2 - 0.5
    first, again, other = degrade(chain, hr, 3, 5), degrade(chain, hr, 3, 5), degrade(chain, hr, 3, 6)
    assert torch.equal(first, again)
    assert torch.equal(first, other) == (chain == CHAINS["bicubic"])
    assert torch.allclose(first * 255, (first * 255).round(), atol=1e-3)
    assert 0 <= first.min() <= first.max() <= 1


@pytest.mark.parametrize("name", ["bicubic", "area", "fourier"])
def test_the_gradient_reaches_every_hr_pixel(name):
    hr = picture(16, 24).requires_grad_()
    degrade(CHAINS[name], hr, 4).square().sum().backward()
    assert torch.isfinite(hr.grad).all()
    assert (hr.grad != 0).float().mean() > 0.99


def test_the_gradient_is_that_of_the_chain_without_rounding():
    hr = picture(8, 8).requires_grad_()
    degrade(Degradation(decimation="area"), hr, 2)[0, 0, 1, 1].backward()
    expected = torch.zeros_like(hr)
    expected[0, 0, 2:4, 2:4] = 0.25
    torch.testing.assert_close(hr.grad, expected)


def test_rician_gradient_is_finite_on_black_without_noise():
    hr = torch.zeros(1, 3, 8, 8, requires_grad=True)
    degrade(Degradation(noise=(0.0, 1e-30), noise_kind="rician"), hr, 2).sum().backward()
    assert torch.isfinite(hr.grad).all()


def test_lower_jpeg_quality_is_further_from_the_original():
    hr = picture(64, 64)
    clean = degrade(CHAINS["bicubic"], hr, 2)
    errors = [(degrade(Degradation(jpeg=(q, q)), hr, 2) - clean).square().mean() for q in (95, 60, 20)]
    assert 0 < errors[0] < 0.5 * errors[1] < 0.5 * errors[2]


def test_sizes_must_be_multiples_of_the_scale():
    with pytest.raises(UsageError, match=r"multiple of 4, found \(16, 18\)"):
        degrade(CHAINS["bicubic"], picture(16, 18), 4)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"blur": (0.5, 0.1)}, "range of blur"),
        ({"noise": (-0.1, 0.1)}, "range of noise"),
        ({"noise": (math.nan, 0.1)}, "range of noise"),
        ({"jpeg": (90, 60)}, "range of jpeg"),
        ({"jpeg": (0, 60)}, "between 1 and 100"),
        ({"jpeg": (60, 101)}, "between 1 and 100"),
    ],
)
def test_impossible_ranges_are_refused(wrong, message):
    with pytest.raises(UsageError, match=message):
        Degradation(**wrong)


@pytest.mark.parametrize("chain", CHAINS.values(), ids=CHAINS)
def test_survives_json(chain):
    again = Degradation.from_dict(json.loads(json.dumps(chain.to_dict())))
    assert again == chain
    assert hash(again) == hash(chain)


def test_description_states_every_range():
    chain = Degradation(blur=(0.2, 0.5), decimation="area", noise=(0.01, 0.05), noise_kind="rician", jpeg=(40, 90))
    assert chain.describe() == (
        "Gaussian blur σ 0.2–0.5 × scale, area-average, Rician noise σ 0.01–0.05, JPEG quality 40–90"
    )
    assert Degradation().describe() == "bicubic"
