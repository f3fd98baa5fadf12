"""A folder of everything: what can be used is, the rest is counted with its reason, wherever images are read."""

import math

import noise_images
import numpy as np
import odd_images
import pytest
import tiny_models
from PIL import Image

from orchestrator.apply.evaluation.evaluate import evaluate_model
from orchestrator.apply.upscale import Settings, upscale_images
from orchestrator.data.shard_reader import read_split
from orchestrator.data.shard_verify import verify_shards
from orchestrator.data.shards import build_shards
from orchestrator.experiment.image_settings import ImageSet
from orchestrator.foundation.storage import Storage
from orchestrator.image_sets.set_files import list_files
from trainables.degradation import Degradation
from trainables.images.patch_pool import PatchPool
from trainables.loops.finetune import finetune
from trainables.loops.settings import Budget, TransferConfiguration
from trainables.metrics.evaluation import NamedImage, make_pairs, score
from trainables.network.model_files import weights_of
from trainables.network.network import SuperResolutionNet, preset


@pytest.fixture
def folder(tmp_path):
    made = odd_images.write_all(tmp_path / "images")
    noise_images.write(made, ["tiny.png"], (20, 300))
    return made


@pytest.fixture
def model(tmp_path):
    return tiny_models.write(tmp_path / "model", tiny_models.net(2))


def check_reasons(told, *further):
    reasons = {entry["file"]: entry["reason"] for entry in told}
    assert sorted(reasons) == sorted([*odd_images.REFUSED, *further])
    for name, words in odd_images.REFUSED.items():
        assert words in reasons[name]
        assert len(reasons[name]) < 100
    return reasons


def test_shards_take_what_they_can(folder, tmp_path):
    out = Storage.at(str(tmp_path / "shards"))
    files = list_files(ImageSet(images="images"), Storage.at(str(tmp_path)))
    manifest = build_shards(files, {"validation": 0.2}, 64, out, "CC0")
    reasons = check_reasons(manifest["skipped"], "tiny.png")
    assert reasons["tiny.png"] == "300×20 pixels, smaller than the 64×64 needed"
    kept = {image.name: image.pixels for split in ("train", "validation") for image in read_split(out, split)}
    assert sorted(kept) == [f"images/{name}" for name in odd_images.GOOD]
    bands = {name.removeprefix("images/"): pixels.shape[2] for name, pixels in kept.items()}
    assert {name for name, count in bands.items() if count == 1} == {"gray.png", "gray-alpha.png"}
    assert kept["images/turned.jpg"].shape == (96, 92, 3)
    assert verify_shards(out) == []


def test_evaluation_takes_what_it_can(folder, model):
    (told,) = evaluate_model(model, [str(folder)])["sets"]
    check_reasons(told["skipped"], "tiny.png")
    assert told["images"] == len(odd_images.GOOD)
    numbers = [*told["bicubic"].values(), *told["model"].values(), *told["gain"].values()]
    assert all(math.isfinite(number) for number in numbers)


def test_upscaling_takes_what_it_can(folder, model, tmp_path):
    (folder / "map.tif").write_bytes(odd_images.georeferenced(np.zeros((8, 8, 3), np.uint8)))
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(folder / "pages.tif", save_all=True, append_images=frames[1:])
    told = upscale_images(model, str(folder), str(tmp_path / "out"), Settings(), lambda done, of: None)
    reasons = check_reasons(told["failed"], "map.tif", "pages.tif")
    assert reasons["map.tif"] == "it is georeferenced, and its place on earth would be lost; --as cog keeps it"
    assert reasons["pages.tif"] == "it holds 2 images, and all but the first would be lost; save each as a file"
    made = {path.stem: Image.open(path) for path in (tmp_path / "out").iterdir()}
    assert sorted(made) == sorted([*(name.rpartition(".")[0] for name in odd_images.GOOD), "tiny"])
    modes = {name: image.mode for name, image in made.items()}
    assert modes.pop("gray") == "L"
    assert modes.pop("gray-alpha") == "LA"
    assert modes.pop("rgba") == "RGBA"
    assert set(modes.values()) == {"RGB"}
    assert made["tiny"].size == (600, 40)
    assert made["turned"].size == (184, 192)


def test_black_images_train_and_score_without_nan():
    net, black = tiny_models.net(2), np.zeros((64, 64, 3), np.uint8)
    pool = PatchPool(lambda: iter([black, black[..., :1]]), scale=2, lr_patch=16, degradation=Degradation(), seed=0)
    pairs = make_pairs([NamedImage("black", "black", image) for image in (black, black[..., :1])], Degradation(), 2)
    anchor, budget = weights_of(net), Budget(steps=3, batch=2, evaluations=1)
    configuration = TransferConfiguration(learning_rate=1e-3, lambda_=1e-3, frozen_depth=0)

    def mean(trained):
        return float(np.mean([one.psnr for one in score(trained, pairs, 2)]))

    curve = finetune(net, configuration, budget, pool, anchor, mean, lambda step, value: None)
    assert all(math.isfinite(value) for _, value in curve)
    for one in score(net, pairs, 2):
        assert math.isfinite(one.psnr)
        assert math.isfinite(one.ssim)


def test_black_images_alone_can_be_evaluated(tmp_path, model):
    (tmp_path / "black").mkdir()
    for number in range(3):
        Image.new("L", (40 + number, 40)).save(tmp_path / "black" / f"{number}.png")
    untrained = tiny_models.write(tmp_path / "untrained", SuperResolutionNet(preset("tiny", 2)))
    (told,) = evaluate_model(untrained, [str(tmp_path / "black")])["sets"]
    assert told["bicubic"] == told["model"] == {"psnr": 100.0, "ssim": 1.0}
    assert told["gain"]["mean"] == 0
