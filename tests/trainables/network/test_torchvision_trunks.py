"""torchvision's trunks take torchvision's weights."""

import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import resnet18, resnet34

from trainables.errors import UsageError
from trainables.network.architecture import Architecture
from trainables.network.torchvision_trunks import load_imagenet, torchvision_trunk

STAND_IN = {"resnet18": resnet18, "resnet34": resnet34}


@pytest.fixture(scope="module")
def weights():
    """Weights with torchvision's names; real ones would be a download."""
    torch.manual_seed(0)
    return {family: make(weights=None).eval().state_dict() for family, make in STAND_IN.items()}


def write(weights, path):
    save_file(weights, path) if path.suffix == ".safetensors" else torch.save(weights, path)
    return str(path)


@pytest.mark.parametrize(
    ("family", "stages", "file"),
    [("resnet18", 1, "a.pth"), ("resnet18", 2, "a.safetensors"), ("resnet34", 1, "a.pth")],
)
def test_features_are_those_of_torchvision_where_nothing_strides(weights, tmp_path, family, stages, file):
    architecture = Architecture(scale=4, family=family, stages=stages)
    trunk = torchvision_trunk(architecture).eval()
    load_imagenet(trunk, architecture, write(weights[family], tmp_path / file))
    whole = STAND_IN[family](weights=None).eval()
    whole.load_state_dict(weights[family])
    for module in whole.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.stride = (1, 1)
    images = torch.rand(1, 3, 16, 16)
    with torch.inference_mode():
        expected = whole.relu(whole.bn1(whole.conv1(images)))
        for stage in range(1, stages + 1):
            expected = getattr(whole, f"layer{stage}")(expected)
        torch.testing.assert_close(trunk(images), expected)


def test_the_file_that_torchvision_keeps_is_found(weights, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    write(weights["resnet18"], tmp_path / "checkpoints" / "resnet18-f37072fd.pth")
    architecture = Architecture(scale=4, family="resnet18")
    trunk = torchvision_trunk(architecture)
    load_imagenet(trunk, architecture)
    assert torch.equal(trunk.stem[0].weight, weights["resnet18"]["conv1.weight"])


def test_gray_images_get_the_mean_kernel(weights, tmp_path):
    architecture = Architecture(scale=4, family="resnet18", channels=1)
    trunk = torchvision_trunk(architecture)
    load_imagenet(trunk, architecture, write(weights["resnet18"], tmp_path / "a.pth"))
    torch.testing.assert_close(trunk.stem[0].weight, weights["resnet18"]["conv1.weight"].mean(1, keepdim=True))


def test_what_does_not_fit_is_refused_in_a_sentence(weights, tmp_path):
    right = Architecture(scale=4, family="resnet18")
    trunk = torchvision_trunk(right)
    with pytest.raises(UsageError, match=r"no ImageNet weights at .*put torchvision's resnet18 there"):
        load_imagenet(trunk, right, str(tmp_path / "none.pth"))
    with pytest.raises(UsageError, match="with norm batch, found family resnet18 with norm none"):
        load_imagenet(trunk, Architecture(scale=4, family="resnet18", norm="none"))
    with pytest.raises(UsageError, match="found family thin"):
        load_imagenet(trunk, Architecture(scale=4))
    (tmp_path / "noise.pth").write_bytes(b"no weights at all")
    with pytest.raises(UsageError, match="cannot be read as weights"):
        load_imagenet(trunk, right, str(tmp_path / "noise.pth"))
    write({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(UsageError, match="does not hold torchvision's resnet18"):
        load_imagenet(trunk, right, str(tmp_path / "other.safetensors"))
