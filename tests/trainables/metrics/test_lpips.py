"""LPIPS with an AlexNet of random weights in torchvision's place, against the paper's formula."""

import sys
from importlib import resources

import pytest
import torch
import torchvision
from torch.nn import functional

from trainables.errors import UsageError
from trainables.metrics.lpips import LEAST_SIDE, Lpips, weights_file


@pytest.fixture
def alexnet(tmp_path, monkeypatch):
    """A random network where torchvision would have put its own."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    torch.manual_seed(0)
    net = torchvision.models.alexnet(weights=None).eval()
    weights_file().parent.mkdir(parents=True)
    torch.save(net.state_dict(), weights_file())
    return net


def by_the_formula(net, first, second):
    file = resources.files("torchmetrics.functional.image.lpips_models") / "alex.pth"
    heads = torch.load(file, map_location="cpu", weights_only=True)
    shift = torch.tensor([-0.030, -0.088, -0.188])[:, None, None]
    scale = torch.tensor([0.458, 0.448, 0.450])[:, None, None]
    x, y = (((2 * image - 1 - shift) / scale)[None] for image in (first, second))
    total, taps = 0.0, [1, 4, 7, 9, 11]  # after each of the five activations
    for place, layer in enumerate(net.features):
        x, y = layer(x), layer(y)
        if place in taps:
            a, b = (functional.normalize(features, dim=1) for features in (x, y))
            total += functional.conv2d((a - b) ** 2, heads[f"lin{taps.index(place)}.model.1.weight"]).mean()
    return float(total)


@torch.inference_mode()
def test_lpips_is_the_formula_and_zero_for_equal_images(alexnet):
    first, second = torch.rand(3, 80, 96), torch.rand(3, 80, 96)
    compare = Lpips()
    assert compare(first, second) == pytest.approx(by_the_formula(alexnet, first, second), rel=1e-4)
    assert compare(first, second) > 0
    assert compare(first, first) == 0


def test_small_images_have_none(alexnet):
    compare = Lpips()
    least, less = torch.rand(3, LEAST_SIDE, LEAST_SIDE), torch.rand(3, LEAST_SIDE - 1, 200)
    assert compare(least, least) == 0
    assert compare(less, less) is None


def test_weights_that_are_missing_or_wrong_and_a_package_that_is(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(UsageError, match=r"needs torchvision's AlexNet at .* downloads nothing"):
        Lpips()
    weights_file().parent.mkdir(parents=True)
    weights_file().write_bytes(b"no weights")
    with pytest.raises(UsageError, match="does not hold torchvision's AlexNet"):
        Lpips()
    torch.save({"a": torch.zeros(1)}, weights_file())
    with pytest.raises(UsageError, match="does not hold torchvision's AlexNet"):
        Lpips()
    monkeypatch.setitem(sys.modules, "torchmetrics.image.lpip", None)
    with pytest.raises(UsageError, match=r"pip install 'rayscale\[lpips\]'"):
        Lpips()
