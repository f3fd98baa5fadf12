"""Each link of the degradation chain against an independent computation."""

import json
import math

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch.utils._python_dispatch import TorchDispatchMode

from trainables.degradation import Degradation
from trainables.errors import UsageError

LEVEL = 1 / 255
SCALES = (2, 3, 4)
CHAINS = {
    "bicubic": Degradation(),
    "area": Degradation(blur=(0.2, 0.5), decimation="area", noise=(0.01, 0.05)),
    "fourier": Degradation(decimation="fourier", noise=(0.01, 0.05), noise_kind="rician"),
    "jpeg": Degradation(blur=(0.0, 0.3), jpeg=(40, 90)),
    "satellite": Degradation(mtf=(0.1, 0.4), jitter=0.2, decimation="area", noise=(0.0, 0.01), shot=(0.01, 0.03)),
    "ct": Degradation(decimation="area", photons=(1e3, 1e5), attenuation=(2.0, 4.0), window=400.0),
    "h264": Degradation(noise=(0.0, 0.01), h264=(24, 40)),
    "codecs": Degradation(jpeg=(40, 90), h264=(24, 40)),
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


@pytest.mark.parametrize("name", CHAINS)
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


def test_of_two_codecs_each_image_draws_one():
    hr = picture(32, 32).expand(200, -1, -1, -1)
    both = degrade(Degradation(jpeg=(50, 50), h264=(32, 32)), hr, 2)
    jpeg, h264 = (degrade(Degradation(**{codec: (q, q)}), hr[:1], 2)[0] for codec, q in (("jpeg", 50), ("h264", 32)))
    of_jpeg, of_h264 = ((both == coded).flatten(1).all(1) for coded in (jpeg, h264))
    assert (of_jpeg ^ of_h264).all()
    assert 60 < of_jpeg.sum() < 140


@pytest.mark.parametrize("name", ["area", "fourier", "satellite", "ct", "codecs"])
def test_each_image_of_a_batch_draws_its_own_parameters(name):
    """Flat images, so that the spread inside each tells its noise; for codecs, one busy image many times."""
    if name == "codecs":
        lr = degrade(CHAINS[name], picture(32, 32).expand(12, -1, -1, -1), 2)
        assert len({image.numpy().tobytes() for image in lr}) > 8
    else:
        lr = degrade(CHAINS[name], torch.full((12, 3, 128, 128), 0.5), 2)
        assert lr.std((1, 2, 3)).unique().numel() == 12


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (torch.full((1, 3, 8, 8), math.nan), r"must lie in \[0, 1\], found values from nan to nan"),
        (torch.full((1, 3, 8, 8), 255.0), "found values from 255 to 255"),
        (torch.full((1, 3, 8, 8), -0.1), "found values from -0.1 to -0.1"),
        (torch.full((2, 3, 8, 8), 255, dtype=torch.uint8), "must be float in .*, found torch.uint8"),
    ],
)
def test_images_of_another_kind_are_refused(wrong, message):
    with pytest.raises(UsageError, match=message):
        degrade(CHAINS["bicubic"], wrong, 4)


def test_codecs_need_three_channels():
    with pytest.raises(UsageError, match="need three channels, found 1"):
        degrade(CHAINS["jpeg"], torch.zeros(1, 1, 8, 8), 4)


class NothingReadBack(TorchDispatchMode):
    """Fails at what a GPU would have to be waited for: a value that Python reads."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        assert name not in ("_local_scalar_dense", "nonzero", "equal", "unique", "masked_select", "bincount"), name
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("chain", CHAINS.values(), ids=CHAINS)
def test_a_batch_is_degraded_without_waiting_for_the_device(chain):
    hr, gray, generator = picture(24, 36, count=3), torch.zeros(3, dtype=torch.bool), torch.Generator()
    chain(hr, 3, gray, generator)  # fills the caches of constants
    with NothingReadBack():
        chain(hr, 3, gray, generator)


def test_sizes_must_be_multiples_of_the_scale():
    with pytest.raises(UsageError, match=r"multiple of 4, found \(16, 18\)"):
        degrade(CHAINS["bicubic"], picture(16, 18), 4)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"blur": (0.5, 0.1)}, "range of blur"),
        ({"noise": (-0.1, 0.1)}, "range of noise"),
        ({"noise": (math.nan, 0.1)}, "range of noise"),
        ({"blur": (0.0, math.inf)}, "range of blur"),
        ({"mtf": (0.0, 0.3)}, r"range of mtf must be 0.001 <= low <= high <= 0.5, found \(0.0, 0.3\)"),
        ({"mtf": (0.1, 0.8)}, "range of mtf"),
        ({"mtf": (0.1, 0.3), "blur": (0.1, 0.2)}, "blur or mtf, not both"),
        ({"jitter": 0.7}, "between 0 and 0.5 LR pixels, found 0.7"),
        ({"jitter": math.nan}, "jitter"),
        ({"decimation": "nearest"}, "no decimation 'nearest'"),
        ({"noise_kind": "salt"}, "or noise 'salt'"),
        ({"shot": (0.2, 0.1)}, "range of shot"),
        ({"shot": (0.0, 0.1), "noise_kind": "rician"}, "Shot noise needs noise_kind 'gaussian'"),
        ({"photons": (0.0, 1e4)}, "range of photons must be 1 <= low <= high, found"),
        ({"attenuation": (0.0, 20.0)}, "range of attenuation"),
        ({"window": 0.0}, "window must be a positive number of HU, found 0"),
        ({"jpeg": (90, 60)}, "range of jpeg"),
        ({"jpeg": (0, 60)}, "range of jpeg must be 1 <= low <= high <= 100"),
        ({"jpeg": (60, 101)}, "range of jpeg"),
        ({"jpeg": (60.5, 90)}, "jpeg must be two integers"),
        ({"h264": (24, 52)}, r"range of h264 must be 0 <= low <= high <= 51, found \(24, 52\)"),
        ({"h264": (20,)}, r"range of h264 must be two numbers, found \(20,\)"),
        ({"blur": "much"}, "range of blur must be two numbers, found 'much'"),
        ({"noise": ("a", 1.0)}, "range of noise must be two numbers"),
        ({"shot": 0.1}, "range of shot must be two numbers, found 0.1"),
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


@pytest.mark.parametrize(
    "old",
    [
        {"blur": [0.39, 0.61], "decimation": "area", "noise": [0.005, 0.02], "noise_kind": "gaussian", "jpeg": None},
        {"blur": [0.0, 0.25], "decimation": "bicubic", "noise": [0.0, 0.0], "noise_kind": "gaussian", "jpeg": [60, 95]},
    ],
)
def test_a_card_from_before_the_newer_fields_still_loads(old):
    again = Degradation.from_dict(old).to_dict()
    assert {name: list(v) if isinstance(v, tuple) else v for name, v in again.items() if name in old} == old
    assert (again["mtf"], again["photons"], again["h264"], again["shot"]) == (None, None, None, (0.0, 0.0))


def test_description_states_every_range():
    chain = Degradation(blur=(0.2, 0.5), decimation="area", noise=(0.01, 0.05), noise_kind="rician", jpeg=(40, 90))
    assert chain.describe() == (
        "Gaussian blur σ 0.2–0.5 × scale, area-average, Rician noise σ 0.01–0.05, JPEG quality 40–90"
    )
    assert Degradation().describe() == "bicubic"
    assert CHAINS["satellite"].describe() == (
        "system MTF at Nyquist 0.1–0.4, displacement up to ±0.2 LR pixels, area-average, "
        "Gaussian noise σ 0–0.01, shot noise σ 0.01–0.03 at full scale"
    )
    assert CHAINS["ct"].describe() == (
        "area-average, CT dose of 1000–100000 photons per detector pixel behind attenuation 2–4, window 400 HU"
    )
    assert CHAINS["codecs"].describe() == "bicubic, JPEG quality 40–90 or H.264-like intra QP 24–40"
