"""A best configuration on other images: the command as a user meets it."""

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
import tiny_models
import torch
import yaml
from pair_files import write_pairs

from orchestrator.foundation.model_store import find_model
from search_spaces import find_space
from trainables.samples import write_samples

CONFIGURATION = {"learning_rate": 5e-4, "lambda_": 0.0, "frozen_depth": 1}
RECIPE = {"steps": 3, "batch": 2, "lr_patch": 16, "transfer": "joint", "regularizer": "l2-sp", "frozen_from": "input"}


@pytest.fixture
def source(tmp_path):
    return tiny_models.write(tmp_path / "source", tiny_models.net(4), data_licence="CC0")


@pytest.fixture
def images(tmp_path):
    write_samples(tmp_path / "tiles", "satellite", 7, 1, seed=1, size=(96, 96))
    return tmp_path / "tiles"


@pytest.fixture
def best(tmp_path, source):
    """Writes best.yaml of one domain with these changes of its recipe, or of the entry itself."""

    def write(recipe=(), **entry):
        found = {"fine_tune": True, "configuration": CONFIGURATION, "space": "satellite-v2"}
        found |= {"finetune": {"source": source, **RECIPE, **dict(recipe)}} | entry
        domains = {"satellite": {name: value for name, value in found.items() if value is not None}}
        content = {"rayscale": "0.4.0", "experiment": "tiny", "scale": 4, "domains": domains}
        (tmp_path / "best.yaml").write_text(yaml.safe_dump(content))
        return tmp_path / "best.yaml"

    return write


def refused(rayscale, *arguments):
    code, out, err = rayscale("finetune", *arguments)
    assert (code, out) == (2, ""), err
    assert err.count("\n") == 1, err
    return err


def test_a_model_is_fine_tuned_by_configuration_and_steps_and_says_what_it_came_from(
    rayscale, best, images, source, tmp_path
):
    file, out = best(), tmp_path / "out"
    code, told, err = rayscale("finetune", file, images, out, "--json")
    assert code == 0, err
    result = json.loads(told)
    assert (result["steps"], result["configuration"]) == (3, CONFIGURATION)
    assert (result["images"], result["validation_images"]) == (6, 1)
    psnr = result["psnr"]
    assert result["gain"]["mean"] == pytest.approx(psnr["finetuned"] - psnr["source"])
    found, before = find_model(str(out)), find_model(source)
    lineage = found.card["lineage"]
    assert (lineage["best"], lineage["experiment"], lineage["domain"]) == (str(file), "tiny", "satellite")
    assert (lineage["source_model"], lineage["source_licence"]) == (before.card["sha256"], "CC0")
    assert found.card["configuration"] == CONFIGURATION
    assert found.degradation == find_space("satellite").degradation
    states = [model.net.state_dict() for model in (before, found)]
    changed = {name for name in states[0] if not torch.equal(states[0][name], states[1][name])}
    assert changed
    assert not any(name.startswith("features.stem") for name in changed), "the frozen depth is 1"

    code, told, _ = rayscale("finetune", file, images, tmp_path / "again", "--domain", "satellite")
    assert code == 0
    assert f"rayscale upscale {images} upscaled --model {tmp_path / 'again'}" in told
    again = find_model(str(tmp_path / "again")).net.state_dict()
    assert all(torch.equal(again[name], value) for name, value in states[1].items())


def test_images_of_any_depth_are_read_by_the_domain_s_range(rayscale, best, tmp_path):
    folder = tmp_path / "deep"
    folder.mkdir()
    random = np.random.default_rng(0)
    for number in range(4):
        values = random.integers(0, 9000, (2, 96, 96), dtype=np.uint16)
        profile = {"driver": "GTiff", "height": 96, "width": 96, "count": 2, "dtype": "uint16"}
        profile |= {"crs": "EPSG:32633", "transform": rasterio.Affine(10, 0, 0, 0, -10, 0)}
        with rasterio.open(folder / f"{number}.tif", "w", **profile) as target:
            target.write(values)
    deep = {"value_range": {"uint16": [0, 10000]}, "channels": 2}
    code, told, err = rayscale("finetune", best(deep), folder, tmp_path / "out")
    assert code == 0, err
    assert "PSNR is the mean over bands" in told
    assert find_model(str(tmp_path / "out")).card["value_range"] == {"uint16": [0, 10000]}
    err = refused(rayscale, best({**deep, "channels": 4}), folder, tmp_path / "other")
    assert "have 2 bands" in err
    assert "'satellite'" in err
    assert "uint16" in refused(rayscale, best({**deep, "value_range": {"int16": [0, 100]}}), folder, tmp_path / "other")
    assert "2 bands are not gray or colour" in refused(rayscale, best(), folder, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_pairs_are_learned_from_with_their_real_lr(rayscale, best, tmp_path):
    write_pairs(tmp_path, 4, scale=4)
    file = best({"pairs": True})
    code, told, err = rayscale("finetune", file, tmp_path / "hr", tmp_path / "out", "--lr", tmp_path / "lr", "--json")
    assert code == 0, err
    assert json.loads(told)["images"] == 3
    card = find_model(str(tmp_path / "out")).card
    assert (card["degradation"], card["pairs_share"]) == (None, 1)


class TestWrongInput:
    def test_a_domain_that_the_file_does_not_hold(self, rayscale, best, images, tmp_path):
        err = refused(rayscale, best(), images, tmp_path / "out", "--domain", "satelite")
        assert "holds no domain 'satelite', only satellite. Did you mean 'satellite'?" in err

    def test_several_domains_and_none_named(self, rayscale, best, images, tmp_path):
        content = yaml.safe_load(best().read_text())
        content["domains"]["art"] = content["domains"]["satellite"]
        best().write_text(yaml.safe_dump(content))
        (tmp_path / "two.yaml").write_text(yaml.safe_dump(content))
        err = refused(rayscale, tmp_path / "two.yaml", images, tmp_path / "out")
        assert "holds several domains, art, satellite: choose one with --domain." in err

    @pytest.mark.parametrize(
        ("entry", "said"),
        [
            ({"fine_tune": False, "configuration": None}, "there is nothing to fine-tune"),
            ({"finetune": None}, "does not state how 'satellite' was trained"),
            ({"configuration": {"learning_rate": -1, "lambda_": 0, "frozen_depth": 0}}, "is damaged"),
            ({"configuration": {**CONFIGURATION, "frozen_depth": 99}}, "99"),
            ({"finetune": {"source": "nowhere", **RECIPE, "steps": 0}}, "is damaged"),
            ({"finetune": {"source": "./nowhere", **RECIPE}}, "--model names another one"),
            ({"finetune": {"source": "./nowhere", **RECIPE, "pairs": True}}, "with --lr"),
            ({"space": "nowhere-v1"}, "nowhere-v1"),
        ],
    )
    def test_an_entry_that_cannot_be_applied(self, rayscale, best, images, tmp_path, entry, said):
        assert said in refused(rayscale, best(**entry), images, tmp_path / "out")
        assert not (tmp_path / "out").exists()

    @pytest.mark.parametrize("content", ["", "[]", "a: [", "domains: {}", "name: tiny\nsource: {images: natural}"])
    def test_a_file_of_another_kind(self, rayscale, images, tmp_path, content):
        (tmp_path / "other.yaml").write_text(content)
        assert "is no best.yaml" in refused(rayscale, tmp_path / "other.yaml", images, tmp_path / "out")

    def test_no_file_and_a_folder(self, rayscale, images, tmp_path):
        assert "There is no file" in refused(rayscale, tmp_path / "none.yaml", images, tmp_path / "out")
        assert "is a folder" in refused(rayscale, images, images, tmp_path / "out")

    @pytest.mark.parametrize("name", ["card.json", "notes.txt"])
    def test_an_output_that_holds_something(self, rayscale, best, images, tmp_path, name):
        out = tmp_path / "out"
        out.mkdir()
        (out / name).write_text("{}")
        assert "already; name another OUT" in refused(rayscale, best(), images, out)

    def test_too_few_images(self, rayscale, best, images, tmp_path):
        for path in sorted(Path(images).rglob("*.png"))[1:]:
            path.unlink()
        assert "at least 2 scenes are needed" in refused(rayscale, best(), images, tmp_path / "out")

    def test_a_model_of_another_scale_factor(self, rayscale, best, images, tmp_path):
        other = tiny_models.write(tmp_path / "other", tiny_models.net(2))
        err = refused(rayscale, best(), images, tmp_path / "out", "--model", other)
        assert "scale factor 4" in err

    def test_lr_images_for_a_domain_without_pairs(self, rayscale, best, images, tmp_path):
        assert "remove --lr" in refused(rayscale, best(), images, tmp_path / "out", "--lr", images)
